package jsondoc

import (
	"bytes"
	"fmt"
	"strconv"

	"rewrap/engine/envelope/binding"
)

const byteOrderMark = "\ufeff"

// scanner walks over the documents of an item once. It checks the grammar
// (RFC 8259), keeps track of the pointer of the value at hand, and keeps the
// values that stand at the pointers of the format.
type scanner struct {
	f    *format
	name string // the item's
	src  []byte // the item, without a byte order mark
	mark int    // bytes of the byte order mark
	pos  int

	// nodes is a stack. On its top are the nodes of f.tree that the value at
	// hand matches. path is the pointer of the value; it is kept up to date only
	// while there are such nodes.
	nodes []*node
	path  []byte

	line   int // on which the document at hand begins
	lineAt int // where it begins

	found
}

func newScanner(f *format, name string, body []byte) *scanner {
	src := bytes.TrimPrefix(body, []byte(byteOrderMark))
	return &scanner{
		f: f, name: name, src: src, mark: len(body) - len(src), line: 1,
		found: found{fields: make([]shown, len(f.fields)), met: make([]bool, len(f.fields))},
	}
}

func (s *scanner) scan() error {
	for {
		newline := s.space()
		if s.pos == len(s.src) {
			return nil
		}
		if s.documents > 0 && !newline {
			return s.syntax("something follows the document; another one has to begin on a line of its own")
		}
		s.documents++
		s.line += bytes.Count(s.src[s.lineAt:s.pos], []byte{'\n'})
		s.lineAt = s.pos
		s.nodes, s.path = append(s.nodes[:0], s.f.tree), s.path[:0]
		if err := s.value(0, 0); err != nil {
			return err
		}
		if err := s.endDocument(); err != nil {
			return err
		}
	}
}

// space steps over white space and says whether a line ended in it.
func (s *scanner) space() (newline bool) {
	for ; s.pos < len(s.src); s.pos++ {
		switch s.src[s.pos] {
		case ' ', '\t', '\r':
		case '\n':
			newline = true
		default:
			return newline
		}
	}
	return newline
}

// next is the byte at hand. At the end it is 0, which no grammar rule accepts.
func (s *scanner) next() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

func (s *scanner) syntax(what string) error {
	before := s.src[:min(s.pos, len(s.src))]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := len(before) - bytes.LastIndexByte(before, '\n')
	if s.pos >= len(s.src) {
		what = "it ends too early"
	}
	return fmt.Errorf("not JSON: line %d, byte %d of it: %s", line, column, what)
}

// value walks over the value at hand. s.nodes[low:] are the nodes that it
// matches; depth counts the arrays and objects around it.
func (s *scanner) value(low, depth int) error {
	start, high := s.pos, len(s.nodes)
	var err error
	switch kind := s.next(); {
	case depth == maxDepth && (kind == '{' || kind == '['):
		return s.syntax(fmt.Sprintf("more than %d arrays and objects within each other", maxDepth))
	case kind == '{':
		err = s.object(low, high, depth)
	case kind == '[':
		err = s.array(low, high, depth)
	case kind == '"':
		err = s.string()
	case kind == 't':
		err = s.word("true")
	case kind == 'f':
		err = s.word("false")
	case kind == 'n':
		err = s.word("null")
	default:
		err = s.number()
	}
	if err != nil || low == high {
		return err
	}
	return s.matched(s.nodes[low:high], start)
}

func (s *scanner) object(low, high, depth int) error {
	path := len(s.path)
	s.pos++
	if s.space(); s.next() == '}' {
		s.pos++
		return nil
	}
	for {
		if s.next() != '"' {
			return s.syntax("a name in quotes has to stand here")
		}
		start := s.pos + 1
		if err := s.string(); err != nil {
			return err
		}
		if low < high {
			name := unquote(s.src[start : s.pos-1])
			for i := low; i < high; i++ {
				s.enter(s.nodes[i], name)
			}
			if len(s.nodes) > high {
				s.path = binding.AppendToken(s.path, name)
			}
		}
		if s.space(); s.next() != ':' {
			return s.syntax("a colon has to stand here")
		}
		s.pos++
		s.space()
		if err := s.value(high, depth+1); err != nil {
			return err
		}
		s.nodes, s.path = s.nodes[:high], s.path[:path]
		s.space()
		switch s.next() {
		case ',':
			s.pos++
			s.space()
		case '}':
			s.pos++
			return nil
		default:
			return s.syntax("a comma or the end of the object has to stand here")
		}
	}
}

func (s *scanner) array(low, high, depth int) error {
	path := len(s.path)
	s.pos++
	if s.space(); s.next() == ']' {
		s.pos++
		return nil
	}
	var digits [20]byte
	for i := 0; ; i++ {
		if low < high {
			index := strconv.AppendInt(digits[:0], int64(i), 10)
			for i := low; i < high; i++ {
				s.enter(s.nodes[i], index)
			}
			if len(s.nodes) > high {
				s.path = append(append(s.path, '/'), index...)
			}
		}
		if err := s.value(high, depth+1); err != nil {
			return err
		}
		s.nodes, s.path = s.nodes[:high], s.path[:path]
		s.space()
		switch s.next() {
		case ',':
			s.pos++
			s.space()
		case ']':
			s.pos++
			return nil
		default:
			return s.syntax("a comma or the end of the array has to stand here")
		}
	}
}

// enter pushes the nodes that follow n under the name.
func (s *scanner) enter(n *node, name []byte) {
	if child := n.names[string(name)]; child != nil {
		s.nodes = append(s.nodes, child)
	}
	if n.any != nil {
		s.nodes = append(s.nodes, n.any)
	}
}

func (s *scanner) string() error {
	for s.pos++; ; s.pos++ {
		for s.pos < len(s.src) && !endsRun[s.src[s.pos]] {
			s.pos++
		}
		switch c := s.next(); {
		case c == '"':
			s.pos++
			return nil
		case c != '\\':
			return s.syntax("a control character in a string, where it has to be escaped")
		}
		s.pos++
		switch s.next() {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			for range 4 {
				s.pos++
				if c := s.next(); !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
					return s.syntax(`\u is not followed by four hexadecimal digits`)
				}
			}
		default:
			return s.syntax("no such escape in a string")
		}
	}
}

// endsRun are the bytes that have a meaning of their own in a string.
var endsRun = func() (ends [256]bool) {
	for c := range ' ' {
		ends[c] = true
	}
	ends['"'], ends['\\'] = true, true
	return ends
}()

func (s *scanner) word(w string) error {
	for i := range len(w) {
		if s.next() != w[i] {
			return s.syntax("no value begins like this")
		}
		s.pos++
	}
	return nil
}

func (s *scanner) number() error {
	start := s.pos
	if s.next() == '-' {
		s.pos++
	}
	switch c := s.next(); {
	case c == '0':
		s.pos++
	case isDigit(c):
		s.digits()
	case s.pos == start:
		return s.syntax("no value begins like this")
	default:
		return s.syntax("a digit has to stand here")
	}
	if s.next() == '.' {
		s.pos++
		if !s.digits() {
			return s.syntax("a digit has to stand here")
		}
	}
	if s.next()|0x20 == 'e' {
		s.pos++
		if c := s.next(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.syntax("a digit has to stand here")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for isDigit(s.next()) {
		s.pos++
	}
	return s.pos > start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
