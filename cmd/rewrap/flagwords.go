package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
)

// flagError turns an error of the flags into a message for people. If the
// command itself does not exist, the message is about the command.
func flagError(cmd *cobra.Command, err error) error {
	if words := cmd.Flags().Args(); len(words) > 0 && cmd.HasAvailableSubCommands() && !takesArgs(cmd) {
		return unknownCommand(cmd, words[0])
	}
	var value *pflag.InvalidValueError
	var name *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		return job.Usage("--%s %q: %v", value.GetFlag().Name, value.GetValue(), job.Wanted(value.GetFlag(), value.Unwrap()))
	case errors.As(err, &name) && len(name.GetSpecifiedName()) > 1:
		return job.Usage("unknown flag --%s%s", name.GetSpecifiedName(), report.Meant("--", name.GetSpecifiedName(), job.FlagNames(cmd.Flags())))
	}
	return &job.UsageError{Err: err}
}

// takesArgs says whether a command takes arguments besides subcommands.
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
	return job.Usage("unknown command %q%s%s", word, of, report.Meant("", word, names))
}

// onlyCommands checks the arguments of a command that takes a subcommand and
// nothing else.
func onlyCommands(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return nil
}
