package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
