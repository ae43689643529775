package sourcetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"rewrap/sources"
)

func testEmpty(t *testing.T, s *store) {
	for _, want := range []int{1, 8} {
		for _, span := range s.spans(t, want) {
			if refs := s.list(t, span, ""); len(refs) != 0 {
				t.Errorf("an empty store lists %v", ids(refs))
			}
		}
	}
}

// names are ordinary ones, in folders where the store has them.
func (s *store) names(n int) []string {
	var names []string
	for i := range n {
		name := fmt.Sprintf("item-%03d", i)
		if s.h.Folders && i%4 != 0 {
			name = fmt.Sprintf("folder-%d/%s", i%4, name)
		}
		names = append(names, name)
	}
	return names
}

func (s *store) fill(t *testing.T, n int) []string {
	t.Helper()
	names := s.names(n)
	// Not in order, so that a listing by time of birth is seen.
	for i := range names {
		name := names[(i*7+3)%n]
		s.put(t, name, "body of "+name)
	}
	return names
}

func testListEachOnce(t *testing.T, s *store) {
	names := s.fill(t, 23)
	refs := s.listAll(t)
	sameNames(t, "listing", ids(refs), names)
	cursors := make(map[sources.Cursor]string)
	for _, r := range refs {
		if r.Cursor == "" {
			t.Errorf("%q has the empty cursor, which stands before the first item", r.ID)
		}
		if other, ok := cursors[r.Cursor]; ok {
			t.Errorf("%q and %q have the same cursor %q", other, r.ID, r.Cursor)
		}
		cursors[r.Cursor] = r.ID
	}
	if again := s.listAll(t); !slices.Equal(refs, again) {
		t.Errorf("two listings differ: %v, %v", ids(refs), ids(again))
	}
}

func testListResumes(t *testing.T, s *store) {
	s.fill(t, 23)
	for _, want := range []int{1, 3} {
		for _, span := range s.spans(t, want) {
			refs := s.list(t, span, "")
			for i, r := range refs {
				if rest := s.list(t, span, r.Cursor); !slices.Equal(rest, refs[i+1:]) {
					t.Errorf("after %q of span %v come %v, should be %v", r.ID, span, ids(rest), ids(refs[i+1:]))
				}
			}
		}
	}

	// A cursor is a place in the order. It stays one when its item is gone.
	span := s.spans(t, 1)[0]
	refs := s.list(t, span, "")
	s.delete(t, refs[10].ID)
	if rest := s.list(t, span, refs[10].Cursor); !slices.Equal(rest, refs[11:]) {
		t.Errorf("after %q, which was deleted, come %v, should be %v", refs[10].ID, ids(rest), ids(refs[11:]))
	}
}

func testListStops(t *testing.T, s *store) {
	s.fill(t, 9)
	span := s.spans(t, 1)[0]
	n := 0
	for range s.Source.List(t.Context(), span, "") {
		if n++; n == 4 {
			break
		}
	}
	if n != 4 {
		t.Errorf("a listing yielded %d items, then none; asked to stop at 4", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var err error
	for _, err = range s.Source.List(ctx, span, "") {
		if err != nil {
			break
		}
	}
	if err == nil {
		t.Error("a listing whose context was done ended as if it had reached the end")
	}
}

func testSpans(t *testing.T, s *store) {
	names := s.fill(t, 41)
	for _, want := range []int{1, 2, 3, 5, 16, 100} {
		spans := s.spans(t, want)
		seen := make(map[string]bool)
		for _, span := range spans {
			if span.ID == "" || seen[span.ID] {
				t.Errorf("Spans(%d): the id %q is empty or comes twice", want, span.ID)
			}
			seen[span.ID] = true
		}
		sameNames(t, fmt.Sprintf("%d spans", len(spans)), s.listSpans(t, spans), names)
	}

	// Items that are written later are in a span too, wherever they stand.
	spans := s.spans(t, 5)
	for _, name := range []string{"a", "item", "item-0005", "zzz"} {
		s.put(t, name, "late")
		names = append(names, name)
	}
	if s.h.Folders {
		for _, name := range []string{"aaa/late", "folder-2/a", "folder-2/zzz", "folder-22/late", "zz/late"} {
			s.put(t, name, "late")
			names = append(names, name)
		}
	}
	sameNames(t, "spans that are older than some items", s.listSpans(t, spans), names)
}

func (s *store) listSpans(t *testing.T, spans []sources.Span) []string {
	t.Helper()
	var all []string
	for _, span := range spans {
		all = append(all, ids(s.list(t, span, ""))...)
	}
	return all
}

// sameNames fails unless got has each of want once, and nothing else, in any
// order.
func sameNames(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if slices.Equal(got, want) {
		return
	}
	t.Errorf("%s: %d items, should be %d", what, len(got), len(want))
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s: %q is missing", what, name)
		}
	}
	for i, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("%s: %q came from nowhere", what, name)
		}
		if i > 0 && got[i-1] == name {
			t.Errorf("%s: %q comes twice", what, name)
		}
	}
}

func testOddNames(t *testing.T, s *store) {
	for _, name := range s.h.Names {
		s.put(t, name, "body of "+name)
	}
	refs := s.listAll(t)
	sameNames(t, "odd names", ids(refs), s.h.Names)
	sameNames(t, "odd names in spans", s.listSpans(t, s.spans(t, 6)), s.h.Names)
	for i, r := range refs {
		if rest := s.list(t, s.spans(t, 1)[0], r.Cursor); !slices.Equal(rest, refs[i+1:]) {
			t.Errorf("after %q come %q, should be %q", r.ID, ids(rest), ids(refs[i+1:]))
		}
	}
	var plans []sources.Plan
	before := make(map[string]map[string]string)
	for _, r := range refs {
		before[r.ID] = s.snapshot(t, r.ID)
		p := s.readAndPlan(t, r, s.edit("N"))
		if want := "body of " + r.ID; string(p.View.Head) != want {
			t.Errorf("%q: read %q, should be %q", r.ID, p.View.Head, want)
		}
		plans = append(plans, p)
	}
	for _, p := range plans {
		s.apply(t, p)
		same(t, fmt.Sprintf("%q", p.View.ID), s.snapshot(t, p.View.ID), edited(before[p.View.ID], p.Edit))
	}
}
