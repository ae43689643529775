package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/engine/keys/keyring"
)

var kmsWindows = []string{"second", "bucket"}

// The values that the shell offers: for a flag by the flag's name, for a first
// argument by its name in the usage line. Others get no values.
var (
	valuesOf = map[string][]string{
		"format":     job.FormatNames(),
		"base64":     {"auto", "std", "raw-std", "url", "raw-url"},
		"verify":     {"none", "answer", "open"},
		"progress":   job.ProgressModes,
		"kms-window": kmsWindows,
		"template":   keyring.Templates(),
	}
	filesIn = map[string]cobra.ShellCompDirective{
		"file": cobra.ShellCompDirectiveDefault, "keyring": cobra.ShellCompDirectiveDefault,
		"from-plan": cobra.ShellCompDirectiveDefault, "out": cobra.ShellCompDirectiveDefault,
		"state": cobra.ShellCompDirectiveFilterDirs, "root": cobra.ShellCompDirectiveFilterDirs,
		"FILE": cobra.ShellCompDirectiveDefault, "ITEM": cobra.ShellCompDirectiveDefault,
		"SOURCE": cobra.ShellCompDirectiveFilterDirs,
	}
)

// complete sets the shell completion of a command and of all its subcommands.
func complete(cmd *cobra.Command) {
	files := func(name string) cobra.ShellCompDirective {
		if directive, ok := filesIn[name]; ok {
			return directive
		}
		return cobra.ShellCompDirectiveNoFileComp
	}
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		// It fails only where the flag has a completion already.
		_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(valuesOf[f.Name], files(f.Name)))
	})
	rest := cmd.ValidArgsFunction
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		switch usage := strings.Fields(cmd.Use); {
		case len(args) == 0 && len(usage) > 1:
			return nil, files(usage[1])
		case len(args) > 0 && rest != nil:
			return rest(cmd, args, word)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, c := range cmd.Commands() {
		complete(c)
	}
}

// completeKeyIDs offers the ids of the keys that enable or disable would change.
// The first argument names the keyring.
func completeKeyIDs(enabled bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) (ids []string, _ cobra.ShellCompDirective) {
		info, err := keyring.List(args[0])
		if err == nil && len(args) == 1 {
			for _, k := range info.Keys {
				if !k.Primary && k.Status == map[bool]string{true: "DISABLED", false: "ENABLED"}[enabled] {
					ids = append(ids, fmt.Sprint(k.ID))
				}
			}
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}
