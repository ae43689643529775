package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// jsonFound is what the walk over an item keeps: of the wrapped keys where
// they are, what they are and what binds them, and of the document at hand
// what references may mean.
type jsonFound struct {
	documents int

	at      []jsonString
	wrapped []WrappedKey // of each; the locators come last
	places  []jsonPlace
	paths   []byte // the pointers, one after another
	layouts map[int]layout
	memory  []byte // from which blobs are cut

	bound  bool // by a binding that is the same for the whole item
	shared WrappedKey

	first   int // of the document at hand: its first key,
	pathsAt int // where the pointers of its keys begin,
	refs    map[string]jsonSpan
}

// jsonPlace is what a locator is made of.
type jsonPlace struct {
	line   int // where the document begins
	end    int // of the pointer, in paths
	repeat int // 2 for the second key of a document whose pointer looks the same
}

// jsonSpan is a value that a reference may mean.
type jsonSpan struct {
	start, end int
	twice      bool
}

// take gives memory for a blob.
func (d *jsonFound) take(n int) []byte {
	if len(d.memory) < n {
		d.memory = make([]byte, max(n, 64<<10))
	}
	b := d.memory[:n:n]
	d.memory = d.memory[n:]
	return b
}

// matched keeps the value that ends at s.pos, to which the pointers of nodes
// lead.
func (s *jsonScanner) matched(nodes []*node, start int) error {
	field, ref := 0, false
	for _, n := range nodes {
		ref = ref || n.ref
		if n.field > 0 && s.src[start] != 'n' {
			if met := &s.f.met[n.field-1]; !met.Load() {
				met.Store(true)
			}
		}
		if n.field > 0 && (field == 0 || n.field < field) {
			field = n.field
		}
	}
	if s.src[start] == 'n' {
		field = 0
	}
	switch {
	case field == 0 && !ref:
		return nil
	case len(s.path) > maxJSONPointer:
		line := 1 + bytes.Count(s.src[:start], []byte{'\n'})
		return tooLarge("line %d: what is wanted stands at a JSON Pointer of %d bytes; up to %d are handled", line, len(s.path), maxJSONPointer)
	case field > 0 && len(s.at) == maxJSONKeys:
		return tooLarge("more than %d wrapped keys; split the item", maxJSONKeys)
	case len(s.refs) == maxJSONKeys:
		return tooLarge("more than %d values in one document that the context or the associated data may refer to; split the document", maxJSONKeys)
	case len(s.paths) > maxJSON:
		return tooLarge("the JSON Pointers of its wrapped keys have more than %d MiB together; split the item", maxJSON>>20)
	}
	if ref {
		if s.refs == nil {
			s.refs = map[string]jsonSpan{}
		}
		_, twice := s.refs[string(s.path)]
		s.refs[string(s.path)] = jsonSpan{start, s.pos, twice}
	}
	if field == 0 {
		return nil
	}
	s.key(uint32(field-1), start, s.pos)
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
func (s *jsonScanner) key(field uint32, start, end int) {
	blob, shows, l, err := s.decode(s.src[start:end])
	if l != (layout{}) {
		if s.layouts == nil {
			s.layouts = map[int]layout{}
		}
		s.layouts[len(s.at)] = l
	}
	s.at = append(s.at, jsonString{uint32(start + 1 + s.mark), uint32(end - 1 + s.mark), field, shows})
	s.wrapped = append(s.wrapped, WrappedKey{Blob: blob, Err: err})
	s.paths = append(s.paths, s.path...)
	s.places = append(s.places, jsonPlace{line: s.line, end: len(s.paths)})
}

// decode reads a value that should be a string with a wrapped key.
func (s *jsonScanner) decode(value []byte) (blob []byte, shows style, l layout, err error) {
	if value[0] != '"' {
		return nil, 0, layout{}, fmt.Errorf("%s, where a string with a wrapped key should be", kindOf(value[0]))
	}
	raw := value[1 : len(value)-1]
	compact, l, err := unwrap(unquote(raw))
	switch {
	case err != nil:
		return nil, 0, layout{}, err
	case len(compact) == 0:
		return nil, 0, layout{}, errors.New("an empty string, where a wrapped key should be")
	}
	if blob, shows, err = decodeBase64(compact, s.take); err != nil {
		return nil, 0, layout{}, err
	}
	return blob, shows | escapesOf(raw), l, nil
}

// endDocument tells keys at the same pointer apart, and finds what binds the
// keys of the document: it may stand behind them.
func (s *jsonScanner) endDocument() error {
	if s.first < len(s.at) {
		paths := string(s.paths[s.pathsAt:])
		var times map[string]int
		if len(s.at)-s.first > 1 {
			times = make(map[string]int, len(s.at)-s.first)
		}
		for i, from := s.first, 0; i < len(s.at); i++ {
			to := s.places[i].end - s.pathsAt
			path := paths[from:to]
			from = to
			if times != nil {
				shown := printable(path)
				n := times[shown] + 1
				for n > 1 && times[string(appendRepeat([]byte(shown), n))] > 0 { // a name may look like this
					n++
				}
				if times[shown] = n; n > 1 {
					times[string(appendRepeat([]byte(shown), n))] = 1
				}
				s.places[i].repeat = n
			}
			if err := s.bind(i, path); err != nil {
				return err
			}
		}
	}
	s.first, s.pathsAt = len(s.at), len(s.paths)
	if len(s.refs) > 1<<10 {
		s.refs = nil // to clear a large map for each of many small documents would take for ever
	}
	clear(s.refs)
	return nil
}

// bind says what binds a key. What the document lacks for it is the key's error;
// the item's is what would meet all its keys.
func (s *jsonScanner) bind(i int, path string) (err error) {
	b, k := &s.f.binding, &s.wrapped[i]
	if len(b.refs) > 0 {
		if k.Err == nil {
			k.Context, k.AssociatedData, k.Err = b.bind(s.id, &jsonLookup{s, s.f.places[s.at[i].field], path})
		}
		return nil
	}
	if !s.bound {
		if s.shared.Context, s.shared.AssociatedData, err = b.bind(s.id, nil); err != nil {
			return err
		}
		s.bound = true
	}
	k.Context, k.AssociatedData = s.shared.Context, s.shared.AssociatedData
	return nil
}

// jsonLookup follows the references of one key.
type jsonLookup struct {
	s      *jsonScanner
	places []place
	path   string // the key's
}

func (l *jsonLookup) find(ref int) ([]byte, string, error) {
	at := l.places[ref].concrete(make([]byte, 0, 64), l.path)
	span, ok := l.s.refs[string(at)]
	switch {
	case !ok:
		return nil, "", fmt.Errorf("%s is missing", printable(string(at)))
	case span.twice:
		return nil, "", fmt.Errorf("%s is there twice, so which one is meant is not known", printable(string(at)))
	}
	return l.s.src[span.start:span.end], string(at), nil
}

func (l *jsonLookup) value(ref int) (string, error) {
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

func (l *jsonLookup) object(ref int) (map[string]string, error) {
	text, at, err := l.find(ref)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(text) { // which the decoder would take for U+FFFD
		return nil, fmt.Errorf("%s is not UTF-8, as every encryption context is", printable(at))
	}
	context, err := decodeStrings(json.NewDecoder(bytes.NewReader(text)))
	if err != nil {
		return nil, fmt.Errorf("%s is no encryption context: %w", printable(at), err)
	}
	return context, nil
}

func appendRepeat(locator []byte, n int) []byte {
	return append(strconv.AppendInt(append(locator, " ("...), int64(n), 10), ')')
}

// envelope ends the walk.
func (s *jsonScanner) envelope() *jsonEnvelope {
	format := "json"
	if s.documents > 1 {
		format = "json-lines"
	}
	// All locators are cut from one string.
	text := make([]byte, 0, len(s.paths)+16*len(s.at))
	ends := make([]int, len(s.at))
	from := 0
	for i, p := range s.places {
		if s.documents > 1 {
			text = strconv.AppendInt(append(text, "line "...), int64(p.line), 10)
			if p.end > from {
				text = append(text, ':')
			}
		}
		text = append(text, printable(string(s.paths[from:p.end]))...)
		if p.repeat > 1 {
			text = appendRepeat(text, p.repeat)
		}
		from, ends[i] = p.end, len(text)
	}
	locators := string(text)
	from = 0
	for i := range s.wrapped {
		s.wrapped[i].Locator = locators[from:ends[i]]
		from = ends[i]
	}
	return &jsonEnvelope{id: s.id, format: format, keys: s.wrapped, at: s.at, layouts: s.layouts, writings: s.f.writings}
}
