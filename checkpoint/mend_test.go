package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// usedDir is a directory after two sessions of a pass that is not over. The
// journal, the audit log and both files of what is owed hold lines that the
// snapshot knows of.
func usedDir(t *testing.T) string {
	t.Helper()
	dir := memoryDir(t)
	s := mustOpen(t, dir)
	off := mustAppend(t, s, Entry{ID: "1"})
	if err := errors.Join(s.Audit(AuditLine{ID: "a1"}), s.Owe(Owed{ID: "1", Journal: off})); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, nil)
	s.Close()
	s = mustOpen(t, dir)
	off = mustAppend(t, s, Entry{ID: "2"})
	if err := errors.Join(s.Audit(AuditLine{ID: "a2"}), s.Owe(Owed{ID: "2", Journal: off})); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, func(s *Snapshot) { s.Unsettled = []int64{headerLen} })
	mustAppend(t, s, Entry{ID: "3"})
	mustAppend(t, s, Entry{ID: "4"})
	s.Close()
	return dir
}

func harm(t *testing.T, path, how string) {
	t.Helper()
	data := readFile(t, path)
	switch how {
	case "missing":
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return
	case "empty":
		data = nil
	case "short":
		data = data[:len(data)-1]
	case "halved":
		data = data[:len(data)/2+1]
	case "header":
		data[0] ^= 1
	case "middle": // of the frame of edit 3, behind what the snapshot knows as durable
		_, offs := rawJournal(t, path)
		data[offs[2]+frameHead+3] ^= 1
	case "garbled":
		data[len(data)/2] ^= 1
	default:
		t.Fatal(how)
	}
	writeFileT(t, path, data)
}

// loss is a file that is damaged, and what the next Open makes of it.
type loss struct {
	file, how string
	restart   bool
	kept      string   // what Open is to call the damaged file; "": it is not kept
	journal   []string // ids that are left
	audit     []string
	says      string
}

var (
	allEdits = []string{"1", "2", "3", "4"}
	allAudit = []string{"a1", "a2"}
	losses   = []loss{
		{file: journalFile, how: "missing", audit: allAudit, says: "is gone"},
		{file: journalFile, how: "empty", kept: "journal.damaged-3", audit: allAudit, says: "does not begin as an undo journal"},
		{file: journalFile, how: "halved", kept: "journal.damaged-3", audit: allAudit, says: "it ends here"},
		{file: journalFile, how: "header", kept: "journal.damaged-3", audit: allAudit, says: "does not begin as an undo journal"},
		{file: journalFile, how: "middle", kept: "journal.damaged-3", audit: allAudit, says: "had been durable"},
		{file: journalFile, how: "middle", restart: true, kept: "journal.damaged-3", audit: allAudit, says: "had been durable"},
		{file: auditFile, how: "missing", journal: allEdits, says: "is gone"},
		{file: auditFile, how: "empty", journal: allEdits, says: "byte 0 of"},
		{file: auditFile, how: "short", journal: allEdits, audit: []string{"a1"}, says: "goes no further than byte"},
		{file: snapshotFile, how: "missing", restart: true, journal: allEdits, audit: allAudit, says: "is gone"},
		{file: snapshotFile, how: "empty", restart: true, kept: "checkpoint.json.damaged-1", journal: allEdits, audit: allAudit, says: "pass 1"},
		{file: snapshotFile, how: "garbled", restart: true, kept: "checkpoint.json.damaged-1", journal: allEdits, audit: allAudit, says: "could not be told"},
	}
)

func (l loss) String() string { return fmt.Sprintf("%s %s, restart %v", l.file, l.how, l.restart) }

// check looks at the first Open that succeeds.
func (l loss) check(t *testing.T, s *State, damaged []byte) {
	t.Helper()
	snap := s.Snapshot()
	if ids := entryIDs(t, s, 0); !slices.Equal(ids, l.journal) {
		t.Errorf("%v: the journal holds %v, not %v", l, ids, l.journal)
	}
	if ids := rawIDs(t, filepath.Join(s.dir, auditFile), 0); !slices.Equal(ids, l.audit) {
		t.Errorf("%v: the audit log holds %v, not %v", l, ids, l.audit)
	}
	if l.kept != "" && !bytes.Equal(readFile(t, filepath.Join(s.dir, l.kept)), damaged) {
		t.Errorf("%v: what was kept is not what was there", l)
	}
	lost := l.file == journalFile
	if lost || l.restart {
		if snap.Unsettled != nil || snap.JournalFrom != s.Journal().Size() {
			t.Errorf("%v: unsettled are %v and what is from %d on, the end is %d", l, snap.Unsettled, snap.JournalFrom, s.Journal().Size())
		}
	} else if !slices.Equal(snap.Unsettled, []int64{headerLen}) {
		t.Errorf("%v: unsettled are %v", l, snap.Unsettled)
	}
	if st, err := Read(s.dir); err != nil || fmt.Sprint(st.Snapshot) != fmt.Sprint(snap) {
		t.Errorf("%v: on disk is %+v, %v; not %+v", l, st.Snapshot, err, snap)
	}
	var owed []string
	for _, r := range snap.Retries {
		for o, err := range s.Owed(r) {
			if err != nil {
				t.Fatal(err)
			}
			owed = append(owed, o.ID)
			if (o.Journal == -1) != lost {
				t.Errorf("%v: owed item %s names the frame at %d", l, o.ID, o.Journal)
			}
		}
	}
	want := []string{"1", "2"}
	if l.restart {
		want = nil
	}
	if !slices.Equal(owed, want) {
		t.Errorf("%v: owed are %v", l, owed)
	}
}

func TestLosses(t *testing.T) {
	t.Parallel()
	for _, l := range losses {
		dir := usedDir(t)
		path := filepath.Join(dir, l.file)
		harm(t, path, l.how)
		damaged, _ := os.ReadFile(path)
		s, err := Open(dir, Options{Job: testJob, Restart: l.restart})
		if err != nil {
			t.Errorf("%v: %v", l, err)
			continue
		}
		l.check(t, s, damaged)
		if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], l.says) || !strings.Contains(w[0], path) || !strings.Contains(w[0], l.kept) ||
			!strings.Contains(w[0], "nothing needs to be done") {
			t.Errorf("%v: warns %q", l, w)
		}

		// What is owed from now on names frames of this journal.
		off := mustAppend(t, s, Entry{ID: "5"})
		if err := s.Owe(Owed{ID: "5", Journal: off}); err != nil {
			t.Fatal(err)
		}
		mustCommit(t, s, func(s *Snapshot) { s.JournalBegan = 99 })
		s.Close()
		s = mustOpen(t, dir)
		if w := s.Warnings(); w != nil {
			t.Errorf("%v: the next Open warns %q", l, w)
		}
		retries := s.Snapshot().Retries
		for o, err := range s.Owed(retries[len(retries)-1]) {
			if err != nil || o.ID != "5" || o.Journal != off {
				t.Errorf("%v: owed later is %+v, %v", l, o, err)
				continue
			}
			if e, err := s.Journal().At(o.Journal); err != nil || e.ID != "5" {
				t.Errorf("%v: its frame is of %q, %v", l, e.ID, err)
			}
		}
		if l.file == journalFile { // the mark lasts
			for o := range s.Owed(retries[0]) {
				if old := o.ID == "1"; old && o.Journal != -1 {
					t.Errorf("%v: two sessions later, %s names the frame at %d", l, o.ID, o.Journal)
				}
			}
		}
		s.Close()
	}
}

// TestLossesCrash kills the Open that mends at each of its steps, with the
// power or without, and looks at what the next one finds.
func TestLossesCrash(t *testing.T) {
	t.Parallel()
	for _, l := range losses {
		for seed := range uint64(3) {
			for step, done := 0, false; !done; step++ {
				dir := usedDir(t)
				path := filepath.Join(dir, l.file)
				harm(t, path, l.how)
				damaged, _ := os.ReadFile(path)
				fs := newCrashFS(t, dir, rand.New(rand.NewPCG(seed, uint64(step))))
				fs.dieAt = step
				o := Options{Job: testJob, Restart: l.restart}
				s, err := open(fs, dir, o)
				if done = err == nil; done {
					s.Close()
					if step < 8 {
						t.Errorf("%v: only %d steps", l, step)
					}
					break
				}
				if !errors.Is(err, errDead) {
					t.Fatalf("%v, step %d: %v", l, step, err)
				}
				if seed > 0 {
					fs.powerLoss(t)
				}
				if s, err = Open(dir, o); err != nil {
					t.Fatalf("%v, step %d (%s), seed %d: %v", l, step, fs.ops[step], seed, err)
				}
				l.check(t, s, damaged)
				for _, w := range s.Warnings() {
					if !strings.Contains(w, path) || !strings.Contains(w, l.kept) {
						t.Errorf("%v, step %d (%s): warns %q", l, step, fs.ops[step], w)
					}
				}
				if aside, _ := filepath.Glob(filepath.Join(dir, "*.damaged-*")); len(aside) > 1 || (l.kept == "") != (len(aside) == 0) {
					t.Errorf("%v, step %d (%s): kept are %v", l, step, fs.ops[step], aside)
				}
				s.Close()
				if t.Failed() {
					t.Fatalf("%v, step %d (%s), seed %d", l, step, fs.ops[step], seed)
				}
			}
		}
	}
}

// TestUnreadableSnapshot holds what happens without Restart, and to several
// damaged files of one name.
func TestUnreadableSnapshot(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	path := filepath.Join(dir, snapshotFile)
	for n := 1; n <= 3; n++ {
		writeFileT(t, path, fmt.Appendf(nil, "nonsense %d", n))
		harm(t, filepath.Join(dir, journalFile), "header")
		for _, name := range []string{auditFile, failuresFile, "failures.2.jsonl"} {
			os.Remove(filepath.Join(dir, name))
		}
		var e *CorruptError
		if _, err := Open(dir, Options{Job: testJob}); !errors.As(err, &e) || e.File != path || !strings.Contains(err.Error(), "rewrap run … --restart") {
			t.Fatalf("Open: %v", err)
		}
		s, err := Open(dir, Options{Job: job("source=other"), Restart: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Snapshot(); got.Pass != 1 || got.Session != 1 || got.Retries != nil || got.Spans != nil {
			t.Errorf("begins with %+v", got)
		}
		if w := s.Warnings(); len(w) != 3 {
			t.Errorf("%d warnings: %q", len(w), w)
		}
		s.Close()
		for i := range n {
			if got := readFile(t, filepath.Join(dir, asideName(snapshotFile, i+1))); string(got) != fmt.Sprintf("nonsense %d", i+1) {
				t.Errorf("kept as %d is %q", i+1, got)
			}
			if _, err := os.Stat(filepath.Join(dir, asideName(journalFile, i+1))); err != nil {
				t.Error(err)
			}
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir).Close() // the names of what was kept are ours

	// Its snapshot tells that there was a journal, even if nothing else of it
	// can be read.
	writeFileT(t, path, nil)
	if err := os.Remove(filepath.Join(dir, journalFile)); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(dir, Options{Job: testJob, Restart: true}); err != nil {
		t.Error(err)
	} else {
		if w := s.Warnings(); len(w) != 2 || s.Snapshot().JournalBegan != 1 {
			t.Errorf("%d warnings: %q", len(w), w)
		}
		s.Close()
	}

	// A newer format is no damage.
	writeFileT(t, path, []byte(`{"format":2,"something":"else"}`))
	if _, err := Open(dir, Options{Job: testJob, Restart: true}); !errors.As(err, new(*VersionError)) {
		t.Errorf("a newer format: %v", err)
	}
}

// TestNoLossesNoWarnings opens what is as it should be.
func TestNoLossesNoWarnings(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(memoryDir(t), "new")
	for range 3 {
		if s := mustOpen(t, dir); s.Warnings() != nil {
			t.Errorf("warns %q", s.Warnings())
		} else {
			s.Close()
		}
	}
	for _, name := range []string{auditFile, snapshotFile} { // nothing is lost of an audit log without lines
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, dir)
		if s.Warnings() != nil {
			t.Errorf("without %s warns %q", name, s.Warnings())
		}
		s.Close()
	}
}

func TestIsOurs(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"journal": true, "journal.damaged-1": true, "journal.damaged-12": true, "checkpoint.json.damaged-3": true,
		"journal.damaged-": false, "journal.damaged-0": false, "journal.damaged-01": false, "journal.damaged--1": false, "journal.damaged-1.txt": false,
		"audit.jsonl.damaged-1": false, "thesis.damaged-1": false, "failures.3.jsonl": true, "failures.03.jsonl": false, "journal.old": false,
	} {
		if isOurs(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
