package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"rewrap/sources"
)

func testPlanWritesNothing(t *testing.T, s *store) {
	s.put(t, "item", "body")
	before := s.snapshot(t, "item")
	p := s.readAndPlan(t, s.ref(t, "item"), s.edit("new"))
	same(t, "after Plan", s.snapshot(t, "item"), before)
	mark := s.mark(t)
	for range 2 {
		if _, err := s.Source.Plan(t.Context(), p.View, p.Edit); err != nil {
			t.Errorf("Plan, again: %v", err)
		}
	}
	if now := s.mark(t); now != mark {
		t.Errorf("Plan writes something: the mark of the store was %s and is %s", short(mark), short(now))
	}
	if v := s.read(t, p.View.Ref, 0); v.Rev != p.View.Rev {
		t.Errorf("after Plan the revision is %q, before it was %q", v.Rev, p.View.Rev)
	}
	if n := len(s.listAll(t)); n != 1 {
		t.Errorf("after Plan there are %d items", n)
	}
}

// landing puts an item, makes the edit, and fails if anything but the edit was
// done.
func (s *store) landing(t *testing.T, body string, e sources.Edit) {
	t.Helper()
	s.put(t, "item", body)
	s.put(t, "other", "is not touched")
	before, other := s.snapshot(t, "item"), s.snapshot(t, "other")
	s.apply(t, s.readAndPlan(t, s.ref(t, "item"), e))
	same(t, "after the edit", s.snapshot(t, "item"), edited(before, e))
	same(t, "another item", s.snapshot(t, "other"), other)
	if n := len(s.listAll(t)); n != 2 {
		t.Errorf("after the edit there are %d items, should be 2", n)
	}
}

func testApplyMeta(t *testing.T, s *store) {
	s.landing(t, "body", sources.Edit{Meta: map[string][]byte{"changed": []byte("new"), "deleted": nil, "added": []byte("here"), "hollow": {}}})
}

func testApplySplices(t *testing.T, s *store) {
	const body = "the quick brown fox"
	for _, splices := range [][]sources.Splice{
		{{Off: 4, Del: 5, Ins: []byte("slow!")}},                                               // as long as before
		{{Off: 0, Ins: []byte(">>")}},                                                          // at the start
		{{Off: int64(len(body)), Ins: []byte("<<")}},                                           // at the end
		{{Off: 0, Del: int64(len(body))}},                                                      // nothing left
		{{Off: 0, Del: int64(len(body)), Ins: []byte("whole")}},                                // everything
		{{Off: 0, Del: 4}, {Off: 4, Del: 5, Ins: []byte("a")}, {Off: 10, Ins: []byte("and ")}}, // one after the other
	} {
		s.landing(t, body, sources.Edit{Splices: splices})
	}
	s.landing(t, "", sources.Edit{Splices: []sources.Splice{{Ins: []byte("born")}}})
}

func testApplyBoth(t *testing.T, s *store) {
	s.landing(t, "body", sources.Edit{
		Meta:    map[string][]byte{"changed": []byte("new"), "deleted": nil},
		Splices: []sources.Splice{{Off: 1, Del: 2, Ins: []byte("...")}},
	})
}

func testApplyLargeBody(t *testing.T, s *store) {
	body := strings.Repeat("0123456789abcdef", 3<<16) // 3 MiB
	s.landing(t, body, sources.Edit{Splices: []sources.Splice{
		{Off: 10, Del: 100, Ins: []byte("a longer or shorter header")},
		{Off: 2 << 20, Del: 1, Ins: []byte("far inside")},
	}})
}

func testApplyTwice(t *testing.T, s *store) {
	s.put(t, "item", "body")
	p := s.readAndPlan(t, s.ref(t, "item"), s.edit("new"))
	s.apply(t, p)
	after := s.snapshot(t, "item")
	_, err := s.Source.Apply(t.Context(), p)
	refused(t, err, sources.ErrConflict)
	same(t, "after the second Apply", s.snapshot(t, "item"), after)
}

// testApplyAtOnce: of several who read the same revision exactly one wins.
func testApplyAtOnce(t *testing.T, s *store) {
	if s.h.Metadata && !s.unconditional(s.edit("")) {
		s.race(t, "metadata", s.edit)
	}
	if s.h.Splices {
		s.race(t, "content", func(to string) sources.Edit {
			return sources.Edit{Splices: []sources.Splice{{Off: 0, Del: 1, Ins: []byte(to)}}}
		})
	}
}

func (s *store) race(t *testing.T, what string, edit func(to string) sources.Edit) {
	t.Helper()
	for round := range 4 {
		name := fmt.Sprintf("%s-%d", what, round)
		s.put(t, name, "body")
		before := s.snapshot(t, name)
		var plans []sources.Plan
		for i := range 6 {
			plans = append(plans, s.readAndPlan(t, s.ref(t, name), edit(fmt.Sprintf("writer %d", i))))
		}
		errs := make([]error, len(plans))
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i, p := range plans {
			wg.Go(func() {
				<-start
				_, errs[i] = s.Source.Apply(t.Context(), p)
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Errorf("%s: writers %d and %d both won", what, winner, i)
			case err == nil:
				winner = i
			case errors.As(err, new(*sources.NotYetError)): // another one was writing
			default:
				refused(t, err, sources.ErrConflict)
			}
		}
		if winner < 0 {
			t.Fatalf("%s: nobody won", what)
		}
		same(t, fmt.Sprintf("%s, after writer %d won", what, winner), s.snapshot(t, name), edited(before, plans[winner].Edit))
	}
}

// conflict changes an item as another writer does, between Read and Plan and
// between Plan and Apply. The other writer's change has to stay, whether the body
// was read beforehand or is fetched for the write.
func (s *store) conflict(t *testing.T, want error, happen func(name string)) {
	t.Helper()
	s.conflictAt(t, want, 0, happen)
	s.conflictAt(t, want, 1<<20, happen)
}

func (s *store) conflictAt(t *testing.T, want error, head int64, happen func(name string)) {
	t.Helper()
	for _, when := range []string{"before Plan", "before Apply"} {
		name := fmt.Sprintf("item %s %d", strings.ReplaceAll(when, " ", "-"), head)
		s.put(t, name, "body")
		p := s.readHeadAndPlan(t, s.ref(t, name), s.edit("ours"), head)
		if when == "before Plan" {
			happen(name)
			var err error
			if p, err = s.Source.Plan(t.Context(), p.View, p.Edit); err != nil {
				// Plan may see the conflict already. Then it returns the same error.
				refused(t, err, want)
				continue
			}
		} else {
			happen(name)
		}
		theirs := s.snapshot(t, name)
		_, err := s.Source.Apply(t.Context(), p)
		refused(t, err, want)
		same(t, "what the other writer left "+when, s.snapshot(t, name), theirs)
	}
}

func testConflictContent(t *testing.T, s *store) {
	s.conflict(t, sources.ErrConflict, func(name string) { s.put(t, name, "a longer body, by another writer") })
}

func testConflictSameSize(t *testing.T, s *store) {
	s.conflict(t, sources.ErrConflict, func(name string) { s.put(t, name, "BODY") })
}

func testConflictMeta(t *testing.T, s *store) {
	s.conflict(t, sources.ErrConflict, func(name string) {
		s.putMeta(t, name, "body", map[string]string{"kept": "not at all", "changed": "theirs"})
	})
}

func testConflictDelete(t *testing.T, s *store) {
	s.conflict(t, sources.ErrGone, func(name string) { s.delete(t, name) })
}

func testConflictBornAgain(t *testing.T, s *store) {
	s.conflict(t, sources.ErrConflict, func(name string) {
		s.delete(t, name)
		s.put(t, name, "BODY")
	})
}

func refused(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, should be: %v", err, want)
	}
	if want == sources.ErrConflict && errors.Is(err, sources.ErrGone) || want == sources.ErrGone && errors.Is(err, sources.ErrConflict) {
		t.Errorf("an error that is both a conflict and gone: %v", err)
	}
}

func testInverse(t *testing.T, s *store) {
	var e sources.Edit
	if s.h.Metadata {
		e.Meta = map[string][]byte{"changed": []byte("new"), "deleted": nil, "added": []byte("here"), "empty": []byte("full")}
	}
	if s.h.Splices {
		e.Splices = []sources.Splice{{Off: 1, Del: 3, Ins: []byte("longer than before")}, {Off: 8, Ins: []byte("+")}, {Off: 10, Del: 2}}
	}
	s.put(t, "item", "0123456789abcdef")
	before := s.snapshot(t, "item")
	p := s.readAndPlan(t, s.ref(t, "item"), e)
	inverse, err := e.Inverse(p.View)
	if err != nil {
		t.Fatal(err)
	}
	s.apply(t, p)
	s.apply(t, s.readAndPlan(t, s.ref(t, "item"), inverse))
	same(t, "after the edit and its inverse", s.snapshot(t, "item"), before)
}

func testCancelled(t *testing.T, s *store) {
	s.put(t, "item", "body")
	before := s.snapshot(t, "item")
	p := s.readAndPlan(t, s.ref(t, "item"), s.edit("new"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Source.Apply(ctx, p); err == nil {
		t.Error("Apply with a context that is done: no error")
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("Apply with a context that is done: %v, should wrap context.Canceled", err)
	}
	same(t, "after a cancelled Apply", s.snapshot(t, "item"), before)
	if v := s.read(t, p.View.Ref, 0); v.Rev != p.View.Rev {
		t.Errorf("a cancelled Apply wrote revision %q over %q", v.Rev, p.View.Rev)
	}
	s.apply(t, p)
}

// testUnsupported: Plan refuses edits that cannot be made.
func testUnsupported(t *testing.T, s *store) {
	s.put(t, "item", "body")
	before := s.snapshot(t, "item")
	v := s.readAndPlan(t, s.ref(t, "item"), s.edit("new")).View
	splice := func(splices ...sources.Splice) sources.Edit { return sources.Edit{Splices: splices} }
	edits := map[string]sources.Edit{
		"beyond the end":  splice(sources.Splice{Off: 3, Del: 2, Ins: []byte("x")}),
		"far beyond":      splice(sources.Splice{Off: 1 << 62, Del: 1 << 62}),
		"before the body": splice(sources.Splice{Off: -1, Del: 1}),
		"negative":        splice(sources.Splice{Off: 2, Del: -1}),
		"overlapping":     splice(sources.Splice{Off: 0, Del: 2}, sources.Splice{Off: 1, Del: 1}),
		"out of order":    splice(sources.Splice{Off: 2, Del: 1}, sources.Splice{Off: 0, Del: 1}),
	}
	if !s.h.Splices {
		edits["splices"] = splice(sources.Splice{Off: 0, Del: 1, Ins: []byte("x")})
	}
	if !s.h.Metadata {
		edits["metadata"] = sources.Edit{Meta: map[string][]byte{"name": []byte("value")}}
	}
	if len(s.h.StoreKeys) == 0 {
		edits["store key"] = sources.Edit{Store: &sources.StoreKey{Mode: "aws:kms", Key: "key"}}
	}
	if rewrite := rewriteTo("x"); s.h.Rewrite {
		edits["body and splices"] = sources.Edit{Body: rewrite, Splices: []sources.Splice{{Ins: []byte("x")}}}
	} else {
		edits["body"] = sources.Edit{Body: rewrite}
	}
	for what, e := range edits {
		_, err := s.Source.Plan(t.Context(), v, e)
		if err == nil {
			t.Errorf("Plan takes an edit that cannot be made: %s", what)
			continue
		}
		var unsupported *sources.SkipError
		if errors.As(err, &unsupported) && (unsupported.Reason == "" || unsupported.Detail == "") {
			t.Errorf("%s: a refusal without reason or detail: %#v", what, unsupported)
		}
		if slices.Contains([]string{"splices", "metadata", "store key", "body"}, what) && unsupported == nil {
			t.Errorf("%s: %v, should be a SkipError", what, err)
		}
	}
	same(t, "after what was refused", s.snapshot(t, "item"), before)
}
