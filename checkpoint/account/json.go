package account

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// AppendFields appends the fields of k as encoding/json writes them (without
// the escaping of HTML), and no braces around them. A run writes them twice
// for every wrapped key that moves; encoding/json takes ten times as long.
func (k KeyChange) AppendFields(b []byte) []byte {
	b = AppendString(append(b, `"locator":`...), k.Locator)
	b = AppendString(append(b, `,"key_from":`...), k.KeyFrom)
	b = AppendString(append(b, `,"material_from":`...), k.MaterialFrom)
	b = AppendString(append(b, `,"key_to":`...), k.KeyTo)
	b = AppendString(append(b, `,"material_to":`...), k.MaterialTo)
	b = AppendString(append(b, `,"request_id":`...), k.RequestID)
	b = AppendString(append(b, `,"sha256_before":`...), k.SHA256Before)
	return AppendString(append(b, `,"sha256_after":`...), k.SHA256After)
}

// AppendString appends s as a JSON string, as encoding/json writes it (without
// the escaping of HTML). Strings of printable ASCII, which nearly all are, take
// the short way.
func AppendString(b []byte, s string) []byte {
	start := len(b)
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= utf8.RuneSelf:
			return appendAny(b[:start], s)
		case c == '"' || c == '\\':
			b = append(append(b, s[from:i]...), '\\')
			from = i
		}
	}
	return append(append(b, s[from:]...), '"')
}

func appendAny(b []byte, s string) []byte {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string cannot fail
	return append(b, text.Bytes()[:text.Len()-1]...)
}
