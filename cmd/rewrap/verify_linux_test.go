package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rewrap/bench/emulator"
	"rewrap/cmd/rewrap/internal/attest"
)

// TestVerifyFullDisk: an attestation stands beside its own findings or not at
// all.
func TestVerifyFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/a")
	w.Fill("alias/a", 3)
	w.Rotate(arn)
	state := filepath.Join(w.dir, "state")
	must(t)(nil, os.Mkdir(state, 0o700))
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("SKIPPED: mounting tmpfs: %v", err)
	}
	t.Cleanup(func() { must(t)(nil, unix.Unmount(state, 0)) })
	must(t)(nil, os.WriteFile(filepath.Join(state, attest.File), []byte("old"), 0o600))

	args := []string{"verify", src, "--from", "alias/a", "--state", "state"}
	w.run(append(args, "--exclude", strings.Repeat("x", 20_000))...).want(t, exitFailed, "no attestation was written: ").want(t, exitFailed, "no space left on device: make room for the state directory")
	left := files(t, state)
	if _, ok := left[attest.File]; ok || strings.Count(left[attest.FindingsFile], "\n") != 3 || len(left) != 1 {
		t.Errorf("left: %q", left)
	}
	w.run(args...).want(t, exitNotOn, "3 items are not on target")
}
