package main

import (
	"bytes"
	"os"
	"testing"

	"rewrap/bench/emulator"
	"rewrap/checkpoint/account"
)

// A run whose summary reached nobody is not over: the next one says what it did.
func TestSummaryThatNobodyGot(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t)(full, err)
	defer full.Close()
	const n = 5
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/app")
	w.Fill(arn, n)
	w.Rotate(arn)
	args := []string{"run", "s3://" + bucket, "--from", "alias/app", "--yes", "--json"}
	cmd := w.command(t.Context(), args...)
	var none, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &errs
	must(t)(nil, cmd.Start())
	w.ended(cmd, &none, &errs).want(t, exitFailed, "the summary cannot be written to standard output")
	for _, want := range []account.Items{{Seen: n, Rewrapped: n}, {Seen: n, Current: n}} {
		s := w.run(args...).want(t, exitOK, "").summary(t)
		if s.Items != want || s.Resumed != (want.Rewrapped > 0) {
			t.Errorf("%+v, resumed %v; want %+v", s.Items, s.Resumed, want)
		}
	}
}

// TestRunAsks: who answers the question sees all that the answer is about.
func TestRunAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/a")
	args := []string{"run", src, "--from", "alias/a", "--format", "raw", "--context", "file={name}", "--context", "a=b\nc", "--include", "*.key",
		"--exclude", "old/*", "--verify", "open", "--state", "a\nb"}
	e := w.asked(t, nothing, "n\n", args...).want(t, exitFailed, "rewrap: not confirmed; nothing was changed\n")
	wants(t, e.errors, "\n  source    "+src+"\n", "\n  format    raw\n", "\n  context   file={name}\n", "\n  context   a=b\\nc\n", "\n  include   *.key\n",
		"\n  exclude   old/*\n", "\n  endpoint  "+w.URL+"\n", "\n  from      alias/a = "+arn+", ", "\n  verify    open\n", "\n  state     a\\nb (new)\n")
}
