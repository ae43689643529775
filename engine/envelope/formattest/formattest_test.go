package formattest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/formattest"
	"rewrap/sources"
)

// pairs is a format that keeps the contract, but for one defect. A body is base64
// texts between semicolons, and the metadata value "k" is a blob as bytes.
type pairs struct {
	defect string
	choice b64.Choice
	seen   *atomic.Int64 // items
}

func (p pairs) has(defect string) bool { return p.defect == defect }

func (pairs) Name() string { return "pairs" }

func (pairs) Head() int64 { return 1 << 10 }

func (p pairs) Parse(v sources.View) (envelope.Envelope, error) {
	var none envelope.Envelope
	switch {
	case p.has("asks for what it has") && int64(len(v.Head)) < v.Size:
		return none, &sources.ShortError{Need: int64(len(v.Head))}
	case p.has("goes by a part") && len(v.Head) > 10:
		v.Size = int64(len(v.Head))
	case int64(len(v.Head)) < v.Size:
		return none, &sources.ShortError{Need: v.Size}
	}
	if v.Size == 0 {
		return none, envelope.ErrForeign
	}
	if v.Head[0] == '#' {
		if p.has("calls the skipped foreign") {
			return none, envelope.ErrForeign
		}
		return none, &sources.SkipError{Reason: "comment", Detail: "a comment"}
	}
	if p.has("changes the view") {
		v.Head[0] ^= 1
	}
	if p.seen.Add(1) > 1 && p.has("remembers") {
		p.choice.Learned = b64.URL | b64.Padded
	}
	it := &parsed{pairs: p, e: envelope.Envelope{Format: "pairs"}, view: v}
	if err := it.find(v); err != nil {
		if p.has("an envelope beside the error") {
			return it.e, err
		}
		if p.has("the error keeps the view") {
			return none, &lazy{v.Head}
		}
		return none, err
	}
	it.e.Replace = it.replace
	return it.e, nil
}

type lazy struct{ text []byte }

func (l *lazy) Error() string { return string(l.text) }

type parsed struct {
	pairs
	e      envelope.Envelope
	at     []int // of each text, in the body
	texts  []string
	styles []b64.Style
	view   sources.View
	calls  atomic.Int64
}

func (it *parsed) find(v sources.View) error {
	at := 0
	for i, text := range strings.Split(string(v.Head), ";") {
		blob, style, err := b64.Decode([]byte(text), func(n int) []byte { return make([]byte, n) })
		if it.has("panics") && strings.Contains(text, "\x00") {
			panic("a zero byte")
		}
		if err != nil {
			return err
		}
		k := envelope.WrappedKey{Locator: fmt.Sprint(i), Blob: blob, Assumes: it.choice.Assumes(style, 0)}
		switch {
		case it.has("locators repeat"):
			k.Locator = "here"
		case it.has("keeps the view"):
			k.AssociatedData = v.Head[:1]
		case it.has("every blob assumes nothing"):
			k.Assumes = nil
		case it.has("every blob assumes all"):
			k.Assumes = func([]byte) int { return 2 }
		case it.has("zero bytes assume more") && k.Assumes != nil:
			assumes := k.Assumes
			k.Assumes = func(b []byte) int {
				if b[0] == 0 {
					return 2
				}
				return assumes(b)
			}
		}
		it.e.Keys = append(it.e.Keys, k)
		it.at, it.texts, it.styles = append(it.at, at), append(it.texts, text), append(it.styles, style)
		at += len(text) + 1
	}
	if blob := v.Meta["k"]; len(blob) > 0 {
		it.e.Keys = append(it.e.Keys, envelope.WrappedKey{Locator: "k", Blob: bytes.Clone(blob)})
	}
	return nil
}

func (it *parsed) replace(blobs [][]byte) (sources.Edit, error) {
	switch {
	case it.has("takes any number of blobs"):
		blobs = append(blobs, make([][]byte, len(it.e.Keys))...)[:len(it.e.Keys)]
	case it.has("takes empty blobs"):
	default:
		if err := envelope.CheckBlobs(it.e.Keys, blobs); err != nil {
			return sources.Edit{}, err
		}
	}
	calls := it.calls.Add(1)
	var edit sources.Edit
	for i, blob := range blobs {
		if blob == nil {
			continue
		}
		if i == len(it.at) {
			edit.Meta = map[string][]byte{"k": bytes.Clone(blob)}
			if it.has("keeps the blobs") {
				edit.Meta["k"] = blob
			}
			continue
		}
		style := it.styles[i]
		if it.has("always standard") {
			style = b64.Std | b64.Padded
		}
		text := it.choice.Encode(blob, style, 0)
		if bytes.Equal(blob, it.e.Keys[i].Blob) && !it.has("always standard") {
			continue
		}
		if it.has("counts its calls") && calls > 6 {
			text = append(text, "AAAA"...)
		}
		splice := sources.Splice{Off: int64(it.at[i]), Del: int64(len(it.texts[i])), Ins: text}
		if it.has("keeps a separator too few") && i > 0 {
			splice.Off, splice.Del = splice.Off-1, splice.Del+1
		}
		edit.Splices = append(edit.Splices, splice)
	}
	if it.has("the view is read late") && len(it.view.Head) > 0 && it.view.Head[0] > 'z' {
		return edit, errors.New("no longer base64")
	}
	return edit, nil
}

func harness(defect string) formattest.Harness {
	return formattest.Harness{
		New: func(_ testing.TB, c b64.Choice) envelope.Format {
			return pairs{defect: defect, choice: c, seen: new(atomic.Int64)}
		},
		Items: map[string]sources.View{
			"shown":  formattest.View("o", nil, "+A==;-A"),
			"hidden": formattest.View("o", map[string]string{"k": "\x01\x02"}, "YWJj;YWI;YWI="),
			"long":   formattest.View("o", nil, strings.Repeat("YWJj", 40)),
		},
		Foreign: map[string]sources.View{"empty": formattest.View("o", nil, "")},
		Skipped: map[string]sources.View{"comment": formattest.View("o", nil, "#")},
		Broken:  map[string]sources.View{"words": formattest.View("o", nil, "YWJj;no base64")},
	}
}

// TestPairs: a format without a defect passes. The processes that TestDefects
// starts show the suite a format with the defect in the environment.
func TestPairs(t *testing.T) { formattest.Run(t, harness(os.Getenv("FORMATTEST_DEFECT"))) }

// TestDefects: each defect is found.
func TestDefects(t *testing.T) {
	if os.Getenv("FORMATTEST_DEFECT") != "" {
		t.Skip("this process is one of the defects")
	}
	for defect, found := range map[string]string{
		"asks for what it has":         "Short",
		"goes by a part":               "Short",
		"calls the skipped foreign":    "Refused/comment",
		"changes the view":             "Item/shown",
		"remembers":                    "RemembersNothing",
		"an envelope beside the error": "Refused/words",
		"the error keeps the view":     "Refused/words",
		"panics":                       "Damaged",
		"locators repeat":              "Item/shown",
		"keeps the view":               "Item/shown",
		"the view is read late":        "Item/shown",
		"keeps the blobs":              "Item/hidden",
		"every blob assumes nothing":   "Item/hidden",
		"every blob assumes all":       "Item/shown",
		"zero bytes assume more":       "Item/hidden",
		"takes any number of blobs":    "Item/shown",
		"takes empty blobs":            "Item/shown",
		"always standard":              "Item/shown",
		"counts its calls":             "Item/shown",
		"keeps a separator too few":    "Item/shown",
	} {
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestPairs$", "-test.v")
			cmd.Env = append(os.Environ(), "FORMATTEST_DEFECT="+defect)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite passes a format whose defect is: %s", defect)
			}
			if !strings.Contains(string(out), "--- FAIL: TestPairs/"+found+" ") {
				t.Errorf("%s does not find it; the suite says:\n%s", found, out)
			}
		})
	}
}
