package envelope

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
)

// Base64 names a variant of base64 (RFC 4648, sections 3.2, 4 and 5) for the
// wrapped keys that do not show theirs: a text without any of + / - _ does not
// tell its alphabet, and one of a multiple of three bytes not whether it is
// padded. What a text does show is always kept, and what it leaves open the
// other wrapped keys of its field in the item tell.
type Base64 uint8

const (
	// Base64Shown, the zero value, takes nothing for granted: what the item
	// leaves open, other items that the format was given new keys for tell, if
	// many do and none says otherwise. Where not even they do and a new wrapped
	// key cannot be written without knowing more, that key is left ([LeftError]).
	Base64Shown Base64 = iota
	Base64Std
	Base64RawStd // without padding
	Base64URL
	Base64RawURL // without padding
	// Base64Own is Base64Shown for whoever can make new wrapped keys until one
	// fits ([LeftKey.Fits]), and so need not guess: of the item's other keys only
	// many that agree tell the alphabet, and other items only where new ones were
	// asked for already, and came, and none fits.
	Base64Own
)

// ParseBase64 reads "auto" (Base64Shown), "std", "raw-std", "url" or "raw-url".
func ParseBase64(name string) (Base64, error) {
	switch name {
	case "auto":
		return Base64Shown, nil
	case "std":
		return Base64Std, nil
	case "raw-std":
		return Base64RawStd, nil
	case "url":
		return Base64URL, nil
	case "raw-url":
		return Base64RawURL, nil
	}
	return 0, fmt.Errorf("base64 %q is none of auto, std, raw-std, url and raw-url", name)
}

func (b Base64) style() style {
	return [...]style{0, showsStd | showsPadding, showsStd | showsNone, showsURL | showsPadding, showsURL | showsNone, 0}[b]
}

// witnesses is how many have to show the same, and none something else, before
// they are believed about those that do not show it.
const witnesses = 16

// tally counts who shows each of the first bits of a style.
type tally [4]int

func (t *tally) add(s style) {
	for i := range t {
		t[i] += int(s >> i & 1)
	}
}

// style is what the counted tell: one bit of two if there are witnesses enough
// and none for the other, both where they disagree.
func (t *tally) style() (s style) {
	for i := 0; i < len(t); i += 2 {
		switch a, b := t[i], t[i+1]; {
		case a > 0 && b > 0:
			s |= 3 << i
		case a >= witnesses:
			s |= 1 << i
		case b >= witnesses:
			s |= 2 << i
		}
	}
	return s
}

// memory is the one thing that a format remembers of the items that went
// through it: how many of them show what. Only such wrapped keys count as a new
// key was made for, which the key service had to open: other texts in a folder
// may look like base64 and show anything.
type memory struct {
	mu    sync.Mutex
	tally tally
	items map[string]style // that are counted, and for what: an item may be read again
}

func (m *memory) learn(item string, s style) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, n := range m.tally {
		if n >= witnesses { // which more of do not tell more
			s &^= 1 << i
		}
	}
	if s &= (alphabets | paddings) &^ m.items[item]; s == 0 {
		return
	}
	if m.items == nil {
		m.items = make(map[string]style)
	}
	m.items[item] |= s
	m.tally.add(s)
}

func (m *memory) style() style {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tally.style()
}

// style is what a text shows of the way it was written. It is a set of bits,
// so that what several texts show is their union.
type style uint32

const (
	showsStd     style = 1 << iota // has + or /
	showsURL                       // has - or _
	showsPadding                   // is padded
	showsNone                      // is not, though it would have to be

	showsEscapes = 4 // first bit of those that tell how the letters of escaped stand in a JSON string

	alphabets = showsStd | showsURL
	paddings  = showsPadding | showsNone
)

// first is what the first of several styles shows that shows exactly one of
// the bits in mask.
func first(mask style, of ...style) style {
	for _, s := range of {
		if s &= mask; s != 0 && s&(s-1) == 0 {
			return s
		}
	}
	return 0
}

var (
	errAlphabet = errors.New("the wrapped key has none of the letters + / - _ that tell its base64 alphabet, the new one needs them, and no others tell which are right; say it with --base64 std, raw-std, url or raw-url")
	errPadding  = errors.New("the wrapped key has a length that does not tell whether its base64 is padded, the new one's depends on it, and no others tell; say it with --base64 std, raw-std, url or raw-url")
)

// writing is how new keys are written where the old ones do not tell: as
// somebody said, or else as other items show.
type writing struct {
	said Base64
	seen memory
}

// learn counts what the wrapped keys of an item show.
func (w *writing) learn(item string, s style) {
	if w.said.style() == 0 {
		w.seen.learn(item, s)
	}
}

// encode writes a blob in the style of the text that it replaces, as far as
// that shows; others, of the same item, and then w answer what it leaves open,
// with what other items tell if guess is set. soon: not yet, but they may still.
func (w *writing) encode(blob []byte, own, others style, guess bool) (text []byte, soon bool, err error) {
	rest := w.said.style()
	if guess = guess && rest == 0; guess {
		rest = w.seen.style() | others // an item that contradicts itself is not outvoted
	}
	alphabet := first(alphabets, own, others, rest)
	padding := first(paddings, own, others, rest)
	if padding == 0 && len(blob)%3 != 0 {
		return nil, guess && rest&paddings == 0, errPadding
	}
	e := base64.StdEncoding
	switch {
	case alphabet == showsURL && padding == showsNone:
		e = base64.RawURLEncoding
	case alphabet == showsURL:
		e = base64.URLEncoding
	case padding == showsNone:
		e = base64.RawStdEncoding
	}
	text = e.AppendEncode(nil, blob)
	if alphabet == 0 && bytes.ContainsAny(text, "+/") {
		return nil, guess && rest&alphabets == 0, errAlphabet
	}
	return text, false, nil
}

// left is the key i for whose new blob encode has no text.
func (w *writing) left(i int, err error, own, others style) LeftKey {
	l := LeftKey{Index: i, Err: err}
	if err == errAlphabet {
		l.Fits = func(blob []byte) bool {
			_, _, err := w.encode(blob, own, others, false)
			return err == nil
		}
	}
	return l
}

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

// Strict: no bits are lost, so that encoding again gives the same text.
var (
	strictStd = base64.RawStdEncoding.Strict()
	strictURL = base64.RawURLEncoding.Strict()
)

// decodeBase64 decodes a text without white space, in memory that take gives.
// Its errors name no part of the text.
func decodeBase64(text []byte, take func(n int) []byte) ([]byte, style, error) {
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
	var s style
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
		s = showsPadding
	case len(body)%4 != 0:
		s = showsNone
	}
	e := strictStd
	if all&isStd != 0 {
		s |= showsStd
	}
	if all&isURL != 0 {
		s |= showsURL
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

const space = " \t\r\n"

func hasSpace(text []byte) bool {
	for i := range len(space) {
		if bytes.IndexByte(text, space[i]) >= 0 {
			return true
		}
	}
	return false
}

// layout is the white space in and around a text.
type layout struct {
	before, after string
	width         int // characters in each line but the last; 0: one line
	eol           string
}

// unwrap takes the white space away. Lines have to be of one width and have
// one kind of end, or else the layout could not be kept with a new text. Any
// other white space stays, for the decoder to refuse.
func unwrap(text []byte) ([]byte, layout, error) {
	var l layout
	if !hasSpace(text) {
		return text, l, nil
	}
	core := bytes.TrimLeft(text, space)
	l.before = string(text[:len(text)-len(core)])
	trimmed := bytes.TrimRight(core, space)
	l.after = string(core[len(trimmed):])
	l.width = bytes.IndexAny(trimmed, space)
	if l.width < 0 {
		l.width = 0
		return trimmed, l, nil
	}
	l.eol = "\n"
	if trimmed[l.width] == '\r' {
		l.eol = "\r\n"
	}
	joined := make([]byte, 0, len(trimmed))
	for rest := trimmed; ; {
		n := min(l.width, len(rest))
		joined, rest = append(joined, rest[:n]...), rest[n:]
		if len(rest) == 0 {
			break
		}
		if !bytes.HasPrefix(rest, []byte(l.eol)) {
			for i, c := range trimmed {
				if classes[c] == 0 {
					return nil, layout{}, noLetter(i)
				}
			}
			return nil, layout{}, errors.New("not base64, or in lines of different widths or ends, or with spaces, which could not be kept")
		}
		rest = rest[len(l.eol):]
	}
	return joined, l, nil
}

// wrap puts a text where the unwrapped one was.
func (l layout) wrap(text []byte) []byte {
	if l == (layout{}) {
		return text
	}
	out := append(make([]byte, 0, 2*len(text)), l.before...)
	for l.width > 0 && len(text) > l.width {
		out = append(append(out, text[:l.width]...), l.eol...)
		text = text[l.width:]
	}
	return append(append(out, text...), l.after...)
}
