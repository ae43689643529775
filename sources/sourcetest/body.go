package sourcetest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"rewrap/sources"
)

// rewriteTo makes a body whatever the old one is.
func rewriteTo(body string) *sources.Rewrite {
	return &sources.Rewrite{Size: int64(len(body)), Make: func(old io.Reader) (io.Reader, error) {
		_, err := io.Copy(io.Discard, old)
		return strings.NewReader(body), err
	}}
}

// testApplyStore: the store key of an item is shown, can be changed alone and
// together with the rest, and stays with all other edits.
func testApplyStore(t *testing.T, s *store) {
	from, to := s.h.StoreKeys[0], s.h.StoreKeys[1]
	s.put(t, "item", "body")
	r := s.ref(t, "item")
	move := func(what string, e sources.Edit, want sources.StoreKey) sources.Plan {
		t.Helper()
		before := s.snapshot(t, "item")
		p := s.readAndPlan(t, r, e)
		s.apply(t, p)
		after, got := s.snapshot(t, "item"), s.read(t, r, 0).Store
		if got != want {
			t.Errorf("%s: the store key is %v, should be %v", what, got, want)
		}
		if e.Store != nil && *e.Store != p.View.Store && after["store"] == before["store"] {
			t.Errorf("%s: the other writer sees the store key %q as before", what, after["store"])
		}
		delete(before, "store")
		delete(after, "store")
		same(t, what, after, edited(before, e))
		return p
	}
	move("a store key", sources.Edit{Store: &from}, from)
	before := s.snapshot(t, "item")
	p := move("another store key", sources.Edit{Store: &to}, to)
	s.undone(t, p, before)
	move("an edit of the rest", s.edit("new"), from)
	e := s.edit("newer")
	e.Store = &to
	move("a store key and the rest", e, to)
}

// testApplyBody: a new body is made of the whole old one, however much of it
// was read, and nothing else changes.
func testApplyBody(t *testing.T, s *store) {
	twice := func(size int64) *sources.Rewrite {
		return &sources.Rewrite{Size: 2 * size, Make: func(old io.Reader) (io.Reader, error) {
			b, err := io.ReadAll(old)
			return strings.NewReader(string(b) + string(b)), err
		}}
	}
	for i, body := range []string{"", "body", strings.Repeat("0123456789abcdef", 3<<16)} {
		name := fmt.Sprint("item-", i)
		s.put(t, name, body)
		before := s.snapshot(t, name)
		e := sources.Edit{Body: twice(int64(len(body)))}
		want := edited(before, e)
		want["body"] = body + body
		if s.h.Metadata {
			e.Meta = map[string][]byte{"changed": []byte("new"), "deleted": nil}
			want["meta:changed"] = "new"
			delete(want, "meta:deleted")
		}
		p := s.readHeadAndPlan(t, s.ref(t, name), e, 2)
		if p.Undo.Edit != nil {
			t.Error("the undo of a whole body is an edit, and the body was never read")
		}
		s.apply(t, p)
		same(t, "after a rewrite", s.snapshot(t, name), want)
		s.undone(t, p, before)
	}
}

// testBodyRefused: a new body that is not as it was announced is not written,
// and neither is one of a revision that is over.
func testBodyRefused(t *testing.T, s *store) {
	s.put(t, "item", "body")
	before := s.snapshot(t, "item")
	r := s.ref(t, "item")
	broken := errors.New("broken")
	longer, shorter := rewriteTo("a new body"), rewriteTo("a new body")
	longer.Size--
	shorter.Size++
	for what, w := range map[string]*sources.Rewrite{
		"longer than announced":  longer,
		"shorter than announced": shorter,
		"not made":               {Size: 4, Make: func(io.Reader) (io.Reader, error) { return nil, broken }},
		"made halfway": {Size: 4, Make: func(io.Reader) (io.Reader, error) {
			return io.MultiReader(strings.NewReader("ab"), failing{broken}), nil
		}},
	} {
		p := s.readAndPlan(t, r, sources.Edit{Body: w})
		if _, err := s.Source.Apply(t.Context(), p); err == nil {
			t.Errorf("a new body lands that is %s", what)
		}
		same(t, "after a body that is "+what, s.snapshot(t, "item"), before)
	}
	p := s.readAndPlan(t, r, sources.Edit{Body: &sources.Rewrite{Size: 4, Make: func(io.Reader) (io.Reader, error) {
		s.put(t, "item", "theirs")
		return strings.NewReader("ours"), nil
	}}})
	_, err := s.Source.Apply(t.Context(), p)
	refused(t, err, sources.ErrConflict)
	if got := s.snapshot(t, "item")["body"]; got != "theirs" {
		t.Errorf("what another writer put meanwhile is %s", short(got))
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
