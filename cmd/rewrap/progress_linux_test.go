package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"rewrap/bench/emulator"
)

// A bar is drawn on a terminal and nowhere else, also if it was asked for.
func TestBarOnATerminalOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.Key("alias/a")
	w.Fill("alias/a", 3)
	args := []string{"run", src, "--from", "alias/a", "--yes", "--progress"}
	if e := w.run(append(args, "bar")...).want(t, exitOK, ""); strings.ContainsAny(e.errors, "\r[") {
		t.Errorf("a bar where there is no terminal: %q", e.errors)
	}
	for _, mode := range []string{"auto", "bar"} {
		user, program := terminal(t)
		cmd := w.command(t.Context(), append(args, mode)...)
		cmd.Stdout, cmd.Stderr = new(bytes.Buffer), program
		must(t)(nil, cmd.Start())
		program.Close()
		drawn, _ := io.ReadAll(user) // a terminal that nobody has open any more ends in an error
		must(t)(nil, cmd.Wait())
		if !bytes.Contains(drawn, []byte("[====")) || !bytes.Contains(drawn, []byte("\r")) {
			t.Errorf("--progress %s: %q", mode, drawn)
		}
	}
}
