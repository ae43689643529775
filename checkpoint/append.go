package checkpoint

import (
	"encoding/json"
	"errors"
	"math"
	"time"
	"unicode/utf8"
)

// appender is a record that is written for every wrapped key of a run. Its
// JSON is what encoding/json makes of it (without the escaping of HTML), to the
// byte; but that takes ten times as long, and an item may have a million keys.
type appender interface {
	appendJSON(b []byte) ([]byte, error)
}

var errNotJSON = errors.New("the inverse is not JSON")

func (e Entry) appendJSON(b []byte) (_ []byte, err error) {
	b = appendText(append(b, `{"id":`...), e.ID)
	if b, err = appendTime(append(b, `,"time":`...), e.Time); err != nil {
		return b, err
	}
	b = appendText(append(b, `,"rev":`...), e.Rev)
	for i, k := range e.Keys {
		if i == 0 {
			b = append(b, `,"keys":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(k.appendFields(append(b, '{')), '}')
	}
	if len(e.Keys) > 0 {
		b = append(b, ']')
	}
	if len(e.Inverse) > 0 {
		if !json.Valid(e.Inverse) {
			return b, errNotJSON
		}
		b = append(append(b, `,"inverse":`...), e.Inverse...)
	}
	return append(b, '}'), nil
}

func (a AuditLine) appendJSON(b []byte) (_ []byte, err error) {
	b = appendText(append(b, `{"id":`...), a.ID)
	if b, err = appendTime(append(b, `,"time":`...), a.Time); err != nil {
		return b, err
	}
	b = a.appendFields(append(b, ','))
	b = appendText(append(b, `,"revision_before":`...), a.RevisionBefore)
	b = appendText(append(b, `,"revision_after":`...), a.RevisionAfter)
	return append(b, '}'), nil
}

func (k KeyChange) appendFields(b []byte) []byte {
	b = appendText(append(b, `"locator":`...), k.Locator)
	b = appendText(append(b, `,"key_from":`...), k.KeyFrom)
	b = appendText(append(b, `,"material_from":`...), k.MaterialFrom)
	b = appendText(append(b, `,"key_to":`...), k.KeyTo)
	b = appendText(append(b, `,"material_to":`...), k.MaterialTo)
	b = appendText(append(b, `,"request_id":`...), k.RequestID)
	b = appendText(append(b, `,"sha256_before":`...), k.SHA256Before)
	return appendText(append(b, `,"sha256_after":`...), k.SHA256After)
}

func appendTime(b []byte, t time.Time) ([]byte, error) {
	b, err := t.AppendText(append(b, '"'))
	return append(b, '"'), err
}

// appendText appends a string as JSON; encoding/json does those that are not
// printable ASCII.
func appendText(b []byte, s string) []byte {
	start := len(b)
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= utf8.RuneSelf:
			b, _ = appendLine(b[:start], s, math.MaxInt) // a string cannot fail
			return b
		case c == '"' || c == '\\':
			b = append(append(b, s[from:i]...), '\\')
			from = i
		}
	}
	return append(append(b, s[from:]...), '"')
}
