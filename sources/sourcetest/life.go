package sourcetest

import (
	"context"
	"errors"
	"testing"

	"rewrap/sources"
)

// calls are all methods that need a source that was begun, made on an item that
// exists. A view and a plan are there only where the source once gave them.
func (s *store) calls(ctx context.Context, r sources.Ref, p sources.Plan) map[string]func() error {
	return map[string]func() error{
		"Spans": func() error { _, err := s.Source.Spans(ctx, 1); return err },
		"List": func() error {
			for _, err := range s.Source.List(ctx, sources.Span{ID: "0", Data: "{}"}, "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"Read":   func() error { _, err := s.Source.Read(ctx, r, sources.Want{}); return err },
		"Plan":   func() error { _, err := s.Source.Plan(ctx, p.View, p.Edit); return err },
		"Apply":  func() error { _, err := s.Source.Apply(ctx, p); return err },
		"Finish": func() error { return s.Source.Finish(ctx) },
	}
}

// refuses fails unless the call says that it cannot be made now, and says
// nothing about the item.
func refuses(t *testing.T, when, method string, call func() error) {
	t.Helper()
	err := call()
	switch {
	case err == nil:
		t.Errorf("%s: %s does not fail", when, method)
	case errors.Is(err, sources.ErrGone), errors.Is(err, sources.ErrConflict):
		t.Errorf("%s: %s speaks of the item: %v", when, method, err)
	}
}

// testNotBegun: a caller who forgets Begin is told so.
func testNotBegun(t *testing.T, s *store) {
	s.put(t, "item", "body")
	before := s.snapshot(t, "item")
	r := sources.Ref{ID: "item", Name: "item", Cursor: "item"}
	for method, call := range s.calls(t.Context(), r, sources.Plan{View: sources.View{Ref: r}, Edit: s.edit("new")}) {
		refuses(t, "before Begin", method, call)
	}
	same(t, "before Begin", s.snapshot(t, "item"), before)
	if err := s.Source.Close(); err != nil {
		t.Errorf("closing a source that was not begun: %v", err)
	}
}

// testBeginLook: a source that was begun for looking shows and plans everything
// and writes nothing, anywhere.
func testBeginLook(t *testing.T, s *store) {
	names := []string{"item", "other"}
	for _, name := range names {
		s.put(t, name, "body")
	}
	before := s.mark(t, names...)
	unchanged := func(what string) {
		t.Helper()
		if now := s.mark(t, names...); now != before {
			t.Errorf("%s writes something: the mark of the store was %s and is %s", what, short(before), short(now))
			before = now
		}
	}
	s.begin(t, sources.Look)
	unchanged("Begin(Look)")
	p := s.readAndPlan(t, s.ref(t, "item"), s.edit("new"))
	unchanged("a look")
	refuses(t, "begun with Look", "Apply", func() error { _, err := s.Source.Apply(t.Context(), p); return err })
	unchanged("Apply after Begin(Look)")

	s.begin(t, sources.Write)
	if p.Assumed {
		refuses(t, "of a plan that rests on an assumption", "Apply", func() error { _, err := s.Source.Apply(t.Context(), p); return err })
	}
	s.landing(t, "body", s.edit("new"))
}

// testBeginWrite: beginning, also once more, changes no item, and what was
// planned before can be applied.
func testBeginWrite(t *testing.T, s *store) {
	s.put(t, "item", "body")
	before := s.snapshot(t, "item")
	s.begin(t, sources.Write)
	same(t, "after Begin(Write)", s.snapshot(t, "item"), before)
	p := s.readAndPlan(t, s.ref(t, "item"), s.edit("new"))
	if p.Assumed {
		t.Error("after Begin(Write) a plan rests on an assumption")
	}
	s.begin(t, sources.Write)
	same(t, "after another Begin(Write)", s.snapshot(t, "item"), before)
	if n := len(s.listAll(t)); n != 1 {
		t.Errorf("after Begin(Write) there are %d items, should be 1", n)
	}
	s.apply(t, p)
	same(t, "after the edit", s.snapshot(t, "item"), edited(before, p.Edit))
	after := s.snapshot(t, "item")
	s.begin(t, sources.Write)
	same(t, "after Begin(Write) at the end", s.snapshot(t, "item"), after)
}

// testFinish: what was applied is in place after Finish, which a process that
// died in it calls again.
func testFinish(t *testing.T, s *store) {
	s.put(t, "item", "body")
	s.put(t, "other", "is not touched")
	before, other := s.snapshot(t, "item"), s.snapshot(t, "other")
	p := s.readAndPlan(t, s.ref(t, "item"), s.edit("new"))
	s.apply(t, p)
	for range 2 {
		if err := s.Source.Finish(t.Context()); err != nil {
			t.Errorf("Finish: %v", err)
		}
		same(t, "after Finish", s.snapshot(t, "item"), edited(before, p.Edit))
		same(t, "another item, after Finish", s.snapshot(t, "other"), other)
		if n := len(s.listAll(t)); n != 2 {
			t.Errorf("after Finish there are %d items, should be 2", n)
		}
	}
}

// testClose: after Close nothing can be done any more, and nothing is undone.
func testClose(t *testing.T, s *store) {
	s.put(t, "item", "body")
	r := s.ref(t, "item")
	s.apply(t, s.readAndPlan(t, r, s.edit("new")))
	after := s.snapshot(t, "item")
	p := s.readAndPlan(t, r, s.edit("newer"))
	if err := s.Source.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	same(t, "after Close", s.snapshot(t, "item"), after)
	for method, call := range s.calls(t.Context(), r, p) {
		refuses(t, "after Close", method, call)
	}
	refuses(t, "after Close", "Begin", func() error { return s.Source.Begin(t.Context(), sources.Look) })
	same(t, "after what was called after Close", s.snapshot(t, "item"), after)
}
