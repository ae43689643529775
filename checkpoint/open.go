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
	findingsFile    = "findings.jsonl"   // written by callers, under findings.jsonl.new-* until it is whole
	summaryFile     = "summary.json"     // written by callers
)

// replaceFile gives a file of the directory new content, whole or not at all:
// after a crash at any point the file is the old one or the new one, and when
// replaceFile has returned it is the new one. A process that dies in here may
// leave a temporary file, which the next Open removes.
func replaceFile(fs durable.FS, dir, name string, data []byte) error {
	return durable.Replace(fs, filepath.Join(dir, name), tempPrefix+name+"-*", 0o600, data)
}

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".tmp-"

func retryFile(session int) string { return fmt.Sprintf("failures.%d.jsonl", session) }

// retrySession is the session that a retry file is named after; ok says that the
// name is one of a retry file.
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
	Job     []Field          // the description of the job; must equal that of the directory, see Field.Moves
	Restart bool             // begin a new pass, whatever state the old one is in
	Version string           // of the program; it is recorded
	Now     func() time.Time // nil: time.Now
}

// Open takes the directory's lock and brings its files to the last snapshot. A
// directory that does not exist is made, with its parents. If the last pass is
// over (PassState.Ended), or with Options.Restart, a new pass begins; else the
// pass goes on in a new session.
//
// Open goes on without a journal or an audit log that is lost or damaged, which
// costs undo or request ids, and without a checkpoint.json that is gone, which
// costs the counts; [State.Warnings] says so. With Options.Restart it also goes
// on without a readable checkpoint.json and without the lists of owed items.
//
// Its errors are a *LockedError, *OtherJobError, *NotOursError, *CorruptError or
// *VersionError, or the file system's. After an error nothing in the directory
// is lost, and its lock is released.
func Open(dir string, o Options) (*State, error) { return open(durable.OS{}, dir, o) }

func open(fs durable.FS, dir string, o Options) (_ *State, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	dir, err = filepath.Abs(dir) // or a later chdir would lead elsewhere
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

// restore brings the files to the snapshot and opens them. last is nil if no
// snapshot can be read: the directory is new, or its snapshot was removed or
// damaged. Then a journal and an audit log that are there are kept and added to.
//
// If the process dies before the commit in the middle, the next Open does
// everything here again and comes to the same end. If it dies after the commit,
// the snapshot no longer names the old session's files, and the next Open
// removes them.
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
	if !used && (cut.journal > headerLen || cut.audit > 0) { // else an Open of a new directory was killed
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

	// This removes failures.jsonl too: its lines have moved to the retry file,
	// or belong to items beyond the watermark or to an old pass.
	if err := s.sweep(next.Retries); err != nil {
		return err
	}
	if s.failures, err = openLines(s.fs, s.dir, failuresFile, 0); err != nil {
		return err
	}
	// The names are durable before a snapshot gives the files a length.
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

// rotate turns failures.jsonl into a retry file. size is its length by the last
// snapshot.
func (s *State) rotate(size int64, to string) error {
	var (
		from = filepath.Join(s.dir, failuresFile)
		dest = filepath.Join(s.dir, to)
	)
	if missing(from) && !missing(dest) {
		// An Open died between the rename and the commit. The length of the
		// file is checked together with the other retry files.
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
	// The name is durable before the snapshot names it.
	return durable.SyncDir(s.fs, s.dir)
}

func missing(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, os.ErrNotExist)
}

// sweep removes the files that no snapshot names any more, and the temporary
// files of processes that were killed.
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

// MakeDir makes a state directory of the job, for callers that keep a file in it
// without a run: [WriteFile]. A *NotOursError or an *OtherJobError says that the
// directory is of another program or another job. Values that may move between
// passes are not compared. The other errors are those of [Open].
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
// another program and no snapshot.
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
