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
// Audit, Owe and Cut are for one goroutine at a time. So are Commit and End,
// which may overlap those three. Everything else may be called at any time.
type State struct {
	fs   durable.FS
	dir  string
	now  func() time.Time
	lock *durable.Lock

	journal         *Journal
	audit, failures *lines

	opened   Snapshot // as Open left it
	warnings []string
	last     Snapshot // the one that was committed last
}

// Snapshot is what the session begins with.
func (s *State) Snapshot() Snapshot { return s.opened.Clone() }

// Warnings lists the losses that Open went on without: a sentence for each, with
// its cost. They need no action, and come once: the next Open finds nothing
// missing.
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

// Cut marks this moment: a snapshot that is committed with it has every line
// that was added before, and none that is added later. Cut does not wait for the
// disk.
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

// Commit makes snap the snapshot that the next Open begins with. snap has to be
// taken at the same moment as c, and commits have to come in the order of their
// cuts. When Commit returns, snap is durable. After an error or a crash the next
// Open finds the snapshot before or this one, whole.
//
// Commit itself sets the fields that belong to the directory: Format, Tool, Job,
// Pass, Session, Began, Saved, JournalBegan and the lengths. It removes retry
// files that snap no longer names.
func (s *State) Commit(snap Snapshot, c Cut) error {
	// The lines that the snapshot counts have to be durable before it. The
	// frames of the journal are: the cut has only those that were.
	if err := s.audit.sync(c.audit); err != nil {
		return err
	}
	if err := s.failures.sync(c.failures); err != nil {
		return err
	}
	return s.commit(s.stamp(snap, c))
}

// End marks the pass of the last commit as over: the next Open begins a new
// pass. Callers call it when the report is out. If the process dies before End,
// the next session finds nothing left to do and reports again.
func (s *State) End() error {
	snap := s.last.Clone()
	snap.Ended, snap.Saved = true, s.now().UTC()
	return s.commit(snap)
}

// stamp is a copy of snap with the fields that the directory decides.
func (s *State) stamp(snap Snapshot, c Cut) Snapshot {
	snap = snap.Clone()
	snap.Format, snap.Tool, snap.Job = s.opened.Format, s.opened.Tool, s.opened.Job
	snap.Pass, snap.Session, snap.Began = s.opened.Pass, s.opened.Session, s.opened.Began
	snap.JournalBegan = s.opened.JournalBegan
	snap.Saved = s.now().UTC()
	snap.JournalLen, snap.AuditLen, snap.FailuresLen = c.journal, c.audit, c.failures
	// Frames that wait to be written may be lost in a crash, and others may take
	// their place. A smaller JournalFrom is always right: more frames are looked
	// at.
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

	// If the process dies from here on, the next Open removes the files that
	// the snapshot no longer names.
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

// Owed yields the lines of a retry file from r.Offset on. It reads them one by
// one, so its memory does not depend on their number. An error ends it: a
// *CorruptError, or the file system's. If a new journal was begun since the line
// was written, Owed.Journal is -1, whatever the line says.
func (s *State) Owed(r Retry) iter.Seq2[OwedAt, error] {
	// A retry file is named after the session that renamed it, and its lines are
	// of earlier sessions. That session opened the journal before the renaming.
	session, ok := retrySession(r.File)
	return readOwed(s.dir, r, ok && session <= s.opened.JournalBegan)
}

// WriteFile writes a file of the caller's beside the state's own, as the
// function of that name does.
func (s *State) WriteFile(name string, data []byte) error {
	return writeFile(s.fs, s.dir, name, data)
}

// Close closes the files and releases the lock. It does not commit: lines that
// were added since the last Cut that was committed are not part of the state. An
// Append that waits for its turn fails.
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
	// Last: another process opens the files as soon as it has the lock.
	return errors.Join(append(errs, s.lock.Release())...)
}

// WriteFile gives a file in a state directory new content, whole or not at all.
// The content is durable when WriteFile returns. The directory is made if it
// does not exist. Names of the state's own files are refused. WriteFile takes no
// lock: an Open at the same moment may remove the half-written file, and then
// WriteFile returns an error.
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

// Status is the state of a directory as another process sees it.
type Status struct {
	Snapshot Snapshot
	Live     bool    // a process has the directory open now
	Holder   Process // that process, or the last one that had it open
}

// Read reads the last snapshot, also while a run has the directory open. It
// changes nothing. If there is no snapshot, the error is an os.ErrNotExist; it
// may also be a *CorruptError, a *VersionError or the file system's.
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
