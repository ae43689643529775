package envelope

import (
	"errors"
	"fmt"

	"rewrap/sources"
)

// Auto is the format that tries others. An item is of the one format that
// claims it. An item that none claims is foreign. An item that several claim is
// broken, since a guess could be wrong.
func Auto(formats ...Format) Format { return auto(formats) }

type auto []Format

func (auto) Name() string { return "auto" }

func (a auto) Head() int64 {
	var most int64
	for _, f := range a {
		most = max(most, f.Head())
	}
	return most
}

func (a auto) Parse(v sources.View) (Envelope, error) {
	var (
		found   Envelope
		name    string // of the format that claims the item
		short   *sources.ShortError
		foreign = ErrForeign // or the first that says more
	)
	for _, f := range a {
		e, err := f.Parse(v)
		var s *sources.ShortError
		switch {
		case errors.Is(err, ErrForeign):
			if foreign == ErrForeign {
				foreign = err
			}
		case errors.As(err, &s):
			if short == nil || s.Need > short.Need {
				short = s
			}
		case err != nil:
			return Envelope{}, err
		case name != "":
			return Envelope{}, fmt.Errorf("claimed by two formats, %s and %s; name one with --format", name, f.Name())
		default:
			found, name = e, f.Name()
		}
	}
	switch {
	case short != nil:
		return Envelope{}, short
	case name == "":
		return Envelope{}, foreign
	}
	return found, nil
}
