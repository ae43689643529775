package envelope_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/sources"
)

var variants = map[string]*base64.Encoding{
	"std": base64.StdEncoding, "raw-std": base64.RawStdEncoding, "url": base64.URLEncoding, "raw-url": base64.RawURLEncoding,
}

// Of many small blobs by one writer each is readable by that writer's reader
// afterwards, or was left as it was with an error that says what to do; and as
// few are left as came before enough had shown how it is written.
func TestBase64Auto(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for name, e := range variants {
		for _, format := range []string{"raw", "json"} {
			t.Run(name+" "+format, func(t *testing.T) {
				f, quoted := rawFormat(t, envelope.Base64Shown), "%s"
				if format == "json" {
					f, quoted = jsonFormat(t, "/k"), `{"k":"%s"}`
				}
				bare, left := 0, 0
				for i := range 2000 {
					// As long as what a key of 32 bytes takes, and of a length that shows
					// padding or none, or leaves that open.
					old, new := randomBytes(r, 60+i%3), randomBytes(r, 60+r.IntN(3))
					text := fmt.Sprintf(quoted, e.EncodeToString(old))
					if !strings.ContainsAny(e.EncodeToString(old), "+/-_") {
						bare++
					}
					v := view(fmt.Sprint(i), nil, text)
					env := must[envelope.Envelope](t)(f.Parse(v))
					edit, err := env.Replace([]*envelope.Rewrapped{{Blob: new}})
					var undecided *envelope.LeftError
					switch {
					case errors.As(err, &undecided):
						if left++; len(edit.Splices) > 0 || !undecided.Soon || !strings.Contains(err.Error(), "--base64") {
							t.Errorf("%v, soon %v, %d splices", err, undecided.Soon, len(edit.Splices))
						}
					case err != nil:
						t.Fatal(err)
					default:
						if got, want := string(splice(t, v.Head, edit)), fmt.Sprintf(quoted, e.EncodeToString(new)); got != want {
							t.Fatalf("item %d:\n%s, want\n%s", i, got, want)
						}
					}
				}
				if bare < 100 || left > 30 {
					t.Errorf("%d of 2000 do not show their alphabet, %d were left", bare, left)
				}
			})
		}
	}
}

// What the run has shown, and who counts as a witness.
func TestBase64Witnesses(t *testing.T) {
	const bare = "YWJj"                                                                                           // shows nothing
	std, url := base64.StdEncoding.EncodeToString(all255[:64]), base64.RawURLEncoding.EncodeToString(all255[:64]) // show all
	type items struct {
		first, n int // their names
		doc      string
		new      string // one letter a key: r to replace, any other to leave
	}
	a := func(text string) string { return `{"a":"` + text + `"}` }
	many := strings.Repeat(`{"a":"`+url+"\"}\n", 40)
	for _, c := range []struct {
		name   string
		said   envelope.Base64
		before []items
		want   string // "": left
		soon   bool
	}{
		{name: "nobody", soon: true},
		{name: "enough items", before: []items{{0, 16, a(url), "r"}}, want: "url"},
		{name: "one too few", before: []items{{0, 15, a(url), "r"}}, soon: true},
		{name: "an item counts once", before: []items{{0, 15, a(url), "r"}, {3, 1, a(url), "r"}, {3, 1, a(url), "r"}}, soon: true},
		{name: "so do its keys", before: []items{{0, 15, many, strings.Repeat("r", 40)}}, soon: true},
		{name: "one that was not opened is none", before: []items{{0, 20, a(url), "-"}}, soon: true},
		{name: "nor is one of another field", before: []items{{0, 20, `{"b":"` + url + `"}`, "r"}}, soon: true},
		{name: "one that disagrees is enough", before: []items{{0, 20, a(url), "r"}, {20, 1, a(std), "r"}}},
		{name: "whenever it came", before: []items{{0, 1, a(std), "r"}, {1, 20, a(url), "r"}}},
		{name: "what is said counts more", said: envelope.Base64Std, before: []items{{0, 20, a(url), "r"}}, want: "std"},
		{name: "who need not guess does not", said: envelope.Base64Own, before: []items{{0, 20, a(url), "r"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := must[envelope.Format](t)(envelope.JSON([]string{"/a", "/b"}, envelope.Binding{}, c.said))
			for _, b := range c.before {
				for i := range b.n {
					e := must[envelope.Envelope](t)(f.Parse(view(fmt.Sprint(b.first+i), nil, b.doc)))
					new := make([]*envelope.Rewrapped, len(b.new))
					for i := range b.new {
						if b.new[i] == 'r' {
							new[i] = &envelope.Rewrapped{Blob: all255[:61]}
						}
					}
					must[sources.Edit](t)(e.Replace(new))
				}
			}
			e := must[envelope.Envelope](t)(f.Parse(view("o", nil, `{"a":"`+bare+`","b":"`+std+`"}`)))
			edit, err := e.Replace([]*envelope.Rewrapped{{Blob: all255[:64]}, {Blob: all255[:61]}})
			var left *envelope.LeftError
			if c.want == "" {
				if !errors.As(err, &left) || len(left.Keys) != 1 || left.Keys[0].Index != 0 || left.Soon != c.soon {
					t.Fatalf("%v, want the first key left, soon %v", err, c.soon)
				}
				if len(edit.Splices) != 1 || !bytes.Equal(edit.Splices[0].Ins, []byte(base64.StdEncoding.EncodeToString(all255[:61]))) {
					t.Errorf("%v, want the other one's edit", edit)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"std": std, "url": url}[c.want]
			if got := string(edit.Splices[0].Ins); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}

	// An item that contradicts itself is not outvoted by the run.
	f := jsonFormat(t, "/*")
	for i := range 20 {
		e := must[envelope.Envelope](t)(f.Parse(view(fmt.Sprint(i), nil, `["`+std+`"]`)))
		must[sources.Edit](t)(e.Replace([]*envelope.Rewrapped{{Blob: all255[:61]}}))
	}
	e := must[envelope.Envelope](t)(f.Parse(view("o", nil, `["`+bare+`"]`)))
	must[sources.Edit](t)(e.Replace([]*envelope.Rewrapped{{Blob: all255[:64]}}))
	e = must[envelope.Envelope](t)(f.Parse(view("o", nil, `["`+bare+`","-A==","+A=="]`)))
	if _, err := e.Replace([]*envelope.Rewrapped{{Blob: all255[:64]}, nil, nil}); err == nil {
		t.Error("no error where two blobs of the item disagree")
	}
}

// Who need not guess is told of which keys another blob would do, and which; of
// an item's other keys many count, and few do not.
func TestBase64Own(t *testing.T) {
	const bare = `"YWJj"`
	url := `"` + base64.URLEncoding.EncodeToString(all255[:61]) + `"`
	plain, letters := []byte("abcabcabc"), all255[:66]
	for _, c := range []struct {
		name   string
		others string
		n      int
		blob   []byte
		left   bool // with letters
		fits   bool // plain
	}{
		{"alone", "", 0, letters, true, true},
		{"few others", url, 15, letters, true, true},
		{"many others", url, 16, letters, false, false},
		{"padding that nobody shows", bare, 20, letters[:64], true, false},
		{"padding that one shows", url, 1, letters[:64], true, true},
	} {
		f := must[envelope.Format](t)(envelope.JSON([]string{"/*"}, envelope.Binding{}, envelope.Base64Own))
		doc := "[" + bare + strings.Repeat(","+c.others, c.n) + "]"
		e := must[envelope.Envelope](t)(f.Parse(view("o", nil, doc)))
		new := make([]*envelope.Rewrapped, c.n+1)
		new[0] = &envelope.Rewrapped{Blob: c.blob}
		_, err := e.Replace(new)
		var left *envelope.LeftError
		if errors.As(err, &left) != c.left || !c.left && err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !c.left {
			continue
		}
		fits := left.Keys[0].Fits
		if left.Soon || (fits != nil) != c.fits || c.fits && (!fits(plain) || fits(c.blob)) {
			t.Errorf("%s: %+v", c.name, left)
		}
	}
	// Where new ones came and none fits, as under a key whose id takes such a
	// letter, other items tell.
	for _, n := range []int{15, 16} {
		for _, c := range []struct {
			f    envelope.Format
			item string
		}{
			{must[envelope.Format](t)(envelope.JSON([]string{"/*"}, envelope.Binding{}, envelope.Base64Own)), "[%s]"},
			{rawFormat(t, envelope.Base64Own), "%s"},
		} {
			quote := func(s string) string {
				if c.item == "%s" {
					s = strings.Trim(s, `"`)
				}
				return fmt.Sprintf(c.item, s)
			}
			for i := range n {
				e := must[envelope.Envelope](t)(c.f.Parse(view(fmt.Sprint(i), nil, quote(url))))
				must[sources.Edit](t)(e.Replace([]*envelope.Rewrapped{{Blob: all255[1:62]}}))
			}
			e := must[envelope.Envelope](t)(c.f.Parse(view("o", nil, quote(bare))))
			new := []*envelope.Rewrapped{{Blob: letters}}
			var left *envelope.LeftError
			if _, err := e.Replace(new); !errors.As(err, &left) || left.Soon || left.Keys[0].Fits == nil {
				t.Errorf("%s: %v, want one that fits to be asked for", c.item, err)
			}
			edit, err := e.Replace(new)
			if n < 16 {
				if !errors.As(err, &left) || !left.Soon {
					t.Errorf("%s: %v, want others to be waited for", c.item, err)
				}
				continue
			}
			if want := base64.URLEncoding.EncodeToString(letters); err != nil || !strings.Contains(string(edit.Splices[0].Ins), want) {
				t.Errorf("%s: %v, %v, want %s", c.item, err, edit, want)
			}
		}
	}
}
