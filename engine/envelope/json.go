package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"

	"rewrap/sources"
)

const (
	maxJSON        = 64 << 20 // bytes of a document: it is held in memory whole
	maxJSONKeys    = 1 << 20  // wrapped keys in an item
	maxJSONPointer = 1 << 10  // bytes of a wrapped key's pointer
	maxJSONDepth   = 10_000   // as in encoding/json
)

// JSON is the format of documents that hold wrapped keys as base64 in the
// strings at the given JSON Pointers (RFC 6901; "*" stands for any index or
// name). An item is one document, or one after another, each beginning on a
// line of its own (JSON Lines); its content tells which. Blank lines, a UTF-8
// byte order mark and CRLF are fine. Nothing but the characters of the
// blobs changes, so that all else stays as it is down to the byte: numbers,
// order, white space, escapes, names that are there twice.
//
// A blob may be written as [Raw] describes, with JSON escapes; the new one is
// written the same way, but for escapes of letters and digits, and of white
// space, which is given the short ones. What it does not show itself, the other blobs of the
// same field in the item do; what they leave open, undecided says (see
// [Base64Shown] for what the format remembers of other items). Where a
// name is there twice, both count, with what is below them, and the locator of
// the second key at a pointer ends in " (2)". A reference to a pointer at which
// two values stand is an error of the key.
//
// A string that several fields match is one wrapped key, of the first of them.
// null, or nothing at all, is no wrapped key; an item without any is foreign.
// Everything else at a pointer that is not a base64 string is a wrapped key
// with an Err, as is one whose references lead nowhere; whatever is not JSON is
// an error of the item. Skipped, with the reason "too-large", are
// items of more than 64 MiB, or more than 1,048,576 wrapped keys, or
// with a wrapped key at a pointer of more than 1 KiB.
//
// Locators are pointers, behind "line N:" if there are several documents; N is
// where the key's document begins. The pointer of a whole document is "", and
// its locator in several documents "line N".
//
// The errors of JSON itself are those of the fields and of b's references.
func JSON(fields []string, b Binding, undecided Base64) (Format, error) {
	if len(fields) == 0 {
		return nil, errors.New("the format json needs the JSON Pointers to its wrapped keys")
	}
	f := &jsonFormat{binding: b, pointers: &node{}, places: make([][]place, len(fields)), writings: make([]writing, len(fields)),
		names: fields, met: make([]atomic.Bool, len(fields))}
	for i, text := range fields {
		field, err := parsePointer(text)
		if err != nil {
			return nil, err
		}
		if n := f.pointers.add(field); n.field == 0 {
			n.field = i + 1
		} else { // given twice
			f.met[i].Store(true)
		}
		f.writings[i].said = undecided
		for _, ref := range b.refs {
			at, pattern, err := ref.resolve(field)
			if err != nil {
				return nil, err
			}
			f.places[i] = append(f.places[i], at)
			f.pointers.add(pattern).ref = true
		}
	}
	return f, nil
}

type jsonFormat struct {
	binding  Binding
	pointers *node     // the fields, and where their references may point
	places   [][]place // of each field: where each reference of the binding points
	writings []writing // of each field
	names    []string  // of each field: as it was given
	met      []atomic.Bool
}

func (*jsonFormat) Name() string { return "json" }

func (*jsonFormat) Head() int64 { return maxJSON }

// Unmet are the fields at which nothing stood in any item so far, or nothing
// but null: they may be misspelled.
func (f *jsonFormat) Unmet() []string {
	var unmet []string
	for i := range f.met {
		if !f.met[i].Load() {
			unmet = append(unmet, f.names[i])
		}
	}
	return unmet
}

func (f *jsonFormat) Parse(v sources.View) (Envelope, error) {
	switch {
	case v.Size > maxJSON:
		return nil, tooLarge("%d bytes: JSON is re-wrapped up to %d MiB; split the item", v.Size, maxJSON>>20)
	case int64(len(v.Head)) < v.Size:
		return nil, &sources.ShortError{Need: v.Size}
	}
	if bytes.HasPrefix(v.Head, []byte("\x1f\x8b")) {
		return nil, errors.New("not JSON but compressed by gzip, and compressed items are not looked into")
	}
	s := newJSONScanner(f, v.ID, v.Head[:v.Size])
	if err := s.scan(); err != nil {
		return nil, err
	}
	if len(s.at) == 0 {
		return nil, fmt.Errorf("%w: no wrapped key at any of the given JSON Pointers", ErrForeign)
	}
	return s.envelope(), nil
}

func tooLarge(format string, a ...any) error {
	return &sources.SkipError{Reason: "too-large", Detail: fmt.Sprintf(format, a...)}
}

// jsonEnvelope remembers where the strings are, and nothing of the document.
type jsonEnvelope struct {
	id       string
	format   string
	keys     []WrappedKey
	at       []jsonString   // of each key
	layouts  map[int]layout // of those keys that have one
	writings []writing      // of each field
	asked    bool           // for new keys that fit
}

// jsonString is a string that holds a wrapped key.
type jsonString struct {
	start, end uint32 // of what is between the quotes, in the item
	field      uint32
	style      style
}

func (e *jsonEnvelope) Format() string     { return e.format }
func (e *jsonEnvelope) Keys() []WrappedKey { return e.keys }

func (e *jsonEnvelope) Replace(new []*Rewrapped) (sources.Edit, error) {
	if len(new) != len(e.keys) {
		return sources.Edit{}, fmt.Errorf("%d new keys for the item's %d", len(new), len(e.keys))
	}
	changes, opened := 0, make([]style, len(e.writings))
	for i, r := range new {
		if r != nil {
			changes++
			opened[e.at[i].field] |= e.at[i].style
		}
	}
	for field, s := range opened {
		e.writings[field].learn(e.id, s)
	}
	others := e.others()
	var left LeftError
	edit := sources.Edit{Splices: make([]sources.Splice, 0, changes)}
	for i, r := range new {
		if unchanged(r, e.keys[i].Blob) {
			continue
		}
		if len(r.Blob) == 0 {
			return sources.Edit{}, fmt.Errorf("%s: %w", e.keys[i].Locator, errEmptyBlob)
		}
		at := e.at[i]
		w := &e.writings[at.field]
		text, soon, err := w.encode(r.Blob, at.style, others[at.field], e.asked || w.said == Base64Shown)
		if err != nil {
			left.Keys = append(left.Keys, w.left(i, err, at.style, others[at.field]))
			left.Soon = left.Soon || soon
			continue
		}
		text = quoteBase64(e.layouts[i].wrap(text), at.style, others[at.field])
		edit.Splices = append(edit.Splices, sources.Splice{Off: int64(at.start), Del: int64(at.end - at.start), Ins: text})
	}
	if len(left.Keys) > 0 {
		e.asked = true
		return edit, &left
	}
	return edit, nil
}

// others is, for each field, what its blobs in the item show on behalf of those
// that do not.
func (e *jsonEnvelope) others() []style {
	styles, tallies := make([]style, len(e.writings)), make([]tally, len(e.writings))
	for _, at := range e.at {
		styles[at.field] |= at.style
		tallies[at.field].add(at.style)
	}
	for field := range styles {
		if e.writings[field].said == Base64Own {
			styles[field] = styles[field]&^alphabets | tallies[field].style()&alphabets
		}
	}
	return styles
}
