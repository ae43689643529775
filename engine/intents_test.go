package engine

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"rewrap/checkpoint"
	"rewrap/sources"
)

// TestCutWhileWriting: a snapshot knows of every edit that may land after it and
// is not in its account, also of one whose entry is being written.
func TestCutWhileWriting(t *testing.T) {
	t.Parallel()
	st, err := checkpoint.Open(t.TempDir(), checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	l := newLedger(st, "")
	l.begin([]sources.Span{{ID: "all"}})
	ln := l.line(spanMark(0))
	var writers sync.WaitGroup
	for i := range 16 {
		writers.Go(func() {
			for n := range 16 {
				id := fmt.Sprintf("%d/%d", i, n)
				it := l.admit(ln, item{ref: sources.Ref{ID: id}})
				if _, err := (intent{l, it}).Append(t.Context(), checkpoint.Entry{ID: id}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	var snaps []checkpoint.Snapshot
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		snap, _, err := l.cut("")
		if err != nil {
			t.Fatal(err)
		}
		snaps = append(snaps, snap)
	}
	for at, err := range st.Journal().Items(0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range snaps {
			if _, known := slices.BinarySearch(s.Unsettled, at.Offset); at.Offset < s.JournalFrom && !known {
				t.Fatalf("%s: a snapshot knows nothing of the entry at %d, and looks from %d on", at.ID, at.Offset, s.JournalFrom)
			}
		}
	}
}
