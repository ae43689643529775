package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"rewrap/checkpoint/durable"
)

// The items are the truth, so a run goes on without a file that only tells of
// the past. A damaged file may still be of use to somebody: it is kept under a
// name of its own, and no code here ever removes or writes that name again.

// asideName is the name under which the damaged file of that name is kept.
func asideName(name string, n int) string { return fmt.Sprintf("%s.damaged-%d", name, n) }

// isAside says whether a name is one that asideName makes.
func isAside(name string) bool {
	file, n, ok := strings.Cut(name, ".damaged-")
	i, err := strconv.Atoi(n)
	return ok && (file == journalFile || file == snapshotFile) && err == nil && i > 0 && name == asideName(file, i)
}

// takeJournal opens the journal, or begins one. used says that the directory has
// had a journal before. lost says that frames of which last knows are not in the
// journal that was opened.
//
// A process that dies in here leaves the old journal in its place or aside. The
// next Open, which has the same session number, does the rest.
func (s *State) takeJournal(last *Snapshot, session int, used bool) (lost bool, err error) {
	var (
		name = filepath.Join(s.dir, journalFile)
		from = headerLen
		kept = asideName(journalFile, session)
	)
	if last != nil {
		from = last.JournalLen
	}
	var damage *CorruptError
	if !missing(name) {
		s.journal, err = openJournal(s.fs, s.dir, from)
		if err != nil && !errors.As(err, &damage) {
			return false, err
		}
	}
	if damage != nil {
		if kept, err = s.setJournalAside(session); err != nil {
			return false, err
		}
	}
	if s.journal == nil {
		lost = used || damage != nil
		if err := beginJournal(s.fs, s.dir); err != nil {
			return false, err
		}
		if s.journal, err = openJournal(s.fs, s.dir, headerLen); err != nil {
			return false, err
		}
	}
	lost = lost || s.journal.durableSize() < from

	const cost = "a new one is begun, undo reaches no further back than this session, and nothing else is lost"
	switch {
	case damage != nil:
		s.warn("undo journal %s was damaged at byte %d (%s) and is kept as %s; %s", name, damage.Offset, damage.Detail, kept, cost)
	case lost && !missing(filepath.Join(s.dir, kept)): // by an Open of this session that was killed
		s.warn("undo journal %s was damaged and is kept as %s; %s", name, kept, cost)
	case lost:
		s.warn("undo journal %s is gone; %s", name, cost)
	}
	return lost, nil
}

// setJournalAside renames the journal. Its number is that of the session, or
// the next number that is free: a directory whose snapshot was lost counts its
// sessions from 1 again.
func (s *State) setJournalAside(session int) (kept string, err error) {
	n := session
	for !missing(filepath.Join(s.dir, asideName(journalFile, n))) {
		n++
	}
	kept = asideName(journalFile, n)
	if err := s.fs.Rename(filepath.Join(s.dir, journalFile), filepath.Join(s.dir, kept)); err != nil {
		return "", err
	}
	// Before a new journal takes the old name: if a power loss kept the new
	// journal and undid this rename, the old journal would be gone.
	return kept, durable.SyncDir(s.fs, s.dir)
}

// auditEnd is the length of the part of the audit log that belongs to last. If
// the log is shorter, or last is nil, it is the length of its whole lines.
func (s *State) auditEnd(last *Snapshot, used bool) (int64, error) {
	name := filepath.Join(s.dir, auditFile)
	var size int64
	gone := false
	switch info, err := os.Stat(name); {
	case err == nil:
		size = info.Size()
	case errors.Is(err, os.ErrNotExist):
		gone = true
	default:
		return 0, err
	}
	if last != nil && size >= last.AuditLen {
		return last.AuditLen, nil
	}
	end, err := wholeLines(name)
	if err != nil {
		return 0, err
	}
	switch {
	case gone && used:
		s.warn("audit log %s is gone; the request ids and hashes of what was changed before this session are lost, and nothing else", name)
	case last != nil:
		s.warn("audit log %s goes no further than byte %d of %d; the request ids and hashes in the lines after that are lost, and nothing else", name, end, last.AuditLen)
	}
	return end, nil
}

const snapshotCost = "its counts and watermarks are lost, so pass 1 begins at the first item, and whether the directory was of this job could not be told"

// keepSnapshot keeps a copy of an unreadable checkpoint.json. The file itself
// stays until the first commit replaces it: a directory without it could be
// taken for one of another program after a crash.
func (s *State) keepSnapshot(damage *CorruptError) error {
	data, err := os.ReadFile(damage.File)
	if err != nil {
		return err
	}
	kept := ""
	for n := 1; kept == ""; n++ {
		name := asideName(snapshotFile, n)
		switch old, err := os.ReadFile(filepath.Join(s.dir, name)); {
		case errors.Is(err, os.ErrNotExist):
			if err := replaceFile(s.fs, s.dir, name, data); err != nil {
				return err
			}
			kept = name
		case err != nil:
			return err
		case bytes.Equal(old, data): // kept by an Open that was killed
			if err := durable.SyncDir(s.fs, s.dir); err != nil {
				return err
			}
			kept = name
		}
	}
	s.warn("%s was damaged at byte %d and is kept as %s; "+snapshotCost, damage.File, damage.Offset, kept)
	return nil
}
