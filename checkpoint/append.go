package checkpoint

import (
	"encoding/json"
	"errors"
	"time"

	"rewrap/checkpoint/account"
)

// appender is a record that is written for every wrapped key of a run. Its
// appendJSON writes the same bytes as encoding/json without the escaping of
// HTML. encoding/json takes ten times as long, and an item may have a million
// keys.
type appender interface {
	appendJSON(b []byte) ([]byte, error)
}

var errNotJSON = errors.New("the inverse is not JSON")

func (e Entry) appendJSON(b []byte) (_ []byte, err error) {
	b = account.AppendString(append(b, `{"id":`...), e.ID)
	if b, err = appendTime(append(b, `,"time":`...), e.Time); err != nil {
		return b, err
	}
	b = account.AppendString(append(b, `,"rev":`...), e.Rev)
	for i, k := range e.Keys {
		if i == 0 {
			b = append(b, `,"keys":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(k.AppendFields(append(b, '{')), '}')
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
	if e.Version != "" {
		b = account.AppendString(append(b, `,"version":`...), e.Version)
	}
	return append(b, '}'), nil
}

func (a AuditLine) appendJSON(b []byte) (_ []byte, err error) {
	b = account.AppendString(append(b, `{"id":`...), a.ID)
	if b, err = appendTime(append(b, `,"time":`...), a.Time); err != nil {
		return b, err
	}
	b = a.AppendFields(append(b, ','))
	b = account.AppendString(append(b, `,"revision_before":`...), a.RevisionBefore)
	b = account.AppendString(append(b, `,"revision_after":`...), a.RevisionAfter)
	return append(b, '}'), nil
}

func appendTime(b []byte, t time.Time) ([]byte, error) {
	b, err := t.AppendText(append(b, '"'))
	return append(b, '"'), err
}
