package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rewrap/engine/keys/keyring"
)

// What the shell offers as the value of a flag, by its name; where it is not
// here, nothing.
var (
	progressModes = []string{"auto", "bar", "log", "json", "none"}
	valuesOf      = map[string][]string{
		"format":     {"s3ec", "raw", "json", "auto"},
		"base64":     {"auto", "std", "raw-std", "url", "raw-url"},
		"verify":     {"none", "answer", "open"},
		"progress":   progressModes,
		"template":   keyring.Templates(),
		"kms-window": {"second", "bucket"},
	}
	filesIn = map[string]cobra.ShellCompDirective{
		"file": cobra.ShellCompDirectiveDefault, "keyring": cobra.ShellCompDirectiveDefault,
		"from-plan": cobra.ShellCompDirectiveDefault, "out": cobra.ShellCompDirectiveDefault,
		"state": cobra.ShellCompDirectiveFilterDirs, "root": cobra.ShellCompDirectiveFilterDirs,
	}
)

// complete tells the shell about the flags of a command and all below it.
func complete(cmd *cobra.Command) {
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		directive, files := filesIn[f.Name]
		if !files {
			directive = cobra.ShellCompDirectiveNoFileComp
		}
		// The one error is that the flag has its completion already.
		_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(valuesOf[f.Name], directive))
	})
	for _, c := range cmd.Commands() {
		complete(c)
	}
}
