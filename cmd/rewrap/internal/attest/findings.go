package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rewrap/checkpoint/account"
	"rewrap/checkpoint/durable"
	"rewrap/engine"
)

// FindingsFile is the name of the list of findings in the state directory.
const FindingsFile = "findings.jsonl"

// Findings lists on disk the items that are not on target, since there may be
// many. The file takes its name only when the scan has reached its end.
type Findings struct {
	dir   string
	draft *durable.Draft
	enc   *json.Encoder
	err   error // the first line that could not be written
}

// NewFindings begins a list in the state directory. The caller has to call
// Discard.
func NewFindings(dir string) (*Findings, error) {
	d, err := durable.Begin(durable.OS{}, filepath.Join(dir, FindingsFile), FindingsFile+".new-*", 0o600)
	if err != nil {
		return nil, fmt.Errorf("the list of findings cannot be begun: %w", err)
	}
	return &Findings{dir: dir, draft: d, enc: json.NewEncoder(d)}, nil
}

// Observe takes in how an item ended.
func (f *Findings) Observe(ev engine.Event) {
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

// keep replaces the old list, after it has removed the old attestation.
func (f *Findings) keep() error {
	if f.err != nil {
		return f.err
	}
	// A full disk shows here, while the old attestation and its list are still in
	// place.
	if err := f.draft.Sync(); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(f.dir, File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.draft.Commit()
}

// Discard removes the file if it was not kept.
func (f *Findings) Discard() { f.draft.Discard() }
