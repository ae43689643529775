package main

import (
	"os"
	"testing"
	"time"

	"rewrap/bench/emulator"
)

// TestVerifyInterrupted: the first signal ends it, and does not speak of another.
func TestVerifyInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{KMSLatency: 200 * time.Millisecond})
	w.Key("alias/a")
	w.Fill("alias/a", 20)
	r := w.begin("verify", src, "--from", "alias/a", "--workers", "1", "--progress", "none")
	r.until("kms:ReEncrypt", 4) // some are of the opening
	must(t)(nil, r.cmd.Process.Signal(os.Interrupt))
	const says = "rewrap: interrupted by SIGINT; no attestation was written\n"
	if e := r.wait().want(t, exitStopped, ""); e.errors != says || e.out != "" {
		t.Errorf("standard error %q, want %q; and on standard output %q", e.errors, says, e.out)
	}
}
