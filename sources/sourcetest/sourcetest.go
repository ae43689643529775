// Package sourcetest is the contract of [sources.Source] written as tests.
// A source's own test fills in a [Harness] and calls [Run].
//
// The suite looks at a store in two ways: through the source, and through
// another writer, which the harness gives and which must not be made with the
// source's code. What the other writer sees is what counts.
package sourcetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"rewrap/sources"
)

// Harness is a kind of store: what it can hold, and how to get one.
type Harness struct {
	// Open makes a store with nothing in it, and opens its source; the suite
	// begins it. Called once per test, also from several tests at once.
	Open func(t *testing.T) Store

	Metadata bool     // items have metadata of their own
	Splices  bool     // bodies can be changed
	Folders  bool     // names may have "/" in them
	Rewrite  bool     // bodies can be replaced as a stream (Edit.Body)
	Names    []string // odd names that the store can hold, all at once

	// StoreKeys are two keys that the store can encrypt items with
	// (Edit.Store). nil: it has none that the source could change.
	StoreKeys []sources.StoreKey

	// Name is the name of the item with an ID. nil: it is the ID.
	Name func(id string) string

	// Unconditional says for which edits the store has no condition that sees
	// every change by another writer. It always sees changes of content. nil: for
	// none.
	Unconditional func(sources.Edit) bool
}

// Store is one store, and another writer's access to it. The other writer
// overwrites without asking.
type Store struct {
	Source sources.Source

	// Put writes an item whole. meta is nil where the store has none. It may
	// give the item more attributes of the store, so that they can get lost.
	Put    func(name string, body []byte, meta map[string]string) error
	Delete func(name string) error

	// Snapshot is everything that can be seen of an item: the body under "body",
	// each metadata value under "meta:NAME", the store key under "store", the rest
	// under names of the harness. Times and revisions are left out, since every
	// write changes them. nil if there is no such item.
	Snapshot func(name string) (map[string]string, error)

	// Wait lets d pass on the clock of the store. nil: that is the real clock.
	Wait func(d time.Duration)

	// Traffic is what was asked of the store so far by the source, the other
	// writer, or both. nil: it is not counted.
	Traffic func() sources.Cost

	// Mark returns a text that changes with each write to the store, also with
	// writes that no listing shows. nil: such writes are not seen.
	Mark func() (string, error)

	// Version is the snapshot of a version that the store keeps (Undo.Version).
	// nil: it keeps none.
	Version func(name, version string) (map[string]string, error)
}

// Run runs every test of the suite that the harness has the means for.
func Run(t *testing.T, h Harness) {
	for _, test := range []struct {
		name  string
		needs bool
		run   func(*testing.T, *store)
	}{
		{"NotBegun", true, testNotBegun},
		{"BeginLook", true, testBeginLook},
		{"BeginWrite", true, testBeginWrite},
		{"Finish", true, testFinish},
		{"Close", true, testClose},
		{"Empty", true, testEmpty},
		{"Name", true, testName},
		{"RefView", true, testRefView},
		{"ListEachOnce", true, testListEachOnce},
		{"ListResumes", true, testListResumes},
		{"ListStops", true, testListStops},
		{"SpansDisjointAndComplete", true, testSpans},
		{"OddNames", len(h.Names) > 0, testOddNames},
		{"ReadHead", true, testReadHead},
		{"ReadMeta", h.Metadata, testReadMeta},
		{"ReadGone", true, testReadGone},
		{"ReadOneRevision", true, testReadOneRevision},
		{"PlanWritesNothing", true, testPlanWritesNothing},
		{"ApplyMeta", h.Metadata, testApplyMeta},
		{"ApplySplices", h.Splices, testApplySplices},
		{"ApplyBoth", h.Metadata && h.Splices, testApplyBoth},
		{"ApplyLargeBody", h.Splices, testApplyLargeBody},
		{"ApplyTwice", true, testApplyTwice},
		{"ApplyAtOnce", true, testApplyAtOnce},
		{"ConflictContent", true, testConflictContent},
		{"ConflictSameSize", true, testConflictSameSize},
		{"ConflictMeta", h.Metadata, testConflictMeta},
		{"ConflictDelete", true, testConflictDelete},
		{"ConflictBornAgain", true, testConflictBornAgain},
		{"Inverse", true, testInverse},
		{"Undo", true, testUndo},
		{"UndoUnread", h.Splices, testUndoUnread},
		{"Cost", true, testCost},
		{"Assumed", true, testAssumed},
		{"ApplyStore", len(h.StoreKeys) > 0, testApplyStore},
		{"ApplyBody", h.Rewrite, testApplyBody},
		{"BodyRefused", h.Rewrite, testBodyRefused},
		{"Cancelled", true, testCancelled},
		{"Unsupported", true, testUnsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !test.needs {
				t.Skip("the store does not have what this test is about")
			}
			t.Parallel()
			s := &store{Store: h.Open(t), h: h}
			if !strings.HasPrefix(test.name, "Begin") && test.name != "NotBegun" {
				s.begin(t, sources.Write)
			}
			test.run(t, s)
		})
	}
}

// store is a Store with the errors dealt with.
type store struct {
	Store
	h Harness
}

func (s *store) begin(t *testing.T, m sources.Mode) {
	t.Helper()
	if err := s.Source.Begin(t.Context(), m); err != nil {
		t.Fatalf("Begin(%v): %v", m, err)
	}
}

// mark is the store's, or at least what a listing and the other writer see.
func (s *store) mark(t *testing.T, names ...string) string {
	t.Helper()
	seen := ""
	for _, name := range names {
		seen += fmt.Sprint(name, s.snapshot(t, name), "\n")
	}
	if s.Mark == nil {
		return seen
	}
	m, err := s.Mark()
	if err != nil {
		t.Fatalf("the mark of the store: %v", err)
	}
	return seen + m
}

var meta = map[string]string{"kept": "as it is", "changed": "old", "deleted": "going", "empty": ""}

// metaFor is metadata that a store with metadata gets.
func (s *store) metaFor(m map[string]string) map[string]string {
	if !s.h.Metadata {
		return nil
	}
	return m
}

func (s *store) put(t *testing.T, name, body string) {
	t.Helper()
	s.putMeta(t, name, body, meta)
}

func (s *store) putMeta(t *testing.T, name, body string, m map[string]string) {
	t.Helper()
	if err := s.Put(name, []byte(body), s.metaFor(m)); err != nil {
		t.Fatalf("the other writer's put of %q: %v", name, err)
	}
}

func (s *store) delete(t *testing.T, name string) {
	t.Helper()
	if err := s.Delete(name); err != nil {
		t.Fatalf("the other writer's delete of %q: %v", name, err)
	}
}

func (s *store) snapshot(t *testing.T, name string) map[string]string {
	t.Helper()
	m, err := s.Snapshot(name)
	if err != nil {
		t.Fatalf("the other writer's snapshot of %q: %v", name, err)
	}
	return m
}

func (s *store) wait(d time.Duration) {
	if s.Wait != nil {
		s.Wait(d)
		return
	}
	time.Sleep(d)
}

// spans are the source's, once through JSON, as the checkpoint keeps them.
func (s *store) spans(t *testing.T, want int) []sources.Span {
	t.Helper()
	spans, err := s.Source.Spans(t.Context(), want)
	if err != nil {
		t.Fatalf("Spans(%d): %v", want, err)
	}
	if len(spans) == 0 || len(spans) > want {
		t.Fatalf("Spans(%d) gave %d spans", want, len(spans))
	}
	data, err := json.Marshal(spans)
	if err != nil {
		t.Fatal(err)
	}
	var kept []sources.Span
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	return kept
}

func (s *store) list(t *testing.T, span sources.Span, after sources.Cursor) []sources.Ref {
	t.Helper()
	var refs []sources.Ref
	for r, err := range s.Source.List(t.Context(), span, after) {
		if err != nil {
			t.Fatalf("List(%v, %q): %v", span, after, err)
		}
		r.View = nil // testRefView looks at it
		refs = append(refs, r)
	}
	return refs
}

func (s *store) listAll(t *testing.T) []sources.Ref {
	t.Helper()
	return s.list(t, s.spans(t, 1)[0], "")
}

// ref finds an item in the listing.
func (s *store) ref(t *testing.T, name string) sources.Ref {
	t.Helper()
	refs := s.listAll(t)
	for _, r := range refs {
		if r.ID == name {
			return r
		}
	}
	t.Fatalf("%q is not listed among %d items", name, len(refs))
	return sources.Ref{}
}

func (s *store) read(t *testing.T, r sources.Ref, head int64) sources.View {
	t.Helper()
	for range 5 {
		v, err := s.Source.Read(t.Context(), r, sources.Want{Head: head})
		if s.putOff(t, err) {
			continue
		}
		if err != nil {
			t.Fatalf("Read(%q, %d): %v", r.ID, head, err)
		}
		return v
	}
	t.Fatalf("Read(%q) asks to wait, again and again", r.ID)
	return sources.View{}
}

// putOff waits, as the engine does, where the source asks to.
func (s *store) putOff(t *testing.T, err error) bool {
	t.Helper()
	var notYet *sources.NotYetError
	if !errors.As(err, &notYet) {
		return false
	}
	if notYet.Wait <= 0 {
		t.Fatalf("to wait for %v is no answer: %v", notYet.Wait, err)
	}
	s.wait(notYet.Wait)
	return true
}

func (s *store) readAndPlan(t *testing.T, r sources.Ref, e sources.Edit) sources.Plan {
	t.Helper()
	return s.readHeadAndPlan(t, r, e, 1<<20)
}

func (s *store) readHeadAndPlan(t *testing.T, r sources.Ref, e sources.Edit, head int64) sources.Plan {
	t.Helper()
	for range 5 {
		v := s.read(t, r, head)
		p, err := s.Source.Plan(t.Context(), v, e)
		if s.putOff(t, err) {
			continue
		}
		if err != nil {
			t.Fatalf("Plan(%q): %v", r.ID, err)
		}
		if p.Way == "" {
			t.Errorf("Plan(%q) does not say its way", r.ID)
		}
		if p.Unconditional != s.unconditional(e) && !p.Assumed {
			t.Fatalf("Plan(%q) says unconditional: %v, and the harness: %v", r.ID, p.Unconditional, !p.Unconditional)
		}
		return p
	}
	t.Fatalf("Plan(%q) asks to wait again and again", r.ID)
	return sources.Plan{}
}

// apply makes an edit that has to land, and checks what is said of it.
func (s *store) apply(t *testing.T, p sources.Plan) {
	t.Helper()
	res, err := s.Source.Apply(t.Context(), p)
	if err != nil {
		t.Fatalf("Apply(%q): %v", p.View.ID, err)
	}
	v := s.read(t, p.View.Ref, 0)
	if v.Rev == p.View.Rev {
		t.Errorf("the revision of %q is %q before and after an edit", v.ID, v.Rev)
	}
	if res.Rev != "" && res.Rev != v.Rev {
		t.Errorf("Apply(%q) says revision %q, and reading it says %q", v.ID, res.Rev, v.Rev)
	}
}

func (s *store) unconditional(e sources.Edit) bool {
	return s.h.Unconditional != nil && s.h.Unconditional(e)
}

// edit is one that the store can make: of metadata where it has any, else of
// the first bytes of the body.
func (s *store) edit(to string) sources.Edit {
	if s.h.Metadata {
		return sources.Edit{Meta: map[string][]byte{"changed": []byte(to)}}
	}
	return sources.Edit{Splices: []sources.Splice{{Off: 0, Del: 1, Ins: []byte(to)}}}
}

// edited is the snapshot as it should be after the edit.
func edited(before map[string]string, e sources.Edit) map[string]string {
	after := maps.Clone(before)
	for name, value := range e.Meta {
		if value == nil {
			delete(after, "meta:"+name)
		} else {
			after["meta:"+name] = string(value)
		}
	}
	body := before["body"]
	for _, sp := range slices.Backward(e.Splices) {
		body = body[:sp.Off] + string(sp.Ins) + body[sp.Off+sp.Del:]
	}
	after["body"] = body
	return after
}

// same fails unless two snapshots are equal, and says where they are not.
func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if (got == nil) != (want == nil) {
		t.Errorf("%s: there: %v, should be: %v", what, got != nil, want != nil)
		return
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[k]; !ok {
			t.Errorf("%s: %s was lost; it was %s", what, k, short(want[k]))
		} else if g != want[k] {
			t.Errorf("%s: %s is %s, should be %s", what, k, short(g), short(want[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: %s came from nowhere: %s", what, k, short(got[k]))
		}
	}
}

func short(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%q and %d bytes more", s[:80], len(s)-80)
	}
	return fmt.Sprintf("%q", s)
}

func ids(refs []sources.Ref) []string {
	var names []string
	for _, r := range refs {
		names = append(names, r.ID)
	}
	return names
}
