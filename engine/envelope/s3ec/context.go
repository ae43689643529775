package s3ec

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"rewrap/engine/envelope/binding"
)

// decodeContext reads an encryption context from a metadata value as the store
// gives it: a JSON object of strings. An empty value, and the null that a Go
// client writes for a nil map, are the empty context, as they are to the
// clients. The new blob has to be bound to the context that the clients will
// ask with. So every value that two clients might read differently is an error:
// a name that is there twice, another type, text behind the object.
func decodeContext(value []byte) (map[string]string, error) {
	text, err := decodeHeader(value)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return map[string]string{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	context, err := binding.DecodeContext(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return context, nil
}

// decodeHeader undoes the encoding that S3 gives to a metadata value with
// characters beyond ASCII. S3 takes the UTF-8 bytes of the writer's header for Latin-1, and
// answers with that text as encoded words of RFC 2047. So each character of the
// decoded words is one byte that the writer sent. Other stores answer with the
// writer's bytes, or with encoded words of the text itself. A value is taken as
// it is if it is no encoded word, or if its characters cannot be such bytes. No
// JSON object begins like an encoded word.
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

// latin1 is s with one byte for each character; false if one does not fit.
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
