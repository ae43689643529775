// Package raw is the format of items that are one wrapped key and nothing else.
package raw

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/sources"
)

const (
	maxBinary = 8 << 10
	maxText   = 12 << 10
)

const byteOrderMark = "\ufeff"

// New is the format of items that are one wrapped key and nothing else: as
// bytes, or as base64 in the standard or the URL-safe alphabet, padded or not,
// on one line or in lines of any one width that end in LF or CRLF, with white
// space and a UTF-8 byte order mark around it. The new key is written in the
// same way; c settles what the old one does not show. The variant of
// [envelope.Envelope.Format] is "raw-binary" or "raw-base64".
//
// An item is text if each of its bytes is a letter of base64, padding or white
// space, and binary if not. KMS blobs have a byte 01 or 12 in a fixed place, so
// they are always binary. A blob of another key service would have to draw only
// such letters for its nonce and its tag, which have 28 bytes or more: the odds
// are below 1 in 2^50. Text that is not valid base64 is broken, and never taken
// for binary.
//
// Items that are empty, that are only white space, or that are larger than any
// wrapped key are foreign. The limit is 8 KiB, as text 12 KiB (KMS API
// Reference, ReEncrypt: CiphertextBlob has at most 6144 bytes).
//
// This format claims nearly every small item, so it is of no use in
// [envelope.Auto]. References into a document, in b, are an error.
func New(b binding.Binding, c b64.Choice) (envelope.Format, error) {
	if refs := b.References(); len(refs) > 0 {
		return nil, fmt.Errorf("%q refers to a field of a JSON document, which items of the format raw are not", refs[0])
	}
	return &format{binding: b, choice: c}, nil
}

type format struct {
	binding binding.Binding
	choice  b64.Choice
}

func (*format) Name() string { return "raw" }

func (*format) Head() int64 { return maxText }

func (f *format) Parse(v sources.View) (envelope.Envelope, error) {
	switch {
	case v.Size == 0:
		return envelope.Envelope{}, fmt.Errorf("%w: the item is empty", envelope.ErrForeign)
	case v.Size > maxText:
		return envelope.Envelope{}, tooLarge(v.Size)
	case int64(len(v.Head)) < v.Size:
		return envelope.Envelope{}, &sources.ShortError{Need: maxText}
	}
	it, err := f.read(v.Head[:v.Size])
	if err != nil {
		return envelope.Envelope{}, err
	}
	k := &it.key
	if k.Context, k.AssociatedData, err = f.binding.Bind(v.Name, nil); err != nil {
		return envelope.Envelope{}, err
	}
	name := "raw-binary"
	if it.text {
		name = "raw-base64"
	}
	return envelope.Envelope{Format: name, Keys: []envelope.WrappedKey{it.key}, Style: it.style, Replace: it.replace}, nil
}

func (f *format) read(body []byte) (*item, error) {
	it := &item{size: int64(len(body)), choice: f.choice}
	it.key.Locator = "raw"
	text := bytes.TrimPrefix(body, []byte(byteOrderMark))
	if it.text = b64.IsText(text); !it.text {
		it.key.Blob = bytes.Clone(body)
		if looksLikeText(body) {
			it.key.Hint = "the item looks like text that is not base64"
		}
	} else {
		compact, layout, err := b64.Unwrap(text)
		if err != nil {
			return nil, err
		}
		if len(compact) == 0 {
			return nil, fmt.Errorf("%w: the item is nothing but white space", envelope.ErrForeign)
		}
		layout.Before = string(body[:len(body)-len(text)]) + layout.Before
		it.layout = layout
		if it.key.Blob, it.style, err = b64.Decode(compact, func(n int) []byte { return make([]byte, n) }); err != nil {
			return nil, err
		}
		it.key.Assumes = f.choice.Assumes(it.style, 0)
	}
	if len(it.key.Blob) > maxBinary {
		return nil, tooLarge(int64(len(it.key.Blob)))
	}
	return it, nil
}

// looksLikeText says whether b is UTF-8 without control characters other than
// white space. That is no proof, so the key service is asked all the same.
func looksLikeText(b []byte) bool {
	for _, r := range string(b) {
		if r == utf8.RuneError || r < ' ' && !strings.ContainsRune(b64.Space, r) {
			return false
		}
	}
	return true
}

func tooLarge(size int64) error {
	return fmt.Errorf("%w: %d bytes are more than a wrapped key has", envelope.ErrForeign, size)
}

// item is a parsed item.
type item struct {
	key    envelope.WrappedKey
	size   int64
	text   bool
	style  b64.Style
	layout b64.Layout
	choice b64.Choice
}

func (it *item) replace(blobs [][]byte) (sources.Edit, error) {
	if err := envelope.CheckBlobs([]envelope.WrappedKey{it.key}, blobs); err != nil {
		return sources.Edit{}, err
	}
	blob := blobs[0]
	var body []byte
	switch {
	case blob == nil || bytes.Equal(blob, it.key.Blob):
		return sources.Edit{}, nil
	case it.text:
		body = it.layout.Wrap(it.choice.Encode(blob, it.style, 0))
	case b64.IsText(bytes.TrimPrefix(blob, []byte(byteOrderMark))):
		return sources.Edit{}, errors.New("the new wrapped key consists of base64 letters alone, and as bytes would be taken for text; it was not written")
	default:
		body = bytes.Clone(blob)
	}
	return sources.Edit{Splices: []sources.Splice{{Del: it.size, Ins: body}}}, nil
}
