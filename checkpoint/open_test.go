package checkpoint

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rewrap/checkpoint/account"
	"rewrap/checkpoint/durable"
)

func TestOpenMakesDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("", 3600))
	s, err := Open(dir, Options{Job: testJob, Version: "v1", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, want := range map[string]os.FileMode{
		"..": 0o700 | os.ModeDir, ".": 0o700 | os.ModeDir,
		lockFile: 0o600, snapshotFile: 0o600, journalFile: 0o600, auditFile: 0o600, failuresFile: 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	snap := s.Snapshot()
	if snap.Pass != 1 || snap.Session != 1 || !snap.Began.Equal(now) || !snap.Saved.Equal(now) || snap.Tool != "v1" ||
		!slices.Equal(snap.Job, testJob) || snap.Spans != nil || snap.JournalFrom != headerLen || snap.JournalLen != headerLen || snap.Format != 1 {
		t.Errorf("first snapshot: %+v", snap)
	}
	if st, err := Read(dir); err != nil || fmt.Sprint(st.Snapshot) != fmt.Sprint(snap) {
		t.Errorf("Read: %+v, %v; want %+v", st.Snapshot, err, snap)
	}
}

func TestOpenMakesParentsDurable(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	fs := &syncedDirs{}
	s, err := open(fs, filepath.Join(root, "a", "b"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for _, want := range []string{root, filepath.Join(root, "a"), filepath.Join(root, "a", "b")} {
		if !slices.Contains(fs.dirs, want) {
			t.Errorf("%s was not synced, only %v", want, fs.dirs)
		}
	}
}

type syncedDirs struct {
	durable.OS
	dirs []string
}

func (s *syncedDirs) SyncDir(name string) error {
	s.dirs = append(s.dirs, name)
	return s.OS.SyncDir(name)
}

func TestOpenRefusesOthersDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFileT(t, filepath.Join(dir, "thesis.txt"), nil)
	var e *NotOursError
	if _, err := Open(dir, Options{}); !errors.As(err, &e) || e.Found != "thesis.txt" {
		t.Errorf("got %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files were left: %v", files)
	}
	file := filepath.Join(dir, "thesis.txt")
	if _, err := Open(file, Options{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as the directory: %v", err)
	}

	// Once there is a checkpoint, a file more does not matter.
	dir = t.TempDir()
	mustOpen(t, dir).Close()
	writeFileT(t, filepath.Join(dir, "notes.txt"), nil)
	mustOpen(t, dir)
	readFile(t, filepath.Join(dir, "notes.txt"))
}

func TestOpenLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := mustOpen(t, dir)
	_, err := Open(dir, Options{Job: testJob})
	var e *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &e) || e.PID != os.Getpid() || e.Dir != dir || e.Host == "" || time.Since(e.Since) > time.Minute {
		t.Errorf("second Open: %v", err)
	}
	mustAppend(t, first, Entry{ID: "1"}) // the first is none the worse
	mustCommit(t, first, nil)
	first.Close()
	if st, err := Read(dir); err != nil || st.Live {
		t.Errorf("after Close: %+v, %v", st, err)
	}
	mustOpen(t, dir)
}

// TestReadNeverDisturbs reads without end while others open and close.
func TestReadNeverDisturbs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustOpen(t, dir).Close()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := Read(dir); err != nil {
					t.Errorf("Read: %v", err)
					return
				}
			}
		})
	}
	for range 30 {
		s, err := Open(dir, Options{Job: testJob})
		if err != nil {
			t.Errorf("Open: %v", err)
			break
		}
		s.Close()
	}
	close(stop)
	wg.Wait()
}

func TestReadNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Join(dir, "none")} {
		if _, err := Read(d); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Read: %v", err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("Read has made %v", files)
	}
}

// readAll is every file in a directory but the lock.
func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() != lockFile {
			all[f.Name()] = string(readFile(t, filepath.Join(dir, f.Name())))
		}
	}
	return all
}

func TestPasses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustAppend(t, s, Entry{ID: "1"})
	if err := errors.Join(s.Audit(AuditLine{ID: "1"}), s.Owe(Owed{ID: "2"})); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, func(s *Snapshot) {
		s.Result = "remaining"
		s.Targets = map[string]string{"k": "m"}
		s.Spans = []SpanState{{ID: "0", Data: "d", After: "c", Done: true}}
		s.Parked = []Parked{{ID: "3", Cursor: "c3"}}
		s.Tally.Items = account.Items{Seen: 2, Rewrapped: 1, Failed: 1}
		s.Tally.SkippedByReason = account.Reasons{"archived": 1}
		s.Tally.Census = account.Census{{Key: "k", Material: "m", How: "kms"}: 1}
		// What is not the caller's to set.
		s.Pass, s.Session, s.Job, s.JournalLen, s.JournalFrom = 9, 9, nil, 9, 1<<40
	})
	end := s.Journal().Size()
	size := int64(len(readFile(t, filepath.Join(dir, failuresFile))))
	s.Close()

	s = mustOpen(t, dir)
	got := s.Snapshot()
	if got.Pass != 1 || got.Session != 2 || got.Result != "" || got.Targets["k"] != "m" || len(got.Spans) != 1 || len(got.Parked) != 1 ||
		got.Tally.Items.Seen != 2 || got.Tally.Census[account.Holder{Key: "k", Material: "m", How: "kms"}] != 1 || got.JournalFrom != end || got.JournalLen != end ||
		!slices.Equal(got.Retries, []Retry{{"failures.2.jsonl", 0, size}}) || !slices.Equal(got.Job, testJob) {
		t.Errorf("the pass goes on with %+v", got)
	}
	got.Tally.Census[account.Holder{}] = 1
	got.Spans[0].ID = "changed"
	if again := s.Snapshot(); len(again.Tally.Census) != 1 || again.Spans[0].ID != "0" {
		t.Error("Snapshot is not a copy")
	}
	mustCommit(t, s, func(s *Snapshot) { s.Result, s.Ended, s.Retries = "complete", true, nil })
	if _, err := os.Stat(filepath.Join(dir, "failures.2.jsonl")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a retry file that the snapshot names no longer: %v", err)
	}
	s.Close()

	s = mustOpen(t, dir)
	got = s.Snapshot()
	if got.Pass != 2 || got.Session != 3 || got.Result != "" || got.Ended || got.Targets != nil || got.Spans != nil || got.Parked != nil || got.Retries != nil ||
		got.Tally.Items != (account.Items{}) || got.Tally.Census != nil || got.Tally.SkippedByReason != nil || got.JournalFrom != end {
		t.Errorf("a new pass begins with %+v", got)
	}
	if ids := entryIDs(t, s, 0); !slices.Equal(ids, []string{"1"}) {
		t.Errorf("the journal holds %v", ids)
	}
	if ids := rawIDs(t, filepath.Join(dir, auditFile), 0); !slices.Equal(ids, []string{"1"}) {
		t.Errorf("the audit log holds %v", ids)
	}
}

// TestLostSnapshot takes checkpoint.json away: the job begins again, and what
// only these files know is kept.
func TestLostSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustAppend(t, s, Entry{ID: "1"})
	if err := errors.Join(s.Audit(AuditLine{ID: "1"}), s.Owe(Owed{ID: "2"})); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, nil)
	s.Close()
	if err := os.Remove(filepath.Join(dir, snapshotFile)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, auditFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "{\"id\":\"%s", strings.Repeat("x", 1<<17)) // torn
	f.Close()

	s = mustOpen(t, dir)
	if got := s.Snapshot(); got.Pass != 1 || got.Session != 1 || got.Retries != nil || got.JournalFrom != s.Journal().Size() {
		t.Errorf("begins with %+v", got)
	}
	if ids := entryIDs(t, s, 0); !slices.Equal(ids, []string{"1"}) {
		t.Errorf("the journal holds %v", ids)
	}
	if ids := rawIDs(t, filepath.Join(dir, auditFile), 0); !slices.Equal(ids, []string{"1"}) {
		t.Errorf("the audit log holds %v", ids)
	}
}

// TestOpenForgetsNothing takes away or shortens each file that holds what is
// owed: items would be forgotten, but by a new pass.
func TestOpenForgetsNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{failuresFile, "failures.2.jsonl"} {
		for _, how := range []string{"missing", "empty", "short"} {
			t.Run(name+" "+how, func(t *testing.T) {
				dir := usedDir(t)
				path := filepath.Join(dir, name)
				harm(t, path, how)
				before := readAll(t, dir)
				var e *CorruptError
				for range 2 {
					_, err := Open(dir, Options{Job: testJob})
					if !errors.As(err, &e) || e.File != path || !strings.Contains(err.Error(), "rewrap run … --restart looks at every item again") {
						t.Fatalf("Open: %v", err)
					}
				}
				after := readAll(t, dir)
				// The one thing that may have been done is done again just so.
				delete(before, failuresFile)
				delete(after, failuresFile)
				delete(after, "failures.3.jsonl")
				if !maps.Equal(before, after) {
					t.Errorf("Open has changed\n%v to\n%v", before, after)
				}
				s, err := Open(dir, Options{Job: testJob, Restart: true})
				if err != nil {
					t.Fatalf("a new pass needs no failures: %v", err)
				}
				defer s.Close()
				if got := s.Snapshot(); got.Pass != 2 || got.Retries != nil || s.Warnings() != nil {
					t.Errorf("a new pass begins with %+v and warns %q", got, s.Warnings())
				}
			})
		}
	}
}

func TestNewerFormats(t *testing.T) {
	t.Parallel()
	var e *VersionError
	dir := t.TempDir()
	mustOpen(t, dir).Close()
	name := filepath.Join(dir, journalFile)
	writeFileT(t, name, append([]byte(journalMagic), 2))
	if _, err := Open(dir, Options{Job: testJob}); !errors.As(err, &e) || e.File != name || e.Format != 2 {
		t.Errorf("journal: %v", err)
	}
	name = filepath.Join(dir, snapshotFile)
	writeFileT(t, name, []byte(`{"format":2,"something":"else"}`))
	if _, err := Open(dir, Options{Job: testJob}); !errors.As(err, &e) || e.File != name || e.Format != 2 {
		t.Errorf("snapshot: %v", err)
	}
	if _, err := Read(dir); !errors.As(err, &e) {
		t.Errorf("Read: %v", err)
	}
}

func TestOwedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	long := Owed{ID: "long", Error: strings.Repeat("x", 1<<18), Reason: "r", Attempts: 3, Outcome: "failed", Cursor: "c<&>",
		Under: account.Census{{Key: "k", Material: "m", How: "kms"}: 1}, Journal: 77}
	for _, o := range []Owed{{ID: "1", Journal: -1}, long, {ID: "3"}} {
		if err := s.Owe(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Owe(Owed{ID: "\xff"}); !errors.Is(err, ErrNotUTF8) {
		t.Errorf("Owe: %v", err)
	}
	if err := s.Owe(Owed{ID: "4", Error: strings.Repeat("x", maxLine)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Owe: %v", err)
	}
	mustCommit(t, s, nil)
	s.Close()

	s = mustOpen(t, dir)
	r := s.Snapshot().Retries[0]
	var got []OwedAt
	for o, err := range s.Owed(r) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o)
	}
	if len(got) != 3 || fmt.Sprint(got[1].Owed) != fmt.Sprint(long) || got[0].Journal != -1 {
		t.Fatalf("got %d lines", len(got))
	}
	for o, err := range s.Owed(Retry{r.File, got[1].Next, r.Size}) {
		if err != nil || o.ID != "3" {
			t.Errorf("from the offset of the third: %q, %v", o.ID, err)
		}
	}
	for o, err := range s.Owed(Retry{r.File, got[2].Next, r.Size}) {
		t.Errorf("from the end: %q, %v", o.ID, err)
	}

	name := filepath.Join(dir, r.File)
	whole := readFile(t, name)
	for _, damaged := range [][]byte{whole[:len(whole)-1], append(bytes.Clone(whole), "nonsense\n"...), append(bytes.Clone(whole), bytes.Repeat([]byte{'x'}, maxLine+2)...)} {
		writeFileT(t, name, damaged)
		var last error
		n := 0
		for _, err := range s.Owed(Retry{r.File, got[1].Next, r.Size}) {
			last = err
			n++
		}
		var e *CorruptError
		if !errors.As(last, &e) || e.Offset != got[2].Next && e.Offset != got[1].Next || n > 2 {
			t.Errorf("damaged: %v after %d", last, n)
		}
	}
	for _, err := range s.Owed(Retry{File: "failures.99.jsonl"}) {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("missing: %v", err)
		}
	}
}

func TestAuditLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for i := range 3 {
		if err := s.Audit(AuditLine{ID: fmt.Sprint(i), Time: time.Unix(0, 0).UTC(), KeyChange: account.KeyChange{Locator: "l"}}); err != nil {
			t.Fatal(err)
		}
	}
	mustCommit(t, s, nil)
	in := bufio.NewScanner(bytes.NewReader(readFile(t, filepath.Join(dir, auditFile))))
	in.Scan()
	want := `{"id":"0","time":"1970-01-01T00:00:00Z","locator":"l","key_from":"","material_from":"","key_to":"","material_to":"",` +
		`"request_id":"","sha256_before":"","sha256_after":"","revision_before":"","revision_after":""}`
	if in.Text() != want {
		t.Errorf("got  %s\nwant %s", in.Text(), want)
	}
}

func TestCommitRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	c, err := s.Cut()
	if err != nil {
		t.Fatal(err)
	}
	before := readAll(t, dir)
	for _, change := range []func(*Snapshot){
		func(s *Snapshot) { s.Spans = []SpanState{{After: "\xff"}} },
		func(s *Snapshot) { s.Parked = []Parked{{ID: "\xff"}} },
		func(s *Snapshot) { s.Parked = []Parked{{Name: "\xff"}} },
		func(s *Snapshot) { s.Learned = "\xff" },
		func(s *Snapshot) { s.Retries = []Retry{{File: "failures.1.jsonl"}} },
	} {
		snap := s.Snapshot()
		change(&snap)
		if err := s.Commit(snap, c); err == nil {
			t.Errorf("%+v is taken", snap)
		}
	}
	if after := readAll(t, dir); !maps.Equal(before, after) {
		t.Error("a refused Commit has changed something")
	}
	s.Close()
	for _, err := range []error{s.Commit(s.Snapshot(), c), s.Owe(Owed{}), s.Audit(AuditLine{})} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	if err := WriteFile(dir, "attestation.json", []byte("1")); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir) // a directory with nothing but that is ours
	for _, want := range []string{"22", "3"} {
		if err := s.WriteFile("attestation.json", []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, filepath.Join(dir, "attestation.json")); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, name := range []string{"checkpoint.json", "journal", "lock", "audit.jsonl", "failures.jsonl", "failures.3.jsonl", "journal.damaged-2", "checkpoint.json.damaged-1", ".tmp-x", "", ".", "..", "../x", "a/b"} {
		if err := s.WriteFile(name, nil); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "attestation.json")); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
