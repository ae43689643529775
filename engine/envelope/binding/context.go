package binding

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// DecodeContext reads an encryption context: a JSON object of strings, or null
// for the empty one. It refuses a name that is there twice, since two readers
// might read it differently.
func DecodeContext(d *json.Decoder) (map[string]string, error) {
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
