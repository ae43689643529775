package jsondoc_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/jsondoc"
	"rewrap/sources"
)

// all255 has all letters of its alphabet: "/" and "+", or "_" and "-".
var all255 = bytes.Repeat([]byte{0xff, 0xfb, 0xef, 0xff, 0xff}, 14) // 70 bytes

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func lines(text string, width int, eol string) string {
	var out []string
	for len(text) > width {
		out, text = append(out, text[:width]), text[width:]
	}
	return strings.Join(append(out, text), eol)
}

func jsonFormat(t testing.TB, fields ...string) envelope.Format {
	t.Helper()
	return must[envelope.Format](t)(jsondoc.New(fields, binding.Binding{}, b64.Choice{}))
}

// found lists the wrapped keys as "locator=blob".
func found(e envelope.Envelope) []string {
	var list []string
	for _, k := range e.Keys {
		list = append(list, k.Locator+"="+string(k.Blob))
	}
	return list
}

func TestJSONFinds(t *testing.T) {
	const abc, def, ghi = `"YWJj"`, `"ZGVm"`, `"Z2hp"`
	for _, c := range []struct {
		name   string
		fields []string
		doc    string
		want   []string
	}{
		{"name", []string{"/a"}, `{"a":` + abc + `}`, []string{"/a=abc"}},
		{"deep", []string{"/a/0/b"}, `{"a":[{"b":` + abc + `},{"b":` + def + `}]}`, []string{"/a/0/b=abc"}},
		{"index is a name too", []string{"/a/1"}, `{"a":{"1":` + abc + `,"01":` + def + `}}`, []string{"/a/1=abc"}},
		{"01 is no index", []string{"/01", "/-", "/+1"}, `[` + abc + `,` + abc + `]`, nil},
		{"index 10", []string{"/10"}, `[0,1,2,3,4,5,6,7,8,9,` + abc + `,11]`, []string{"/10=abc"}},
		{"any index", []string{"/*"}, `[` + abc + `,null,` + def + `]`, []string{"/0=abc", "/2=def"}},
		{"any name", []string{"/*/k"}, `{"x":{"k":` + abc + `},"y":{"k":` + def + `},"z":{"l":1},"w":5}`, []string{"/x/k=abc", "/y/k=def"}},
		{"any and named", []string{"/*", "/a"}, `{"a":` + abc + `,"b":` + def + `}`, []string{"/a=abc", "/b=def"}},
		{"two branches", []string{"/a/*/x", "/*/b/y"}, `{"a":{"b":{"x":` + abc + `,"y":` + def + `}}}`, []string{"/a/b/x=abc", "/a/b/y=def"}},
		{"in the document's order", []string{"/b", "/a"}, `{"a":` + abc + `,"b":` + def + `}`, []string{"/a=abc", "/b=def"}},
		{"the same field twice", []string{"/a", "/a"}, `{"a":` + abc + `}`, []string{"/a=abc"}},
		{"one below the other", []string{"/a", "/a/b"}, `{"a":` + abc + `}`, []string{"/a=abc"}},
		{"escaped pointer", []string{"/a~1b~0c"}, `{"a/b~c":` + abc + `}`, []string{"/a~1b~0c=abc"}},
		{"escaped twice", []string{"/~01"}, `{"/":` + def + `,"~1":` + abc + `}`, []string{"/~01=abc"}},
		{"half a surrogate pair", []string{"/\ufffdA", "/\ufffd\ufffdB"}, `{"\ud800\u0041":` + abc + `,"\ud800\ud800B":` + def + `}`, []string{"/\ufffdA=abc", "/\ufffd\ufffdB=def"}},
		{"escaped name", []string{"/é☃😀\n"}, `{"\u00e9\u2603\ud83d\ude00\n":` + abc + `}`, []string{`/é☃😀\u000a=abc`}},
		{"empty name", []string{"/"}, `{"":` + abc + `}`, []string{"/=abc"}},
		{"whole document", []string{""}, abc, []string{"=abc"}},
		{"null", []string{"/a", "/b"}, `{"a":null,"b":` + abc + `}`, []string{"/b=abc"}},
		{"duplicates", []string{"/a/k"}, `{"a":{"k":` + abc + `,"k":` + def + `},"a":{"k":` + ghi + `}}`, []string{"/a/k=abc", "/a/k (2)=def", "/a/k (3)=ghi"}},
		{"white space", []string{"/a"}, " \t\r\n{ \"a\"\n:\r\n" + abc + "\t} \n\n", []string{"/a=abc"}},
		{"byte order mark", []string{"/a"}, "\ufeff" + `{"a":` + abc + `}`, []string{"/a=abc"}},
		{"other strings", []string{"/a"}, `{"b":"\ud800 \"/\b\f ` + "\xff" + `","a":` + abc + `,"c":[1.50e+10,-0,true,{}]}`, []string{"/a=abc"}},
		{"broken name", []string{"/*"}, "{\"\xff\x7f\":" + abc + `}`, []string{"/\ufffd\\u007f=abc"}},
		{"lines", []string{"/a"}, `{"a":` + abc + "}\n" + `{"a":` + def + `}`, []string{"line 1:/a=abc", "line 2:/a=def"}},
		{"lines, CRLF, blank", []string{"/a"}, "\ufeff\r\n" + `{"a":` + abc + "}\r\n\r\n{}\r\n" + `{"a":` + def + "}\r\n\r\n", []string{"line 2:/a=abc", "line 5:/a=def"}},
		{"lines, one key", []string{"/a"}, "1\n" + `{"a":` + abc + `}`, []string{"line 2:/a=abc"}},
		{"documents over many lines", []string{"/a"}, "{\n\"a\":" + abc + "\n}\n{\n\"a\":" + def + "\n}\n", []string{"line 1:/a=abc", "line 4:/a=def"}},
		{"duplicates that look like another", []string{"/*"}, `{"a (2)":` + abc + `,"a":` + def + `,"a":` + ghi + `,"b":` + abc + `,"b":` + def + `,"b (2)":` + ghi + `}`,
			[]string{"/a (2)=abc", "/a=def", "/a (3)=ghi", "/b=abc", "/b (2)=def", "/b (2) (2)=ghi"}},
		{"lines with duplicates", []string{"/a"}, `{"a":` + abc + `,"a":` + def + "}\n" + `{"a":` + ghi + `}`, []string{"line 1:/a=abc", "line 1:/a (2)=def", "line 2:/a=ghi"}},
		{"escaped blob", []string{"/a"}, `{"a":"\u0059\u0057J\u006A"}`, []string{"/a=abc"}},
		{"blob with line breaks", []string{"/a"}, `{"a":"YW\nJj\n"}`, []string{"/a=abc"}},
		{"nothing", []string{"/a"}, `{"b":` + abc + `}`, nil},
		{"null alone", []string{"/a"}, `{"a":null}`, nil},
		{"below a string", []string{"/a/b"}, `{"a":` + abc + `}`, nil},
		{"empty", []string{"/a"}, ``, nil},
		{"blank", []string{"/a"}, " \r\n\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := jsonFormat(t, c.fields...).Parse(formattest.View("o", nil, c.doc))
			if c.want == nil {
				if !errors.Is(err, envelope.ErrForeign) {
					t.Errorf("%v, want foreign", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := found(e); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			want := "json"
			if strings.HasPrefix(e.Keys[0].Locator, "line ") {
				want = "json-lines"
			}
			if e.Format != want {
				t.Errorf("format %s", e.Format)
			}
		})
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

// What stands at a pointer and is no wrapped key fails alone.
func TestJSONBrokenAlone(t *testing.T) {
	b := must[binding.Binding](t)(binding.New([]string{"id={field:id}"}, "", ""))
	f := must[envelope.Format](t)(jsondoc.New([]string{"/k"}, b, b64.Choice{Said: b64.Std | b64.Padded}))
	const doc = `{"id":"a","k":"YWJj"}
{"id":"b","k":7}
{"id":"c","k":""}
{"id":"d","k":"no!!"}
{"k":"ZGVm"}
{"id":"f","k":"Z2hp"}
`
	e := must[envelope.Envelope](t)(f.Parse(formattest.View("o", nil, doc)))
	var got []string
	for _, k := range e.Keys {
		if (k.Err == nil) != (k.Context["id"] == "a" || k.Context["id"] == "f") || k.Err != nil && k.Context != nil {
			t.Errorf("%s: %v, context %q", k.Locator, k.Err, k.Context)
		}
		if k.Err != nil {
			got = append(got, k.Locator+" "+k.Err.Error())
		}
	}
	want := []string{"line 2:/k a number, where a string with a wrapped key should be", "line 3:/k an empty string, where a wrapped key should be",
		"line 4:/k not base64: character 3 is none of its letters", `line 5:/k context "id": /id is missing`}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	blobs := make([][]byte, 6)
	blobs[0], blobs[5] = []byte("ABC"), []byte("DEF")
	edit := must[sources.Edit](t)(e.Replace(blobs))
	if got, want := string(formattest.Splice(t, []byte(doc), edit)), strings.NewReplacer("YWJj", "QUJD", "Z2hp", "REVG").Replace(doc); got != want {
		t.Errorf("%s", got)
	}

	// A whole document that is a string, alone and among others.
	f = jsonFormat(t, "")
	for doc, want := range map[string][]string{`"YWJj"`: {"=abc"}, "\"YWJj\"\n\"ZGVm\"\n": {"line 1=abc", "line 2=def"}} {
		if got := found(must[envelope.Envelope](t)(f.Parse(formattest.View("o", nil, doc)))); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	}
}

func TestJSONBroken(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct{ name, doc, says string }{
		{"a number", `{"a":1}`, "/a: a number"},
		{"an object", `{"a":{}}`, "/a: an object"},
		{"an array", `{"a":["YWJj"]}`, "/a: an array"},
		{"a boolean", "{}\n{\"a\":true}", "line 2:/a: a boolean"},
		{"empty string", `{"a":""}`, "/a: an empty string, where"},
		{"words", `{"a":"secret, or not!"}`, "/a: not base64: character 7"},
		{"blanks", `{"a":"  "}`, "/a: an empty string, where"},
		{"no base64", `{"a":"secret stuff"}`, "/a: not base64, or in lines"},
		{"other letters", `{"a":"secret!!"}`, "/a: not base64: character 7"},
		{"the second", "{\"a\":\"YWJj\"}\n\n{\"a\":\"YW.j\"}", "line 3:/a: not base64: character 3"},
		{"gzip", "\x1f\x8b\x08\x00", "gzip"},
		{"not JSON", "hello", "line 1, byte 1 "},
		{"ends", "{\"a\":\n \"YWJj\"", "line 2, byte 8 of it: it ends too early"},
		{"ends in a string", `{"a":"YW`, "ends too early"},
		{"ends in an escape", `{"a":"YW\`, "ends too early"},
		{"ends in \\u", `{"a":"YW\u00`, "ends too early"},
		{"ends in a word", `{"a":tru`, "ends too early"},
		{"ends in a number", `{"b":-`, "ends too early"},
		{"no colon", `{"a" "YWJj"}`, "line 1, byte 6 of it: a colon"},
		{"no name", `{1:2}`, "byte 2 of it: a name"},
		{"trailing comma", `{"a":"YWJj",}`, "byte 13 of it: a name"},
		{"trailing comma in an array", `[1,]`, "byte 4 "},
		{"no comma", "{\"b\":[\n1 2]}", "line 2, byte 3 of it: a comma"},
		{"no comma in an object", `{"b":1 "c":2}`, "byte 8 of it: a comma"},
		{"leading zero", `{"b":01}`, "byte 7 of it: a comma"},
		{"plus", `+1`, "byte 1 "},
		{"point", `[1.]`, "byte 4 of it: a digit"},
		{"exponent", `[1e+]`, "byte 5 of it: a digit"},
		{"minus", `[-a]`, "byte 3 of it: a digit"},
		{"word", `nul!`, "byte 4 "},
		{"control character", "\"a\tb\"", "control character"},
		{"escape", `"\x"`, "no such escape"},
		{"hexadecimal", `"\u00g0"`, "hexadecimal"},
		{"hexadecimal, a brace", `"\u00{0"`, "hexadecimal"},
		{"two on a line", `{"a":"YWJj"} {"a":"YWJj"}`, "byte 14 of it: something follows"},
		{"two without a space", `{"a":"YWJj"}{"a":"YWJj"}`, "byte 13 of it: something follows"},
		{"second line broken", "{\"a\":\"YWJj\"}\n{\"a\"}", "line 2, byte 5 of it: a colon"},
		{"NUL", "{\"a\":\"YWJj\"}\x00", "something follows"},
		{"NUL in between", "[\x00]", "no value"},
		{"UTF-16", "\xff\xfe{\x00}\x00", "line 1, byte 1 "},
		{"deep", deep(10001), "within each other"},
		{"very deep", strings.Repeat("[", 8<<20), "within each other"},
		{"very deep objects", strings.Repeat(`{"a":`, 1<<20), "within each other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := sound(jsonFormat(t, "/a").Parse(formattest.View("o", nil, c.doc)))
			if err == nil || errors.Is(err, envelope.ErrForeign) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%v: tells the content", err)
			}
		})
	}
	if _, err := jsonFormat(t, "/a").Parse(formattest.View("o", nil, deep(10000))); !errors.Is(err, envelope.ErrForeign) {
		t.Errorf("depth 10000: %v", err)
	}
	for _, fields := range [][]string{nil, {"a"}, {"/a", "b"}, {"/~"}, {"/a~2/b"}} {
		if _, err := jsondoc.New(fields, binding.Binding{}, b64.Choice{}); err == nil {
			t.Errorf("%q: no error", fields)
		}
	}
}

func TestJSONLimits(t *testing.T) {
	f := jsonFormat(t, "/*", "/*/*")
	skip := func(name string, v sources.View) {
		var skip *sources.SkipError
		if _, err := f.Parse(v); !errors.As(err, &skip) || skip.Reason != "too-large" || skip.Detail == "" {
			t.Errorf("%s: %v, want skipped as too-large", name, err)
		}
	}
	var short *sources.ShortError
	if _, err := f.Parse(sources.View{Size: 64 << 20, Head: []byte(`{"a":"YWJj"}`)}); !errors.As(err, &short) || short.Need != 64<<20 {
		t.Errorf("64 MiB: %v, want a sources.ShortError of all", err)
	}
	skip("65 MiB", sources.View{Size: 64<<20 + 1})
	skip("long name", formattest.View("o", nil, `{"`+strings.Repeat("n", 1024)+`":"YWJj"}`))
	skip("long pointer", formattest.View("o", nil, `{"`+strings.Repeat("n", 512)+`":{"`+strings.Repeat("n", 511)+`":"YWJj"}}`))
	skip("many keys", formattest.View("o", nil, "["+strings.Repeat(`"YWJj",`, 1<<20)+`"YWJj"]`))
	e := must[envelope.Envelope](t)(f.Parse(formattest.View("o", nil, `{"`+strings.Repeat("n", 1023)+`":"YWJj"}`)))
	if n := len(e.Keys[0].Locator); n != 1024 {
		t.Errorf("locator of %d bytes", n)
	}
}

// The new blob is written as the old one was, in every respect that shows, and
// as the field's others are where it does not show.
func TestJSONKeepsTheWriting(t *testing.T) {
	std, rawURL := base64.StdEncoding.EncodeToString(all255), base64.RawURLEncoding.EncodeToString(all255)
	short := all255[:64]
	newStd, newURL := base64.StdEncoding.EncodeToString(short), base64.RawURLEncoding.EncodeToString(short)
	form := func(text string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }
	const bare = "YWJj" // shows nothing
	for _, c := range []struct{ name, doc, want string }{
		{"std", std, newStd},
		{"raw url", rawURL, newURL},
		{"PHP", form(std, "/", `\/`), form(newStd, "/", `\/`)},
		{".NET", form(std, "+", `\u002B`), form(newStd, "+", `\u002B`)},
		{"Gson", form(std, "=", `\u003d`), form(newStd, "=", `\u003d`)},
		{"all", form(std, "+", `\u002b`, "/", `\u002F`, "=", `\u003D`), form(newStd, "+", `\u002b`, "/", `\u002F`, "=", `\u003D`)},
		{"all of url", form(rawURL, "-", `\u002d`, "_", `\u005F`), form(newURL, "-", `\u002d`, "_", `\u005F`)},
		{"mixed", strings.Replace(std, "/", `\/`, 1), newStd},
		{"Ruby", lines(std, 60, `\n`) + `\n`, lines(newStd, 60, `\n`) + `\n`},
		{"MIME, PHP", form(lines(std, 76, "L"), "/", `\/`, "L", `\r\n`), form(lines(newStd, 76, "L"), "/", `\/`, "L", `\r\n`)},
		{"tab", `\t` + std + ` `, `\t` + newStd + ` `},
		{"others show", bare + `","` + form(rawURL, "_", `\u005f`), form(newURL, "_", `\u005f`) + `","` + form(newURL, "_", `\u005f`)},
		{"its own counts more", form(std, "/", `\/`) + `","` + rawURL + `","` + std, form(newStd, "/", `\/`) + `","` + newURL + `","` + newStd},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := `["` + c.doc + `"]`
			e := must[envelope.Envelope](t)(jsonFormat(t, "/*").Parse(formattest.View("o", nil, doc)))
			var blobs, same [][]byte
			for _, k := range e.Keys {
				blobs = append(blobs, short)
				same = append(same, k.Blob)
			}
			edit := must[sources.Edit](t)(e.Replace(blobs))
			if got, want := string(formattest.Splice(t, []byte(doc), edit)), `["`+c.want+`"]`; got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
			if edit, err := e.Replace(same); err != nil || len(edit.Splices) > 0 {
				t.Errorf("the same blobs put back: %v, %v", edit, err)
			}
		})
	}

	for _, c := range []struct {
		name, doc string
		choice    b64.Choice
		want      string // of the first key
		assumed   bool
	}{
		{"nothing shows the alphabet", `{"a":["YWI="]}`, b64.Choice{}, newStd, true},
		{"others disagree", `{"a":["YWI=","-A==","+A=="]}`, b64.Choice{}, newStd, true},
		{"another field is no witness", `{"a":["YWI="],"b":["-A=="]}`, b64.Choice{}, newStd, true},
		{"learned", `{"a":["YWI="]}`, b64.Choice{Learned: b64.URL | b64.Unpadded}, base64.URLEncoding.EncodeToString(short), true},
		{"others disagree, learned", `{"a":["YWI=","-A==","+A=="]}`, b64.Choice{Learned: b64.URL | b64.Padded}, base64.URLEncoding.EncodeToString(short), true},
		{"said", `{"a":["YWI="]}`, b64.Choice{Said: b64.URL | b64.Padded}, base64.URLEncoding.EncodeToString(short), false},
		{"others disagree, said", `{"a":["YWI=","-A==","+A=="]}`, b64.Choice{Said: b64.URL | b64.Padded}, base64.URLEncoding.EncodeToString(short), false},
		{"one other shows it", `{"a":["YWI=","-A=="]}`, b64.Choice{Said: b64.Std | b64.Unpadded}, base64.URLEncoding.EncodeToString(short), false},
	} {
		f := must[envelope.Format](t)(jsondoc.New([]string{"/a/*", "/b/*"}, binding.Binding{}, c.choice))
		e := must[envelope.Envelope](t)(f.Parse(formattest.View("o", nil, c.doc)))
		blobs := make([][]byte, len(e.Keys))
		blobs[0] = short
		edit := must[sources.Edit](t)(e.Replace(blobs))
		if got := string(edit.Splices[0].Ins); got != c.want || len(edit.Splices) != 1 {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if assumes := e.Keys[0].Assumes; (assumes != nil && assumes(short) > 0) != c.assumed {
			t.Errorf("%s: assumed is %v, want %v", c.name, !c.assumed, c.assumed)
		}
	}
}

func TestJSONRefusesBlobs(t *testing.T) {
	for _, c := range []struct {
		name, doc, says string
		blobs           [][]byte
	}{
		{"empty blob", `{"a":["YWI="]}`, "/a/0: the new wrapped key is empty", [][]byte{{}}},
		{"too few", `{"a":["YWI=","YWI="]}`, "1 new wrapped keys for the item's 2", [][]byte{{1}}},
		{"for no wrapped key", `{"a":["YWI=",1]}`, "/a/1: a new wrapped key for one that is broken: a number", [][]byte{nil, {1}}},
	} {
		e := must[envelope.Envelope](t)(jsonFormat(t, "/a/*").Parse(formattest.View("o", nil, c.doc)))
		if _, err := e.Replace(c.blobs); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

// The fields that are in an item are named as they were given, and null is none.
func TestJSONFields(t *testing.T) {
	f := jsonFormat(t, "/k", "/n", "/*", "/k", "/gone", "/x/y")
	for doc, want := range map[string][]string{
		`{"k":"YWJj","n":null}`:              {"/k", "/*", "/k"},
		`{"a":"YWJj"}`:                       {"/*"},
		`{"k":7}`:                            {"/k", "/*", "/k"},
		"{\"k\":\"YWJj\"}\n{\"n\":\"YWJj\"}": {"/k", "/n", "/*", "/k"},
	} {
		e := must[envelope.Envelope](t)(f.Parse(formattest.View("o", nil, doc)))
		if !slices.Equal(e.Fields, want) {
			t.Errorf("%s: %q, want %q", doc, e.Fields, want)
		}
	}
	all := must[envelope.Envelope](t)(jsonFormat(t, "/k", "/n").Parse(formattest.View("o", nil, `{"k":"YWJj","n":"YWJj"}`)))
	if !slices.Equal(all.Fields, []string{"/k", "/n"}) {
		t.Errorf("%q, want all", all.Fields)
	}
}

// The style of an item is what all of its wrapped keys show.
func TestJSONStyle(t *testing.T) {
	f := jsonFormat(t, "/a/*", "/b")
	for doc, want := range map[string]b64.Style{
		`{"a":["YWJj"]}`:               0,
		`{"a":["YWI="]}`:               b64.Padded,
		`{"a":["YWJj","+A=="]}`:        b64.Std | b64.Padded,
		`{"a":["+A=="],"b":"-A"}`:      b64.Std | b64.URL | b64.Padded | b64.Unpadded,
		`{"a":["-A==",7,"no","!+=="]}`: b64.URL | b64.Padded, // the others are no wrapped keys
	} {
		if e := must[envelope.Envelope](t)(f.Parse(formattest.View("o", nil, doc))); e.Style != want {
			t.Errorf("%s: %04b, want %04b", doc, e.Style, want)
		}
	}
}

// Parse never keeps the view.
func TestJSONKeepsNoMemory(t *testing.T) {
	v := formattest.View("o", nil, `{"name":"YWJj","c":{"a":"bcd"},"name":"ZGVm"}`)
	b := must[binding.Binding](t)(binding.New(nil, "c", "{json:/c/a}"))
	f := must[envelope.Format](t)(jsondoc.New([]string{"/name"}, b, b64.Choice{}))
	e := must[envelope.Envelope](t)(f.Parse(v))
	clear(v.Head)
	for i, want := range []string{"/name=abc", "/name (2)=def"} {
		k := e.Keys[i]
		if found(e)[i] != want || k.Context["a"] != "bcd" || string(k.AssociatedData) != "bcd" {
			t.Errorf("%q, context %q, associated data %q", found(e)[i], k.Context, k.AssociatedData)
		}
	}
	if !bytes.Equal(v.Head, make([]byte, len(v.Head))) {
		t.Error("the view was not cleared")
	}
}

// What the emulated KMS knows of the blobs that real clients put into JSON.
func TestJSONVectors(t *testing.T) {
	const keyID = "7e823901-ccf0-4ea3-94f3-9bbd346a6a90"
	for _, c := range []struct {
		file, field, context string
		locator              string
		size                 int    // of the blob
		digest               string // as the KMS recorded it; "" where it did not
		want                 map[string]string
	}{
		{"sops.json", "/sops/kms/*/enc", "context", "/sops/kms/0/enc", 36 + 12 + 16 + 32, "", map[string]string{"env": "prod", "tenant": "acme"}},
		{"tink-keyset.json", "/encryptedKeyset", "", "/encryptedKeyset", 172, "9f841bb392fb70eab26e6107f8671e1763590782a3cc551e484523a77d57d038", nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			doc := must[[]byte](t)(os.ReadFile(filepath.Join("testdata", c.file)))
			b := must[binding.Binding](t)(binding.New(nil, c.context, ""))
			f := must[envelope.Format](t)(jsondoc.New([]string{c.field}, b, b64.Choice{}))
			e := must[envelope.Envelope](t)(f.Parse(formattest.View("o", nil, string(doc))))
			if n := len(e.Keys); n != 1 {
				t.Fatalf("%d keys", n)
			}
			k := e.Keys[0]
			if k.Locator != c.locator || !maps.Equal(k.Context, c.want) {
				t.Errorf("%s, context %q", k.Locator, k.Context)
			}
			if len(k.Blob) != c.size || !bytes.HasPrefix(k.Blob, []byte(keyID)) {
				t.Errorf("another blob, of %d bytes", len(k.Blob))
			}
			if sum := sha256.Sum256(k.Blob); c.digest != "" && hex.EncodeToString(sum[:]) != c.digest {
				t.Error("another blob than the KMS made")
			}
			blob := bytes.Repeat(all255, 3)[:c.size]
			edit := must[sources.Edit](t)(e.Replace([][]byte{blob}))
			want := strings.Replace(string(doc), base64.StdEncoding.EncodeToString(k.Blob), base64.StdEncoding.EncodeToString(blob), 1)
			if got := string(formattest.Splice(t, doc, edit)); got != want {
				t.Error("more or less than the blob changed")
			}
		})
	}
}
