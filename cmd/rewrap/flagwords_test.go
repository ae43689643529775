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
