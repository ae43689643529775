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

	// And one for the other commands, where what is run's alone has no effect.
	for _, command := range []string{"plan", "verify"} {
		printed := w.run(command, "-f", "job.yaml", "--print-job").want(t, exitOK, "")
		if strings.Contains(printed.out, "max-duration") || !strings.Contains(printed.out, "alias/c") {
			t.Errorf("%s understood:\n%s", command, printed.out)
		}
		write(printed.out)
		w.run("run", "-f", "job.yaml", "--print-job").want(t, exitOK, "")
		write(e.out + "form: alias/a\n")
		w.run(command, "-f", "job.yaml", "--print-job").want(t, exitUsage, `unknown key "form"`)
		write(strings.Replace(e.out, "8h0m0s", "soon", 1))
		w.run(command, "-f", "job.yaml", "--print-job").want(t, exitUsage, `max-duration "soon"`)
		write(e.out)
	}
	if all := w.run("run", src, "--restart", "--print-job").want(t, exitOK, ""); strings.Contains(all.out, "restart") {
		t.Errorf("printed:\n%s", all.out)
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
		{"source: ~\n", "source is one string"},
		{"source: null\n", "source is one string"},
		{"- a\n", "a job is a mapping"},
		{"a: [\n", "yaml"},
		{"", "empty"},
		{"source: s3://bucket/p/\n---\nsource: s3://bucket/q/\n", "more than one document"},
		{"from: alias/a\n", "give one SOURCE"},
		{"source: s3://bucket/p/\nrestart: true\n", `unknown key "restart"`},
		{"source: s3://bucket/p/\ninclude: []\n", "job.yaml:2: include is an empty list"},
		{"source: s3://bucket/p/\nexclude: *.tmp\n", "quote a value that begins with *"},
		{"source: s3://bucket/p/\nto: &k alias/b\nfrom: *k\n", "job.yaml:3: from: *k is an alias of YAML"},
	} {
		write(tc.job)
		e := w.run("run", "-f", "job.yaml", "--yes").want(t, exitUsage, tc.message)
		if strings.Count(e.errors, "\n") != 1 {
			t.Errorf("not one line: %s", e.errors)
		}
	}
	w.run("run", "-f", "nowhere.yaml", "--yes").want(t, exitUsage, "nowhere.yaml")
}
