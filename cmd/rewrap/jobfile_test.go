package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rewrap/bench/emulator"
)

func TestJobFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(w.dir, "job.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("source: s3://bucket/p/\nfrom: [alias/a, alias/b]\nkms-rps: max\nmax-duration: 8h\nexclude: '*.tmp'\nworkers: 8 # few\n")
	e := w.run("run", "-f", "job.yaml", "--print-job", "--from", "alias/c").want(t, exitOK, "")
	for _, line := range []string{"source: s3://bucket/p/\n", "from:\n    - alias/c\n", "kms-rps: max\n", "max-duration: 8h0m0s\n", "- '*.tmp'\n", "workers: 8\n"} {
		if !strings.Contains(e.out, line) {
			t.Errorf("the printed job lacks %q:\n%s", line, e.out)
		}
	}
	if strings.Contains(e.out, "alias/a") {
		t.Errorf("the command line does not win:\n%s", e.out)
	}
	// What was printed is a job file that means the same.
	write(e.out)
	if again := w.run("run", "-f", "job.yaml", "--print-job").want(t, exitOK, ""); again.out != e.out {
		t.Errorf("printed again:\n%s\nwas:\n%s", again.out, e.out)
	}

	for _, tc := range []struct{ job, message string }{
		{"source: s3://bucket/p/\nform: alias/a\n", `job.yaml:2: unknown key "form"`},
		{"source: s3://bucket/p/\nexlude: '*.tmp'\n", "did you mean exclude?"},
		{"source: s3://bucket/p/\nfrom: [alias/a, '']\n", "--from: the value is empty"},
		{"source: s3://bucket/p/\nyes: true\n", `unknown key "yes"`},
		{"source: s3://bucket/p/\nworkers: [1, 2]\n", "workers takes one value"},
		{"source: s3://bucket/p/\nworkers: many\n", `job.yaml:2: workers "many": it takes a whole number`},
		{"source: s3://bucket/p/\nfrom:\n", "from takes a string, or a list of strings"},
		{"source: s3://bucket/p/\nto: a\nto: b\n", "twice"},
		{"source: s3://bucket/p/\nworkers: 0\n", "1 to 4096"},
		{"source: [a]\n", "source is one string"},
		{"- a\n", "a job is a mapping"},
		{"a: [\n", "yaml"},
		{"", "empty"},
		{"source: s3://bucket/p/\n---\nsource: s3://bucket/q/\n", "more than one document"},
		{"from: alias/a\n", "give one SOURCE"},
	} {
		write(tc.job)
		e := w.run("run", "-f", "job.yaml", "--yes").want(t, exitUsage, tc.message)
		if strings.Count(e.errors, "\n") != 1 {
			t.Errorf("not one line: %s", e.errors)
		}
	}
	w.run("run", "-f", "nowhere.yaml", "--yes").want(t, exitUsage, "nowhere.yaml")
}
