package jsondoc_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/jsondoc"
	"rewrap/sources"
)

// generated is a document as pieces: other has one more than blobs, and they
// alternate. What changes when blobs do is known without any parser.
type generated struct {
	other  []string
	blobs  [][]byte
	quoted func(blob []byte) string
}

func (g *generated) text(blobs [][]byte) []byte {
	var b bytes.Buffer
	for i, o := range g.other {
		if b.WriteString(o); i < len(blobs) {
			b.WriteString(g.quoted(blobs[i]))
		}
	}
	return b.Bytes()
}

// generator writes documents no encoder would: any white space, escapes,
// numbers in odd forms, broken UTF-8, halves of surrogate pairs, names twice.
type generator struct {
	*rand.Rand
	g   generated
	buf strings.Builder
}

func (g *generator) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g *generator) space() {
	for g.IntN(3) == 0 {
		g.buf.WriteString(g.pick(" ", "\t", "\n", "\r\n", "  "))
	}
}

func (g *generator) name() string {
	return g.pick("k", `\u006b`, "a", "b", "c/d", `c\/d`, "~", "", "*", "é", `\ud83d\ude00`, "😀", `\ud800`, "\xff", "0", "1", `\"`, `\n`)
}

func (g *generator) value(depth int) {
	switch n := g.IntN(10); {
	case n < 3 && depth < 6:
		g.buf.WriteByte('{')
		g.space()
		for i := range g.IntN(5) {
			if i > 0 {
				g.buf.WriteByte(',')
				g.space()
			}
			name := g.name()
			g.buf.WriteString(`"` + name + `"`)
			g.space()
			g.buf.WriteByte(':')
			g.space()
			if name == "k" || name == `\u006b` {
				g.blob()
			} else {
				g.value(depth + 1)
			}
			g.space()
		}
		g.buf.WriteByte('}')
	case n < 6 && depth < 6:
		g.buf.WriteByte('[')
		g.space()
		for i := range g.IntN(4) {
			if i > 0 {
				g.buf.WriteByte(',')
				g.space()
			}
			g.value(depth + 1)
			g.space()
		}
		g.buf.WriteByte(']')
	case n < 8:
		g.buf.WriteString(g.pick("0", "-0", "1.50e+10", "12345678901234567890123", "-0.0E-0", "true", "false", "null"))
	default:
		g.buf.WriteString(`"` + g.pick("", "text", `\\`, `\"k\":`, "\xc3", `\udc00`, "YWJj", "\u2028", `\u0000`) + `"`)
	}
}

func (g *generator) blob() {
	if g.IntN(8) == 0 {
		g.buf.WriteString("null")
		return
	}
	g.buf.WriteByte('"')
	g.g.other = append(g.g.other, g.buf.String())
	g.buf.Reset()
	g.buf.WriteByte('"')
	g.g.blobs = append(g.g.blobs, randomBlob(g.Rand))
}

// randomBlob has a text that shows alphabet and padding.
func randomBlob(r *rand.Rand) []byte {
	return append(randomBytes(r, 3*r.IntN(30)+r.IntN(2)), all255...)
}

var generatedFields = []string{"/k", "/*/k", "/*/*/k", "/*/*/*/k", "/*/*/*/*/k", "/*/*/*/*/*/k", "/*/*/*/*/*/*/k"}

func generate(seed uint64) *generated {
	g := generator{Rand: rand.New(rand.NewPCG(seed, 0))}
	if g.IntN(4) == 0 {
		g.buf.WriteString("\ufeff")
	}
	for i := range 1 + g.IntN(4) {
		if i > 0 {
			g.buf.WriteString(g.pick("\n", "\r\n", "\n\n \t\n"))
		}
		g.space()
		g.value(0)
		g.buf.WriteString(g.pick("", "", " ", "\t"))
	}
	g.buf.WriteString(g.pick("", "\n", "\r\n", "\n\n"))
	g.g.other = append(g.g.other, g.buf.String())

	e := [...]*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding}[g.IntN(4)]
	escapes := strings.NewReplacer([][]string{nil, {"/", `\/`}, {"+", `\u002B`, "=", `\u003D`}, {"-", `\u002d`, "_", `\u005f`}}[g.IntN(4)]...)
	g.g.quoted = func(b []byte) string { return escapes.Replace(e.EncodeToString(b)) }
	return &g.g
}

// For documents of every kind: all blobs are found, and replacing some of them
// gives exactly the document that would have been written with the new ones.
func TestJSONChangesNothingElse(t *testing.T) {
	tested := 0
	for seed := range uint64(3000) {
		g := generate(seed)
		doc := g.text(g.blobs)
		e, err := jsonFormat(t, generatedFields...).Parse(formattest.View("o", nil, string(doc)))
		if len(g.blobs) == 0 && errors.Is(err, envelope.ErrForeign) {
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v\n%q", seed, err, doc)
		}
		tested++
		keys := e.Keys
		if len(keys) != len(g.blobs) {
			t.Fatalf("seed %d: %d keys, want %d\n%q", seed, len(keys), len(g.blobs), doc)
		}
		r := rand.New(rand.NewPCG(seed, 1))
		want := slices.Clone(g.blobs)
		blobs := make([][]byte, len(keys))
		locators := map[string]bool{}
		for i, k := range keys {
			if !bytes.Equal(k.Blob, g.blobs[i]) {
				t.Fatalf("seed %d: another blob at %s", seed, k.Locator)
			}
			if locators[k.Locator] {
				t.Fatalf("seed %d: two keys at %s", seed, k.Locator)
			}
			locators[k.Locator] = true
			if r.IntN(4) > 0 {
				want[i] = randomBlob(r)
				blobs[i] = want[i]
			}
		}
		edit := must[sources.Edit](t)(e.Replace(blobs))
		after := formattest.Splice(t, doc, edit)
		if !bytes.Equal(after, g.text(want)) {
			t.Fatalf("seed %d:\n%q\nwant\n%q", seed, after, g.text(want))
		}
		inverse := must[sources.Edit](t)(edit.Inverse(formattest.View("o", nil, string(doc))))
		if !bytes.Equal(formattest.Splice(t, after, inverse), doc) {
			t.Fatalf("seed %d: the inverse does not restore the document", seed)
		}
	}
	if tested < 500 {
		t.Errorf("%d documents with blobs, want 500", tested)
	}
}

// stringsAt lists path and value of every string and null in the documents,
// and every name, as encoding/json sees them: names twice are there twice.
func stringsAt(t *testing.T, doc []byte) map[string][]string {
	at := map[string][]string{}
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(doc, []byte("\ufeff"))))
	d.UseNumber()
	var walk func(path []string)
	walk = func(path []string) {
		v, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		switch v {
		case json.Delim('{'):
			for d.More() {
				name, _ := d.Token()
				walk(append(path[:len(path):len(path)], name.(string)))
			}
			d.Token()
		case json.Delim('['):
			for i := 0; d.More(); i++ {
				walk(append(path[:len(path):len(path)], strconv.Itoa(i)))
			}
			d.Token()
		default:
			if s, ok := v.(string); ok {
				key := fmt.Sprintf("%d", len(path))
				if len(path) > 0 {
					key += ":" + path[len(path)-1]
				}
				at[key] = append(at[key], s)
			}
		}
	}
	for d.More() {
		walk(nil)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatal(err)
	}
	return at
}

// What is found is what encoding/json finds, walking every token.
func TestJSONAgreesWithTheStandardLibrary(t *testing.T) {
	tested := 0
	for seed := range uint64(2000) {
		g := generate(seed)
		doc := g.text(g.blobs)
		at := stringsAt(t, doc)
		for depth, field := range generatedFields {
			e, err := jsonFormat(t, field).Parse(formattest.View("o", nil, string(doc)))
			var got []string
			switch {
			case err == nil:
				for _, k := range e.Keys {
					got = append(got, string(k.Blob))
				}
				tested++
			case !errors.Is(err, envelope.ErrForeign):
				t.Fatalf("seed %d: %v", seed, err)
			}
			var want []string
			for _, text := range at[fmt.Sprintf("%d:k", depth+1)] {
				text = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(text)
				b := must[[]byte](t)(base64.RawStdEncoding.DecodeString(text))
				want = append(want, string(b))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %s: %q, want %q\n%q", seed, field, got, want, doc)
			}
		}
	}
	if tested < 500 {
		t.Errorf("%d times keys were found, want 500", tested)
	}
}

func FuzzJSON(f *testing.F) {
	for seed := range uint64(30) {
		g := generate(seed)
		f.Add(g.text(g.blobs), []byte{1, 2, 0xff})
	}
	f.Add([]byte(`{"k":"\u0059WJj\r\nYW\/j","c":{"k":"x"}}`), all255)
	f.Add([]byte("[1,2"), all255)
	valid := jsonFormat(f, "/no such name")
	format := jsonFormat(f, append(generatedFields, "")...)
	b := must[binding.Binding](f)(binding.New(nil, "c", "{json:/*}{field:a}"))
	bound := must[envelope.Format](f)(jsondoc.New([]string{"/*/k", "/*"}, b, b64.Choice{Said: b64.Std | b64.Padded}))
	conforming := harness(f)
	f.Fuzz(func(t *testing.T, doc, blob []byte) {
		v := sources.View{Size: int64(len(doc)), Head: doc}
		bound.Parse(v)
		formattest.Check(t, conforming, v)

		// One document is valid for us when it is for encoding/json.
		if !bytes.ContainsAny(doc, "\n") && !bytes.HasPrefix(doc, []byte("\ufeff")) && len(bytes.TrimSpace(doc)) > 0 {
			if _, err := valid.Parse(v); errors.Is(err, envelope.ErrForeign) != json.Valid(doc) {
				t.Fatalf("%v, but valid is %v", err, json.Valid(doc))
			}
		}
		e, err := format.Parse(v)
		if err != nil {
			return
		}
		keys := e.Keys
		same, blobs := make([][]byte, len(keys)), make([][]byte, len(keys))
		for i, k := range keys {
			if same[i] = k.Blob; k.Err == nil {
				blobs[i] = blob
			}
		}
		if edit, err := e.Replace(same); err != nil || len(edit.Splices) > 0 {
			t.Fatalf("the same blobs put back: %v, %v", edit, err)
		}
		edit, err := e.Replace(blobs)
		if err != nil {
			return
		}
		after := formattest.Splice(t, doc, edit)
		if !bytes.Equal(formattest.Splice(t, after, must[sources.Edit](t)(edit.Inverse(v))), doc) {
			t.Fatal("the inverse does not restore the document")
		}
		again, err := format.Parse(sources.View{Size: int64(len(after)), Head: after})
		if err != nil {
			t.Fatalf("after the edit: %v", err)
		}
		if len(again.Keys) != len(keys) {
			t.Fatalf("%d keys after the edit of %d", len(again.Keys), len(keys))
		}
		for i, k := range again.Keys {
			if k.Locator != keys[i].Locator || !bytes.Equal(k.Blob, blobs[i]) {
				t.Fatalf("%s holds %x after the edit", k.Locator, k.Blob)
			}
		}
	})
}
