// Package jsondoc is the format of JSON documents that hold wrapped keys as
// base64 in their strings. It has its own scanner of JSON, since it has to know
// where in the item each string stands.
package jsondoc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/sources"
)

const (
	maxSize    = 64 << 20 // bytes of an item, which is held in memory whole
	maxKeys    = 1 << 20  // wrapped keys in an item
	maxPointer = 1 << 10  // bytes of a wrapped key's pointer
	maxDepth   = 10_000   // as in encoding/json
)

// New is the format of items that hold wrapped keys as base64 in the strings at
// the JSON Pointers fields (RFC 6901; "*" stands for any index or name). An item
// is one document, or several (JSON Lines), each of which begins on a line of
// its own. Blank lines, a UTF-8 byte order mark and CRLF are accepted.
//
// Only the characters of the blobs change. Numbers, order, white space, escapes
// and repeated names stay as they are, down to the byte. A blob may be written
// in the ways that the package raw describes, with JSON escapes. The new one is
// written in the same way, except that letters and digits are not escaped and
// white space has the short escapes. The other blobs of the same field in the
// item settle what the old blob does not show, and c settles the rest.
//
// A string that several fields match is one wrapped key, of the first of them.
// null is no wrapped key, and an item without any is foreign. Every other value
// at a pointer that is no base64 string is a wrapped key with an Err, and so is
// one whose references lead nowhere. An item that is not JSON is broken. Items
// of more than 64 MiB, with more than 1,048,576 wrapped keys, or with a wrapped
// key at a pointer of more than 1 KiB are skipped with the reason "too-large".
//
// Locators are pointers, behind "line N:" if there are several documents; N is
// the line on which the key's document begins. The pointer of a whole document
// is "", and its locator in several documents "line N". Where a name occurs
// twice, both values count, and the locator of the second key at a pointer ends
// in " (2)". A reference to a pointer with two values is an error of the key.
//
// The errors of New are about fields and the references of b.
func New(fields []string, b binding.Binding, c b64.Choice) (envelope.Format, error) {
	if len(fields) == 0 {
		return nil, errors.New("the format json needs the JSON Pointers to its wrapped keys")
	}
	f := &format{binding: b, choice: c, tree: &node{}, names: slices.Clone(fields), fields: make([]field, len(fields))}
	for i, text := range fields {
		pointer, err := binding.ParsePointer(text)
		if err != nil {
			return nil, err
		}
		n := f.tree.add(pointer)
		if n.field == 0 {
			n.field = i + 1
		}
		f.fields[i].same = n.field - 1
		for _, ref := range b.References() {
			at, pattern, err := ref.Resolve(pointer)
			if err != nil {
				return nil, err
			}
			f.fields[i].places = append(f.fields[i].places, at)
			f.tree.add(pattern).ref = true
		}
	}
	return f, nil
}

type format struct {
	binding binding.Binding
	choice  b64.Choice
	tree    *node    // the fields, and the places of their references
	names   []string // of the fields, as given
	fields  []field
}

type field struct {
	same   int             // the first field with the same pointer
	places []binding.Place // of the references of the binding
}

func (*format) Name() string { return "json" }

func (*format) Head() int64 { return maxSize }

func (f *format) Parse(v sources.View) (envelope.Envelope, error) {
	switch {
	case v.Size > maxSize:
		return envelope.Envelope{}, tooLarge("%d bytes: JSON is re-wrapped up to %d MiB; split the item", v.Size, maxSize>>20)
	case int64(len(v.Head)) < v.Size:
		return envelope.Envelope{}, &sources.ShortError{Need: v.Size}
	}
	if bytes.HasPrefix(v.Head, []byte("\x1f\x8b")) {
		return envelope.Envelope{}, errors.New("not JSON but compressed by gzip, and compressed items are not looked into")
	}
	s := newScanner(f, v.Name, v.Head[:v.Size])
	if err := s.scan(); err != nil {
		return envelope.Envelope{}, err
	}
	if len(s.at) == 0 {
		return envelope.Envelope{}, fmt.Errorf("%w: no wrapped key at any of the given JSON Pointers", envelope.ErrForeign)
	}
	return s.envelope(), nil
}

func tooLarge(format string, a ...any) error {
	return &sources.SkipError{Reason: "too-large", Detail: fmt.Sprintf(format, a...)}
}

// item is a parsed item: where its wrapped keys are, and nothing of the
// documents.
type item struct {
	choice  b64.Choice
	keys    []envelope.WrappedKey
	at      []place            // of each key
	layouts map[int]b64.Layout // of those keys that have one
	fields  []shown            // of each field
}

// place is a string that holds a wrapped key.
type place struct {
	start, end uint32 // of the content between the quotes, in the item
	field      uint32
	shown
}

// shown is the base64 style and the escapes of a string, or the union of those
// of several strings.
type shown struct {
	style b64.Style
	forms forms
}

func (s *shown) add(t shown) {
	s.style |= t.style
	s.forms |= t.forms
}

func (it *item) replace(blobs [][]byte) (sources.Edit, error) {
	if err := envelope.CheckBlobs(it.keys, blobs); err != nil {
		return sources.Edit{}, err
	}
	changes := 0
	for _, blob := range blobs {
		if blob != nil {
			changes++
		}
	}
	edit := sources.Edit{Splices: make([]sources.Splice, 0, changes)}
	for i, blob := range blobs {
		if blob == nil || bytes.Equal(blob, it.keys[i].Blob) {
			continue
		}
		at := &it.at[i]
		field, layout := it.fields[at.field], it.layouts[i]
		text := layout.Wrap(it.choice.Encode(blob, at.style, field.style))
		text = quote(text, layout != (b64.Layout{}), at.forms, field.forms)
		edit.Splices = append(edit.Splices, sources.Splice{Off: int64(at.start), Del: int64(at.end - at.start), Ins: text})
	}
	return edit, nil
}
