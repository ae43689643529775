package formattest

import (
	"maps"
	"testing"

	"rewrap/sources"
)

// View is an item that was read whole.
func View(name string, meta map[string]string, body string) sources.View {
	m := map[string][]byte{}
	for k, v := range meta {
		m[k] = []byte(v)
	}
	return sources.View{Ref: sources.Ref{ID: name, Name: name}, Size: int64(len(body)), Head: []byte(body), Meta: m}
}

// Splice makes an edit of a body as a source would.
func Splice(t testing.TB, body []byte, e sources.Edit) []byte {
	t.Helper()
	if _, err := sources.SplicedSize(int64(len(body)), e.Splices); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 0, len(body)+4096)
	at := int64(0)
	for _, s := range e.Splices {
		out = append(append(out, body[at:s.Off]...), s.Ins...)
		at = s.Off + s.Del
	}
	return append(out, body[at:]...)
}

// Apply makes an edit of an item that was read whole, as a source would.
func Apply(t testing.TB, v sources.View, e sources.Edit) sources.View {
	t.Helper()
	v.Head = Splice(t, v.Head, e)
	v.Size = int64(len(v.Head))
	v.Meta = maps.Clone(v.Meta)
	for name, value := range e.Meta {
		if value == nil {
			delete(v.Meta, name)
		} else {
			v.Meta[name] = value
		}
	}
	return v
}
