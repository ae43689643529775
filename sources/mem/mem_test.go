package mem_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"rewrap/sources"
	"rewrap/sources/mem"
	"rewrap/sources/sourcetest"
)

// TestConformance runs the suite on each kind of store that the options make.
func TestConformance(t *testing.T) {
	for name, o := range map[string]mem.Options{
		"plain":         {},
		"borders":       {Borders: []string{"folder-2/", "item-01"}},
		"rows":          {Bring: true, Name: func(id string) string { return "row " + id }},
		"versions":      {Versions: true},
		"unconditional": {Unconditional: func(e sources.Edit) bool { return len(e.Meta) > 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, harness(o))
		})
	}
}

func harness(o mem.Options) sourcetest.Harness {
	return sourcetest.Harness{
		Metadata: true, Splices: true, Folders: true, Rewrite: true, Name: o.Name, Unconditional: o.Unconditional,
		Names:     []string{" a", "b ", "c/d", "e", "\n", "é"},
		StoreKeys: []sources.StoreKey{{Mode: "kms", Key: "old"}, {Mode: "kms", Key: "new"}},
		Open: func(*testing.T) sourcetest.Store {
			m := mem.New(o)
			return sourcetest.Store{
				Source: m, Traffic: m.Traffic,
				Put: func(name string, body []byte, meta map[string]string) error {
					m.Put(name, mem.Item{Body: string(body), Meta: meta, Attr: "kept"})
					return nil
				},
				Delete: func(name string) error { m.Delete(name); return nil },
				Snapshot: func(name string) (map[string]string, error) {
					it, ok := m.Get(name)
					if !ok {
						return nil, nil
					}
					return snapshot(it), nil
				},
				Version: func(name, version string) (map[string]string, error) {
					it, ok := m.Version(name, version)
					if !ok {
						return nil, errors.New("it is not kept")
					}
					return snapshot(it), nil
				},
				Mark: func() (string, error) {
					mark := ""
					for _, id := range m.IDs() {
						mark += id + "@" + m.Rev(id) + " "
					}
					return mark, nil
				},
			}
		},
	}
}

func snapshot(it mem.Item) map[string]string {
	s := map[string]string{"body": it.Body, "attr": it.Attr, "store": it.Store.Mode + " " + it.Store.Key}
	for k, v := range it.Meta {
		s["meta:"+k] = v
	}
	return s
}

func begun(t *testing.T, o mem.Options) *mem.Source {
	t.Helper()
	m := mem.New(o)
	if err := m.Begin(t.Context(), sources.Write); err != nil {
		t.Fatal(err)
	}
	return m
}

func planOf(t *testing.T, m *mem.Source, head int64, e sources.Edit) (sources.Plan, error) {
	t.Helper()
	v, err := m.Read(t.Context(), sources.Ref{ID: "item"}, sources.Want{Head: head})
	if err != nil {
		t.Fatal(err)
	}
	return m.Plan(t.Context(), v, e)
}

// upper is a rewrite that makes all letters large.
func upper(size int64) *sources.Rewrite {
	return &sources.Rewrite{Size: size, Make: func(old io.Reader) (io.Reader, error) {
		b, err := io.ReadAll(old)
		return strings.NewReader(strings.ToUpper(string(b))), err
	}}
}

// TestVersions: where an edit has no inverse, the version that the store keeps
// is the way back; without versions there is none.
func TestVersions(t *testing.T) {
	items := map[string]mem.Item{"item": {Body: "body", Meta: map[string]string{"k": "v"}}}
	for _, kept := range []bool{true, false} {
		m := begun(t, mem.Options{Items: items, Versions: kept})
		p, err := planOf(t, m, 0, sources.Edit{Body: upper(4)})
		if err != nil {
			t.Fatal(err)
		}
		if (p.Undo.Version != "") != kept || (p.Undo.None == "") != kept || p.Undo.Edit != nil {
			t.Errorf("versions %v: the undo is %+v", kept, p.Undo)
		}
		if _, err := m.Apply(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if it, _ := m.Get("item"); it.Body != "BODY" {
			t.Errorf("the new body is %q", it.Body)
		}
		if it, ok := m.Version("item", p.Undo.Version); ok != kept || kept && (it.Body != "body" || it.Meta["k"] != "v") {
			t.Errorf("versions %v: kept is %v, %+v", kept, ok, it)
		}
	}
}

// TestRewriteRefused: a new body that is not as announced is not written.
func TestRewriteRefused(t *testing.T) {
	m := begun(t, mem.Options{Items: map[string]mem.Item{"item": {Body: "body"}}})
	broken := errors.New("broken")
	for _, r := range []*sources.Rewrite{
		upper(3),
		upper(5),
		{Size: 4, Make: func(io.Reader) (io.Reader, error) { return nil, broken }},
	} {
		p, err := planOf(t, m, 0, sources.Edit{Body: r})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Apply(t.Context(), p); err == nil {
			t.Errorf("a body of 4 bytes lands that was announced with %d", r.Size)
		}
	}
	if it, _ := m.Get("item"); it.Body != "body" || len(m.Writes()) != 0 {
		t.Errorf("the body is %q after %v writes", it.Body, m.Writes())
	}
}

// TestHooks: each step is seen, and an error of its hook is its answer.
func TestHooks(t *testing.T) {
	m := begun(t, mem.Options{Items: map[string]mem.Item{"item": {Meta: map[string]string{"k": "v"}}}})
	edit := sources.Edit{Meta: map[string][]byte{"k": []byte("w")}}
	p, err := planOf(t, m, 0, edit)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	hook := func(id string) error {
		if id != "item" {
			t.Errorf("a hook is called with %q", id)
		}
		return broken
	}
	apply := func() error { _, err := m.Apply(t.Context(), p); return err }
	for _, step := range []struct {
		name   string
		set    func()
		call   func() error
		writes int
	}{
		{"list", func() { m.OnList = hook }, func() (err error) {
			for _, err = range m.List(t.Context(), sources.Span{Data: "{}"}, "") {
			}
			return err
		}, 0},
		{"read", func() { m.OnRead = hook }, func() error {
			_, err := m.Read(t.Context(), sources.Ref{ID: "item"}, sources.Want{})
			return err
		}, 0},
		{"plan", func() { m.OnPlan = func(v sources.View, _ sources.Edit) error { return hook(v.ID) } }, func() error {
			_, err := m.Plan(t.Context(), p.View, edit)
			return err
		}, 0},
		{"before", func() { m.Before = hook }, apply, 0},
		{"after", func() { m.After = hook }, apply, 1},
	} {
		m.Hooks = mem.Hooks{}
		step.set()
		if err := step.call(); !errors.Is(err, broken) {
			t.Errorf("%s: %v", step.name, err)
		}
		if n := m.Writes()["item"]; n != step.writes {
			t.Errorf("%s: %d writes", step.name, n)
		}
	}
}

// TestFrozen: a machine that has died answers nobody, and what it held is
// there when it works again.
func TestFrozen(t *testing.T) {
	m := begun(t, mem.Options{Items: map[string]mem.Item{"item": {Meta: map[string]string{"k": "v"}}}})
	p, err := planOf(t, m, 0, sources.Edit{Meta: map[string][]byte{"k": []byte("w")}})
	if err != nil {
		t.Fatal(err)
	}
	m.Freeze()
	if _, err := m.Apply(t.Context(), p); !errors.Is(err, mem.ErrDied) || !m.Frozen() {
		t.Errorf("Apply: %v", err)
	}
	if _, err := m.Read(t.Context(), sources.Ref{ID: "item"}, sources.Want{}); !errors.Is(err, mem.ErrDied) {
		t.Errorf("Read: %v", err)
	}
	n := m.Thaw()
	if _, err := n.Apply(t.Context(), p); err != nil || n.Writes()["item"] != 1 || len(m.Writes()) != 0 {
		t.Errorf("Apply after Thaw: %v, %v", err, n.Writes())
	}
}
