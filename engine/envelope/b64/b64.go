// Package b64 reads and writes wrapped keys as base64 (RFC 4648, sections 3.2,
// 4 and 5), so that a new text looks as if the writer of the old one had
// written it: the same alphabet, padding, line breaks and space around it.
//
// A text does not always show its alphabet or its padding. Then [Choice] settles
// them.
package b64

import (
	"encoding/base64"
	"errors"
	"fmt"
)

// Style is the alphabet and the padding of texts, as far as the texts show them.
// It is a set of bits, and the style of several texts is the union of theirs.
// Texts that contradict each other set both bits, which settle nothing.
type Style uint8

const (
	Std      Style = 1 << iota // has + or /
	URL                        // has - or _
	Padded                     // ends in =
	Unpadded                   // lacks the = that its length asks for

	alphabets = Std | URL
	paddings  = Padded | Unpadded
)

// names are those of --base64 and of the checkpoint.
var names = map[string]Style{
	"auto":    0,
	"std":     Std | Padded,
	"raw-std": Std | Unpadded,
	"url":     URL | Padded,
	"raw-url": URL | Unpadded,
}

// Parse reads the name of a style: "std", "raw-std", "url" or "raw-url", or
// "auto" for the zero style.
func Parse(name string) (Style, error) {
	s, ok := names[name]
	if !ok {
		return 0, fmt.Errorf("base64 %q is none of auto, std, raw-std, url and raw-url", name)
	}
	return s, nil
}

// String is the name that [Parse] reads. A style that shows only a part, or
// contradicts itself, has the name of the style that is written in its place:
// standard, and padded. The zero style is "auto".
func (s Style) String() string {
	switch whole := settle(s); {
	case s == 0:
		return "auto"
	case whole == Std|Padded:
		return "std"
	case whole == Std|Unpadded:
		return "raw-std"
	case whole == URL|Padded:
		return "url"
	default:
		return "raw-url"
	}
}

// Settled says that the style names one alphabet and one padding.
func (s Style) Settled() bool { return one(s&alphabets) && one(s&paddings) }

// Learn is the style of a job of which the first items have shown these styles.
// Each item has one vote on the alphabet and one on the padding; an item that
// contradicts itself has none. A tie is standard, and padded. The style is
// zero if no item shows anything.
func Learn(shown []Style) Style {
	var url, unpadded int
	var any Style
	for _, s := range shown {
		any |= s
		url += vote(s, Std, URL)
		unpadded += vote(s, Padded, Unpadded)
	}
	if any == 0 {
		return 0
	}
	learned := Std
	if url > 0 {
		learned = URL
	}
	if unpadded > 0 {
		return learned | Unpadded
	}
	return learned | Padded
}

func vote(s, against, favour Style) int {
	switch s & (against | favour) {
	case favour:
		return 1
	case against:
		return -1
	}
	return 0
}

// Choice is how new texts are written where the old ones do not show it. The
// zero Choice writes the standard alphabet, padded.
type Choice struct {
	Said    Style // by the operator, with --base64; zero: nothing
	Learned Style // from other items of the job; zero: nothing
}

// Encode writes a new blob. The alphabet and the padding are each taken from
// the first style that shows exactly one: the style of the text that is
// replaced, the style of its field in the item, Said, Learned. If none does,
// the text is standard, or padded.
func (c Choice) Encode(blob []byte, own, field Style) []byte {
	return encodings[settle(own, field, c.Said, c.Learned)].AppendEncode(nil, blob)
}

// Assumes says how much [Choice.Encode] assumes about the style of a new blob:
// the alphabet, the padding, both (2) or neither (0). Neither is assumed where
// the text is the same in every style that is still possible. nil stands for 0,
// whatever the blob: the text that is replaced, its field and Said settle the
// style.
//
// No blob of n bytes assumes less than n zero bytes.
func (c Choice) Assumes(own, field Style) func(blob []byte) int {
	alphabet, padding := first(alphabets, own, field, c.Said) != 0, first(paddings, own, field, c.Said) != 0
	if alphabet && padding {
		return nil
	}
	return func(blob []byte) (n int) {
		if !alphabet && !lettersAlone(blob) {
			n++
		}
		if !padding && !wholeGroups(blob) {
			n++
		}
		return n
	}
}

// wholeGroups says that the text of a blob has no padding in any style.
func wholeGroups(blob []byte) bool { return len(blob)%3 == 0 }

// lettersAlone says that the text of a blob is the same in both alphabets: they
// differ in the last two of their 64 characters.
func lettersAlone(blob []byte) bool {
	for len(blob) > 0 {
		var group uint32
		n := min(3, len(blob))
		for i := range n {
			group |= uint32(blob[i]) << (16 - 8*i)
		}
		for shift := 18; shift >= 0; shift -= 6 {
			if group>>shift&63 >= 62 {
				return false
			}
		}
		blob = blob[n:]
	}
	return true
}

var encodings = [...]*base64.Encoding{
	Std | Padded:   base64.StdEncoding,
	Std | Unpadded: base64.RawStdEncoding,
	URL | Padded:   base64.URLEncoding,
	URL | Unpadded: base64.RawURLEncoding,
}

// settle returns one alphabet and one padding: each from the first style that
// shows exactly one, or else standard, and padded.
func settle(styles ...Style) Style {
	alphabet, padding := first(alphabets, styles...), first(paddings, styles...)
	if alphabet == 0 {
		alphabet = Std
	}
	if padding == 0 {
		padding = Padded
	}
	return alphabet | padding
}

// first returns the one bit of mask that the first style with exactly one of
// them has; 0 if there is no such style.
func first(mask Style, styles ...Style) Style {
	for _, s := range styles {
		if one(s & mask) {
			return s & mask
		}
	}
	return 0
}

func one(s Style) bool { return s != 0 && s&(s-1) == 0 }

const (
	isLetter = 1 << iota // in every alphabet
	isStd
	isURL
	isPad
	isSpace
)

var classes = func() (c [256]uint8) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") {
		c[b] = isLetter
	}
	c['+'], c['/'], c['-'], c['_'], c['='] = isStd, isStd, isURL, isURL, isPad
	c[' '], c['\t'], c['\r'], c['\n'] = isSpace, isSpace, isSpace, isSpace
	return c
}()

// IsText says that b has nothing but letters of base64, padding and white space.
func IsText(b []byte) bool {
	for _, c := range b {
		if classes[c] == 0 {
			return false
		}
	}
	return true
}

// Strict decoders lose no bits, so that encoding again gives the same text.
var (
	strictStd = base64.RawStdEncoding.Strict()
	strictURL = base64.RawURLEncoding.Strict()
)

// Decode decodes a text without white space into memory that take gives. The
// errors name no part of the text: it may be a secret.
func Decode(text []byte, take func(n int) []byte) ([]byte, Style, error) {
	body := text
	for len(body) > 0 && len(text)-len(body) < 2 && body[len(body)-1] == '=' {
		body = body[:len(body)-1]
	}
	var all uint8
	for i, b := range body {
		c := classes[b]
		if c&(isLetter|isStd|isURL) == 0 {
			return nil, 0, noLetter(i)
		}
		all |= c
	}
	var s Style
	switch pad := len(text) - len(body); {
	case len(body) == 0:
		return nil, 0, errors.New("not base64: nothing but padding")
	case all&isStd != 0 && all&isURL != 0:
		return nil, 0, errors.New("not base64: letters of both the standard and the URL-safe alphabet")
	case len(body)%4 == 1:
		return nil, 0, errors.New("not base64: no whole number of bytes, as if letters were missing")
	case pad > 0 && len(text)%4 != 0:
		return nil, 0, errors.New("not base64: wrong padding")
	case pad > 0:
		s = Padded
	case len(body)%4 != 0:
		s = Unpadded
	}
	e := strictStd
	if all&isStd != 0 {
		s |= Std
	}
	if all&isURL != 0 {
		s |= URL
		e = strictURL
	}
	blob := take(e.DecodedLen(len(body)))
	n, err := e.Decode(blob, body)
	if err != nil {
		return nil, 0, errors.New("not base64: bits are set beyond the last whole byte")
	}
	return blob[:n], s, nil
}

func noLetter(i int) error {
	return fmt.Errorf("not base64: character %d is none of its letters", i+1)
}
