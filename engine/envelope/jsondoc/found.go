package jsondoc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
)

// found is what the walk over an item keeps: for each wrapped key its place,
// blob and binding, and for the document at hand the values that references may
// point to.
type found struct {
	documents int

	keys    []envelope.WrappedKey // their locators come last
	at      []place               // of each key
	marks   []mark                // of each key
	paths   []byte                // the keys' pointers, one after another
	layouts map[int]b64.Layout
	memory  []byte // from which blobs are cut

	fields []shown // of each field: the union over its blobs
	met    []bool  // of each field: it is in the item

	shared shared // by all keys of the item, without references

	document
}

// shared is the binding of an item whose keys all have the same.
type shared struct {
	known          bool
	context        map[string]string
	associatedData []byte
}

// document is the document at hand.
type document struct {
	first   int // its first key
	pathsAt int // where the pointers of its keys begin
	refs    map[string]span
}

// mark holds the parts of a locator.
type mark struct {
	line   int // on which the document begins
	end    int // of the pointer, in paths
	repeat int // 2 for the second key of a document whose pointer looks the same
}

// span is a value that a reference may point to.
type span struct {
	start, end int
	twice      bool
}

// take gives memory for a blob.
func (d *found) take(n int) []byte {
	if len(d.memory) < n {
		d.memory = make([]byte, max(n, 64<<10))
	}
	b := d.memory[:n:n]
	d.memory = d.memory[n:]
	return b
}

// matched keeps the value between start and s.pos, which the nodes match.
func (s *scanner) matched(nodes []*node, start int) error {
	field, ref, null := 0, false, s.src[start] == 'n'
	for _, n := range nodes {
		ref = ref || n.ref
		if n.field > 0 && !null {
			s.met[n.field-1] = true
			if field == 0 || n.field < field {
				field = n.field
			}
		}
	}
	switch {
	case field == 0 && !ref:
		return nil
	case len(s.path) > maxPointer:
		line := 1 + bytes.Count(s.src[:start], []byte{'\n'})
		return tooLarge("line %d: the value of a field or of a reference stands at a JSON Pointer of %d bytes; up to %d are handled", line, len(s.path), maxPointer)
	case field > 0 && len(s.at) == maxKeys:
		return tooLarge("more than %d wrapped keys; split the item", maxKeys)
	case len(s.refs) == maxKeys:
		return tooLarge("more than %d values in one document that the context or the associated data may refer to; split the document", maxKeys)
	case len(s.paths) > maxSize:
		return tooLarge("the JSON Pointers of its wrapped keys have more than %d MiB together; split the item", maxSize>>20)
	}
	if ref {
		if s.refs == nil {
			s.refs = map[string]span{}
		}
		_, twice := s.refs[string(s.path)]
		s.refs[string(s.path)] = span{start, s.pos, twice}
	}
	if field > 0 {
		s.key(field-1, start, s.pos)
	}
	return nil
}

func kindOf(c byte) string {
	switch c {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	case '"':
		return "a string"
	}
	return "a number"
}

// key keeps the wrapped key that is the value between start and end.
func (s *scanner) key(field, start, end int) {
	blob, shows, layout, err := s.decode(s.src[start:end])
	if layout != (b64.Layout{}) {
		if s.layouts == nil {
			s.layouts = map[int]b64.Layout{}
		}
		s.layouts[len(s.at)] = layout
	}
	s.fields[field].add(shows)
	s.at = append(s.at, place{uint32(start + 1 + s.mark), uint32(end - 1 + s.mark), uint32(field), shows})
	s.keys = append(s.keys, envelope.WrappedKey{Blob: blob, Err: err})
	s.paths = append(s.paths, s.path...)
	s.marks = append(s.marks, mark{line: s.line, end: len(s.paths)})
}

// decode reads a value that should be a string with a wrapped key.
func (s *scanner) decode(value []byte) (blob []byte, shows shown, layout b64.Layout, err error) {
	if value[0] != '"' {
		return nil, shown{}, b64.Layout{}, fmt.Errorf("%s, where a string with a wrapped key should be", kindOf(value[0]))
	}
	raw := value[1 : len(value)-1]
	compact, layout, err := b64.Unwrap(unquote(raw))
	switch {
	case err != nil:
		return nil, shown{}, b64.Layout{}, err
	case len(compact) == 0:
		return nil, shown{}, b64.Layout{}, errors.New("an empty string, where a wrapped key should be")
	}
	if blob, shows.style, err = b64.Decode(compact, s.take); err != nil {
		return nil, shown{}, b64.Layout{}, err
	}
	shows.forms = formsOf(raw)
	return blob, shows, layout, nil
}

// endDocument tells keys at the same pointer apart, and binds the keys of the
// document. That is done last, since the values to bind with may stand behind
// the keys.
func (s *scanner) endDocument() error {
	if s.first < len(s.at) {
		paths := string(s.paths[s.pathsAt:])
		var times map[string]int
		if len(s.at)-s.first > 1 {
			times = make(map[string]int, len(s.at)-s.first)
		}
		for i, from := s.first, 0; i < len(s.at); i++ {
			to := s.marks[i].end - s.pathsAt
			path := paths[from:to]
			from = to
			if times != nil {
				name := printable(path)
				n := times[name] + 1
				for n > 1 && times[string(appendRepeat([]byte(name), n))] > 0 { // a name in the document may look the same
					n++
				}
				if times[name] = n; n > 1 {
					times[string(appendRepeat([]byte(name), n))] = 1
				}
				s.marks[i].repeat = n
			}
			if err := s.bind(i, path); err != nil {
				return err
			}
		}
	}
	s.first, s.pathsAt = len(s.at), len(s.paths)
	if len(s.refs) > 1<<10 {
		s.refs = nil // clear takes as long as the map was ever large, for each of many small documents
	}
	clear(s.refs)
	return nil
}

// bind finds what binds a key. A value that the document lacks is the key's
// error. An error that would meet all keys is the item's.
func (s *scanner) bind(i int, path string) (err error) {
	b, k := &s.f.binding, &s.keys[i]
	if len(b.References()) > 0 {
		if k.Err == nil {
			k.Context, k.AssociatedData, k.Err = b.Bind(s.name, &lookup{s, s.f.fields[s.at[i].field].places, path})
		}
		return nil
	}
	if !s.shared.known {
		if s.shared.context, s.shared.associatedData, err = b.Bind(s.name, nil); err != nil {
			return err
		}
		s.shared.known = true
	}
	k.Context, k.AssociatedData = s.shared.context, s.shared.associatedData
	return nil
}

// lookup follows the references of one key.
type lookup struct {
	s      *scanner
	places []binding.Place
	path   string // the key's
}

func (l *lookup) find(ref int) ([]byte, string, error) {
	at := l.places[ref].Append(make([]byte, 0, 64), l.path)
	value, ok := l.s.refs[string(at)]
	switch {
	case !ok:
		return nil, "", fmt.Errorf("%s is missing", printable(string(at)))
	case value.twice:
		return nil, "", fmt.Errorf("%s is there twice, so which one is meant is not known", printable(string(at)))
	}
	return l.s.src[value.start:value.end], string(at), nil
}

func (l *lookup) Value(ref int) (string, error) {
	text, at, err := l.find(ref)
	if err != nil {
		return "", err
	}
	switch c := text[0]; c {
	case '"':
		return string(unquote(text[1 : len(text)-1])), nil
	case '{', '[', 'n':
		return "", fmt.Errorf("%s is %s, where a string, a number or a boolean should be", printable(at), kindOf(c))
	}
	return string(text), nil
}

func (l *lookup) Object(ref int) (map[string]string, error) {
	text, at, err := l.find(ref)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(text) { // the decoder would read U+FFFD
		return nil, fmt.Errorf("%s is not UTF-8, as every encryption context is", printable(at))
	}
	context, err := binding.DecodeContext(json.NewDecoder(bytes.NewReader(text)))
	if err != nil {
		return nil, fmt.Errorf("%s is no encryption context: %w", printable(at), err)
	}
	return context, nil
}

func appendRepeat(locator []byte, n int) []byte {
	return append(strconv.AppendInt(append(locator, " ("...), int64(n), 10), ')')
}

// envelope ends the walk.
func (s *scanner) envelope() envelope.Envelope {
	name := "json"
	if s.documents > 1 {
		name = "json-lines"
	}
	s.locate()
	var style b64.Style
	for _, f := range s.fields {
		style |= f.style
	}
	for i, at := range s.at {
		if s.keys[i].Err == nil {
			s.keys[i].Assumes = s.f.choice.Assumes(at.style, s.fields[at.field].style)
		}
	}
	it := &item{choice: s.f.choice, keys: s.keys, at: s.at, layouts: s.layouts, fields: s.fields}
	return envelope.Envelope{Format: name, Keys: s.keys, Fields: s.fieldsMet(), Style: style, Replace: it.replace}
}

// locate names the keys.
func (s *scanner) locate() {
	// All locators are cut from one string.
	text := make([]byte, 0, len(s.paths)+16*len(s.at))
	ends := make([]int, len(s.at))
	from := 0
	for i, m := range s.marks {
		if s.documents > 1 {
			text = strconv.AppendInt(append(text, "line "...), int64(m.line), 10)
			if m.end > from {
				text = append(text, ':')
			}
		}
		text = append(text, printable(string(s.paths[from:m.end]))...)
		if m.repeat > 1 {
			text = appendRepeat(text, m.repeat)
		}
		from, ends[i] = m.end, len(text)
	}
	locators := string(text)
	from = 0
	for i := range s.keys {
		s.keys[i].Locator = locators[from:ends[i]]
		from = ends[i]
	}
}

// fieldsMet are the names of the fields that are in the item.
func (s *scanner) fieldsMet() []string {
	missing := func(f field) bool { return !s.met[f.same] }
	if !slices.ContainsFunc(s.f.fields, missing) { // mostly, and then the item needs no list of its own
		return s.f.names
	}
	names := make([]string, 0, len(s.met))
	for i, f := range s.f.fields {
		if !missing(f) {
			names = append(names, s.f.names[i])
		}
	}
	return names
}
