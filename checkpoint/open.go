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

	"rewrap/checkpoint/durable"
)

// The files of a state directory.
const (
	lockFile     = "lock"
	snapshotFile = "checkpoint.json"
	journalFile  = "journal"
	auditFile    = "audit.jsonl"
	failuresFile = "failures.jsonl"

	attestationFile = "attestation.json" // written by callers
	findingsFile    = "findings.jsonl"   // written by callers, as findings.jsonl.new-* before it is whole
	summaryFile     = "summary.json"     // written by callers
)

// replaceFile gives a file of the directory new content, whole or not at all:
// after a crash at any point the file is the old one or the new one, and when
// replaceFile has returned it is the new one. A process that dies in here may
// leave a temporary file, which the next Open removes.
func replaceFile(fs durable.FS, dir, name string, data []byte) error {
	return durable.Replace(fs, filepath.Join(dir, name), tempPrefix+name+"-*", 0o600, data)
}

// tempPrefix begins the names of files that are not yet what they will be.
const tempPrefix = ".tmp-"

func retryFile(session int) string { return fmt.Sprintf("failures.%d.jsonl", session) }

// retrySession is the session whose retryFile the name is, if it is one.
func retrySession(name string) (session int, ok bool) {
	n, ok := strings.CutPrefix(name, "failures.")
	n, ok2 := strings.CutSuffix(n, ".jsonl")
	session, err := strconv.Atoi(n)
	return session, ok && ok2 && err == nil && session > 0 && name == retryFile(session)
}

func isRetryFile(name string) bool {
	_, ok := retrySession(name)
	return ok
}

func isOurs(name string) bool {
	switch name {
	case lockFile, snapshotFile, journalFile, auditFile, failuresFile, attestationFile, summaryFile:
		return true
	}
	return isRetryFile(name) || isAside(name) || strings.HasPrefix(name, tempPrefix) || strings.HasPrefix(name, findingsFile)
}

// Options say which job is opened, and how.
type Options struct {
	Job     []Field          // what makes the job this job; must equal that of the directory, see Field.Moves
	Restart bool             // begin a new pass, whatever state the old one is in
	Version string           // of the program; recorded
	Now     func() time.Time // nil: time.Now
}

// Open takes the directory's lock and brings its files to the last snapshot;
// a directory that does not exist is made, with its parents. If the last pass
// is over (Snapshot.Ended), or with Options.Restart, a new pass begins; else
// the pass goes on in a new session.
//
// A journal or an audit log that is lost or damaged costs undo or request
// ids, a checkpoint.json that is gone costs the counts, and nothing else: Open
// goes on with what is there, and [State.Warnings] says so. With Options.Restart it also goes on without a
// readable checkpoint.json, and without the lists of what is owed.
//
// Its errors are a *LockedError, *OtherJobError, *NotOursError,
// *CorruptError or *VersionError, or the file system's. After an error the
// directory is as good as it was, and open to nobody.
func Open(dir string, o Options) (*State, error) { return open(durable.OS{}, dir, o) }

func open(fs durable.FS, dir string, o Options) (_ *State, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	dir, err = filepath.Abs(dir) // a later chdir must not move it
	if err != nil {
		return nil, err
	}
	if err := durable.MakeDir(fs, dir, 0o700); err != nil {
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
	var damage *CorruptError
	switch {
	case err == nil:
		if d := differences(last.Job, o.Job, !beginsPass(last, o)); d != nil {
			return nil, &OtherJobError{dir, d}
		}
	case errors.Is(err, os.ErrNotExist):
		last = nil
	case errors.As(err, &damage) && o.Restart:
		if err := s.keepSnapshot(damage); err != nil {
			return nil, err
		}
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
// there is none to be read: the directory is new, or its snapshot was taken
// away or damaged; then the journal and the audit log that are there are kept
// and added to.
//
// Until the commit in the middle, everything done here is done again, with
// the same end, by an Open after a crash. After it, the old session's files
// mean nothing to the snapshot any more.
func (s *State) restore(last *Snapshot, o Options) (err error) {
	next := s.begin(last, o)
	used := !missing(filepath.Join(s.dir, snapshotFile)) // so there were a journal and an audit log

	undoLost, err := s.takeJournal(last, next.Session, used)
	if err != nil {
		return err
	}
	cut := Cut{journal: s.journal.durableSize()}
	if undoLost {
		next.JournalBegan = next.Session
	}
	if undoLost || next.Pass != passOf(last) {
		next.Unsettled, next.JournalFrom = nil, cut.journal
	}

	if cut.audit, err = s.auditEnd(last, used); err != nil {
		return err
	}
	if !used && (cut.journal > headerLen || cut.audit > 0) { // or else an Open of a new directory was killed
		s.warn("%s is gone; "+snapshotCost, filepath.Join(s.dir, snapshotFile))
	}
	if err := cutFile(s.fs, filepath.Join(s.dir, auditFile), cut.audit); err != nil {
		return err
	}
	if s.audit, err = openLines(s.fs, s.dir, auditFile, cut.audit); err != nil {
		return err
	}

	if next.Pass == passOf(last) && last.FailuresLen > 0 {
		if err := s.rotate(last.FailuresLen, retryFile(next.Session)); err != nil {
			return err
		}
		next.Retries = append(next.Retries, Retry{File: retryFile(next.Session), Size: last.FailuresLen})
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
	return durable.SyncDir(s.fs, s.dir)
}

func passOf(s *Snapshot) int {
	if s == nil {
		return 0
	}
	return s.Pass
}

// beginsPass says whether a session after last begins a new pass.
func beginsPass(last *Snapshot, o Options) bool { return last == nil || last.Ended || o.Restart }

// begin is the snapshot that the new session begins with.
func (s *State) begin(last *Snapshot, o Options) Snapshot {
	next := Snapshot{PassState: PassState{Pass: passOf(last) + 1, Session: 1, Began: o.Now().UTC()}}
	if !beginsPass(last, o) {
		next = last.Clone()
		next.Result, next.Ended = "", false
	}
	if last != nil {
		next.Session = last.Session + 1
		next.Learned = last.Learned
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
		// An Open died between the rename and the commit. Its length is
		// checked with that of the other retry files.
		return cutFile(s.fs, dest, size)
	}
	if err := checkOwed(from, size); err != nil {
		return err
	}
	if err := cutFile(s.fs, from, size); err != nil {
		return err
	}
	if err := s.fs.Rename(from, dest); err != nil {
		return err
	}
	// Before the snapshot names it.
	return durable.SyncDir(s.fs, s.dir)
}

func missing(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, os.ErrNotExist)
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

// MakeDir makes a state directory of the job, for callers that keep something in
// it without a run: [WriteFile]. A *NotOursError or an *OtherJobError says that it
// is somebody else's; what the job's own words mean may have moved. The others
// are those of [Open].
func MakeDir(dir string, job []Field) error {
	if err := durable.MakeDir(durable.OS{}, dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	if err := refuseOthers(dir); err != nil {
		return err
	}
	last, err := readSnapshot(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if d := differences(last.Job, job, false); d != nil {
		return &OtherJobError{dir, d}
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
