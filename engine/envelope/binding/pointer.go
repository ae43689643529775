package binding

import (
	"fmt"
	"strings"
)

// Pointer is a JSON Pointer (RFC 6901). The token "*" stands for any index of an
// array and any name in an object, so a pointer cannot mean only the name "*".
type Pointer []string

// Wildcard is the token that matches any index or name.
const Wildcard = "*"

// ParsePointer reads a pointer. "" is the whole document.
func ParsePointer(text string) (Pointer, error) {
	if text == "" {
		return Pointer{}, nil
	}
	if text[0] != '/' {
		return nil, fmt.Errorf("%q is no JSON Pointer: it does not begin with /", text)
	}
	tokens := strings.Split(text[1:], "/")
	for i, t := range tokens {
		for rest := t; ; {
			at := strings.IndexByte(rest, '~')
			if at < 0 {
				break
			}
			if rest = rest[at+1:]; rest == "" || rest[0] != '0' && rest[0] != '1' {
				return nil, fmt.Errorf("%q is no JSON Pointer: in it ~ is written ~0, and / in a name ~1", text)
			}
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

func (p Pointer) wildcards() int {
	n := 0
	for _, t := range p {
		if t == Wildcard {
			n++
		}
	}
	return n
}

func (p Pointer) String() string {
	var b []byte
	for _, t := range p {
		b = AppendToken(b, t)
	}
	return string(b)
}

// AppendToken appends "/" and the name, escaped.
func AppendToken[T string | []byte](b []byte, name T) []byte {
	b = append(b, '/')
	for i := range len(name) {
		switch c := name[i]; c {
		case '~':
			b = append(b, "~0"...)
		case '/':
			b = append(b, "~1"...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// Place is where a reference points, made of tokens that the reference names
// and of tokens that it takes from the blob's own pointer.
type Place []struct {
	own    string // an escaped token with its "/", or
	shared int    // if own is "": the index of the token in the blob's pointer
}

// Resolve finds the place of a reference for the blobs of a field, and the
// pattern of all those places.
func (r Reference) Resolve(field Pointer) (Place, Pointer, error) {
	var (
		at      Place
		pattern Pointer
	)
	share := func(i int) {
		at = append(at, struct {
			own    string
			shared int
		}{shared: i})
		pattern = append(pattern, field[i])
	}
	if r.relative {
		if len(field) == 0 {
			return nil, nil, fmt.Errorf("%q: a blob that is the whole document has nothing beside it", r.text)
		}
		for i := range len(field) - 1 {
			share(i)
		}
	}
	next := 0 // in field, behind the wildcards that are used already
	for _, t := range r.path {
		if t != Wildcard {
			at = append(at, struct {
				own    string
				shared int
			}{own: string(AppendToken(nil, t))})
			pattern = append(pattern, t)
			continue
		}
		for next < len(field) && field[next] != Wildcard {
			next++
		}
		if next == len(field) {
			return nil, nil, fmt.Errorf("%q has more * than the field %q has", r.text, field)
		}
		share(next)
		next++
	}
	return at, pattern, nil
}

// Append appends the pointer of the place that belongs to the blob at path.
func (p Place) Append(b []byte, path string) []byte {
	for _, t := range p {
		if t.own != "" {
			b = append(b, t.own...)
			continue
		}
		rest := path
		for range t.shared {
			rest = rest[1+strings.IndexByte(rest[1:], '/'):]
		}
		end := len(rest)
		if i := strings.IndexByte(rest[1:], '/'); i >= 0 {
			end = i + 1
		}
		b = append(b, rest[:end]...)
	}
	return b
}
