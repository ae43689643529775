package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/move"
)

func newVerify(s streams) *cobra.Command {
	j := &job{}
	cmd := &cobra.Command{
		Use:   "verify SOURCE | -f FILE",
		Short: "Read only: is everything on target? Writes the attestation",
		Long: `verify asks KMS about every wrapped key of SOURCE: it has it re-encrypted onto
the target and throws the answer away, which tells the key and key material
that it is under and needs no permission to decrypt. Nothing in SOURCE is
changed. The result is the attestation, attestation.json in the state
directory; what is not on target is listed beside it in findings.jsonl.

Exit codes: 0 everything is on target; 1 could not go on, or nothing was under
a source key or on target; 2 wrong usage; 4 something is not on target, or
could not be told; 75 stopped before the end.`,
		Example: `  rewrap verify s3://bucket/prefix --from alias/app
  rewrap verify s3://bucket/prefix --from alias/old --to alias/new`,
		RunE: j.command(s, func() error { return j.runVerify(s) }),
	}
	j.jobFlags(cmd.Flags())
	j.planFlag(cmd.Flags())
	return cmd
}

// attestation is the census after a run: what was scanned, where every
// wrapped key is, what is left and why.
type attestation struct {
	Statement string             `json:"statement"`
	Tool      string             `json:"tool"`
	Job       []checkpoint.Field `json:"job"`
	Targets   map[string]string  `json:"targets"` // key ARN to the key material that counts as on target
	Began     time.Time          `json:"began"`
	Ended     time.Time          `json:"ended"`
	Summary   summary            `json:"summary"`
	Limits    []string           `json:"not_covered"`
}

// notCovered is what a scan of current objects cannot speak for.
var notCovered = []string{
	"noncurrent object versions, delete-marked objects and incomplete multipart uploads",
	"objects written while the scan ran, replicas and backups in other places",
	"data that the store itself encrypts with the key (SSE-KMS)",
	"foreign items: under no source key, or in a format that is not looked for",
}

func (j *job) runVerify(s streams) error {
	// Reading has nothing to finish: the first signal ends it.
	_, ctx, _, release := interruptible(func(string, ...any) {})
	defer release()
	j.openCurrent()
	began := time.Now().UTC()
	se, err := openSession(ctx, j, s, toLook)
	if err != nil {
		if ctx.Err() != nil {
			return &exitError{exitStopped, context.Cause(ctx)}
		}
		return err
	}
	defer se.close()
	if j.planned != nil {
		j.planned.vouch(se.say)
	}
	if err := checkpoint.MakeDir(se.dir, se.identity()); err != nil {
		return stateError(err)
	}
	found, err := newFindings(se.dir)
	if err != nil {
		return stateError(err)
	}
	defer found.discard()
	p, why := newProgress(se, s, account.Tally{}), left{}
	met := fieldsMet{}
	rep, err := engine.Run(ctx, engine.Job{
		Source: se.source, Mover: move.NewPayload(se.format, se.rewrapper, j.workers), Until: engine.Moved,
		Workers: j.workers, Match: se.match,
		Observe: func(ev engine.Event) {
			p.observe(ev)
			why.observe(ev)
			met.observe(ev)
			found.observe(ev)
		},
	})
	p.close()
	se.remarks(rep, err, why, met)
	sum := se.summary(rep)
	switch {
	case ctx.Err() != nil:
		return &exitError{exitStopped, fmt.Errorf("%w; no attestation was written", context.Cause(ctx))}
	case err != nil:
		return fmt.Errorf("%w; no attestation was written", err)
	}
	i := rep.Items
	a := attestation{
		Tool: "rewrap " + version(), Job: se.identity(), Targets: se.targets(),
		Began: began, Ended: time.Now().UTC(), Summary: sum, Limits: notCovered,
	}
	switch {
	case i.Seen == 0:
		a.Statement = fmt.Sprintf("There is no item in %s.", j.source)
	case rep.Result == engine.ResultFailed:
		a.Statement = fmt.Sprintf("Nothing was found under a source key or on target in %s of %s.", items(i.Seen), j.source)
	case rep.Left > 0:
		a.Statement = fmt.Sprintf("Not shown to be on target: %s of %s in %s.", count(rep.Left), items(i.Seen), j.source)
	default:
		a.Statement = fmt.Sprintf("Every listing of %s reached its end, and nothing found there under a source key is off target.", j.source)
	}
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	err = found.keep()
	if err == nil {
		err = checkpoint.WriteFile(se.dir, attestationFile, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("no attestation was written: %w", stateError(err))
	}
	if err := sum.print(s.out, j.json, se.dir); err != nil {
		return err
	}
	se.say("%s Written to %s", a.Statement, filepath.Join(se.dir, attestationFile))
	switch {
	case rep.Result == engine.ResultFailed:
		return se.ending(rep, nil)
	case rep.Left > 0:
		return &exitError{exitNotOn, fmt.Errorf("%s not on target, as listed in %s", are(rep.Left, "item"), filepath.Join(se.dir, findingsFile))}
	}
	return nil
}

const (
	attestationFile = "attestation.json"
	findingsFile    = "findings.jsonl"
)

// findings lists what is not on target, on disk, since it may be a lot. The
// file takes its name only when the scan has reached its end.
type findings struct {
	dir  string
	file *os.File
	enc  *json.Encoder
	err  error
}

func newFindings(dir string) (*findings, error) {
	f, err := os.CreateTemp(dir, findingsFile+".new-*")
	if err != nil {
		return nil, fmt.Errorf("the list of findings cannot be begun: %w", err)
	}
	return &findings{dir: dir, file: f, enc: json.NewEncoder(f)}, nil
}

func (f *findings) observe(ev engine.Event) {
	if ev.Outcome != account.Failed && ev.Outcome != account.Skipped {
		return
	}
	line := struct {
		ID      string         `json:"id"`
		Outcome string         `json:"outcome"`
		Reason  string         `json:"reason"`
		Error   string         `json:"error"`
		Under   account.Census `json:"under,omitempty"`
	}{ID: ev.Ref.ID, Outcome: ev.Outcome.String(), Reason: ev.Reason, Error: ev.Err.Error()}
	for _, k := range ev.Keys {
		if k.From.ARN != "" {
			if line.Under == nil {
				line.Under = make(account.Census)
			}
			line.Under[k.Under()]++
		}
	}
	if err := f.enc.Encode(line); err != nil && f.err == nil {
		f.err = fmt.Errorf("the list of findings cannot be written: %w", err)
	}
}

// keep puts the list in the place of the one before. The attestation before goes
// first, since it speaks of that one.
func (f *findings) keep() error {
	if f.err != nil {
		return f.err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(f.dir, attestationFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(f.file.Name(), filepath.Join(f.dir, findingsFile))
}

// discard removes the file if it was not kept.
func (f *findings) discard() {
	_ = f.file.Close()
	_ = os.Remove(f.file.Name())
}
