package b64_test

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"rewrap/engine/envelope/b64"
)

var encodings = map[string]*base64.Encoding{
	"std": base64.StdEncoding, "raw-std": base64.RawStdEncoding, "url": base64.URLEncoding, "raw-url": base64.RawURLEncoding,
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func decode(t *testing.T, text string) ([]byte, b64.Style) {
	t.Helper()
	blob, s, err := b64.Decode([]byte(text), func(n int) []byte { return make([]byte, n) })
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return blob, s
}

// Names are what --base64 takes and what a checkpoint keeps.
func TestNames(t *testing.T) {
	for name, e := range encodings {
		s, err := b64.Parse(name)
		if err != nil || s.String() != name || !s.Settled() {
			t.Errorf("%s: %04b, %v, settled %v, %v", name, s, s, s.Settled(), err)
		}
		blob := []byte{0xff, 0xfb, 0xff, 0xfb}
		if got, want := string(b64.Choice{Said: s}.Encode(blob, 0, 0)), e.EncodeToString(blob); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if s, err := b64.Parse("auto"); err != nil || s != 0 || s.String() != "auto" {
		t.Errorf("auto: %04b, %v", s, err)
	}
	for _, name := range []string{"", "STD", "raw", "base64"} {
		if _, err := b64.Parse(name); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	// A style that does not settle everything has the name of what is written
	// in its place.
	for s, want := range map[b64.Style]string{
		b64.URL: "url", b64.Unpadded: "raw-std", b64.Padded: "std", b64.Std | b64.URL: "std",
		b64.Std | b64.URL | b64.Unpadded: "raw-std", b64.URL | b64.Padded | b64.Unpadded: "url",
	} {
		if s.Settled() || s.String() != want {
			t.Errorf("%04b: settled %v, %q, want %q", uint8(s), s.Settled(), s, want)
		}
		whole, err := b64.Parse(s.String())
		if blob := []byte{0xff, 0xfb}; err != nil || !bytes.Equal(b64.Choice{Said: s}.Encode(blob, 0, 0), b64.Choice{Said: whole}.Encode(blob, 0, 0)) {
			t.Errorf("%04b is not written as %q, %v", uint8(s), s, err)
		}
	}
}

func TestLearn(t *testing.T) {
	const std, url, padded, bare = b64.Std, b64.URL, b64.Padded, b64.Unpadded
	for _, c := range []struct {
		shown []b64.Style
		want  b64.Style
	}{
		{nil, 0},
		{[]b64.Style{0, 0}, 0},
		{[]b64.Style{0, url}, url | padded},
		{[]b64.Style{bare, 0}, std | bare},
		{[]b64.Style{url, bare}, url | bare},
		{[]b64.Style{url | bare, std | padded, url}, url | padded},
		{[]b64.Style{url, std}, std | padded},
		{[]b64.Style{bare, url, padded, bare}, url | bare},
		{[]b64.Style{std | url}, std | padded},
		{[]b64.Style{std | url, url, std | url}, url | padded}, // an item that contradicts itself has no vote
	} {
		if got := b64.Learn(c.shown); got != c.want {
			t.Errorf("%04b: %04b, want %04b", c.shown, got, c.want)
		}
	}
}

// The order in which a style is settled, alphabet and padding each by itself.
func TestOrder(t *testing.T) {
	blob := []byte{0xff, 0xfb, 0xff, 0xfb}
	for _, c := range []struct {
		own, field b64.Style
		choice     b64.Choice
		want       string
	}{
		{0, 0, b64.Choice{}, "std"},
		{0, 0, b64.Choice{Learned: b64.URL | b64.Unpadded}, "raw-url"},
		{0, 0, b64.Choice{Said: b64.Std | b64.Padded, Learned: b64.URL | b64.Unpadded}, "std"},
		{0, b64.URL, b64.Choice{Said: b64.Std | b64.Unpadded}, "raw-url"},
		{0, b64.Unpadded, b64.Choice{Said: b64.URL | b64.Padded}, "raw-url"},
		{b64.URL | b64.Unpadded, b64.Std | b64.Padded, b64.Choice{Said: b64.Std | b64.Padded}, "raw-url"},
		{b64.Padded, b64.URL | b64.Unpadded | b64.Padded, b64.Choice{}, "url"},
		// Texts that contradict each other settle nothing.
		{0, b64.Std | b64.URL, b64.Choice{Said: b64.URL | b64.Padded}, "url"},
		{0, b64.Std | b64.URL | b64.Padded | b64.Unpadded, b64.Choice{Learned: b64.URL | b64.Unpadded}, "raw-url"},
		{0, b64.Std | b64.URL, b64.Choice{}, "std"},
	} {
		if got, want := string(c.choice.Encode(blob, c.own, c.field)), encodings[c.want].EncodeToString(blob); got != want {
			t.Errorf("own %04b, field %04b, %+v: %s, want %s", c.own, c.field, c.choice, got, want)
		}
	}
}

// A blob assumes nothing exactly if its text is the same whatever is learned, and in every
// style that is possible where nothing is said.
func TestAssumes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	names := []string{"auto", "std", "raw-std", "url", "raw-url"}
	styles := func(yield func(b64.Style) bool) {
		for _, name := range names {
			if s, err := b64.Parse(name); err != nil || !yield(s) {
				return
			}
		}
	}
	sure := 0
	for own := range b64.Style(16) {
		for field := range b64.Style(16) {
			for said := range styles {
				assumes := b64.Choice{Said: said}.Assumes(own, field)
				if said != 0 && assumes != nil {
					t.Fatalf("own %04b, field %04b, said %v: a blob assumes something", own, field, said)
				}
				for n := range 40 {
					blob := random(r, n%7)
					if n%2 == 0 { // of letters that both alphabets have
						blob = bytes.Repeat([]byte("abc"), 3)[:n%8]
					}
					texts := map[string]bool{}
					for learned := range styles {
						texts[string(b64.Choice{Said: said, Learned: learned}.Encode(blob, own, field))] = true
					}
					got := assumes == nil || assumes(blob) == 0
					if got != (len(texts) == 1) {
						t.Fatalf("own %04b, field %04b, said %v, %x: assumes nothing is %v with the texts %v", own, field, said, blob, got, texts)
					}
					if assumes != nil && got {
						sure++
					}
					if assumes != nil && assumes(blob) < assumes(make([]byte, len(blob))) {
						t.Fatalf("%x assumes less than as many zero bytes", blob)
					}
				}
			}
		}
	}
	if sure < 100 {
		t.Errorf("only %d blobs fit where not every one does", sure)
	}
}

// Of many small blobs by one writer, each is written as that writer would have
// written it, once the first items have shown how.
func TestOneWriter(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for name, e := range encodings {
		t.Run(name, func(t *testing.T) {
			var shown []b64.Style
			for range 100 {
				_, s := decode(t, e.EncodeToString(random(r, 60+r.IntN(3))))
				shown = append(shown, s)
			}
			learned := b64.Learn(shown)
			if learned.String() != name {
				t.Fatalf("learned %v", learned)
			}
			bare := 0
			for i := range 2000 {
				// As long as what a key of 32 bytes takes, and of a length that shows
				// the padding or leaves it open.
				was, blob := e.EncodeToString(random(r, 60+i%3)), random(r, 60+r.IntN(3))
				if !strings.ContainsAny(was, "+/-_") {
					bare++
				}
				_, own := decode(t, was)
				if got, want := string(b64.Choice{Learned: learned}.Encode(blob, own, own)), e.EncodeToString(blob); got != want {
					t.Fatalf("%s becomes\n%s, want\n%s", was, got, want)
				}
			}
			if bare < 100 {
				t.Errorf("only %d of 2000 do not show their alphabet", bare)
			}
		})
	}
}

func TestLayout(t *testing.T) {
	long := strings.Repeat("QUJD", 30)
	for _, text := range []string{long, " " + long + "\r\n", "QUJD\nQUJD\nQU==\n", "Q\r\nU\r\nJ\r\nD", "\n\n\tQUJD"} {
		compact, layout, err := b64.Unwrap([]byte(text))
		if err != nil || bytes.ContainsAny(compact, b64.Space) {
			t.Fatalf("%q: %q, %v", text, compact, err)
		}
		if got := string(layout.Wrap(compact)); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
	for _, text := range []string{"QU JD\nQUJD", "QUJD\nQU\nQUJD", "QUJD\nQUJD\r\nQU"} {
		if _, _, err := b64.Unwrap([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
