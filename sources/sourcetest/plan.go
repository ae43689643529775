package sourcetest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"rewrap/sources"
)

// undone applies the undo of a plan whose edit has landed, and compares with
// what was there before.
func (s *store) undone(t *testing.T, p sources.Plan, before map[string]string) {
	t.Helper()
	u := p.Undo
	ways := 0
	for _, is := range []bool{u.Edit != nil, u.Version != "", u.None != ""} {
		if is {
			ways++
		}
	}
	switch {
	case ways != 1:
		t.Errorf("of an undo exactly one field has to be set: %+v", u)
	case u.Edit != nil:
		// Once through JSON, as the journal keeps it.
		text, err := json.Marshal(u.Edit)
		if err != nil {
			t.Fatal(err)
		}
		var e sources.Edit
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		s.apply(t, s.readAndPlan(t, p.View.Ref, e))
		same(t, "after the undo", s.snapshot(t, p.View.ID), before)
	case u.Version != "":
		if s.Version == nil {
			t.Fatalf("the undo is version %q of a store that keeps none", u.Version)
		}
		kept, err := s.Version(p.View.ID, u.Version)
		if err != nil {
			t.Fatalf("the other writer's look at version %q: %v", u.Version, err)
		}
		same(t, "the version that was kept", kept, before)
	}
}

// testUndo: where the view holds all that an edit takes away, the undo is an
// edit.
func testUndo(t *testing.T, s *store) {
	for name, e := range s.edits() {
		if e.Body != nil {
			continue // testApplyBody
		}
		s.put(t, name, "0123456789abcdef")
		before := s.snapshot(t, name)
		p := s.readAndPlan(t, s.ref(t, name), e)
		s.apply(t, p)
		if p.Undo.Edit == nil {
			t.Errorf("%s: there is an inverse, and the undo is %+v", name, p.Undo)
		}
		s.undone(t, p, before)
	}
}

// testUndoUnread: of bytes that were not read no edit can be made. The undo is
// a version that the store keeps, or the reason why there is none.
func testUndoUnread(t *testing.T, s *store) {
	s.put(t, "item", "0123456789abcdef")
	before := s.snapshot(t, "item")
	e := sources.Edit{Splices: []sources.Splice{{Off: 8, Del: 4, Ins: []byte("new")}}}
	p := s.readHeadAndPlan(t, s.ref(t, "item"), e, 4)
	if p.Undo.Edit != nil {
		t.Errorf("the undo is an edit, and bytes 8 to 12 were never read")
	}
	s.apply(t, p)
	same(t, "after the edit", s.snapshot(t, "item"), edited(before, e))
	s.undone(t, p, before)
}

// edits are one of each kind that the store can make, on a body of 16 bytes.
func (s *store) edits() map[string]sources.Edit {
	edits := make(map[string]sources.Edit)
	if s.h.Metadata {
		edits["meta"] = sources.Edit{Meta: map[string][]byte{"changed": []byte("new"), "deleted": nil, "added": []byte("here"), "empty": []byte("full"), "kept": {}}}
	}
	if s.h.Splices {
		edits["splices"] = sources.Edit{Splices: []sources.Splice{{Off: 1, Del: 3, Ins: []byte("longer than before")}, {Off: 8, Ins: []byte("+")}, {Off: 10, Del: 2}}}
		edits["all"] = sources.Edit{Splices: []sources.Splice{{Del: 16}}}
	}
	if s.h.Metadata && s.h.Splices {
		edits["both"] = sources.Edit{Meta: edits["meta"].Meta, Splices: edits["splices"].Splices}
	}
	if len(s.h.StoreKeys) > 0 {
		edits["store"] = sources.Edit{Store: &s.h.StoreKeys[1]}
	}
	if s.h.Rewrite {
		edits["body"] = sources.Edit{Body: rewriteTo("a new body")}
	}
	return edits
}

// spare is by how many bytes the answers of a store may differ from what a
// plan says of them. Bodies of items are counted exactly beyond that.
const spare = 200

// testCost: Apply makes the requests that the plan names, and no others, and
// moves as many bytes. Bodies that were read beforehand and others, large ones
// and empty ones make a difference.
func testCost(t *testing.T, s *store) {
	if s.Traffic == nil {
		t.Skip("nobody counts what is asked of this store")
	}
	large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	for name, e := range s.edits() {
		for _, c := range []struct {
			name, body string
			head       int64
		}{
			{"read", "0123456789abcdef", 1 << 20},
			{"unread", "0123456789abcdef", 0},
			{"large", large, 16},
			{"large-read", large, 2 << 20},
		} {
			s.cost(t, name+"-"+c.name, c.body, c.head, e)
		}
		if len(e.Splices) == 0 {
			s.cost(t, name+"-empty", "", 0, e)
		}
	}
	if s.h.Splices {
		s.cost(t, "born", "", 0, sources.Edit{Splices: []sources.Splice{{Ins: []byte("born")}}})
		s.cost(t, "grown", "", 0, sources.Edit{Splices: []sources.Splice{{Ins: []byte(large)}}})
	}
}

func (s *store) cost(t *testing.T, name, body string, head int64, e sources.Edit) {
	t.Helper()
	s.put(t, name, body)
	p := s.readHeadAndPlan(t, s.ref(t, name), e, head)
	before := s.Traffic()
	_, err := s.Source.Apply(t.Context(), p)
	after := s.Traffic()
	if err != nil {
		t.Errorf("%s: Apply: %v", name, err)
		return
	}
	made, said := requests(after), requests(p.Cost)
	for op, n := range requests(before) {
		if made[op] -= n; made[op] == 0 {
			delete(made, op)
		}
	}
	if !maps.Equal(made, said) {
		t.Errorf("%s: Apply (%s) made the requests %v, and its plan said %v", name, p.Way, made, said)
	}
	if in := after.In - before.In; in < p.Cost.In-spare || in > p.Cost.In+spare {
		t.Errorf("%s: Apply (%s) received %d bytes, and its plan said %d", name, p.Way, in, p.Cost.In)
	}
	if out := after.Out - before.Out; out != p.Cost.Out {
		t.Errorf("%s: Apply (%s) sent %d bytes, and its plan said %d", name, p.Way, out, p.Cost.Out)
	}
}

// requests are those of a cost by operation.
func requests(c sources.Cost) map[string]int64 {
	m := make(map[string]int64)
	for _, r := range c.Requests {
		if m[r.Op] += r.N; m[r.Op] == 0 {
			delete(m, r.Op)
		}
	}
	return m
}

// testAssumed: a plan that rests on an assumption is not applied.
func testAssumed(t *testing.T, s *store) {
	s.put(t, "item", "body")
	before := s.snapshot(t, "item")
	p := s.readAndPlan(t, s.ref(t, "item"), s.edit("new"))
	p.Assumed = true
	if _, err := s.Source.Apply(t.Context(), p); err == nil {
		t.Error("Apply makes an edit whose plan rests on an assumption")
	}
	same(t, "after a plan that was assumed", s.snapshot(t, "item"), before)
}

// testName: each item has a name, which stays for as long as the item does.
func testName(t *testing.T, s *store) {
	s.fill(t, 9)
	names := func() map[string]string {
		m := make(map[string]string)
		for _, r := range s.listAll(t) {
			m[r.ID] = r.Name
		}
		return m
	}
	before := names()
	for id, name := range before {
		want := id
		if s.h.Name != nil {
			want = s.h.Name(id)
		}
		if name != want {
			t.Errorf("the name of %q is %q, should be %q", id, name, want)
		}
	}
	id := slices.Sorted(maps.Keys(before))[4]
	r := s.ref(t, id)
	p := s.readAndPlan(t, r, s.edit("N"))
	if p.View.Name != r.Name || p.View.ID != r.ID {
		t.Errorf("the view of %q, called %q, is of %q, called %q", r.ID, r.Name, p.View.ID, p.View.Name)
	}
	s.apply(t, p)
	if after := names(); !maps.Equal(before, after) {
		t.Errorf("an edit changes names: they were %v and are %v", before, after)
	}
}

// testRefView: an item that a listing brings along is what Read brings, and an
// edit can be planned on it.
func testRefView(t *testing.T, s *store) {
	s.put(t, "item", "body")
	s.put(t, "void", "")
	brought := func() map[string]sources.View {
		views := make(map[string]sources.View)
		for r, err := range s.Source.List(t.Context(), s.spans(t, 1)[0], "") {
			if err != nil {
				t.Fatal(err)
			}
			if r.View != nil {
				views[r.ID] = *r.View
			}
		}
		return views
	}
	views := brought()
	if len(views) == 0 {
		t.Skip("the listing brings no items along")
	}
	for id := range views {
		r := s.ref(t, id)
		s.sameView(t, views[id], s.read(t, r, 1<<20))
	}
	before := s.snapshot(t, "item")
	first := s.readAndPlan(t, s.ref(t, "item"), s.edit("new")) // which waits, where there is something to wait for
	p, err := s.Source.Plan(t.Context(), views["item"], first.Edit)
	if err != nil {
		t.Fatalf("Plan on the view of a listing: %v", err)
	}
	s.apply(t, p)
	same(t, "after an edit on the view of a listing", s.snapshot(t, "item"), edited(before, p.Edit))
	s.sameView(t, brought()["item"], s.read(t, s.ref(t, "item"), 1<<20))
}

// sameView compares all but what belongs to the source alone.
func (s *store) sameView(t *testing.T, got, want sources.View) {
	t.Helper()
	got.View, want.View = nil, nil
	if got.Ref != want.Ref || got.Rev != want.Rev || got.Size != want.Size || got.Store != want.Store {
		t.Errorf("the listing brings %v at %q, %d bytes, store key %v, and Read %v at %q, %d bytes, store key %v",
			got.Ref, got.Rev, got.Size, got.Store, want.Ref, want.Rev, want.Size, want.Store)
	}
	if string(got.Head) != string(want.Head) {
		t.Errorf("the listing brings the body %s of %q, and Read %s", short(string(got.Head)), got.ID, short(string(want.Head)))
	}
	text := func(v sources.View) map[string]string {
		m := make(map[string]string)
		for name, value := range v.Meta {
			m[name] = string(value)
		}
		return m
	}
	same(t, "metadata that the listing brings", text(got), text(want))
}
