package envelope

import (
	"bytes"
	"fmt"
	"strconv"
)

// jsonScanner walks over the documents of an item once. It knows the grammar
// (RFC 8259) and where it is, and keeps what stands at the pointers.
type jsonScanner struct {
	f    *jsonFormat
	id   string // the item's
	src  []byte // the item, without a byte order mark
	mark int    // bytes of the byte order mark
	pos  int

	// nodes is a stack. Its top are those nodes of f.pointers that the value
	// at hand is at; path is the value's pointer, right only while there are
	// such nodes.
	nodes []*node
	path  []byte

	line   int // of the document at hand, and where it begins
	lineAt int

	jsonFound
}

func newJSONScanner(f *jsonFormat, id string, body []byte) *jsonScanner {
	src := bytes.TrimPrefix(body, byteOrderMark)
	return &jsonScanner{f: f, id: id, src: src, mark: len(body) - len(src), line: 1}
}

func (s *jsonScanner) scan() error {
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
		s.nodes, s.path = append(s.nodes[:0], s.f.pointers), s.path[:0]
		if err := s.value(0, 0); err != nil {
			return err
		}
		if err := s.endDocument(); err != nil {
			return err
		}
	}
}

// space steps over white space and says whether a line ended in it.
func (s *jsonScanner) space() (newline bool) {
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

// next is the byte at hand; 0, which no grammar rule accepts, at the end.
func (s *jsonScanner) next() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

func (s *jsonScanner) syntax(what string) error {
	before := s.src[:min(s.pos, len(s.src))]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := len(before) - bytes.LastIndexByte(before, '\n')
	if s.pos >= len(s.src) {
		what = "it ends too early"
	}
	return fmt.Errorf("not JSON: line %d, byte %d of it: %s", line, column, what)
}

// value walks over the value at hand. s.nodes[low:] are the nodes that it is
// at; depth counts the arrays and objects around it.
func (s *jsonScanner) value(low, depth int) error {
	start, high := s.pos, len(s.nodes)
	var err error
	switch kind := s.next(); {
	case depth == maxJSONDepth && (kind == '{' || kind == '['):
		return s.syntax(fmt.Sprintf("more than %d arrays and objects within each other", maxJSONDepth))
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

func (s *jsonScanner) object(low, high, depth int) error {
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
				s.path = appendToken(s.path, name)
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

func (s *jsonScanner) array(low, high, depth int) error {
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

// enter pushes what follows n under the name.
func (s *jsonScanner) enter(n *node, name []byte) {
	if child := n.names[string(name)]; child != nil {
		s.nodes = append(s.nodes, child)
	}
	if n.any != nil {
		s.nodes = append(s.nodes, n.any)
	}
}

func (s *jsonScanner) string() error {
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

// endsRun are the bytes of a string that do not stand for themselves.
var endsRun = func() (ends [256]bool) {
	for c := range ' ' {
		ends[c] = true
	}
	ends['"'], ends['\\'] = true, true
	return ends
}()

func (s *jsonScanner) word(w string) error {
	for i := range len(w) {
		if s.next() != w[i] {
			return s.syntax("no value begins like this")
		}
		s.pos++
	}
	return nil
}

func (s *jsonScanner) number() error {
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

func (s *jsonScanner) digits() bool {
	start := s.pos
	for isDigit(s.next()) {
		s.pos++
	}
	return s.pos > start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
