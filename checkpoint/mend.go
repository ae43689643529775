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

// The items are the truth, so the loss of a file that only tells of the past
// stops nobody. What is damaged may still be of use to somebody: it is kept
// under a name of its own, which nothing here ever removes or writes again.

// asideName is the name under which the damaged file of that name is kept.
func asideName(name string, n int) string { return fmt.Sprintf("%s.damaged-%d", name, n) }

// isAside says whether a name is one that asideName makes.
func isAside(name string) bool {
	file, n, ok := strings.Cut(name, ".damaged-")
	i, err := strconv.Atoi(n)
	return ok && (file == journalFile || file == snapshotFile) && err == nil && i > 0 && name == asideName(file, i)
}

// takeJournal opens the journal, or begins one. lost says that frames which
// last knows of are not in it. used says that there has been a journal.
//
// A process that dies in here leaves the old journal in its place or aside,
// and the next Open, which is of the same session, does the rest.
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

// setJournalAside renames the journal. The number is that of the session,
// or the next that is free: a directory whose snapshot was lost counts its
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
	// Before a new journal takes the old name: if a power loss kept that
	// and not this, the old one would be gone.
	return kept, durable.SyncDir(s.fs, s.dir)
}

// auditEnd is the length of the audit log that belongs to last, or what there
// is of it in whole lines.
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
// stays until the first commit replaces it, so that there is no moment in
// which the directory is nobody's.
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
		case bytes.Equal(old, data): // by an Open that came no further
			if err := durable.SyncDir(s.fs, s.dir); err != nil {
				return err
			}
			kept = name
		}
	}
	s.warn("%s was damaged at byte %d and is kept as %s; "+snapshotCost, damage.File, damage.Offset, kept)
	return nil
}
