package envelope_test

import (
	"errors"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/sources"
)

// answer is a format that gives one answer to every item.
type answer struct {
	name string
	err  error
}

func (a answer) Name() string { return a.name }

func (a answer) Head() int64 { return int64(len(a.name)) }

func (a answer) Parse(sources.View) (envelope.Envelope, error) {
	if a.err != nil {
		return envelope.Envelope{}, a.err
	}
	return envelope.Envelope{Format: a.name, Keys: []envelope.WrappedKey{{Blob: []byte(a.name)}}}, nil
}

func parseAuto(formats ...envelope.Format) (string, error) {
	e, err := envelope.Auto(formats...).Parse(sources.View{})
	if err != nil {
		return "", err
	}
	return e.Format, nil
}

func TestAuto(t *testing.T) {
	broken := errors.New("broken")
	var (
		a, b    = answer{name: "a"}, answer{name: "b"}
		foreign = answer{"foreign", envelope.ErrForeign}
		detail  = answer{"detail", errors.Join(envelope.ErrForeign, errors.New("an RSA key's"))}
		little  = answer{"little", &sources.ShortError{Need: 10}}
		much    = answer{"much", &sources.ShortError{Need: 1000}}
		skip    = answer{"skip", &sources.SkipError{Reason: "instruction-file"}}
		bad     = answer{"bad", broken}
	)
	of := func(f ...envelope.Format) []envelope.Format { return f }

	for name, formats := range map[string][]envelope.Format{"alone": of(a), "before": of(a, foreign), "behind": of(foreign, detail, a)} {
		if got, err := parseAuto(formats...); err != nil || got != "a" {
			t.Errorf("%s: %q, %v; want the one that claims it", name, got, err)
		}
	}
	for name, formats := range map[string][]envelope.Format{"none": nil, "one": of(foreign), "all": of(foreign, detail)} {
		if _, err := parseAuto(formats...); !errors.Is(err, envelope.ErrForeign) {
			t.Errorf("%s: %v, want foreign", name, err)
		}
	}

	if n := envelope.Auto(a, detail, b).Head(); n != int64(len("detail")) {
		t.Errorf("a head of %d bytes, want as much as the one that wants most", n)
	}

	_, err := parseAuto(a, foreign, b)
	if err == nil || errors.Is(err, envelope.ErrForeign) || !strings.Contains(err.Error(), "a and b") {
		t.Errorf("claimed by two: %v, want an error that names both", err)
	}

	// As long as one format could still claim it, nobody has it; and the one
	// that wants most is asked for, so that there is one more read and not two.
	for name, formats := range map[string][]envelope.Format{
		"short, claimed": of(much, a), "claimed, short": of(a, much), "two short": of(little, much, foreign), "two short, turned": of(much, little),
	} {
		var short *sources.ShortError
		if _, err := parseAuto(formats...); !errors.As(err, &short) || short.Need != 1000 {
			t.Errorf("%s: %v, want a sources.ShortError of 1000", name, err)
		}
	}

	var skipped *sources.SkipError
	if _, err := parseAuto(foreign, skip, a); !errors.As(err, &skipped) {
		t.Errorf("%v, want skipped", err)
	}
	if _, err := parseAuto(a, bad); !errors.Is(err, broken) {
		t.Errorf("%v, want broken", err)
	}
}
