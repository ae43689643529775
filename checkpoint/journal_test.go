package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rewrap/checkpoint/account"
	"rewrap/checkpoint/durable"
)

func mustOpen(t testing.TB, dir string) *State {
	t.Helper()
	s, err := Open(dir, Options{Job: testJob, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustAppend(t testing.TB, s *State, e Entry) int64 {
	t.Helper()
	off, err := s.Journal().Append(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return off
}

func mustCommit(t testing.TB, s *State, change func(*Snapshot)) {
	t.Helper()
	c, err := s.Cut()
	if err != nil {
		t.Fatal(err)
	}
	snap := s.Snapshot()
	if change != nil {
		change(&snap)
	}
	if err := s.Commit(snap, c); err != nil {
		t.Fatal(err)
	}
}

func entryIDs(t testing.TB, s *State, from int64) (ids []string) {
	t.Helper()
	for e, err := range s.Journal().Entries(from) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
		if id, err := s.Journal().Item(e.Offset); err != nil || id != e.ID {
			t.Fatalf("Item(%d): %q, %v, want %q", e.Offset, id, err, e.ID)
		}
	}
	n := 0
	for at, err := range s.Journal().Items(from) {
		if err != nil || n == len(ids) || at.ID != ids[n] {
			t.Fatalf("Items: %+v, %v; want one of %q", at, err, ids)
		}
		n++
	}
	if n != len(ids) {
		t.Fatalf("Items: %d, Entries: %d", n, len(ids))
	}
	return ids
}

func TestJournalKeepsEverything(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, t.TempDir())
	want := Entry{
		ID:   "a/<b>&\u2028\ufffd é",
		Time: time.Date(2026, 11, 23, 1, 2, 3, 4, time.UTC),
		Rev:  `"etag"`,
		Keys: []account.KeyChange{{
			Locator: "x-amz-key-v2", KeyFrom: "arn:1", MaterialFrom: "m1", KeyTo: "arn:2", MaterialTo: "m2",
			RequestID: "r", SHA256Before: "00", SHA256After: "ff",
		}},
		Inverse: json.RawMessage(`{"meta":{"a":"Yg==","c":null},"splices":[{"off":1,"del":2,"ins":"AA=="}]}`),
	}
	before := s.Journal().Size()
	off := mustAppend(t, s, want)
	if off != before || s.Journal().Size() <= off {
		t.Errorf("Append at %d, Size before %d, after %d", off, before, s.Journal().Size())
	}
	got, err := s.Journal().At(off)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := s.Journal().Item(off); err != nil || id != want.ID {
		t.Errorf("Item: %q, %v", id, err)
	}
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("got %s, want %s", g, w)
	}
	if _, err := s.Journal().At(off + 1); !errors.As(err, new(*CorruptError)) {
		t.Errorf("At between frames: %v", err)
	}
	if _, err := s.Journal().At(s.Journal().Size()); !errors.As(err, new(*CorruptError)) {
		t.Errorf("At the end: %v", err)
	}
	if _, err := s.Journal().At(-1); !errors.As(err, new(*CorruptError)) {
		t.Errorf("At -1: %v", err)
	}
	for _, off := range []int64{-1, off + 1, s.Journal().Size()} {
		if _, err := s.Journal().Item(off); !errors.As(err, new(*CorruptError)) {
			t.Errorf("Item(%d): %v", off, err)
		}
	}
}

func TestJournalManyAppends(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	const workers, each = 32, 20
	offs := make([]map[int64]string, workers)
	var wg sync.WaitGroup
	for w := range workers {
		offs[w] = make(map[int64]string)
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
				low := s.Journal().Size()
				off, err := s.Journal().Append(t.Context(), Entry{ID: id, Rev: strings.Repeat("x", i)})
				if err != nil || off < low {
					t.Errorf("Append: %d after Size %d, %v", off, low, err)
					return
				}
				offs[w][off] = id
				if e, err := s.Journal().At(off); err != nil || e.ID != id {
					t.Errorf("At(%d): %q, %v", off, e.ID, err)
				}
			}
		})
	}
	wg.Wait()
	check := func(s *State) {
		n := 0
		for e, err := range s.Journal().Entries(headerLen) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			if !slices.ContainsFunc(offs, func(m map[int64]string) bool { return m[e.Offset] == e.ID }) {
				t.Errorf("%q at %d is where nobody has put it", e.ID, e.Offset)
			}
		}
		if n != workers*each {
			t.Errorf("%d entries, not %d", n, workers*each)
		}
	}
	check(s)
	s.Close()
	check(mustOpen(t, dir))
}

// slowDisk holds back Sync until it is let go.
type slowDisk struct {
	durable.OS
	mu    sync.Mutex
	syncs int
	err   error
	begun chan struct{} // one for each sync of the journal
	gate  chan struct{}
}

type slowFile struct {
	durable.File
	d *slowDisk
}

func (d *slowDisk) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	f, err := d.OS.OpenFile(name, flag, perm)
	if err == nil && filepath.Base(name) == journalFile {
		f = slowFile{f, d}
	}
	return f, err
}

func (f slowFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.gate == nil {
		return f.File.Sync()
	}
	f.d.syncs++
	f.d.begun <- struct{}{}
	<-f.d.gate
	if f.d.err != nil {
		return f.d.err
	}
	return f.File.Sync()
}

func openSlow(t *testing.T) (*State, *slowDisk) {
	d := &slowDisk{}
	s, err := open(d, t.TempDir(), Options{Job: testJob})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	d.begun, d.gate = make(chan struct{}, 100), make(chan struct{})
	return s, d
}

// appendAll starts an Append for each id and returns when they have their
// place.
func appendAll(t *testing.T, s *State, ids ...string) <-chan error {
	done := make(chan error, len(ids))
	for _, id := range ids {
		before := s.Journal().Size()
		go func() {
			_, err := s.Journal().Append(t.Context(), Entry{ID: id})
			done <- err
		}()
		for s.Journal().Size() == before {
			runtime.Gosched()
		}
	}
	return done
}

func TestJournalGroupCommit(t *testing.T) {
	t.Parallel()
	s, d := openSlow(t)
	first := appendAll(t, s, "1")
	<-d.begun
	others := appendAll(t, s, "2", "3", "4", "5", "6", "7", "8", "9")
	if ids := entryIDs(t, s, 0); ids != nil {
		t.Errorf("Entries yields %v, of which nothing is durable", ids)
	}
	c, err := s.Cut()
	if err != nil || c.journal != headerLen {
		t.Errorf("a cut counts %d bytes of the journal (%v), of which nothing is durable", c.journal, err)
	}
	select {
	case err := <-first:
		t.Errorf("Append returned (%v) before the sync did", err)
	case err := <-others:
		t.Errorf("Append returned (%v) before its sync began", err)
	default:
	}
	d.gate <- struct{}{}
	if err := <-first; err != nil {
		t.Error(err)
	}
	<-d.begun
	select {
	case err := <-others:
		t.Errorf("Append returned (%v) before the sync did", err)
	default:
	}
	d.gate <- struct{}{}
	for range 8 {
		if err := <-others; err != nil {
			t.Error(err)
		}
	}
	if d.syncs != 2 {
		t.Errorf("%d syncs for 9 entries, of which 8 came together", d.syncs)
	}
	if ids := entryIDs(t, s, 0); len(ids) != 9 {
		t.Errorf("Entries yields %v", ids)
	}
	data := readFile(t, s.Journal().name)
	_, offs := rawJournal(t, s.Journal().name)
	for i, off := range offs {
		if synced := data[off]&0x80 != 0; synced != (i < 2) {
			t.Errorf("frame %d says %v of whether it was written after a sync", i, synced)
		}
	}
}

func TestJournalErrorIsForEver(t *testing.T) {
	t.Parallel()
	s, d := openSlow(t)
	ok := appendAll(t, s, "1")
	d.gate <- struct{}{}
	if err := <-ok; err != nil {
		t.Fatal(err)
	}
	d.err = syscall.EIO
	failing := appendAll(t, s, "2")
	<-d.begun
	<-d.begun
	behind := appendAll(t, s, "3", "4")
	d.gate <- struct{}{}
	for _, c := range []<-chan error{failing, behind, behind} {
		if err := <-c; !errors.Is(err, syscall.EIO) {
			t.Errorf("Append: %v", err)
		}
	}
	if _, err := s.Journal().Append(t.Context(), Entry{ID: "5"}); !errors.Is(err, syscall.EIO) {
		t.Errorf("a later Append: %v", err)
	}
	if d.syncs != 2 {
		t.Errorf("%d syncs: one was tried after the error", d.syncs)
	}
	if ids := entryIDs(t, s, 0); !slices.Equal(ids, []string{"1"}) {
		t.Errorf("Entries yields %v", ids)
	}
	mustCommit(t, s, nil) // the watermark can still be saved
}

// TestLinesErrorIsForEver lets one sync fail. The kernel may have dropped the
// pages that it could not write, and the next sync would not say so.
func TestLinesErrorIsForEver(t *testing.T) {
	t.Parallel()
	for _, add := range []func(*State) error{
		func(s *State) error { return s.Audit(AuditLine{ID: "1"}) },
		func(s *State) error { return s.Owe(Owed{ID: "1"}) },
	} {
		dir := t.TempDir()
		fs := newCrashFS(t, dir, nil)
		s, err := open(fs, dir, Options{Job: testJob})
		if err != nil {
			t.Fatal(err)
		}
		if err := add(s); err != nil {
			t.Fatal(err)
		}
		c, err := s.Cut()
		if err != nil {
			t.Fatal(err)
		}
		fs.failAt = fs.step
		first, second := s.Commit(s.Snapshot(), c), s.Commit(s.Snapshot(), c)
		_, cutErr := s.Cut()
		for _, err := range []error{first, second, add(s), cutErr} {
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
				t.Errorf("after a failed sync: %v", err)
			}
		}
		if st, err := Read(dir); err != nil || st.Snapshot.AuditLen+st.Snapshot.FailuresLen != 0 {
			t.Errorf("the snapshot is %+v, %v", st.Snapshot, err)
		}
		s.Close()
	}
}

func TestJournalAppendRefuses(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Journal().Append(ctx, Entry{ID: "1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("done context: %v", err)
	}
	if _, err := s.Journal().Append(t.Context(), Entry{ID: "\xff"}); !errors.Is(err, ErrNotUTF8) {
		t.Errorf("id: %v", err)
	}
	if _, err := s.Journal().Append(t.Context(), Entry{ID: "1", Rev: strings.Repeat("x", maxFrame)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("size: %v", err)
	}
	if _, err := s.Journal().Append(t.Context(), Entry{ID: "1", Inverse: json.RawMessage("{")}); err == nil {
		t.Error("an inverse that is not JSON is taken")
	}
	if n := s.Journal().Size(); n != headerLen {
		t.Errorf("the journal has %d bytes after four refusals", n)
	}
	mustAppend(t, s, Entry{ID: "2"})
	s.Close()
	if _, err := s.Journal().Append(t.Context(), Entry{ID: "3"}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// frame is a payload as it stands in the journal.
func frame(payload []byte, first bool) []byte {
	f := append(make([]byte, frameHead), payload...)
	seal(f, first)
	return f
}

// TestJournalTornTail cuts the journal at every byte of the last frames, as a
// kill or a power loss in the midst of a write does.
func TestJournalTornTail(t *testing.T) {
	t.Parallel()
	dir := memoryDir(t)
	s := mustOpen(t, dir)
	mustAppend(t, s, Entry{ID: "1"})
	mustCommit(t, s, nil)
	offs := []int64{
		mustAppend(t, s, Entry{ID: "2"}),
		mustAppend(t, s, Entry{ID: "3"}),
		s.Journal().Size(),
	}
	s.Close()
	name := filepath.Join(dir, journalFile)
	whole := readFile(t, name)
	for _, tail := range [][]byte{nil, make([]byte, 5), make([]byte, 5000), bytes.Repeat([]byte{0xff}, 300), []byte(`{"id":"x"}`)} {
		for n := offs[0]; n <= offs[2]; n++ {
			writeFileT(t, name, slices.Concat(whole[:n], tail))
			want := []string{"1"}
			if n >= offs[1] {
				want = append(want, "2")
			}
			if n >= offs[2] {
				want = append(want, "3")
			}
			s := mustOpen(t, dir)
			if got := entryIDs(t, s, 0); !slices.Equal(got, want) {
				t.Fatalf("cut at %d with %d more bytes: %v, not %v", n, len(tail), got, want)
			}
			mustAppend(t, s, Entry{ID: "new"})
			if got := entryIDs(t, s, 0); !slices.Equal(got, append(want, "new")) {
				t.Fatalf("cut at %d: then %v", n, got)
			}
			s.Close()
			restoreSnapshot(t, dir, s) // or the next cut would be below what is durable
		}
	}
}

// restoreSnapshot puts back the snapshot that s was opened with.
func restoreSnapshot(t *testing.T, dir string, s *State) {
	t.Helper()
	snap := s.Snapshot()
	_, offs := rawJournal(t, filepath.Join(dir, journalFile))
	snap.JournalLen = offs[1]
	data, err := encodeSnapshot(snap)
	if err != nil {
		t.Fatal(err)
	}
	writeFileT(t, filepath.Join(dir, snapshotFile), data)
}

// TestJournalFlippedBytes changes every byte of a journal. What had been
// durable must be missed, never read wrong; only the last frame may be taken
// for torn.
func TestJournalFlippedBytes(t *testing.T) {
	t.Parallel()
	dir := memoryDir(t)
	s := mustOpen(t, dir)
	mustAppend(t, s, Entry{ID: "1"})
	mustCommit(t, s, nil)
	snapshot := readFile(t, filepath.Join(dir, snapshotFile))
	len1 := s.Journal().Size()
	mustAppend(t, s, Entry{ID: "2"})
	last := mustAppend(t, s, Entry{ID: "3"})
	s.Close()
	name := filepath.Join(dir, journalFile)
	whole := readFile(t, name)
	for i := range whole {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			data := bytes.Clone(whole)
			data[i] ^= flip
			writeFileT(t, name, data)
			writeFileT(t, filepath.Join(dir, snapshotFile), snapshot)
			s, err := Open(dir, Options{Job: testJob})
			var corrupt *CorruptError
			switch {
			case int64(i) < headerLen:
				if err == nil {
					checkAside(t, s, data)
				} else if !errors.As(err, new(*VersionError)) || int64(i) < headerLen-1 {
					t.Fatalf("header byte %d: %v", i, err)
				}
			case int64(i) < len1: // below what the snapshot knows as durable
				if err != nil {
					t.Fatalf("byte %d: %v", i, err)
				}
				_, err := s.Journal().At(headerLen)
				if !errors.As(err, &corrupt) || corrupt.Offset != headerLen {
					t.Fatalf("byte %d: At: %v", i, err)
				}
				for _, err = range s.Journal().Entries(0) {
				}
				if !errors.As(err, &corrupt) {
					t.Fatalf("byte %d: Entries: %v", i, err)
				}
				if got := entryIDs(t, s, len1); !slices.Equal(got, []string{"2", "3"}) {
					t.Fatalf("byte %d: behind it: %v", i, got)
				}
			case int64(i) < last: // the next frame was written after a sync
				if err != nil {
					t.Fatalf("byte %d: %v", i, err)
				}
				checkAside(t, s, data)
			default:
				if err != nil {
					t.Fatalf("byte %d: %v", i, err)
				}
				if got := entryIDs(t, s, 0); !slices.Equal(got, []string{"1", "2"}) {
					t.Fatalf("byte %d: %v", i, got)
				}
			}
			if s != nil {
				s.Close()
			}
		}
	}
}

// checkAside checks that the journal was set aside as it was, and removes what
// was kept.
func checkAside(t *testing.T, s *State, data []byte) {
	t.Helper()
	kept := filepath.Join(s.dir, asideName(journalFile, s.Snapshot().Session))
	if len(s.Warnings()) != 1 || !bytes.Equal(readFile(t, kept), data) || entryIDs(t, s, 0) != nil {
		t.Fatalf("%q, with the entries %v", s.Warnings(), entryIDs(t, s, 0))
	}
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
}

// TestJournalTornGroup damages frames in the midst of the group that was
// written last: pages reach the disk in any order, so that is a torn tail.
func TestJournalTornGroup(t *testing.T) {
	t.Parallel()
	var data []byte
	var offs []int64
	for i := range 5 {
		offs = append(offs, headerLen+int64(len(data)))
		data = append(data, frame(fmt.Appendf(nil, `{"id":"%d"}`, i), i < 2)...)
	}
	whole := append(journalHeader(), data...)
	for i, want := range []struct{ end, lost int64 }{{offs[0], offs[1]}, {offs[1], -1}, {offs[2], -1}, {offs[3], -1}, {offs[4], -1}} {
		data := bytes.Clone(whole)
		data[offs[i]+frameHead+2] ^= 1
		end, lost, err := findEnd(bytes.NewReader(data), headerLen, int64(len(data)))
		if err != nil || end != want.end || lost != want.lost {
			t.Errorf("frame %d: end %d, lost %d, %v; want %+v", i, end, lost, err, want)
		}
	}
}

// TestFindSyncedWindows places the proof across every position of the window
// that the search reads by.
func TestFindSyncedWindows(t *testing.T) {
	t.Parallel()
	frame := frame([]byte(`{"id":"1"}`), true)
	for _, pad := range []int{1, 9, 1<<16 - 20, 1<<16 - 9, 1<<16 - 8, 1<<16 - 1, 1 << 16, 1<<16 + 1, 3 << 16} {
		data := slices.Concat(journalHeader(), bytes.Repeat([]byte{0x80}, pad), frame)
		got, err := findSynced(bytes.NewReader(data), headerLen, int64(len(data)))
		if want := headerLen + int64(pad); err != nil || got != want {
			t.Errorf("%d bytes before the frame: %d, %v; want %d", pad, got, err, want)
		}
	}
}

func FuzzJournal(f *testing.F) {
	good := append(journalHeader(), frame([]byte(`{"id":"1"}`), true)...)
	f.Add(good)
	f.Add(append(bytes.Clone(good), frame([]byte(`{"id":2}`), false)...))
	f.Add(append(bytes.Clone(good), good...))
	f.Add(good[:len(good)-3])
	f.Add([]byte("rewrap journal\n\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := memoryDir(t)
		name := filepath.Join(dir, journalFile)
		writeFileT(t, name, data)
		j, err := openJournal(durable.OS{}, dir, headerLen)
		if err != nil {
			if !errors.As(err, new(*CorruptError)) && !errors.As(err, new(*VersionError)) {
				t.Fatal(err)
			}
			if after := readFile(t, name); !bytes.Equal(after, data) {
				t.Fatal("a journal that was refused has been changed")
			}
			return
		}
		defer j.close()
		if !bytes.HasPrefix(data, readFile(t, name)) {
			t.Fatal("more than the tail has changed")
		}
		n := 0
		for e, err := range j.Entries(0) {
			if err == nil {
				n++
				_, err = j.At(e.Offset)
			}
			if err != nil && !errors.As(err, new(*CorruptError)) {
				t.Fatal(err)
			}
		}
		for _, err := range j.Items(0) {
			if n--; err != nil && !errors.As(err, new(*CorruptError)) {
				t.Fatal(err)
			}
		}
		if n > 0 {
			t.Fatalf("%d entries are not among the items", n)
		}
		off, err := j.Append(t.Context(), Entry{ID: "last"})
		if err != nil {
			t.Fatal(err)
		}
		if e, err := j.At(off); err != nil || e.ID != "last" {
			t.Fatalf("%q, %v", e.ID, err)
		}
		j.At(rand.Int64N(off + 1))
	})
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFileT(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
