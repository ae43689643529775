package formattest

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/sources"
)

// Check tests everything that holds for any item at all, whether or not it is of
// the format. It says whether Parse found wrapped keys. All blobs that it makes
// follow from the size of the item, so that a failure can be repeated.
func Check(t testing.TB, h Harness, v sources.View) (parsed bool) {
	t.Helper()
	c := &check{TB: t, h: h, v: v, f: h.New(t, b64.Choice{}), r: rand.New(rand.NewPCG(uint64(v.Size), 1))}
	before := clone(v)
	e, err := c.f.Parse(v)
	if !equal(v, before) {
		t.Errorf("Parse changed the view")
	}
	again, errAgain := c.f.Parse(v)
	if got, want := describe(again, errAgain), describe(e, err); got != want {
		t.Errorf("parsed again it is\n%s, and was\n%s", got, want)
	}
	c.notKept()
	if err != nil {
		if e.Keys != nil || e.Replace != nil || e.Format != "" || err.Error() == "" {
			t.Errorf("an envelope %+v beside the error %v", e, err)
		}
		if kindOf(err) == "short" && int64(len(v.Head)) >= v.Size {
			t.Errorf("%v, and that was all there is", err)
		}
		return false
	}
	c.e = e
	c.sound()
	if t.Failed() {
		return true
	}
	blobs := newBlobs(c.r, e.Keys)
	first := written(e, blobs)
	c.unchanged()
	c.refuses()
	c.replaces()
	c.pure()
	c.assumes()
	if last := written(e, blobs); last != first {
		t.Errorf("the same blobs are written at last as\n%s, and at first as\n%s", last, first)
	}
	return true
}

// check is one item, and what was found in it.
type check struct {
	testing.TB
	h Harness
	v sources.View
	f envelope.Format
	e envelope.Envelope
	r *rand.Rand
}

// sound: the envelope is complete.
func (c *check) sound() {
	if name := c.f.Name(); !strings.HasPrefix(c.e.Format, name) && name != "auto" {
		c.Errorf("the format is called %q in the envelope, and %q itself", c.e.Format, name)
	}
	if len(c.e.Keys) == 0 || c.e.Replace == nil || c.e.Format == "" {
		c.Errorf("the envelope is not complete: %+v", c.e)
	}
	locators := map[string]bool{}
	for _, k := range c.e.Keys {
		if locators[k.Locator] {
			c.Errorf("two keys at %q", k.Locator)
		}
		locators[k.Locator] = true
		if k.Err == nil && len(k.Blob) == 0 {
			c.Errorf("%q has neither a blob nor an error", k.Locator)
		}
	}
}

// notKept: nothing of the view's memory is in the envelope, nor in an error.
func (c *check) notKept() {
	v := clone(c.v)
	e, err := c.f.Parse(v)
	blobs := newBlobs(rand.New(rand.NewPCG(2, 2)), e.Keys)
	want := describe(e, err) + written(e, blobs)
	scribble(v.Head)
	for _, value := range v.Meta {
		scribble(value)
	}
	clear(v.Meta)
	if got := describe(e, err) + written(e, blobs); got != want {
		c.Errorf("when the view's memory is used for something else it is\n%s, and was\n%s", got, want)
	}
}

// unchanged: a key that is replaced by nothing, or by itself, stays as it is.
func (c *check) unchanged() {
	own := make([][]byte, len(c.e.Keys))
	for i, k := range c.e.Keys {
		own[i] = slices.Clone(k.Blob)
		if k.Err != nil {
			own[i] = nil
		}
	}
	for name, blobs := range map[string][][]byte{"nothing": make([][]byte, len(c.e.Keys)), "themselves": own} {
		edit, err := c.e.Replace(blobs)
		if err != nil {
			c.Errorf("keys replaced by %s: %v", name, err)
		} else if after := Apply(c, c.v, edit); !equal(after, c.v) {
			c.Errorf("keys replaced by %s: the item changes: %s", name, editText(edit, nil))
		}
	}
}

// refuses: blobs that cannot be meant are errors.
func (c *check) refuses() {
	n := len(c.e.Keys)
	for _, wrong := range []int{0, n - 1, n + 1} {
		if _, err := c.e.Replace(make([][]byte, wrong)); err == nil {
			c.Errorf("%d blobs for %d keys: no error", wrong, n)
		}
	}
	for i, k := range c.e.Keys {
		blobs := make([][]byte, n)
		if blobs[i] = []byte{}; k.Err != nil {
			blobs[i] = []byte{1}
		}
		if _, err := c.e.Replace(blobs); err == nil {
			c.Errorf("%q: no error for a blob that is empty, or for a key that is broken", k.Locator)
		}
	}
}

// replaces: the new blobs are in the item, nothing else is another, and the
// inverse restores every byte.
func (c *check) replaces() {
	for range 4 {
		blobs := newBlobs(c.r, c.e.Keys)
		edit, err := c.e.Replace(blobs)
		if err != nil {
			c.Errorf("new blobs: %v", err)
			return
		}
		text := editText(edit, nil)
		after := Apply(c, c.v, edit)
		inverse, err := edit.Inverse(c.v)
		if err != nil {
			c.Errorf("no inverse: %v", err)
		} else if !equal(Apply(c, after, inverse), c.v) {
			c.Errorf("the inverse does not restore the item")
		}
		again, err := c.f.Parse(after)
		if err != nil {
			c.Errorf("after the edit: %v", err)
			return
		}
		c.holds(again, blobs)
		for _, b := range blobs {
			scribble(b)
		}
		if editText(edit, nil) != text {
			c.Errorf("the edit keeps memory of the blobs")
		}
	}
}

// holds: the item is as it was, but for the blobs.
func (c *check) holds(after envelope.Envelope, blobs [][]byte) {
	if after.Format != c.e.Format || len(after.Keys) != len(c.e.Keys) || !slices.Equal(after.Fields, c.e.Fields) {
		c.Errorf("after the edit it is %s with %d keys and %q, and was %s with %d and %q",
			after.Format, len(after.Keys), after.Fields, c.e.Format, len(c.e.Keys), c.e.Fields)
		return
	}
	for i, k := range after.Keys {
		was := c.e.Keys[i]
		want := blobs[i]
		if want == nil {
			want = was.Blob
		}
		if !bytes.Equal(k.Blob, want) {
			c.Errorf("%q holds %x after the edit, want %x", k.Locator, k.Blob, want)
		}
		if k.Locator != was.Locator || k.KeyID != was.KeyID || !maps.Equal(k.Context, was.Context) ||
			!bytes.Equal(k.AssociatedData, was.AssociatedData) || (k.Err == nil) != (was.Err == nil) {
			c.Errorf("after the edit a key is %+v, and was %+v", k, was)
		}
	}
}

// pure: an edit depends on nothing but the blobs: not on the edits before it, nor
// on those made beside it.
func (c *check) pure() {
	const sets = 4
	var blobs [sets][][]byte
	var want [sets]string
	for i := range blobs {
		blobs[i] = newBlobs(c.r, c.e.Keys)
		want[i] = written(c.e, blobs[i])
	}
	for i := sets - 1; i >= 0; i-- {
		if got := written(c.e, blobs[i]); got != want[i] {
			c.Errorf("the same blobs again are written as\n%s, and were written as\n%s", got, want[i])
		}
	}
	var all sync.WaitGroup
	for i := range blobs {
		all.Go(func() {
			if got := written(c.e, blobs[i]); got != want[i] {
				c.Errorf("beside others the blobs are written as\n%s, and alone as\n%s", got, want[i])
			}
		})
	}
	all.Wait()
}

// styles are what may be said, and what may be learned.
var styles = []b64.Style{0, b64.Std | b64.Padded, b64.Std | b64.Unpadded, b64.URL | b64.Padded, b64.URL | b64.Unpadded}

// assumes: a new blob assumes nothing if, and only if, it is written in the same
// way whatever is learned, and if nothing is said, whatever could have been said.
func (c *check) assumes() {
	var envelopes [5][5]envelope.Envelope // by what is said and learned
	for i, said := range styles {
		for j, learned := range styles {
			e, err := c.h.New(c, b64.Choice{Said: said, Learned: learned}).Parse(c.v)
			if err != nil {
				c.Errorf("said %v, learned %v: %v", said, learned, err)
				return
			}
			envelopes[i][j] = e
		}
	}
	for i, k := range c.e.Keys {
		if k.Err != nil || i >= 8 { // enough of a long item
			continue
		}
		for _, blob := range samples(c.r) {
			c.assumesOne(&envelopes, i, blob)
		}
	}
}

func (c *check) assumesOne(envelopes *[5][5]envelope.Envelope, i int, blob []byte) {
	blobs := make([][]byte, len(c.e.Keys))
	blobs[i] = blob
	ever := map[string]bool{}
	for s, said := range styles {
		texts := map[string]bool{}
		for l := range styles {
			texts[written(envelopes[s][l], blobs)] = true
		}
		maps.Copy(ever, texts)
		assumes := envelopes[s][0].Keys[i].Assumes
		sure := assumes == nil || assumes(blob) == 0
		switch {
		case sure != (len(texts) == 1):
			c.Errorf("%q, said %v: %x assumes nothing is %v, and it is written in %d ways", c.e.Keys[i].Locator, said, blob, sure, len(texts))
		case assumes != nil && assumes(blob) < assumes(make([]byte, len(blob))):
			c.Errorf("%q: %x assumes less than as many zero bytes", c.e.Keys[i].Locator, blob)
		case said != 0 && !sure:
			c.Errorf("%q: %x assumes something, though %v is said", c.e.Keys[i].Locator, blob, said)
		}
	}
	if assumes := c.e.Keys[i].Assumes; (assumes == nil || assumes(blob) == 0) && len(ever) != 1 {
		c.Errorf("%q: %x assumes nothing, and is written in %d ways", c.e.Keys[i].Locator, blob, len(ever))
	}
}

// newBlobs are blobs for most of the sound keys. Each begins with a byte that is
// no letter, as ciphertexts do, and has any length.
func newBlobs(r *rand.Rand, keys []envelope.WrappedKey) [][]byte {
	blobs := make([][]byte, len(keys))
	for i, k := range keys {
		if k.Err != nil || len(keys) > 1 && r.IntN(4) == 0 {
			continue
		}
		blobs[i] = []byte{1}
		for range r.IntN(100) {
			blobs[i] = append(blobs[i], byte(r.Uint32()))
		}
	}
	return blobs
}

// samples are blobs of every length modulo 3, with and without characters that
// only one alphabet has.
func samples(r *rand.Rand) [][]byte {
	var list [][]byte
	for n := 30; n < 33; n++ {
		plain := append([]byte{1}, bytes.Repeat([]byte("abc"), 11)...)
		loud := append([]byte{1}, bytes.Repeat([]byte{0xff, 0xfb}, 16)...)
		mixed := make([]byte, n)
		for i := range mixed {
			mixed[i] = byte(r.Uint32())
		}
		mixed[0] = 1
		list = append(list, plain[:n], loud[:n], mixed)
	}
	return list
}

func scribble(b []byte) {
	for i := range b {
		b[i] ^= 0xa5
	}
}

func clone(v sources.View) sources.View {
	v.Head = bytes.Clone(v.Head)
	v.Meta = maps.Clone(v.Meta)
	for name, value := range v.Meta {
		v.Meta[name] = bytes.Clone(value)
	}
	return v
}

func equal(a, b sources.View) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Size == b.Size && bytes.Equal(a.Head, b.Head) && maps.EqualFunc(a.Meta, b.Meta, bytes.Equal)
}
