// Package formattest is the contract of [envelope.Format] written as tests. A
// format's own test fills in a [Harness] and calls [Run]. Its fuzz test calls
// [Check] for each item that the fuzzer makes.
package formattest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/sources"
)

// Harness is a format, and items to try it with. All items are read whole. The
// bindings of the format must not depend on the wrapped keys themselves.
type Harness struct {
	// New makes the format. Called several times for each item.
	New func(t testing.TB, c b64.Choice) envelope.Format

	Items map[string]sources.View // of the format, each variant at least once

	// Foreign, Skipped and Broken are items that Parse refuses, by kind of
	// error.
	Foreign, Skipped, Broken map[string]sources.View
}

// Run runs every test of the suite.
func Run(t *testing.T, h Harness) {
	for name, v := range h.Items {
		t.Run("Item/"+name, func(t *testing.T) {
			if _, err := h.New(t, b64.Choice{}).Parse(v); err != nil {
				t.Fatalf("not parsed: %v", err)
			}
			Check(t, h, v)
		})
	}
	for kind, items := range map[string]map[string]sources.View{"foreign": h.Foreign, "skipped": h.Skipped, "broken": h.Broken} {
		for name, v := range items {
			t.Run("Refused/"+name, func(t *testing.T) {
				_, err := h.New(t, b64.Choice{}).Parse(v)
				if got := kindOf(err); got != kind {
					t.Errorf("%s (%v), want %s", got, err, kind)
				}
				Check(t, h, v)
			})
		}
	}
	t.Run("Short", func(t *testing.T) { testShort(t, h) })
	t.Run("Damaged", func(t *testing.T) { testDamaged(t, h) })
	t.Run("RemembersNothing", func(t *testing.T) { testRemembersNothing(t, h) })
}

// all are the items of the harness in a fixed order.
func (h Harness) all() (names []string, items map[string]sources.View) {
	items = map[string]sources.View{}
	for kind, views := range map[string]map[string]sources.View{"": h.Items, "foreign ": h.Foreign, "skipped ": h.Skipped, "broken ": h.Broken} {
		for name, v := range views {
			items[kind+name] = v
		}
	}
	return slices.Sorted(maps.Keys(items)), items
}

// kindOf is the kind of an error of Parse.
func kindOf(err error) string {
	switch {
	case err == nil:
		return "parsed"
	case errors.Is(err, envelope.ErrForeign):
		return "foreign"
	case errors.As(err, new(*sources.ShortError)):
		return "short"
	case errors.As(err, new(*sources.SkipError)):
		return "skipped"
	}
	return "broken"
}

// testShort: from a part of the body, Parse either makes the same as from the
// whole, or it asks for more.
func testShort(t *testing.T, h Harness) {
	f := h.New(t, b64.Choice{})
	names, items := h.all()
	for _, name := range names {
		v := items[name]
		e, err := f.Parse(v)
		want := describe(e, err)
		for n := range len(v.Head) {
			if n > 64 && n < len(v.Head)-64 {
				continue
			}
			part := v
			part.Head = slices.Clone(v.Head[:n])
			e, err := f.Parse(part)
			var short *sources.ShortError
			switch {
			case errors.As(err, &short):
				if short.Need <= int64(n) {
					t.Errorf("%s: asks for the first %d bytes, and got %d", name, short.Need, n)
				}
			case describe(e, err) != want:
				t.Errorf("%s: from %d of %d bytes it makes\n%s, and from all\n%s", name, n, v.Size, describe(e, err), want)
			}
		}
	}
}

// testDamaged checks items that differ from good ones in a few bytes.
func testDamaged(t *testing.T, h Harness) {
	r := rand.New(rand.NewPCG(5, 5))
	names, items := h.all()
	parsed := 0
	for _, name := range names {
		for range 30 {
			v := clone(items[name])
			damage(r, &v)
			if Check(t, h, v) {
				parsed++
			}
			if t.Failed() {
				t.Fatalf("%s, damaged", name)
			}
		}
	}
	t.Logf("%d of %d damaged items were parsed", parsed, 30*len(names))
}

// damage changes a few bytes of the body or of one metadata value.
func damage(r *rand.Rand, v *sources.View) {
	texts := [][]byte{v.Head}
	names := slices.Sorted(maps.Keys(v.Meta))
	for _, name := range names {
		texts = append(texts, v.Meta[name])
	}
	which := r.IntN(len(texts))
	text := texts[which]
	const odd = "\x00\xff\\\"{}[]:,+/-_=\n\r 0aZ"
	for range 1 + r.IntN(3) {
		at := r.IntN(len(text) + 1)
		switch r.IntN(3) {
		case 0:
			text = slices.Insert(slices.Clone(text), at, odd[r.IntN(len(odd))])
		case 1:
			text = slices.Delete(slices.Clone(text), at, min(at+1+r.IntN(4), len(text)))
		default:
			if at < len(text) {
				text[at] = odd[r.IntN(len(odd))]
			}
		}
	}
	if which == 0 {
		v.Head, v.Size = text, int64(len(text))
	} else {
		v.Meta[names[which-1]] = text
	}
}

// testRemembersNothing: one format that has seen all items, in any order, makes
// of each of them the same as a new one.
func testRemembersNothing(t *testing.T, h Harness) {
	names, items := h.all()
	made := func(f envelope.Format, name string) string {
		r := rand.New(rand.NewPCG(9, 9)) // the same blobs each time
		e, err := f.Parse(items[name])
		return describe(e, err) + written(e, newBlobs(r, e.Keys))
	}
	want := map[string]string{}
	for _, name := range names {
		want[name] = made(h.New(t, b64.Choice{}), name)
	}
	for _, order := range []string{"forwards", "backwards"} {
		f := h.New(t, b64.Choice{})
		for _, name := range names {
			if got := made(f, name); got != want[name] {
				t.Errorf("%s, %s: after others it makes\n%s, and alone\n%s", order, name, got, want[name])
			}
		}
		slices.Reverse(names)
	}
}

// describe is everything that Parse says, as text.
func describe(e envelope.Envelope, err error) string {
	if err != nil {
		return kindOf(err) + ": " + err.Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, fields %q, style %04b\n", e.Format, e.Fields, uint8(e.Style))
	for _, k := range e.Keys {
		fmt.Fprintf(&b, "%q %x key %q context %q %v data %q %v error %v hint %q assumes %v\n",
			k.Locator, k.Blob, k.KeyID, k.Context, k.Context == nil, k.AssociatedData, k.AssociatedData == nil, k.Err, k.Hint, k.Assumes != nil)
	}
	return b.String()
}

// written is the edit that puts the blobs there, as text.
func written(e envelope.Envelope, blobs [][]byte) string {
	if e.Replace == nil {
		return ""
	}
	edit, err := e.Replace(blobs)
	return editText(edit, err)
}

func editText(edit sources.Edit, err error) string {
	if err != nil {
		return "no edit: " + err.Error()
	}
	text, err := edit.AppendJSON(nil)
	if err != nil {
		return "no edit: " + err.Error()
	}
	return string(text)
}
