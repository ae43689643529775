package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"rewrap/sources"
)

const (
	maxRawBinary = 8 << 10
	maxRawText   = 12 << 10
)

var byteOrderMark = []byte("\ufeff")

// Raw is the format of items that are one wrapped key and nothing else, either
// as bytes or as base64: in the standard or the URL-safe alphabet, padded or
// not, on one line or in lines of any one width that end in LF or CRLF, with
// white space and a UTF-8 byte order mark around it. The new key is written
// with all of that as it was found, and what the old one does not show as
// undecided says.
//
// The rule that tells the two apart: an item is text if every byte of it is a
// letter of base64, padding or white space, and bytes if not. Blobs of KMS
// have a 01 or 12 byte in a fixed place and so are always bytes. A blob of
// another key service would have to draw nothing but such letters for its
// nonce and its tag, 28 bytes or more: less than 1 in 2^50. Text that is not
// valid base64 is broken, never taken for bytes. [Envelope.Format] says which
// it was, "raw-binary" or "raw-base64".
//
// Foreign are items with nothing but white space, if any, and those larger than
// any wrapped key: 8 KiB, as text 12 KiB (KMS API Reference, ReEncrypt: CiphertextBlob has at
// most 6144 bytes).
//
// Raw claims nearly every small item, so it is of no use in [Auto]. References
// into a document, in b, are an error.
func Raw(b Binding, undecided Base64) (Format, error) {
	if len(b.refs) > 0 {
		return nil, fmt.Errorf("%q refers to a field of a JSON document, which items of the format raw are not", b.refs[0].text)
	}
	return &raw{binding: b, writing: writing{said: undecided}}, nil
}

type raw struct {
	binding Binding
	writing writing
}

func (*raw) Name() string { return "raw" }

func (*raw) Head() int64 { return maxRawText }

func (r *raw) Parse(v sources.View) (Envelope, error) {
	switch {
	case v.Size == 0:
		return nil, fmt.Errorf("%w: the item is empty", ErrForeign)
	case v.Size > maxRawText:
		return nil, tooLargeForRaw(v.Size)
	case int64(len(v.Head)) < v.Size:
		return nil, &sources.ShortError{Need: maxRawText}
	}
	body := v.Head[:v.Size]
	e := &rawEnvelope{id: v.ID, size: v.Size, writing: &r.writing}
	blob := body
	if text := bytes.TrimPrefix(body, byteOrderMark); isBase64Text(text) {
		e.text = true
		compact, l, err := unwrap(text)
		if err != nil {
			return nil, err
		}
		if len(compact) == 0 {
			return nil, fmt.Errorf("%w: the item is nothing but white space", ErrForeign)
		}
		e.layout = l
		e.layout.before = string(body[:len(body)-len(text)]) + l.before
		if blob, e.style, err = decodeBase64(compact, func(n int) []byte { return make([]byte, n) }); err != nil {
			return nil, err
		}
	} else {
		blob = bytes.Clone(body)
		if looksLikeText(body) {
			e.key.Hint = "the item looks like text that is not base64"
		}
	}
	if len(blob) > maxRawBinary {
		return nil, tooLargeForRaw(int64(len(blob)))
	}
	context, associatedData, err := r.binding.bind(v.ID, nil)
	if err != nil {
		return nil, err
	}
	e.key.Locator, e.key.Blob, e.key.Context, e.key.AssociatedData = "raw", blob, context, associatedData
	return e, nil
}

// looksLikeText: UTF-8 without control characters but white space. It is no
// proof, so the key service is asked all the same.
func looksLikeText(b []byte) bool {
	for _, r := range string(b) {
		if r == utf8.RuneError || r < ' ' && !strings.ContainsRune(space, r) {
			return false
		}
	}
	return true
}

func tooLargeForRaw(size int64) error {
	return fmt.Errorf("%w: %d bytes are more than a wrapped key has", ErrForeign, size)
}

func isBase64Text(b []byte) bool {
	for _, c := range b {
		if classes[c] == 0 {
			return false
		}
	}
	return true
}

type rawEnvelope struct {
	id      string
	key     WrappedKey
	size    int64
	text    bool
	style   style
	layout  layout
	writing *writing
	asked   bool // for a new key that fits
}

func (e *rawEnvelope) Format() string {
	if e.text {
		return "raw-base64"
	}
	return "raw-binary"
}

func (e *rawEnvelope) Keys() []WrappedKey { return []WrappedKey{e.key} }

func (e *rawEnvelope) Replace(new []*Rewrapped) (sources.Edit, error) {
	if len(new) != 1 {
		return sources.Edit{}, fmt.Errorf("%d new keys for the one of the item", len(new))
	}
	if unchanged(new[0], e.key.Blob) {
		return sources.Edit{}, nil
	}
	body := new[0].Blob
	switch {
	case len(body) == 0:
		return sources.Edit{}, errEmptyBlob
	case e.text:
		e.writing.learn(e.id, e.style)
		text, soon, err := e.writing.encode(body, e.style, 0, e.asked || e.writing.said == Base64Shown)
		if err != nil {
			e.asked = true
			return sources.Edit{}, &LeftError{Keys: []LeftKey{e.writing.left(0, err, e.style, 0)}, Soon: soon}
		}
		body = e.layout.wrap(text)
	default:
		if isBase64Text(bytes.TrimPrefix(body, byteOrderMark)) {
			return sources.Edit{}, errors.New("the new wrapped key consists of base64 letters alone, and as bytes would be taken for text; it was not written")
		}
		body = bytes.Clone(body)
	}
	return sources.Edit{Splices: []sources.Splice{{Del: e.size, Ins: body}}}, nil
}

var errEmptyBlob = errors.New("the new wrapped key is empty")

// unchanged says that nothing has to be written in the place of old.
func unchanged(r *Rewrapped, old []byte) bool {
	return r == nil || r.Current || bytes.Equal(r.Blob, old)
}
