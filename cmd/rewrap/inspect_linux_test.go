package main

import (
	"os"
	"path/filepath"
	"testing"

	"rewrap/bench/emulator"
)

// A run waits for a file that somebody is about to write; who inspects it is
// told to.
func TestInspectTooEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	f, err := os.Create(filepath.Join(w.tree(map[string][]byte{"new": nil}), "new"))
	must(t)(f, err)
	defer f.Close()
	w.run("inspect", "vault/new", "--format", "raw").want(t, exitFailed, "rewrap: new is being written by another process; look again in a moment\n")
}
