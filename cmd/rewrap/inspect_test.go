package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rewrap/bench/emulator"
	"rewrap/cmd/rewrap/internal/job"
)

// wants holds the text against what has to stand in it.
func wants(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in\n%s", p, text)
		}
	}
}

// TestInspectInterrupted: a signal ends it, as it ends everything else.
func TestInspectInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{KMSLatency: 5 * time.Second})
	r := w.begin("inspect", "s3://"+bucket+"/key", "--from", "alias/a")
	r.until("s3:HeadBucket", 1)
	must(t)(nil, r.cmd.Process.Signal(os.Interrupt))
	r.wait().want(t, exitStopped, "interrupted by SIGINT")
}

// TestFormats: what is said of the formats is what the program takes.
func TestFormats(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.tree(nil)
	if err := os.Mkdir(filepath.Join(w.dir, "vault"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := w.run("formats").want(t, exitOK, "").out
	var list []job.FormatInfo
	if err := json.Unmarshal([]byte(w.run("formats", "--json").want(t, exitOK, "").out), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list {
		names = append(names, f.Name)
		wants(t, text, f.Name, f.What, f.Found, f.Records, f.Context, f.Example)
		args := strings.Fields(strings.ReplaceAll(strings.TrimPrefix(f.Example, "rewrap "), "'", ""))
		w.run(append(args, "--print-job")...).want(t, exitOK, "")
		w.run(append(args, "--format", f.Name, "--print-job")...).want(t, exitOK, "")
	}
	// The refusal of an unknown format names all that there are.
	w.run("run", "s3://bucket/", "--format", "none", "--yes").want(t, exitUsage, "it is "+strings.Join(names, ", ")+" or auto")
}
