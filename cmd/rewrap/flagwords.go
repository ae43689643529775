package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError is an error of the flags in words for people.
func flagError(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var name *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		return usage("--%s %q: %v", value.GetFlag().Name, value.GetValue(), wanted(value.GetFlag(), value.Unwrap()))
	case errors.As(err, &name) && len(name.GetSpecifiedName()) > 1:
		return usage("unknown flag --%s%s", name.GetSpecifiedName(), meant("--", name.GetSpecifiedName(), flagNames(cmd.Flags())))
	}
	return &exitError{exitUsage, err}
}

// wanted is what a flag takes, where the error that refused a value speaks to
// programmers.
func wanted(f *pflag.Flag, err error) error {
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

func flagNames(f *pflag.FlagSet) (names []string) {
	f.VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			names = append(names, flag.Name)
		}
	})
	return names
}

// meant is the question whether one of the names was meant; "" where none is
// close.
func meant(prefix, word string, names []string) string {
	best, least := "", min(len(word)/2, 2)+1
	for _, n := range names {
		if d := distance(word, n); d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s%s?", prefix, best)
}

// distance is in how many steps a becomes b, each one a letter more, a letter
// less, another letter, or two that changed places.
func distance(a, b string) int {
	last, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			step := 1
			if a[i] == b[j] {
				step = 0
			}
			next[j+1] = min(next[j]+1, row[j+1]+1, row[j]+step)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], last[j-1]+1)
			}
		}
		last, row, next = row, next, last
	}
	return row[len(b)]
}
