package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The files of a state directory.
const (
	lockFile     = "lock"
	snapshotFile = "checkpoint.json"
	journalFile  = "journal"
	auditFile    = "audit.jsonl"
	failuresFile = "failures.jsonl"

	attestationFile = "attestation.json" // written by callers
	findingsFile    = "findings.jsonl"   // written by callers: what the attestation is about
	summaryFile     = "summary.json"     // written by callers
)

func retryFile(session int) string { return fmt.Sprintf("failures.%d.jsonl", session) }

// isRetryFile says whether a name is one that retryFile makes.
func isRetryFile(name string) bool {
	n, ok := strings.CutPrefix(name, "failures.")
	n, ok2 := strings.CutSuffix(n, ".jsonl")
	session, err := strconv.Atoi(n)
	return ok && ok2 && err == nil && session > 0 && name == retryFile(session)
}

func isOurs(name string) bool {
	switch name {
	case lockFile, snapshotFile, journalFile, auditFile, failuresFile, attestationFile, findingsFile, summaryFile:
		return true
	}
	return isRetryFile(name) || strings.HasPrefix(name, tempPrefix)
}

const (
	auditLost = "Lines of the audit log are lost, with the request ids in them. Restore the file from a copy, or use a new state directory: what is on target already is recognised"
	owedLost  = "The list of items to try again is lost. Restore the file from a copy, or begin a new pass, which looks at every item"
)

// Options say which job is opened, and how.
type Options struct {
	Job     []Field          // what makes the job this job; must equal that of the directory
	Restart bool             // begin a new pass, whatever state the old one is in
	Version string           // of the program; recorded
	Now     func() time.Time // nil: time.Now
}

// Open takes the directory's lock and brings its files to the last snapshot;
// a directory that does not exist is made, with its parents. If the last pass
// is over (Snapshot.Ended), or with Options.Restart, a new pass begins; else
// the pass goes on in a new session.
//
// Its errors are a *LockedError, *OtherJobError, *NotOursError,
// *CorruptError or *VersionError, or the file system's. After an error the
// directory is as good as it was, and open to nobody.
func Open(dir string, o Options) (*State, error) { return open(osFS{}, dir, o) }

func open(fs fsys, dir string, o Options) (_ *State, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	dir, err = filepath.Abs(dir) // a later chdir must not move it
	if err != nil {
		return nil, err
	}
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	if err := refuseOthers(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir, o.Now().UTC())
	if err != nil {
		return nil, err
	}
	s := &State{fs: fs, dir: dir, now: o.Now, lock: lock}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()

	last, err := readSnapshot(dir)
	switch {
	case err == nil:
		if d := differences(last.Job, o.Job); d != nil {
			return nil, &OtherJobError{dir, d}
		}
	case errors.Is(err, os.ErrNotExist):
		last = nil
	default:
		return nil, err
	}
	if err := s.restore(last, o); err != nil {
		return nil, err
	}
	return s, nil
}

// restore brings the files to the snapshot and opens them. last is nil where
// there is none: the directory is new, or its snapshot was taken away; then
// the journal and the audit log that are there are kept and added to.
//
// Until the commit in the middle, everything done here is done again, with
// the same end, by an Open after a crash. After it, the old session's files
// mean nothing to the snapshot any more.
func (s *State) restore(last *Snapshot, o Options) (err error) {
	next := s.begin(last, o)

	var from int64
	if last != nil {
		from = last.JournalLen
	}
	s.journal, err = openJournal(s.fs, s.dir, from, last == nil)
	if err != nil {
		return err
	}
	cut := Cut{journal: s.journal.durableSize()}
	if next.Pass != passOf(last) {
		next.JournalFrom = cut.journal
	}

	auditName := filepath.Join(s.dir, auditFile)
	if last != nil {
		cut.audit = last.AuditLen
	} else if cut.audit, err = wholeLines(auditName); err != nil {
		return err
	}
	if err := cutFile(s.fs, auditName, cut.audit, auditLost); err != nil {
		return err
	}
	if s.audit, err = openLines(s.fs, s.dir, auditFile, cut.audit); err != nil {
		return err
	}

	if next.Pass == passOf(last) && last.FailuresLen > 0 {
		if err := s.rotate(last.FailuresLen, retryFile(next.Session)); err != nil {
			return err
		}
		next.Retries = append(next.Retries, Retry{File: retryFile(next.Session)})
	}
	if err := s.checkRetries(next.Retries); err != nil {
		return err
	}

	s.opened = next
	s.opened = s.stamp(next, cut)
	if err := s.commit(s.opened); err != nil {
		return err
	}

	// failures.jsonl is among what is swept: its lines have moved to the
	// retry file, or belong to items beyond the watermark or to an old pass.
	if err := s.sweep(next.Retries); err != nil {
		return err
	}
	if s.failures, err = openLines(s.fs, s.dir, failuresFile, 0); err != nil {
		return err
	}
	// The files' names, before a snapshot speaks of their length.
	return syncDir(s.fs, s.dir)
}

func passOf(s *Snapshot) int {
	if s == nil {
		return 0
	}
	return s.Pass
}

// begin is the snapshot that the new session begins with.
func (s *State) begin(last *Snapshot, o Options) Snapshot {
	next := Snapshot{Pass: passOf(last) + 1, Session: 1, Began: o.Now().UTC()}
	if last != nil && !last.Ended && !o.Restart {
		next = last.Clone()
		next.Result, next.Ended = "", false
	}
	if last != nil {
		next.Session = last.Session + 1
	}
	next.Format = snapshotFormat
	next.Tool = o.Version
	next.Job = slices.Clone(o.Job)
	return next
}

// rotate makes the lines that are owed a retry file. size is their length by
// the last snapshot.
func (s *State) rotate(size int64, to string) error {
	var (
		from = filepath.Join(s.dir, failuresFile)
		dest = filepath.Join(s.dir, to)
	)
	if missing(from) && !missing(dest) {
		// An Open died between the rename and the commit.
		return cutFile(s.fs, dest, size, owedLost)
	}
	if err := cutFile(s.fs, from, size, owedLost); err != nil {
		return err
	}
	if err := s.fs.Rename(from, dest); err != nil {
		return err
	}
	// Before the snapshot names it.
	return syncDir(s.fs, s.dir)
}

func missing(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, os.ErrNotExist)
}

func (s *State) checkRetries(retries []Retry) error {
	for _, r := range retries {
		name := filepath.Join(s.dir, r.File)
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			return &CorruptError{name, 0, "it is missing. " + owedLost}
		}
		if err != nil {
			return err
		}
		if info.Size() < r.Offset {
			return &CorruptError{name, info.Size(), fmt.Sprintf("it ends here, and %d bytes had been durable. %s", r.Offset, owedLost)}
		}
	}
	return nil
}

// sweep removes what no snapshot speaks of any more, and half-written files
// of a process that was killed.
func (s *State) sweep(keep []Retry) error {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := f.Name()
		if name == failuresFile || strings.HasPrefix(name, tempPrefix) || isRetryFile(name) && !names(keep, name) {
			if err := s.fs.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// refuseOthers returns a *NotOursError for a directory that holds files of
// somebody else and no snapshot.
func refuseOthers(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	other := ""
	for _, f := range files {
		if f.Name() == snapshotFile {
			return nil
		}
		if other == "" && !isOurs(f.Name()) {
			other = f.Name()
		}
	}
	if other != "" {
		return &NotOursError{dir, other}
	}
	return nil
}

// differences compares jobs name by name.
func differences(was, is []Field) []Difference {
	var (
		names  []string
		values [2]map[string][]string
	)
	for i, job := range [][]Field{was, is} {
		values[i] = make(map[string][]string)
		for _, f := range job {
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
			values[i][f.Name] = append(values[i][f.Name], f.Value)
		}
	}
	var d []Difference
	for _, n := range names {
		if a, b := values[0][n], values[1][n]; !slices.Equal(a, b) {
			d = append(d, Difference{n, strings.Join(a, ", "), strings.Join(b, ", ")})
		}
	}
	return d
}
