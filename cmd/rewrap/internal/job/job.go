// Package job makes one checked value of the flags and the job file of a command.
// The value does not change any more. The package opens nothing and calls no
// service; the room setup does.
package job

import (
	"slices"
	"strings"
	"time"

	"rewrap/cmd/rewrap/internal/report"
	"rewrap/engine/keys/kms"
)

// Job is what was asked. [Flags.Parse] makes it and nothing changes it
// afterwards; it is passed on by value.
type Job struct {
	Place  Place
	Keys   Keys
	Format Format
	Scope  Scope
	Pace   Pace
	Limits Limits
	State  State
	Output Output
	Plan   *Plan // the plan that --from-plan named; nil: none
}

// Keys says which keys wrapped keys are under, and which key they are moved to.
type Keys struct {
	From    []string // source keys; KEY@MATERIAL is one key material of a key
	To      string   // "": each wrapped key's own key
	Verify  string   // see [kms.ParseVerify]
	Keyring Keyring
}

// Keyring is a local keyring that is used in place of KMS.
type Keyring struct {
	File    string   // "": the job re-wraps with KMS
	KMS     string   // the key that the file is encrypted by; "": it is in the clear
	Context []string // K=V: the encryption context of the file
}

// Pace bounds the calls at once and the requests a second.
type Pace struct {
	Workers    int // key calls in work at once
	KMS, Store Rate
}

// Limits stop a run cleanly before the end.
type Limits struct {
	Items    int64         // 0: no limit
	Duration time.Duration // 0: no limit
}

// State says where the state directory is.
type State struct {
	Given   string // "": one place for each source and job, see [Job.StateDir]
	Restart bool   // begin a new pass instead of resuming
}

// Output says how a command shows its progress and its result, and if it asks.
type Output struct {
	Progress string // one of the modes of --progress
	JSON     bool
	Yes      bool // do not ask for confirmation
}

// check finds errors in a job without calling a service.
func (j *Job) check() error {
	for _, k := range append(slices.Clone(j.Keys.From), j.Keys.To) {
		if strings.TrimSpace(k) != k {
			return Usage("key %q begins or ends with a space", k)
		}
	}
	if _, err := j.Payload(0); err != nil {
		return err
	}
	if _, err := kms.ParseVerify(j.Keys.Verify); err != nil {
		return err
	}
	if _, err := j.Scope.Match(); err != nil {
		return err
	}
	switch {
	case j.Pace.Workers < 1 || j.Pace.Workers > 4096:
		return Usage("--workers %d: 1 to 4096", j.Pace.Workers)
	case j.Limits.Items < 0:
		return Usage("--max-items %d: 0 (no limit) or more", j.Limits.Items)
	case j.Limits.Duration < 0:
		return Usage("--max-duration %v: 0 (no limit) or more", j.Limits.Duration)
	case !slices.Contains(ProgressModes, j.Output.Progress):
		return Usage("--progress %q: it is %s", j.Output.Progress, report.OneOf(ProgressModes))
	}
	return nil
}
