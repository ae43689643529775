package raw_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/raw"
	"rewrap/sources"
)

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func rawFormat(t testing.TB, c b64.Choice) envelope.Format {
	t.Helper()
	return must[envelope.Format](t)(raw.New(binding.Binding{}, c))
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// all255 has all letters of its alphabet: "/" and "+", or "_" and "-".
var all255 = bytes.Repeat([]byte{0xff, 0xfb, 0xef, 0xff, 0xff}, 14) // 70 bytes

func lines(text string, width int, eol string) string {
	var out []string
	for len(text) > width {
		out, text = append(out, text[:width]), text[width:]
	}
	return strings.Join(append(out, text), eol)
}

// What is written is what the same writer would have written of the new blob.
func TestRawKeepsTheWriting(t *testing.T) {
	type write func(blob []byte) string
	of := func(e *base64.Encoding) write { return e.EncodeToString }
	std, url := of(base64.StdEncoding), of(base64.URLEncoding)
	writers := map[string]write{
		"binary":             func(b []byte) string { return string(b) },
		"std":                std,
		"raw std":            of(base64.RawStdEncoding),
		"url":                url,
		"raw url":            of(base64.RawURLEncoding),
		"newline":            func(b []byte) string { return std(b) + "\n" },
		"CRLF":               func(b []byte) string { return std(b) + "\r\n" },
		"space around":       func(b []byte) string { return " \t\r\n" + url(b) + "\n\n \t" },
		"base64(1)":          func(b []byte) string { return lines(std(b), 76, "\n") + "\n" },
		"MIME":               func(b []byte) string { return lines(std(b), 76, "\r\n") },
		"PEM":                func(b []byte) string { return lines(std(b), 64, "\n") + "\n" },
		"width 1":            func(b []byte) string { return lines(url(b), 1, "\n") },
		"width cuts padding": func(b []byte) string { return lines(std(b), 31, "\r\n") + "\r\n" },
		"byte order mark":    func(b []byte) string { return "\ufeff" + std(b) + "\r\n" },
		"mark and space":     func(b []byte) string { return "\ufeff\n" + std(b) },
	}
	olds := map[string][]byte{"70": all255, "71": append([]byte{1}, all255...), "184": append(bytes.Repeat([]byte{1, 2, 3}, 38), all255...)}
	news := [][]byte{all255[:64], all255[:65], all255[:66], bytes.Repeat(all255, 3), {0xff}}
	for name, w := range writers {
		for length, old := range olds {
			t.Run(name+" "+length, func(t *testing.T) {
				v := formattest.View("o", nil, w(old))
				e, err := rawFormat(t, b64.Choice{}).Parse(v)
				if err != nil {
					t.Fatal(err)
				}
				want := "raw-base64"
				if name == "binary" {
					want = "raw-binary"
				}
				if e.Format != want || len(e.Keys) != 1 || e.Keys[0].Locator != "raw" || !bytes.Equal(e.Keys[0].Blob, old) {
					t.Fatalf("%s, %d keys", e.Format, len(e.Keys))
				}
				for _, blob := range news {
					edit, err := e.Replace([][]byte{blob})
					if err != nil {
						t.Fatal(err)
					}
					if got := formattest.Splice(t, v.Head, edit); string(got) != w(blob) {
						t.Errorf("%d bytes:\n%q, want\n%q", len(blob), got, w(blob))
					}
				}
				for _, same := range [][]byte{nil, old} {
					if edit, err := e.Replace([][]byte{same}); err != nil || !edit.Empty() {
						t.Errorf("%v, %v, want no change", edit, err)
					}
				}
			})
		}
	}
}

// Where the old text does not tell how to write the new one, the operator
// decides, then the job, and then the new one is standard and padded. Only the
// last two are assumptions.
func TestRawUndecided(t *testing.T) {
	std, rawStd, url, rawURL := base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding
	plain := bytes.Repeat([]byte("abc"), 8) // neither alphabet nor padding
	auto := b64.Choice{}
	said := func(s b64.Style) b64.Choice { return b64.Choice{Said: s} }
	learned := func(s b64.Style) b64.Choice { return b64.Choice{Learned: s} }
	for _, c := range []struct {
		name    string
		old     string
		choice  b64.Choice
		blob    []byte
		want    string
		assumed bool
	}{
		{"nothing is shown, nothing is needed", std.EncodeToString(plain), auto, plain[:6], "YWJjYWJj", false},
		{"padding only", std.EncodeToString(plain[:8]), auto, plain[:7], "YWJjYWJjYQ==", false},
		{"no padding only", rawStd.EncodeToString(plain[:8]), auto, plain[:7], "YWJjYWJjYQ", false},
		{"alphabet needed", std.EncodeToString(plain[:8]), auto, all255, std.EncodeToString(all255), true},
		{"alphabet needed, unpadded", rawStd.EncodeToString(plain[:8]), auto, all255, rawStd.EncodeToString(all255), true},
		{"padding needed", std.EncodeToString(plain), auto, plain[:7], "YWJjYWJjYQ==", true},
		{"std", std.EncodeToString(plain), said(b64.Std | b64.Padded), all255, std.EncodeToString(all255), false},
		{"raw std", std.EncodeToString(plain), said(b64.Std | b64.Unpadded), all255, rawStd.EncodeToString(all255), false},
		{"url", std.EncodeToString(plain), said(b64.URL | b64.Padded), all255, url.EncodeToString(all255), false},
		{"raw url", std.EncodeToString(plain), said(b64.URL | b64.Unpadded), all255, rawURL.EncodeToString(all255), false},
		{"learned", std.EncodeToString(plain), learned(b64.URL | b64.Unpadded), all255, rawURL.EncodeToString(all255), true},
		{"said counts more than learned", std.EncodeToString(plain), b64.Choice{Said: b64.Std | b64.Padded, Learned: b64.URL | b64.Unpadded}, all255, std.EncodeToString(all255), false},
		{"what is shown counts more", rawURL.EncodeToString(all255), said(b64.Std | b64.Padded), all255[1:], rawURL.EncodeToString(all255[1:]), false},
		{"alphabet shown, padding said", std.EncodeToString(all255[:66]), said(b64.URL | b64.Unpadded), all255, rawStd.EncodeToString(all255), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := formattest.View("o", nil, c.old)
			e := must[envelope.Envelope](t)(rawFormat(t, c.choice).Parse(v))
			edit := must[sources.Edit](t)(e.Replace([][]byte{c.blob}))
			if got := formattest.Splice(t, v.Head, edit); string(got) != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if assumes := e.Keys[0].Assumes; (assumes != nil && assumes(c.blob) > 0) != c.assumed {
				t.Errorf("assumed is %v, want %v", !c.assumed, c.assumed)
			}
		})
	}
}

// Blobs of every layout that KMS was seen to use, and of an emulator, are
// bytes, whatever follows the header.
func TestRawBinaryBlobs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, head := range map[string]string{
		"form 2":   "\x01\x02\x02\x00\x78",
		"form 1":   "\x01\x01\x01\x00\x78",
		"form P":   "\n " + strings.Repeat("a", 32) + "\x12\xa7\x01\x01\x01\x01\x00\x78",
		"emulator": "0bcd7f1b-9c7a-4a3e-8f0f-2f4d1f6d9a11",
	} {
		for range 200 {
			body := head + string(randomBytes(r, 60))
			e, err := rawFormat(t, b64.Choice{}).Parse(formattest.View("o", nil, body))
			if err != nil || e.Format != "raw-binary" || string(e.Keys[0].Blob) != body {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	e := must[envelope.Envelope](t)(rawFormat(t, b64.Choice{}).Parse(formattest.View("o", nil, "\x01\x02\x03")))
	for name, blob := range map[string]string{"empty": "", "letters alone": "QUJD"} {
		if _, err := e.Replace([][]byte{[]byte(blob)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, n := range []int{0, 2} {
		if _, err := e.Replace(make([][]byte, n)); err == nil {
			t.Errorf("%d new keys: no error", n)
		}
	}
}

// What looks like text is said to, beside the key service's refusal.
func TestRawHint(t *testing.T) {
	for body, want := range map[string]bool{
		"hello, world\n": true, "größe: 1": true, "QUJD": false, "\x01\x02\x02\x00\x78abc": false, "a\x00b!": false, "bad\xff!": false,
	} {
		k := must[envelope.Envelope](t)(rawFormat(t, b64.Choice{}).Parse(formattest.View("o", nil, body))).Keys[0]
		if (k.Hint != "") != want || k.Err != nil {
			t.Errorf("%q: hint %q, error %v", body, k.Hint, k.Err)
		}
	}
}

func TestRawRefuses(t *testing.T) {
	long := base64.StdEncoding.EncodeToString(make([]byte, 9213)) // 12 KiB less 4
	for _, c := range []struct {
		name, body string
		foreign    bool
		says       string
	}{
		{"empty", "", true, "empty"},
		{"white space", " \r\n\t", true, "white space"},
		{"byte order mark", "\ufeff", true, "white space"},
		{"large", strings.Repeat("\x01", 12<<10+1), true, "12289 bytes"},
		{"large binary", strings.Repeat("\x01", 8<<10+1), true, "8193 bytes"},
		{"large blob in base64", long, true, "9213 bytes"},
		{"one letter too few", "QUJDR", false, "missing"},
		{"a word", "hello\n", false, "missing"},
		{"words", "two words\n", false, "lines"},
		{"padding in the middle", "QUI=QUJD", false, "character 4"},
		{"padding alone", "=\n", false, "nothing but padding"},
		{"three padding", "QUJDR===", false, "character 6"},
		{"too much padding", "QUJDRA===", false, "character 7"},
		{"half the padding", "QUJDRA=", false, "wrong padding"},
		{"padding without need", "QUJD=", false, "wrong padding"},
		{"both alphabets", "+-AA", false, "both"},
		{"stray bits", "QUJDRB==", false, "beyond the last"},
		{"last line longer", "QUJD\nQUJDQUJD", false, "lines"},
		{"a line shorter", "QUJDQUJD\nQUJD\nQUJDQUJD", false, "lines"},
		{"two kinds of line ends", "QUJD\nQUJD\r\nQUJD", false, "lines"},
		{"a blank line", "QUJD\n\nQUJD", false, "lines"},
		{"a space in a line", "QU D\nQUJD", false, "lines"},
		{"a space in a later line", "QUJD\nQU D\nQUJD", false, "character 7"},
		{"CR alone", "QUJD\rQUJD", false, "lines"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := rawFormat(t, b64.Choice{}).Parse(formattest.View("o", nil, c.body))
			if err == nil || errors.Is(err, envelope.ErrForeign) != c.foreign || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want foreign %v, %q", err, c.foreign, c.says)
			}
			if err != nil && c.body != "" && len(c.body) > 4 && strings.Contains(err.Error(), c.body[:5]) {
				t.Errorf("%v: tells the item's content", err)
			}
		})
	}

	v := formattest.View("o", nil, "QUJD")
	v.Head = v.Head[:3]
	var short *sources.ShortError
	if _, err := rawFormat(t, b64.Choice{}).Parse(v); !errors.As(err, &short) || short.Need != 12<<10 {
		t.Errorf("%v, want a sources.ShortError of 12 KiB", err)
	}
	v = sources.View{Size: 1 << 40}
	if _, err := rawFormat(t, b64.Choice{}).Parse(v); !errors.Is(err, envelope.ErrForeign) {
		t.Errorf("%v, want a large item foreign without a reading", err)
	}
}

// Parse never keeps the view, nor Replace the new key.
func TestRawKeepsNoMemory(t *testing.T) {
	for _, body := range []string{"\x01\x02\x03\x04", "QUJD+///"} {
		v := formattest.View("o", nil, body)
		e := must[envelope.Envelope](t)(rawFormat(t, b64.Choice{}).Parse(v))
		before := string(e.Keys[0].Blob)
		clear(v.Head)
		if string(e.Keys[0].Blob) != before {
			t.Error("the blob is a part of the view")
		}
		blob := []byte("\x05\x06\x07")
		edit := must[sources.Edit](t)(e.Replace([][]byte{blob}))
		before = string(edit.Splices[0].Ins)
		clear(blob)
		if string(edit.Splices[0].Ins) != before {
			t.Error("the edit holds the new key's memory")
		}
	}
}

func TestRawBinding(t *testing.T) {
	b := must[binding.Binding](t)(binding.New([]string{"a=b", "object={name}"}, "", "for {base}"))
	f := must[envelope.Format](t)(raw.New(b, b64.Choice{}))
	k := must[envelope.Envelope](t)(f.Parse(formattest.View("dir/o", nil, "QUJD"))).Keys[0]
	if !maps.Equal(k.Context, map[string]string{"a": "b", "object": "dir/o"}) || string(k.AssociatedData) != "for o" {
		t.Errorf("context %q, associated data %q", k.Context, k.AssociatedData)
	}
	for _, context := range []string{"{json:/id}", "{field:id}"} {
		b := must[binding.Binding](t)(binding.New([]string{"a=" + context}, "", ""))
		if _, err := raw.New(b, b64.Choice{}); err == nil {
			t.Errorf("%s: no error", context)
		}
	}
}

func FuzzRaw(f *testing.F) {
	f.Add([]byte("\x01\x02\x03"), []byte{0xff})
	f.Add([]byte("QUJD\n"), []byte("ab"))
	f.Add([]byte(" -_-_\r\n-_-_\r\n"), all255)
	f.Add([]byte("\ufeff+/+/QQ=="), []byte{})
	conforming := harness()
	f.Fuzz(func(t *testing.T, body, blob []byte) {
		v := sources.View{Size: int64(len(body)), Head: body}
		formattest.Check(t, conforming, v)
		format := rawFormat(t, b64.Choice{})
		e, err := format.Parse(v)
		if err != nil {
			return
		}
		if edit, err := e.Replace([][]byte{e.Keys[0].Blob}); err != nil || len(edit.Splices) > 0 {
			t.Fatalf("the same blob put back: %v, %v", edit, err)
		}
		edit, err := e.Replace([][]byte{blob})
		if err != nil {
			return
		}
		after := formattest.Splice(t, body, edit)
		inverse := must[sources.Edit](t)(edit.Inverse(v))
		if !bytes.Equal(formattest.Splice(t, after, inverse), body) {
			t.Fatal("the inverse does not restore the item")
		}
		if len(blob) > 8<<10 || len(after) > 12<<10 {
			return
		}
		again, err := format.Parse(sources.View{Size: int64(len(after)), Head: after})
		if err != nil {
			t.Fatal(fmt.Errorf("after the edit: %w", err))
		}
		if again.Format != e.Format || !bytes.Equal(again.Keys[0].Blob, blob) {
			t.Fatalf("%s holds %x after the edit, not %s of %x", again.Format, again.Keys[0].Blob, e.Format, blob)
		}
	})
}
