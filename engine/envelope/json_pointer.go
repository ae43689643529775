package envelope

import (
	"fmt"
	"strings"
)

// pointer is a JSON Pointer (RFC 6901), in which the token "*" stands for any
// index of an array and any name in an object. A name that is itself "*"
// cannot be told from that.
type pointer []string

const wildcard = "*"

func parsePointer(text string) (pointer, error) {
	if text == "" {
		return pointer{}, nil
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

func (p pointer) wildcards() int {
	n := 0
	for _, t := range p {
		if t == wildcard {
			n++
		}
	}
	return n
}

func (p pointer) String() string {
	var b []byte
	for _, t := range p {
		b = appendToken(b, t)
	}
	return string(b)
}

// appendToken appends "/" and the name, escaped.
func appendToken[T string | []byte](b []byte, name T) []byte {
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

// place is where a reference of a blob points: tokens that it names itself,
// and such as it shares with the blob's own pointer.
type place []struct {
	own    string // an escaped token with its "/", or
	shared int    // if own is "": the index of the token in the blob's pointer
}

// resolve finds the place of a reference for the blobs of a field, and the
// pattern of all those places.
func (r reference) resolve(field pointer) (place, pointer, error) {
	var (
		at      place
		pattern pointer
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
	next := 0 // in field, behind the wildcards that are already used
	for _, t := range r.path {
		if t != wildcard {
			at = append(at, struct {
				own    string
				shared int
			}{own: string(appendToken(nil, t))})
			pattern = append(pattern, t)
			continue
		}
		for next < len(field) && field[next] != wildcard {
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

// concrete appends the pointer of the place that belongs to the blob at path.
func (p place) concrete(b []byte, path string) []byte {
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

// node is a set of pointers as a tree, so that a document is matched against
// all of them in one walk.
type node struct {
	names map[string]*node
	any   *node
	field int  // 1 + the field that ends here; 0: none
	ref   bool // a reference ends here
}

// add returns the node where the pointer ends.
func (n *node) add(p pointer) *node {
	for _, t := range p {
		child := n.any
		if t != wildcard {
			child = n.names[t]
		}
		if child == nil {
			child = &node{}
			switch {
			case t == wildcard:
				n.any = child
			case n.names == nil:
				n.names = map[string]*node{t: child}
			default:
				n.names[t] = child
			}
		}
		n = child
	}
	return n
}
