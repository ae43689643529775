package jsondoc_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/jsondoc"
	"rewrap/sources"
)

const benchBlob = 184 // bytes of a KMS blob of a 32-byte key

// benchDocument is 1 MB with 1,000 blobs.
func benchDocument() []byte {
	r := rand.New(rand.NewPCG(1, 1))
	var b bytes.Buffer
	b.WriteString("{\n  \"records\": [")
	for i := range 1000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n    {\"id\": %d, \"key\": %q, \"iv\": %q, \"data\": %q, \"tags\": [\"a\", \"b\"], \"size\": %d.0}", i,
			base64.StdEncoding.EncodeToString(randomBytes(r, benchBlob)), base64.StdEncoding.EncodeToString(randomBytes(r, 12)),
			base64.StdEncoding.EncodeToString(randomBytes(r, 500)), i*10)
	}
	b.WriteString("\n  ]\n}\n")
	return b.Bytes()
}

// benchLines are 100,000 documents with a blob each.
func benchLines() []byte {
	r := rand.New(rand.NewPCG(1, 1))
	var b bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&b, "{\"id\":%d,\"key\":%q,\"name\":\"record %d\"}\n", i, base64.StdEncoding.EncodeToString(randomBytes(r, benchBlob)), i)
	}
	return b.Bytes()
}

// Re-wrapping is reading a document, and writing new blobs of the same length
// into it.
func benchSplice(b *testing.B, doc []byte, f envelope.Format, keys int) {
	v := sources.View{Size: int64(len(doc)), Head: doc}
	blob := bytes.Repeat([]byte{0xfb}, benchBlob)
	b.SetBytes(v.Size)
	b.ReportAllocs()
	for b.Loop() {
		e, err := f.Parse(v)
		if err != nil || len(e.Keys) != keys {
			b.Fatal(err)
		}
		blobs := make([][]byte, keys)
		for i := range blobs {
			blobs[i] = blob
		}
		edit, err := e.Replace(blobs)
		if err != nil {
			b.Fatal(err)
		}
		if out := formattest.Splice(b, doc, edit); len(out) != len(doc) {
			b.Fatal("another length")
		}
	}
}

func BenchmarkJSONSplice(b *testing.B) {
	bind := func(pairs ...string) binding.Binding {
		return must[binding.Binding](b)(binding.New(pairs, "", ""))
	}
	for _, c := range []struct {
		name, field string
		binding     binding.Binding
		doc         []byte
		keys        int
	}{
		{"Document", "/records/*/key", binding.Binding{}, benchDocument(), 1000},
		{"DocumentContext", "/records/*/key", bind("id={field:id}"), benchDocument(), 1000},
		{"Lines", "/key", binding.Binding{}, benchLines(), 100_000},
		{"LinesContext", "/key", bind("id={field:id}"), benchLines(), 100_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := must[envelope.Format](b)(jsondoc.New([]string{c.field}, c.binding, b64.Choice{Said: b64.Std | b64.Padded}))
			benchSplice(b, c.doc, f, c.keys)
		})
	}
}

// BenchmarkJSONRoundTrip is the same work by decoding and encoding all of it,
// which moreover changes the document.
func BenchmarkJSONRoundTrip(b *testing.B) {
	blob := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, benchBlob))
	put := func(b *testing.B, record any) {
		r := record.(map[string]any)
		if _, err := base64.StdEncoding.DecodeString(r["key"].(string)); err != nil {
			b.Fatal(err)
		}
		r["key"] = blob
	}
	for _, c := range []struct {
		name string
		doc  []byte
		put  func(b *testing.B, v any)
	}{
		{"Document", benchDocument(), func(b *testing.B, v any) {
			for _, r := range v.(map[string]any)["records"].([]any) {
				put(b, r)
			}
		}},
		{"Lines", benchLines(), put},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.doc)))
			b.ReportAllocs()
			for b.Loop() {
				var out bytes.Buffer
				d, e := json.NewDecoder(bytes.NewReader(c.doc)), json.NewEncoder(&out)
				d.UseNumber()
				e.SetEscapeHTML(false)
				for d.More() {
					var v any
					if err := d.Decode(&v); err != nil {
						b.Fatal(err)
					}
					c.put(b, v)
					if err := e.Encode(v); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
