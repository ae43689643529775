package binding_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/jsondoc"
	"rewrap/engine/envelope/raw"
)

func TestBindingCompiles(t *testing.T) {
	for _, c := range []struct {
		context []string
		field   string
		data    string
		says    string // "": fine
	}{
		{nil, "", "", ""},
		{[]string{"a=b", "c=", "d=e=f", "{x}=1"}, "", "", ""},
		{[]string{"a={{}}{name}{{x}}"}, "", "{dir}", ""},
		{nil, "/context", "", ""},
		{nil, "context/inner", "x", ""},
		{[]string{"a"}, "", "", "name=value"},
		{[]string{"=b"}, "", "", "name=value"},
		{[]string{"a=b", "a=c"}, "", "", "twice"},
		{[]string{"a=\xff"}, "", "", "UTF-8"},
		{[]string{"a={nam}"}, "", "", "{nam} is no reference"},
		{[]string{"a={}"}, "", "", "{} is no reference"},
		{[]string{"a={name:x}"}, "", "", "{name:x} is no reference"},
		{[]string{"a={json}"}, "", "", "{json} is no reference"},
		{[]string{"a={field}"}, "", "", "{field} is no reference"},
		{[]string{"a={field:}"}, "", "", "{field:} is no reference"},
		{[]string{"a={json:b}"}, "", "", "begin with /"},
		{[]string{"a={json:/b~2}"}, "", "", "~0"},
		{[]string{"a={field:b~}"}, "", "", "~0"},
		{[]string{"a={field:*}"}, "", "", "has a *"},
		{[]string{"a=x{name"}, "", "", "not closed"},
		{[]string{"a=x}y"}, "", "", "closes nothing"},
		{[]string{"a={name}}"}, "", "", "closes nothing"},
		{[]string{"a=b"}, "/context", "", "both"},
		{nil, "/context~", "", "~0"},
		{nil, "*/context", "", "has a *"},
		{nil, "", "{nothing}", "associated data"},
	} {
		_, err := binding.New(c.context, c.field, c.data)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q, %q, %q: %v; want %q", c.context, c.field, c.data, err, c.says)
		}
	}
}

func TestBindingOfItems(t *testing.T) {
	for name, want := range map[string][2]string{
		"a":      {"", "a"},
		"a/b/c":  {"a/b", "c"},
		"/a":     {"", "a"},
		"a/":     {"a", ""},
		"{name}": {"", "{name}"},
		"":       {"", ""},
	} {
		b := must[binding.Binding](t)(binding.New([]string{"x={{{name}}}", "dir={dir}", "base=<{base}>"}, "", "{dir}"))
		f := must[envelope.Format](t)(raw.New(b, b64.Choice{}))
		k := must[envelope.Envelope](t)(f.Parse(formattest.View(name, nil, "QUJD"))).Keys[0]
		if !maps.Equal(k.Context, map[string]string{"x": "{" + name + "}", "dir": want[0], "base": "<" + want[1] + ">"}) || string(k.AssociatedData) != want[0] {
			t.Errorf("%q: context %q, associated data %q", name, k.Context, k.AssociatedData)
		}
	}
	// No context is none, not an empty one with a name; a context is text, data are bytes.
	var none binding.Binding
	k := must[envelope.Envelope](t)(must[envelope.Format](t)(raw.New(none, b64.Choice{})).Parse(formattest.View("o", nil, "QUJD"))).Keys[0]
	if k.Context != nil || k.AssociatedData != nil {
		t.Errorf("context %q, associated data %q from no binding", k.Context, k.AssociatedData)
	}
	b := must[binding.Binding](t)(binding.New([]string{"x={name}"}, "", ""))
	if _, err := must[envelope.Format](t)(raw.New(b, b64.Choice{})).Parse(formattest.View("\xff", nil, "QUJD")); err == nil || errors.Is(err, envelope.ErrForeign) {
		t.Errorf("%v, want an error for a name that no context can hold", err)
	}
	b = must[binding.Binding](t)(binding.New(nil, "", "{name}"))
	k = must[envelope.Envelope](t)(must[envelope.Format](t)(raw.New(b, b64.Choice{})).Parse(formattest.View("\xff", nil, "QUJD"))).Keys[0]
	if string(k.AssociatedData) != "\xff" {
		t.Errorf("associated data %q", k.AssociatedData)
	}
}

// inDocument is a binding that refers to the document, and what comes of it: the
// context of each key, or the error of one.
type inDocument struct {
	name    string
	fields  []string
	context []string
	object  string
	doc     string
	want    []map[string]string
	says    string
}

func (c inDocument) check(t *testing.T) {
	name, data := "", "none"
	if len(c.context) == 1 {
		name, data, _ = strings.Cut(c.context[0], "=")
	}
	b := must[binding.Binding](t)(binding.New(c.context, c.object, data))
	f := must[envelope.Format](t)(jsondoc.New(c.fields, b, b64.Choice{}))
	e, err := sound(f.Parse(formattest.View("o", nil, c.doc)))
	if c.says != "" {
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %q", err, c.says)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Keys) != len(c.want) {
		t.Fatalf("%d keys, want %d", len(e.Keys), len(c.want))
	}
	for i, k := range e.Keys {
		if k.Context == nil || !maps.Equal(k.Context, c.want[i]) {
			t.Errorf("%s: context %q, want %q", k.Locator, k.Context, c.want[i])
		}
		want := data
		if len(c.context) == 1 {
			want = c.want[i][name]
		}
		if string(k.AssociatedData) != want {
			t.Errorf("%s: associated data %q, want %q", k.Locator, k.AssociatedData, want)
		}
	}
}

func TestBindingInDocuments(t *testing.T) {
	for _, c := range []inDocument{
		{name: "beside", fields: []string{"/*/k"}, context: []string{"id={field:id}"},
			doc:  `[{"id":"one","k":"QUJD"},{"k":"QUJD","id":"two"}]`,
			want: []map[string]string{{"id": "one"}, {"id": "two"}}},
		{name: "below", fields: []string{"/k"}, context: []string{"id={field:m/0/i~1d}"},
			doc: `{"k":"QUJD","m":[{"i/d":"x"}]}`, want: []map[string]string{{"id": "x"}}},
		{name: "beside, in an array", fields: []string{"/*/1"}, context: []string{"id={field:0}"},
			doc: `[["a","QUJD"],["b","QUJD"]]`, want: []map[string]string{{"id": "a"}, {"id": "b"}}},
		{name: "top", fields: []string{"/a/*/k"}, context: []string{"t={json:/t}", "both={json:/t}-{field:id}-{name}"},
			doc: `{"a":{"x":{"k":"QUJD","id":1}},"t":"T"}`, want: []map[string]string{{"t": "T", "both": "T-1-o"}}},
		{name: "stars", fields: []string{"/a/*/b/*/k"}, context: []string{"t={json:/a/*/id}", "u={json:/u/*/*}"},
			doc:  `{"u":{"x":{"p":1,"q":2},"y":[3]},"a":{"x":{"id":"X","b":{"p":{"k":"QUJD"},"q":{"k":"QUJD"}}},"y":{"id":"Y","b":[{"k":"QUJD"}]}}}`,
			want: []map[string]string{{"t": "X", "u": "1"}, {"t": "X", "u": "2"}, {"t": "Y", "u": "3"}}},
		{name: "kinds", fields: []string{"/k"}, context: []string{"s={field:s}", "n={field:n}", "t={field:t}", "f={field:f}", "e={field:e}"},
			doc:  `{"s":"a\u00e9\n\/","n":-1.50E+2,"t":true,"f":false,"e":"","k":"QUJD"}`,
			want: []map[string]string{{"s": "aé\n/", "n": "-1.50E+2", "t": "true", "f": "false", "e": ""}}},
		{name: "escaped names", fields: []string{"/*/k"}, context: []string{"id={field:i~0d}"},
			doc: `{"a/\u0062~":{"k":"QUJD","i\u007ed":"x"}}`, want: []map[string]string{{"id": "x"}}},
		{name: "two fields", fields: []string{"/a/k", "/b/k"}, context: []string{"id={field:id}"},
			doc: `{"a":{"k":"QUJD","id":"A"},"b":{"k":"QUJD","id":"B"}}`, want: []map[string]string{{"id": "A"}, {"id": "B"}}},
		{name: "the first of two fields", fields: []string{"/a/*/k", "/*/b/k"}, context: []string{"t={json:/t/*}"},
			doc: `{"a":{"b":{"k":"QUJD"}},"t":{"a":"A","b":"B"}}`, want: []map[string]string{{"t": "B"}}},
		{name: "the first of two fields, turned", fields: []string{"/*/b/k", "/a/*/k"}, context: []string{"t={json:/t/*}"},
			doc: `{"a":{"b":{"k":"QUJD"}},"t":{"a":"A","b":"B"}}`, want: []map[string]string{{"t": "A"}}},
		{name: "lines", fields: []string{"/k"}, context: []string{"id={json:/id}"},
			doc: "{\"id\":1,\"k\":\"QUJD\"}\n{\"k\":null}\n{\"k\":\"QUJD\",\"id\":2}\n", want: []map[string]string{{"id": "1"}, {"id": "2"}}},
		{name: "reference to the blob", fields: []string{"/k"}, context: []string{"id={field:k}"},
			doc: `{"k":"QUJD"}`, want: []map[string]string{{"id": "QUJD"}}},
		{name: "object beside", fields: []string{"/*/k"}, object: "c",
			doc:  `[{"k":"QUJD","c":{"a":"b","\u0063":"d\/"}},{"c":{},"k":"QUJD"},{"c":null,"k":"QUJD"}]`,
			want: []map[string]string{{"a": "b", "c": "d/"}, {}, {}}},
		{name: "object at the top", fields: []string{"/*/k"}, object: "/c",
			doc: `{"a":{"k":"QUJD"},"c":{"a":"b"}}`, want: []map[string]string{{"a": "b"}}},
		{name: "object of the same element", fields: []string{"/x/*/k"}, object: "/c/*",
			doc: `{"x":[{"k":"QUJD"},{"k":"QUJD"}],"c":[{"a":"1"},{"a":"2"}]}`, want: []map[string]string{{"a": "1"}, {"a": "2"}}},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t) })
	}
}

func TestBrokenReferences(t *testing.T) {
	for _, c := range []inDocument{
		{name: "missing", fields: []string{"/*/k"}, context: []string{"id={field:id}"}, doc: "\n" + `[{"k":"QUJD"}]`, says: "/0/k: context \"id\": /0/id is missing"},
		{name: "of another line", fields: []string{"/k"}, context: []string{"id={field:id}"}, doc: "{\"id\":1,\"k\":\"QUJD\"}\n{\"k\":\"QUJD\"}", says: "line 2:/k: context \"id\": /id is missing"},
		{name: "null", fields: []string{"/k"}, context: []string{"id={field:id}"}, doc: `{"k":"QUJD","id":null}`, says: "/id is null"},
		{name: "object", fields: []string{"/k"}, context: []string{"id={field:id}"}, doc: `{"k":"QUJD","id":{}}`, says: "/id is an object"},
		{name: "array", fields: []string{"/k"}, context: []string{"id={field:id}"}, doc: `{"k":"QUJD","id":[]}`, says: "/id is an array"},
		{name: "twice", fields: []string{"/k"}, context: []string{"id={field:id}"}, doc: `{"id":"1","k":"QUJD","id":"1"}`, says: "/id is there twice"},
		{name: "object missing", fields: []string{"/k"}, object: "c", doc: `{"k":"QUJD"}`, says: "/c is missing"},
		{name: "object of numbers", fields: []string{"/k"}, object: "c", doc: `{"k":"QUJD","c":{"a":1}}`, says: "not a string"},
		{name: "object with a name twice", fields: []string{"/k"}, object: "c", doc: `{"k":"QUJD","c":{"a":"1","a":"1"}}`, says: "twice"},
		{name: "object of broken UTF-8", fields: []string{"/k"}, object: "c", doc: "{\"k\":\"QUJD\",\"c\":{\"a\":\"\xff\"}}", says: "not UTF-8"},
		{name: "broken UTF-8", fields: []string{"/k"}, context: []string{"a={field:c}"}, doc: "{\"k\":\"QUJD\",\"c\":\"\xff\"}", says: "not be UTF-8"},
		{name: "object is none", fields: []string{"/k"}, object: "c", doc: `{"k":"QUJD","c":"{}"}`, says: "not a JSON object"},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t) })
	}

	for _, c := range []struct{ field, context, says string }{
		{"/a/k", "{json:/*/id}", "more *"},
		{"/*/k", "{json:/*/*}", "more *"},
		{"", "{field:id}", "whole document"},
	} {
		b := must[binding.Binding](t)(binding.New([]string{"a=" + c.context}, "", ""))
		if _, err := jsondoc.New([]string{c.field}, b, b64.Choice{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s with %s: %v, want %q", c.field, c.context, err, c.says)
		}
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// sound makes the first key's error the item's.
func sound(e envelope.Envelope, err error) (envelope.Envelope, error) {
	if err != nil {
		return e, err
	}
	for _, k := range e.Keys {
		if k.Err != nil {
			return e, fmt.Errorf("%s: %w", k.Locator, k.Err)
		}
	}
	return e, nil
}
