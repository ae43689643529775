package jsondoc

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// escaped are the characters of base64 that some JSON encoders escape: PHP the
// slash, .NET the plus, Gson the equals sign.
const escaped = "+/-_="

// forms are the ways in which strings write the characters of escaped: for each
// of them four bits, which are the constants below.
type forms uint32

const (
	formPlain     = 1 << iota
	formBackslash // \/
	formUpper     // \u002B
	formLower     // \u002b
	formBits      = 4
	formMask      = 1<<formBits - 1
)

const (
	upperHex = "0123456789ABCDEF"
	lowerHex = "0123456789abcdef"
)

func formOf(i, form int) forms { return forms(form) << (formBits * i) }

// formsOf are the forms in the content of a string.
func formsOf(raw []byte) forms {
	var s forms
	if bytes.IndexByte(raw, '\\') < 0 {
		for i := range len(escaped) {
			if bytes.IndexByte(raw, escaped[i]) >= 0 {
				s |= formOf(i, formPlain)
			}
		}
		return s
	}
	for i := 0; i < len(raw); i++ {
		form, c := formPlain, raw[i]
		if c == '\\' {
			i++
			switch form, c = formBackslash, raw[i]; c {
			case '/':
			case 'u':
				hex := raw[i+1 : i+5]
				i += 4
				r := rune4(hex)
				if r >= utf8.RuneSelf {
					continue
				}
				form, c = formUpper, byte(r)
				if bytes.ContainsAny(hex, "abcdef") {
					form = formLower
				}
			default: // a control character
				continue
			}
		}
		if at := strings.IndexByte(escaped, c); at >= 0 {
			s |= formOf(at, form)
		}
	}
	return s
}

// quote makes the content of a JSON string from a text of base64 characters,
// and of white space if spaced. Each character has the form that the string
// itself shows, or else its field. Where that shows several, the plain one is
// taken, or the first of the others.
func quote(text []byte, spaced bool, own, field forms) []byte {
	var form [len(escaped)]forms
	plain := !spaced
	for i := range form {
		if form[i] = own >> (formBits * i) & formMask; form[i] == 0 {
			form[i] = field >> (formBits * i) & formMask
		}
		plain = plain && form[i] <= formPlain
	}
	if plain {
		return text
	}
	out := make([]byte, 0, len(text)+len(text)/4)
	for _, c := range text {
		at := strings.IndexByte(escaped, c)
		switch {
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\r':
			out = append(out, `\r`...)
		case c == '\t':
			out = append(out, `\t`...)
		case at < 0 || form[at] <= formPlain || form[at]&formPlain != 0:
			out = append(out, c)
		case form[at]&formBackslash != 0:
			out = append(out, '\\', c)
		case form[at]&formUpper != 0:
			out = append(out, '\\', 'u', '0', '0', upperHex[c>>4], upperHex[c&15])
		default:
			out = append(out, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
		}
	}
	return out
}

// unquote decodes the content of a valid JSON string as encoding/json does: half
// a surrogate pair becomes U+FFFD. Bytes that are not UTF-8 stay. Without an
// escape in it, the result is raw itself.
func unquote(raw []byte) []byte {
	i := bytes.IndexByte(raw, '\\')
	if i < 0 {
		return raw
	}
	out := append(make([]byte, 0, len(raw)), raw[:i]...)
	for i < len(raw) {
		c := raw[i]
		i++
		if c != '\\' {
			out = append(out, c)
			continue
		}
		c = raw[i]
		i++
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := rune4(raw[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(raw)-i >= 6 && raw[i] == '\\' && raw[i+1] == 'u' {
					pair = utf16.DecodeRune(r, rune4(raw[i+2:]))
				}
				if pair != utf8.RuneError {
					i += 6
				}
				r = pair
			}
			out = utf8.AppendRune(out, r)
		default: // " \ /
			out = append(out, c)
		}
	}
	return out
}

// rune4 reads the four digits of a \u escape that is known to be valid.
func rune4(hex []byte) rune {
	var r rune
	for _, c := range hex[:4] {
		v := c - '0'
		if c > '9' {
			v = c&^0x20 - 'A' + 10
		}
		r = r<<4 | rune(v)
	}
	return r
}

// printable makes a pointer fit for a log line: bytes that are not UTF-8 become
// U+FFFD, and control characters are written as in JSON.
func printable(path string) string {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	path = strings.ToValidUTF8(path, "\ufffd")
	if !strings.ContainsFunc(path, control) {
		return path
	}
	var b strings.Builder
	for _, r := range path {
		if control(r) {
			b.WriteString(`\u00`)
			b.WriteByte(lowerHex[r>>4])
			b.WriteByte(lowerHex[r&15])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
