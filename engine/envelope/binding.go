package envelope

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Binding says what binds the wrapped keys of a format that does not record it
// (raw, json): the encryption context that KMS was given, or the associated
// data of a local keyring. The zero Binding binds nothing.
//
// A wrong binding does no harm: the key service authenticates it, so that it
// refuses the blob.
type Binding struct {
	context        []boundValue
	associatedData template

	refs []reference
	// object says that refs[0] is a JSON object which is the whole context.
	object bool
}

type boundValue struct {
	name  string
	value template
}

// NewBinding compiles a binding from text as people write it on the command
// line; its errors are theirs to mend.
//
// context are pairs "name=value"; the name ends at the first "=" and is taken
// as it stands. associatedData is one value; "" is none. A value may hold
// references in braces, and "{{" and "}}" for the braces themselves:
//
//	{name}        the item's whole name
//	{base}        what follows the last "/" of the name, or all of it
//	{dir}         what precedes the last "/" of the name, or nothing
//	{json:PTR}    what stands at the JSON Pointer PTR of the same document
//	{field:PATH}  what stands beside the blob, in the same object (or array)
//
// The last two are for documents alone. They bring a string, a number as it is
// written, or true or false; anything else, nothing at all, and the same place
// twice are errors of the item. In PTR the first "*" stands for whatever the
// first "*" of the blob's own pointer matched, and so on: for blobs at
// /tenants/*/key, {json:/tenants/*/id} is the id of the same tenant. PATH is a
// JSON Pointer without its first "/" and without "*": a plain name, mostly.
// Names with braces cannot be referred to.
//
// contextField is where an object of strings stands that is the whole context:
// a PTR if it begins with "/", else a PATH. An item where it is missing is
// broken; null and {} are the empty context. It excludes context.
func NewBinding(context []string, contextField, associatedData string) (Binding, error) {
	var b Binding
	if contextField != "" {
		if len(context) > 0 {
			return Binding{}, fmt.Errorf("the context comes either from the field %q or from pairs, not from both", contextField)
		}
		ref, err := parseReference(contextField, !strings.HasPrefix(contextField, "/"))
		if err != nil {
			return Binding{}, fmt.Errorf("context field: %w", err)
		}
		b.refs, b.object = append(b.refs, ref), true
	}
	seen := map[string]bool{}
	for _, pair := range context {
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok || name == "":
			return Binding{}, fmt.Errorf("context %q is not of the form name=value", pair)
		case seen[name]:
			return Binding{}, fmt.Errorf("context %q is given twice", name)
		case !utf8.ValidString(pair):
			return Binding{}, fmt.Errorf("context %q is not UTF-8", pair)
		}
		seen[name] = true
		t, err := b.compile(value)
		if err != nil {
			return Binding{}, fmt.Errorf("context %q: %w", name, err)
		}
		b.context = append(b.context, boundValue{name, t})
	}
	var err error
	if b.associatedData, err = b.compile(associatedData); err != nil {
		return Binding{}, fmt.Errorf("associated data: %w", err)
	}
	return b, nil
}

// template is a value with references.
type template []part

type part struct {
	kind partKind
	text string // of a literal
	ref  int    // of a reference into the document: index in Binding.refs
}

type partKind uint8

const (
	literal partKind = iota
	itemName
	itemBase
	itemDir
	inDocument
)

// reference points into the document that holds a blob.
type reference struct {
	text     string // as written
	relative bool   // to the object that holds the blob
	path     pointer
}

func parseReference(text string, relative bool) (reference, error) {
	full := text
	if relative {
		full = "/" + text
	}
	path, err := parsePointer(full)
	if err != nil {
		return reference{}, err
	}
	if relative && path.wildcards() > 0 {
		return reference{}, fmt.Errorf("%q has a *, which only a JSON Pointer from the document's top can have", text)
	}
	return reference{text, relative, path}, nil
}

func (b *Binding) compile(text string) (template, error) {
	var t template
	add := func(s string) {
		if n := len(t); n > 0 && t[n-1].kind == literal {
			t[n-1].text += s
		} else {
			t = append(t, part{text: s})
		}
	}
	for text != "" {
		i := strings.IndexAny(text, "{}")
		if i < 0 {
			add(text)
			break
		}
		if i > 0 {
			add(text[:i])
			text = text[i:]
		}
		if text[0] == '}' || strings.HasPrefix(text, "{{") {
			if len(text) < 2 || text[1] != text[0] {
				return nil, fmt.Errorf("a } that closes nothing; }} stands for the character")
			}
			add(text[:1])
			text = text[2:]
			continue
		}
		name, rest, closed := strings.Cut(text[1:], "}")
		if !closed {
			return nil, fmt.Errorf("the { of %q is not closed; {{ stands for the character", text)
		}
		p, err := b.reference(name)
		if err != nil {
			return nil, err
		}
		t, text = append(t, p), rest
	}
	return t, nil
}

func (b *Binding) reference(name string) (part, error) {
	kind, path, _ := strings.Cut(name, ":")
	switch {
	case name == "name":
		return part{kind: itemName}, nil
	case name == "base":
		return part{kind: itemBase}, nil
	case name == "dir":
		return part{kind: itemDir}, nil
	case kind == "json" && name != kind, kind == "field" && path != "":
		ref, err := parseReference(path, kind == "field")
		if err != nil {
			return part{}, fmt.Errorf("{%s}: %w", name, err)
		}
		b.refs = append(b.refs, ref)
		return part{kind: inDocument, ref: len(b.refs) - 1}, nil
	default:
		return part{}, fmt.Errorf("{%s} is no reference; there are {name}, {base}, {dir}, {json:POINTER} and {field:NAME}, and {{ for the character", name)
	}
}

// lookup answers what stands where a reference points.
type lookup interface {
	value(ref int) (string, error)
	object(ref int) (map[string]string, error)
}

// bind says what binds a wrapped key of the item. from may be nil if there are
// no references into a document.
func (b *Binding) bind(id string, from lookup) (context map[string]string, associatedData []byte, err error) {
	if b.object {
		if context, err = from.object(0); err != nil {
			return nil, nil, err
		}
	} else if len(b.context) > 0 {
		context = make(map[string]string, len(b.context))
		for _, v := range b.context {
			s, err := v.value.render(id, from)
			if err != nil {
				return nil, nil, fmt.Errorf("context %q: %w", v.name, err)
			}
			if !utf8.ValidString(s) {
				return nil, nil, fmt.Errorf("context %q would not be UTF-8, which no encryption context can be", v.name)
			}
			context[v.name] = s
		}
	}
	if len(b.associatedData) > 0 {
		s, err := b.associatedData.render(id, from)
		if err != nil {
			return nil, nil, fmt.Errorf("associated data: %w", err)
		}
		associatedData = []byte(s)
	}
	return context, associatedData, nil
}

func (t template) render(id string, from lookup) (string, error) {
	slash := strings.LastIndexByte(id, '/')
	var s strings.Builder
	for _, p := range t {
		switch p.kind {
		case literal:
			s.WriteString(p.text)
		case itemName:
			s.WriteString(id)
		case itemBase:
			s.WriteString(id[slash+1:])
		case itemDir:
			s.WriteString(id[:max(slash, 0)])
		case inDocument:
			v, err := from.value(p.ref)
			if err != nil {
				return "", err
			}
			s.WriteString(v)
		}
	}
	return s.String(), nil
}
