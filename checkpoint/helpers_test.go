package checkpoint

import (
	"os"
	"testing"
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
