package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"rewrap/cmd/rewrap/internal/keyadmin"
	"rewrap/engine/keys/kms"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
)

// Exit codes. Scripts rely on them.
const (
	exitOK        = 0
	exitFailed    = 1  // the run could not go on, or met nothing under a source key or on target
	exitUsage     = 2  // wrong usage
	exitRemaining = 3  // reached the end, but items failed or were skipped
	exitNotOn     = 4  // verify: something is not on target
	exitStopped   = 75 // stopped before the end; the same command resumes
)

// exitError ends the program with a code. Its message may be empty.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// run is the program without the process around it.
func run(args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	msg := err.Error()
	if code == exitUsage {
		msg += fmt.Sprintf(" (see '%s --help')", cmd.CommandPath())
	}
	if msg != "" {
		report.Speak(s.err)("%s", msg)
	}
	return code
}

func exitCode(err error) int {
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, new(*job.UsageError)), errors.As(err, new(*kms.UsageError)), errors.As(err, new(*keyadmin.UsageError)):
		return exitUsage
	}
	return exitFailed
}

func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "rewrap",
		Short: "Move every wrapped key onto the latest KMS key version, in bulk, with proof",
		Long: `rewrap moves every wrapped data key of a source onto the latest key version:
onto the current key material of its own KMS key after a rotation, or onto
another key. Payloads are not touched. No plaintext key leaves KMS, unless
--verify open asks for it. A run can be killed at any moment; the same command
resumes it.`,
		Example: `  rewrap demo                                         # see it work, without AWS
  rewrap plan   s3://bucket/prefix --from alias/app   # what would a run do?
  rewrap run    s3://bucket/prefix --from alias/app   # the key was rotated
  rewrap verify s3://bucket/prefix --from alias/app   # is everything on target?
  rewrap run    s3://bucket/prefix --from alias/old --to alias/new`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          onlyCommands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", helpWidth)))
	jobCommands := []*cobra.Command{newRun(s), newPlan(s), newVerify(s)}
	root.AddCommand(jobCommands...)
	for _, c := range jobCommands {
		groupFlags(c)
	}
	root.AddCommand(newStatus(s), newKeys(s), newKeyring(s), newInspect(s), newFormats(s), newDemo(s), newEmulator(s), newVersion(s))
	complete(root)
	root.InitDefaultCompletionCmd("completion")
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion": // cobra's own command: its errors become wrong usage
			c.Args, c.RunE = onlyCommands, func(c *cobra.Command, _ []string) error { return c.Help() }
			for _, shell := range c.Commands() {
				shell.Args = argsAre(cobra.NoArgs)
			}
		case "help": // cobra's own too: without this it takes any word
			c.Run, c.RunE = nil, func(c *cobra.Command, args []string) error {
				of, rest, _ := c.Root().Find(args) // rest says the same as the error
				if len(rest) > 0 {
					return unknownCommand(of, rest[0])
				}
				of.InitDefaultHelpFlag()
				return of.Help()
			}
		}
	}
	return root
}

// argsAre makes the errors of an argument check usage errors.
func argsAre(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &job.UsageError{Err: err}
		}
		return nil
	}
}

func newVersion(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  argsAre(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(s.out, "rewrap %s\n", version())
			return err
		},
	}
}

// release is set by the linker in a release build.
var release = ""

// version is the release, or the commit that the build recorded.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			v = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if v == "" {
		return info.Main.Version + " " + info.GoVersion
	}
	return v + dirty + " " + info.GoVersion
}
