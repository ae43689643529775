package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// TestHelpIsNarrow: no line of any help is wider than a terminal.
func TestHelpIsNarrow(t *testing.T) {
	t.Parallel()
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		var out bytes.Buffer
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		if code := run(args, streams{out: &out, err: &out}); code != exitOK {
			t.Errorf("%v: exit code %d", args, code)
		}
		if !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%v: %s", args, out.String())
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth {
				t.Errorf("%v: %d columns: %s", args, n, line)
			}
		}
		for _, sub := range c.Commands() {
			if sub.Name() != "completion" { // cobra's own words
				look(sub)
			}
		}
	}
	look(newRoot(streams{}))
}

// TestHelpGroups: the flags of a job stand in groups, each once, and what is moved
// where comes first.
func TestHelpGroups(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"run", "plan", "verify"} {
		var out bytes.Buffer
		run([]string{command, "--help"}, streams{out: &out, err: &out})
		help, at := out.String(), 0
		for _, text := range []string{"\nWhat:\n      --from KEY", "      --to KEY", "\nKeys:\n", "\nFormat:\n", "\nPace:\n", "\nState:\n", "\nOutput:\n"} {
			next := strings.Index(help, text)
			if next < at || strings.Count(help, text) != 1 {
				t.Errorf("%s --help: %q stands at %d, after %d:\n%s", command, text, next, at, help)
			}
			at = next
		}
	}
}
