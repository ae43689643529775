package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"rewrap/checkpoint/durable"
)

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
