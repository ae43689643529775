// Package binding finds what binds the wrapped keys of formats that do not
// record it themselves (raw, json): the encryption context that KMS was given,
// or the associated data of a local keyring.
package binding

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Binding makes the context and the associated data of wrapped keys. The zero
// Binding binds nothing. Safe for concurrent use.
//
// A wrong binding does no harm: the key service authenticates it, and refuses
// the blob.
type Binding struct {
	context        []boundValue
	associatedData template

	refs []Reference
	// object says that refs[0] is a JSON object which is the whole context.
	object bool
}

type boundValue struct {
	name  string
	value template
}

// New compiles a binding from the text of command-line flags. Its errors are
// for the person who wrote the flags.
//
// context are pairs "name=value". The name ends at the first "=" and is taken
// as it stands. associatedData is one value; "" is none. A value may hold
// references in braces. "{{" and "}}" stand for the braces themselves.
//
//	{name}        the item's whole name
//	{base}        the part of the name behind its last "/", or all of it
//	{dir}         the part of the name before its last "/", or nothing
//	{json:PTR}    the value at the JSON Pointer PTR of the same document
//	{field:PATH}  the value beside the blob, in the same object or array
//
// The last two are for documents alone. They bring a string, a number as it is
// written, or true or false. Any other value, a missing one, and a place that is
// there twice are errors of the wrapped key. The first "*" of PTR stands for the
// token that the first "*" of the blob's own pointer matched, and so on: for
// blobs at /tenants/*/key, {json:/tenants/*/id} is the id of the same tenant.
// PATH is a JSON Pointer without its first "/" and without "*", mostly a plain
// name. Names with braces cannot be referred to.
//
// contextField is the place of an object of strings that is the whole context:
// a PTR if it begins with "/", else a PATH. A wrapped key without it is broken.
// null and {} are the empty context. contextField excludes context.
func New(context []string, contextField, associatedData string) (Binding, error) {
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

// Reference points into the document that holds a blob.
type Reference struct {
	text     string // as written
	relative bool   // to the object that holds the blob
	path     Pointer
}

// String is the reference as it was written.
func (r Reference) String() string { return r.text }

func parseReference(text string, relative bool) (Reference, error) {
	full := text
	if relative {
		full = "/" + text
	}
	path, err := ParsePointer(full)
	if err != nil {
		return Reference{}, err
	}
	if relative && path.wildcards() > 0 {
		return Reference{}, fmt.Errorf("%q has a *, which only a JSON Pointer from the document's top can have", text)
	}
	return Reference{text, relative, path}, nil
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

// References are the places in a document that the binding needs. A [Lookup]
// gets their indexes.
func (b *Binding) References() []Reference { return b.refs }

// Lookup finds the values that references point to, for one wrapped key.
type Lookup interface {
	Value(ref int) (string, error)
	Object(ref int) (map[string]string, error)
}

// Bind returns the context and the associated data of a wrapped key in the item
// with this name. from may be nil if there are no references into a document.
func (b *Binding) Bind(name string, from Lookup) (context map[string]string, associatedData []byte, err error) {
	if b.object {
		if context, err = from.Object(0); err != nil {
			return nil, nil, err
		}
	} else if len(b.context) > 0 {
		context = make(map[string]string, len(b.context))
		for _, v := range b.context {
			s, err := v.value.render(name, from)
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
		s, err := b.associatedData.render(name, from)
		if err != nil {
			return nil, nil, fmt.Errorf("associated data: %w", err)
		}
		associatedData = []byte(s)
	}
	return context, associatedData, nil
}

func (t template) render(name string, from Lookup) (string, error) {
	slash := strings.LastIndexByte(name, '/')
	var s strings.Builder
	for _, p := range t {
		switch p.kind {
		case literal:
			s.WriteString(p.text)
		case itemName:
			s.WriteString(name)
		case itemBase:
			s.WriteString(name[slash+1:])
		case itemDir:
			s.WriteString(name[:max(slash, 0)])
		case inDocument:
			v, err := from.Value(p.ref)
			if err != nil {
				return "", err
			}
			s.WriteString(v)
		}
	}
	return s.String(), nil
}
