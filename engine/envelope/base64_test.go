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
// few are left as came before the first that showed how it is written.
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
					v := view("o", nil, text)
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
				if bare < 100 || left > 10 {
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
	type item struct {
		doc string
		new string // one letter a key: r to replace, any other to leave
	}
	for _, c := range []struct {
		name   string
		said   envelope.Base64
		before []item
		want   string // "": left
		soon   bool
	}{
		{name: "nobody", soon: true},
		{name: "another item", before: []item{{`{"a":"` + url + `"}`, "r"}}, want: "url"},
		{name: "one that was not opened is none", before: []item{{`{"a":"` + url + `"}`, "-"}}, soon: true},
		{name: "nor is one of another field", before: []item{{`{"b":"` + url + `"}`, "r"}}, soon: true},
		{name: "two that disagree tell nothing", before: []item{{`{"a":"` + url + `"}`, "r"}, {`{"a":"` + std + `"}`, "r"}}},
		{name: "what is said counts more", said: envelope.Base64Std, before: []item{{`{"a":"` + url + `"}`, "r"}}, want: "std"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := must[envelope.Format](t)(envelope.JSON([]string{"/a", "/b"}, envelope.Binding{}, c.said))
			for _, b := range c.before {
				e := must[envelope.Envelope](t)(f.Parse(view("o", nil, b.doc)))
				new := make([]*envelope.Rewrapped, len(b.new))
				for i := range b.new {
					if b.new[i] == 'r' {
						new[i] = &envelope.Rewrapped{Blob: all255[:61]}
					}
				}
				must[sources.Edit](t)(e.Replace(new))
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
	e := must[envelope.Envelope](t)(f.Parse(view("o", nil, `["`+std+`"]`)))
	must[sources.Edit](t)(e.Replace([]*envelope.Rewrapped{{Blob: all255[:61]}}))
	e = must[envelope.Envelope](t)(f.Parse(view("o", nil, `["`+bare+`","-A==","+A=="]`)))
	if _, err := e.Replace([]*envelope.Rewrapped{{Blob: all255[:64]}, nil, nil}); err == nil {
		t.Error("no error where two blobs of the item disagree")
	}
}
