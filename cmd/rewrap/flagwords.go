package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError is an error of the flags in words for people. Of a command that
// there is not, the flags are not spoken of.
func flagError(cmd *cobra.Command, err error) error {
	if words := cmd.Flags().Args(); len(words) > 0 && cmd.HasAvailableSubCommands() && !takesArgs(cmd) {
		return unknownCommand(cmd, words[0])
	}
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

// takesArgs: what follows a command's name may be something else than a
// subcommand.
func takesArgs(cmd *cobra.Command) bool { return strings.Contains(cmd.Use, " ") }

// unknownCommand is wrong usage, with the subcommand that may have been meant.
func unknownCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	of := ""
	if cmd.HasParent() {
		of = " of " + cmd.CommandPath()
	}
	return usage("unknown command %q%s%s", word, of, meant("", word, names))
}

// onlyCommands are the arguments of a command that has subcommands alone.
func onlyCommands(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return nil
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
