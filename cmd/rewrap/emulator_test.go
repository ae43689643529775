package main

import (
	"bufio"
	"bytes"
	"os"
	"strings"
	"testing"

	"rewrap/bench/emulator"
)

// TestEmulatorSeeds: what is seeded counts on no quota and under no counter, and
// Ctrl-C ends the seeding as it ends the demo.
func TestEmulatorSeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	// till starts it, hands each line of a stream on, and interrupts it after the
	// one with the word.
	till := func(word string, args ...string) (line string, e ended) {
		t.Helper()
		cmd := w.command(t.Context(), append([]string{"emulator", "--listen", "127.0.0.1:0"}, args...)...)
		var out, errs bytes.Buffer
		r, wr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd.Stdout, cmd.Stderr = wr, wr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wr.Close()
		for s := bufio.NewScanner(r); s.Scan(); {
			if errs.WriteString(s.Text() + "\n"); strings.Contains(s.Text(), word) {
				line = s.Text()
				if err := cmd.Process.Signal(os.Interrupt); err != nil {
					t.Fatal(err)
				}
			}
		}
		return line, w.ended(cmd, &out, &errs)
	}
	line, e := till("export ", "--seed", "100", "--kms-quota", "10", "--s3-quota", "20", "--kms-window", "bucket", "--kms-latency", "10s")
	if e.want(t, exitOK, "rewrap: seeding s3://demo-bucket with 100 objects\n"); line == "" || strings.Contains(e.errors, "==") {
		t.Errorf("want an export line, and no header of the demo:\n%s", e.errors)
	}
	if _, e := till("seeding", "--seed", "1000000"); e.code != exitStopped || !strings.HasSuffix(e.errors, "objects\nrewrap: interrupted by SIGINT\n") {
		t.Errorf("exit code %d:\n%s", e.code, e.errors)
	}
}
