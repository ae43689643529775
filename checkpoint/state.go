package checkpoint

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"rewrap/checkpoint/durable"
)

// State is an open state directory. Its lock is held until Close.
//
// Audit, Owe and Cut are for one goroutine at a time, as are Commit and End,
// which may overlap them. Everything else may be called at any time.
type State struct {
	fs   durable.FS
	dir  string
	now  func() time.Time
	lock *durable.Lock

	journal         *Journal
	audit, failures *lines

	opened   Snapshot // as Open left it
	warnings []string
	last     Snapshot // as it was committed last
}

// Snapshot is what the session begins with.
func (s *State) Snapshot() Snapshot { return s.opened.Clone() }

// Warnings are what Open found lost and went on without, a sentence for each:
// what it was, and what it costs. Nobody has to do anything about them. They
// are said once: the next Open finds nothing missing.
func (s *State) Warnings() []string { return slices.Clone(s.warnings) }

func (s *State) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...)+"; nothing needs to be done")
}

// Journal is the directory's undo journal.
func (s *State) Journal() *Journal { return s.journal }

// Audit adds a line to audit.jsonl. It is buffered, and part of the next Cut.
func (s *State) Audit(a AuditLine) error {
	if err := s.audit.add(a); err != nil {
		return fmt.Errorf("audit line of %q: %w", a.ID, err)
	}
	return nil
}

// Owe adds a line to failures.jsonl. It is buffered, and part of the next
// Cut. ErrNotUTF8 and ErrTooLarge concern this line alone; after any other
// error nothing more can be added.
func (s *State) Owe(o Owed) error {
	if err := checkText("owed item", o.ID, o.Name, o.Cursor); err != nil {
		return err
	}
	if err := s.failures.add(o); err != nil {
		return fmt.Errorf("owed line of %q: %w", o.ID, err)
	}
	return nil
}

// Cut is a moment in the life of the files: how long they were.
type Cut struct{ journal, audit, failures int64 }

// Cut marks this moment: a snapshot that is committed with it holds every
// line that was added before, and none that is added later. It does not wait
// for the disk.
func (s *State) Cut() (Cut, error) {
	var (
		c   = Cut{journal: s.journal.durableSize()}
		err error
	)
	if c.audit, err = s.audit.flush(); err != nil {
		return Cut{}, err
	}
	if c.failures, err = s.failures.flush(); err != nil {
		return Cut{}, err
	}
	return c, nil
}

// Commit makes snap, which has to be taken together with c, what the next
// Open begins with. It is durable when Commit returns; after an error or a
// crash the last snapshot holds, or this one, whole. Commits have to be in
// the order of their cuts.
//
// What belongs to the directory rather than to the caller (Format, Tool, Job,
// Pass, Session, Began, Saved, JournalBegan and the lengths) is set by Commit. Retry files
// that snap names no longer are removed.
func (s *State) Commit(snap Snapshot, c Cut) error {
	// What the snapshot speaks of has to be there before it. The journal is:
	// the cut holds no more of it than was durable.
	if err := s.audit.sync(c.audit); err != nil {
		return err
	}
	if err := s.failures.sync(c.failures); err != nil {
		return err
	}
	return s.commit(s.stamp(snap, c))
}

// End makes the pass that was committed last one that is over: the next Open
// begins a new one. It is for when the report has reached whoever waits for it.
// Killed before, the next session finds nothing left to do and reports again.
func (s *State) End() error {
	snap := s.last.Clone()
	snap.Ended, snap.Saved = true, s.now().UTC()
	return s.commit(snap)
}

// stamp is a copy of snap with everything that the caller does not decide.
func (s *State) stamp(snap Snapshot, c Cut) Snapshot {
	snap = snap.Clone()
	snap.Format, snap.Tool, snap.Job = s.opened.Format, s.opened.Tool, s.opened.Job
	snap.Pass, snap.Session, snap.Began = s.opened.Pass, s.opened.Session, s.opened.Began
	snap.JournalBegan = s.opened.JournalBegan
	snap.Saved = s.now().UTC()
	snap.JournalLen, snap.AuditLen, snap.FailuresLen = c.journal, c.audit, c.failures
	// Frames that wait to be written may not be there after a crash, and
	// others may take their place. To look at more frames is always right.
	snap.JournalFrom = max(min(snap.JournalFrom, c.journal), headerLen)
	return snap
}

func (s *State) commit(snap Snapshot) error {
	for _, r := range snap.Retries {
		if !names(s.opened.Retries, r.File) {
			return fmt.Errorf("checkpoint: retry file %q is not of this session", r.File)
		}
	}
	if err := checkText("learned style", snap.Learned); err != nil {
		return err
	}
	for _, p := range snap.Parked {
		if err := checkText("parked item", p.ID, p.Name, p.Cursor); err != nil {
			return err
		}
	}
	for _, sp := range snap.Spans {
		if err := checkText("span", sp.ID, sp.Data, sp.After); err != nil {
			return err
		}
	}
	data, err := encodeSnapshot(snap)
	if err != nil {
		return fmt.Errorf("checkpoint: encode snapshot: %w", err)
	}
	if err := replaceFile(s.fs, s.dir, snapshotFile, data); err != nil {
		return err
	}

	// A process that dies from here on leaves files that nothing names; the
	// next Open sweeps them.
	last := s.last
	s.last = snap
	for _, r := range last.Retries {
		if names(snap.Retries, r.File) {
			continue
		}
		if err := s.fs.Remove(filepath.Join(s.dir, r.File)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func names(retries []Retry, file string) bool {
	return slices.ContainsFunc(retries, func(r Retry) bool { return r.File == file })
}

// Owed yields the lines of a retry file from r.Offset on. It reads as it
// goes, so it needs the same memory for any number of lines. An error ends
// it: a *CorruptError, or the file system's. Where the journal was begun anew
// since, Owed.Journal is -1, whatever the line says.
func (s *State) Owed(r Retry) iter.Seq2[OwedAt, error] {
	// The session that a retry file is named after has renamed it when it
	// had opened the journal: the lines are of sessions before.
	session, ok := retrySession(r.File)
	return readOwed(s.dir, r, ok && session <= s.opened.JournalBegan)
}

// WriteFile writes a file of the caller's beside the state's own: see the
// function of that name.
func (s *State) WriteFile(name string, data []byte) error {
	return writeFile(s.fs, s.dir, name, data)
}

// Close lets go of the directory. It does not commit: what was added since
// the last Commit is not part of the state. An Append that waits for its turn
// fails.
func (s *State) Close() error {
	var errs []error
	if s.journal != nil {
		errs = append(errs, s.journal.close())
	}
	for _, l := range []*lines{s.audit, s.failures} {
		if l != nil {
			errs = append(errs, l.close())
		}
	}
	// Last: until here another process could not have opened the files.
	return errors.Join(append(errs, s.lock.Release())...)
}

// WriteFile gives a file in a state directory new content, whole or not at
// all, and durable on return. The directory is made if it does not exist.
// The state's own files are refused. It takes no lock; an Open at the same
// moment may sweep the file away half-written, which WriteFile then reports.
func WriteFile(dir, name string, data []byte) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := durable.MakeDir(durable.OS{}, dir, 0o700); err != nil {
		return err
	}
	return writeFile(durable.OS{}, dir, name, data)
}

func writeFile(fs durable.FS, dir, name string, data []byte) error {
	callers := name == attestationFile || name == summaryFile
	if name != filepath.Base(name) || name == "." || name == ".." || isOurs(name) && !callers {
		return fmt.Errorf("checkpoint: %q is not a name for a caller's file", name)
	}
	return replaceFile(fs, dir, name, data)
}

// Status is what can be seen of a state directory from outside.
type Status struct {
	Snapshot Snapshot
	Live     bool    // a process has the directory open now
	Holder   Process // that process, or the last one that had it open
}

// Read reads the last snapshot, also while a run has the directory open. It
// changes nothing. Where there is no snapshot the error is os.ErrNotExist;
// else it may be a *CorruptError or a *VersionError.
func Read(dir string) (Status, error) {
	snap, err := readSnapshot(dir)
	if err != nil {
		return Status{}, err
	}
	live, p, err := whoHolds(dir)
	if err != nil {
		return Status{}, err
	}
	return Status{Snapshot: *snap, Live: live, Holder: p}, nil
}
