package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is how wide help is, in columns.
const helpWidth = 80

// flagGroups are the flags of the commands that take a job, as help shows them.
// The last group takes every flag that no group names.
var flagGroups = []struct {
	title string
	flags []string
}{
	{"What", []string{"from", "to", "from-plan", "include", "exclude", "sample", "file", "print-job"}},
	{"Keys", []string{"verify", "keyring", "keyring-kms", "keyring-context"}},
	{"Format", []string{"format", "json-field", "context", "context-field", "associated-data", "base64"}},
	{"Pace", []string{"workers", "kms-rps", "store-rps", "max-items", "max-duration"}},
	{"State", []string{"state", "restart"}},
	{"Output", []string{"out", "json", "progress", "yes"}},
}

// groupFlags makes the help of a command show its flags in groups.
func groupFlags(cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	groups := make([]*pflag.FlagSet, len(flagGroups))
	of := make(map[string]*pflag.FlagSet)
	for i, g := range flagGroups {
		groups[i] = pflag.NewFlagSet(g.title, pflag.ContinueOnError)
		groups[i].SortFlags = false
		for _, name := range g.flags {
			of[name] = groups[i]
			if f := cmd.Flags().Lookup(name); f != nil {
				groups[i].AddFlag(f)
			}
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if of[f.Name] == nil {
			groups[len(groups)-1].AddFlag(f)
		}
	})
	var b strings.Builder
	for i, g := range groups {
		fmt.Fprintf(&b, "%s:\n%s\n", flagGroups[i].title, g.FlagUsagesWrapped(helpWidth))
	}
	// The text is quoted, so that nothing in it is read as a part of the template.
	grouped := fmt.Sprintf("{{%q}}", strings.TrimRight(b.String(), "\n"))
	cmd.SetUsageTemplate(strings.Replace(cmd.UsageTemplate(), localFlags, grouped, 1))
}

// localFlags is the part of the usage template that lists the flags of a
// command.
var localFlags = fmt.Sprintf("Flags:\n{{.LocalFlags.FlagUsagesWrapped %d | trimTrailingWhitespaces}}", helpWidth)
