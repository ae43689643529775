package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"unicode/utf8"
)

// decodeContext reads an encryption context from a metadata value as the
// store gives it: a JSON object of strings. Nothing at all, and the null that
// a Go client makes of no map, are the empty context, as they are to the
// clients. Everything that two clients might read differently is an error
// (the same name twice, other types, something behind the object), since the
// new blob has to be bound to what the clients will ask with.
func decodeContext(value []byte) (map[string]string, error) {
	text, err := decodeHeader(value)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return map[string]string{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	context, err := decodeStrings(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return context, nil
}

func decodeStrings(d *json.Decoder) (map[string]string, error) {
	context := map[string]string{}
	switch open, err := d.Token(); {
	case err != nil:
		return nil, notJSON(err)
	case open == nil:
		return context, nil
	case open != json.Delim('{'):
		return nil, errors.New("not a JSON object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		name := t.(string) // the decoder lets nothing else stand for a name
		if t, err = d.Token(); err != nil {
			return nil, notJSON(err)
		}
		s, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("the value of %.40q is not a string", name)
		}
		if _, twice := context[name]; twice {
			return nil, fmt.Errorf("%.40q is there twice", name)
		}
		context[name] = s
	}
	if _, err := d.Token(); err != nil {
		return nil, notJSON(err)
	}
	return context, nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("not JSON: %w", err)
}

// decodeHeader undoes what S3 does to a metadata value with characters beyond
// ASCII. S3 takes the UTF-8 bytes of the writer's header for Latin-1, and
// answers with that text as encoded words of RFC 2047: so the characters of
// the decoded words are the bytes that the writer sent. Other stores answer
// with the writer's bytes, or with encoded words of the text itself; a value
// that is not an encoded word, or whose characters cannot be those bytes, is
// taken as it is. A JSON object never begins like an encoded word.
func decodeHeader(value []byte) ([]byte, error) {
	if bytes.HasPrefix(value, []byte("=?")) {
		text, err := new(mime.WordDecoder).DecodeHeader(string(value))
		if err != nil {
			return nil, errors.New("encoded words (RFC 2047) in a character set that is not known here")
		}
		value = []byte(text)
		if sent, ok := latin1(text); ok && utf8.Valid(sent) {
			value = sent
		}
	}
	if !utf8.Valid(value) {
		return nil, errors.New("not UTF-8")
	}
	return value, nil
}

// latin1 returns the characters of s as one byte each; false if one of them
// does not fit.
func latin1(s string) ([]byte, bool) {
	if strings.ContainsFunc(s, func(r rune) bool { return r > 0xff }) {
		return nil, false
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b, true
}
