package job

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
)

// UsageError says that a command was called in a wrong way. Nothing was called
// or written then.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

func (e *UsageError) Unwrap() error { return e.Err }

// Usage is a [UsageError] in these words.
func Usage(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// ProgressModes are the values of --progress, in the order in which help has
// them.
var ProgressModes = []string{"auto", "bar", "log", "json", "none"}

// Wanted is what a flag takes. It replaces those errors of a refused value that
// speak to programmers.
func Wanted(f *pflag.Flag, err error) error {
	switch f.Value.Type() {
	case "int", "int64":
		return errors.New("it takes a whole number")
	case "duration":
		return errors.New("it takes a time with its unit, for example 90m or 7h30m")
	case "bool":
		return errors.New("it takes true or false")
	}
	return err
}

// FlagNames are the names of the flags that help shows.
func FlagNames(f *pflag.FlagSet) (names []string) {
	f.VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			names = append(names, flag.Name)
		}
	})
	return names
}

// Rate is a ceiling in requests a second, as a flag; 0 is none, spelled max.
type Rate struct{ PerSecond float64 }

func (r *Rate) String() string {
	if r.PerSecond == 0 {
		return "max"
	}
	return strconv.FormatFloat(r.PerSecond, 'f', -1, 64)
}

// Type implements [pflag.Value].
func (r *Rate) Type() string { return "N" }

// Set implements [pflag.Value].
func (r *Rate) Set(s string) error {
	if s == "max" {
		r.PerSecond = 0
		return nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0.01 && v <= 1e6) {
		return fmt.Errorf("requests a second from 0.01 to 1000000, or max")
	}
	r.PerSecond = v
	return nil
}
