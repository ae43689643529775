package b64

import (
	"bytes"
	"errors"
)

// Space is the white space that a text may have in and around it.
const Space = " \t\r\n"

// Layout is the white space in and around a text. The zero Layout has none.
type Layout struct {
	Before, After string

	width int // characters in each line but the last; 0: one line
	eol   string
}

// Unwrap takes the white space out of a text. Lines have to be of one width and
// to have one kind of end, or else a new text could not be laid out in the same
// way. All other white space stays, and [Decode] refuses it.
func Unwrap(text []byte) ([]byte, Layout, error) {
	var l Layout
	if !hasSpace(text) {
		return text, l, nil
	}
	core := bytes.TrimLeft(text, Space)
	l.Before = string(text[:len(text)-len(core)])
	trimmed := bytes.TrimRight(core, Space)
	l.After = string(core[len(trimmed):])
	l.width = bytes.IndexAny(trimmed, Space)
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
					return nil, Layout{}, noLetter(i)
				}
			}
			return nil, Layout{}, errors.New("not base64, or in lines of different widths or ends, or with spaces, which could not be kept")
		}
		rest = rest[len(l.eol):]
	}
	return joined, l, nil
}

// Wrap lays a text out as the unwrapped one was.
func (l Layout) Wrap(text []byte) []byte {
	if l == (Layout{}) {
		return text
	}
	out := append(make([]byte, 0, 2*len(text)), l.Before...)
	for l.width > 0 && len(text) > l.width {
		out = append(append(out, text[:l.width]...), l.eol...)
		text = text[l.width:]
	}
	return append(append(out, text...), l.After...)
}

func hasSpace(text []byte) bool {
	for i := range len(Space) {
		if bytes.IndexByte(text, Space[i]) >= 0 {
			return true
		}
	}
	return false
}
