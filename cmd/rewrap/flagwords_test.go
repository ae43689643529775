package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"rewrap/bench/emulator"
	"rewrap/engine/keys/keyring"
)

func TestFlagWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	for _, tc := range []struct {
		args    []string
		message string
	}{
		{[]string{"run", "s3://b/", "--workers", "abc"}, `--workers "abc": it takes a whole number (see 'rewrap run --help')`},
		{[]string{"run", "s3://b/", "--max-duration", "5"}, `--max-duration "5": it takes a time with its unit`},
		{[]string{"run", "s3://b/", "--yes=perhaps"}, "it takes true or false"},
		{[]string{"run", "s3://b/", "--kms-rps", "fast"}, "or max"},
		{[]string{"run", "s3://b/", "--form", "alias/a"}, "unknown flag --form; did you mean --from?"},
		{[]string{"run", "s3://b/", "--quickly"}, "unknown flag --quickly (see"},
		{[]string{"vrify", "s3://b/"}, `unknown command "vrify"; did you mean verify?`},
		{[]string{"undo", "--state", "x"}, `unknown command "undo"`},
		{[]string{"help", "frob"}, `unknown command "frob"`},
		{[]string{"help", "keyring", "creat"}, `unknown command "creat" of rewrap keyring; did you mean create?`},
		{[]string{"keyring", "creat"}, `unknown command "creat" of rewrap keyring; did you mean create?`},
		{[]string{"keyring", "create"}, "give FILE; got 0 arguments"},
		{[]string{"keyring", "disable", "ring.json"}, "give FILE and KEYID; got 1 argument ("},
		{[]string{"keys", "enable-rotation", "alias/a", "--period", "89"}, `--period "89": it takes 90 to 2560 days`},
		{[]string{"keyring", "creat", "f", "--kms", "alias/a"}, `unknown command "creat" of rewrap keyring; did you mean create?`},
		{[]string{"keys", "alias/a", "--periods", "9"}, `unknown flag --periods`},
		{[]string{"completion", "basch"}, `unknown command "basch" of rewrap completion; did you mean bash?`},
		{[]string{"status", "--state="}, "--state: the value is empty"},
		{[]string{"migrate"}, `unknown command "migrate" (see 'rewrap --help')`},
	} {
		w.run(tc.args...).want(t, exitUsage, tc.message)
	}
}

// TestHelp: cobra's own command goes on working.
func TestHelp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	for _, args := range [][]string{{"help"}, {"help", "keyring", "create"}, {"help", "help"}, {}} {
		if e := w.run(args...).want(t, exitOK, ""); !strings.Contains(e.out, "Usage:") {
			t.Errorf("%v: %s", args, e.out)
		}
	}
}

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

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"from", "form", 1}, {"from", "from", 0}, {"workers", "worker", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}} {
		if got := distance(tc.a, tc.b); got != tc.want || distance(tc.b, tc.a) != got {
			t.Errorf("%q to %q: %d, should be %d", tc.a, tc.b, got, tc.want)
		}
	}
}

// TestCompletion: what the shell is told to offer. :4 is nothing but this, :16
// directories, :0 files.
func TestCompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.run("keyring", "create", "ring.json").want(t, exitOK, "")
	info, err := keyring.List(filepath.Join(w.dir, "ring.json"))
	if err != nil {
		t.Fatal(err)
	}
	old := fmt.Sprint(info.Primary)
	w.run("keyring", "rotate", "ring.json").want(t, exitOK, "")
	for args, want := range map[string]string{
		"run s3://b/ --format ":                  "s3ec\nraw\njson\nauto\n:4\n",
		"verify s3://b/ --base64 ":               "auto\nstd\nraw-std\nurl\nraw-url\n:4\n",
		"run s3://b/ --verify ":                  "none\nanswer\nopen\n:4\n",
		"plan s3://b/ --progress ":               "auto\nbar\nlog\njson\nnone\n:4\n",
		"run s3://b/ --from ":                    ":4\n",
		"keys move-alias a --to ":                ":4\n",
		"run s3://b/ --state ":                   ":16\n",
		"status --state ":                        ":16\n",
		"run -f ":                                ":0\n",
		"inspect i --keyring ":                   ":0\n",
		"plan s3://b/ --out ":                    ":0\n",
		"verify s3://b/ --context ":              ":4\n",
		"emulator --kms-window ":                 "second\nbucket\n:4\n",
		"emulator ":                              ":4\n",
		"formats ":                               ":4\n",
		"run ":                                   ":16\n",
		"verify s3://b/ ":                        ":4\n",
		"plan ":                                  ":16\n",
		"inspect ":                               ":0\n",
		"keyring create ":                        ":0\n",
		"keyring create ring.json ":              ":4\n",
		"keyring disable ":                       ":0\n",
		"keyring disable ring.json ":             old + "\n:4\n",
		"keyring enable ring.json ":              ":4\n",
		"keyring disable none ":                  ":4\n",
		"keyring disable ring.json " + old + " ": ":4\n",
	} {
		words := append(strings.Fields("__complete "+args), "")
		if e := w.run(words...); e.code != exitOK || e.out != want {
			t.Errorf("%s: %q, want %q", args, e.out, want)
		}
	}
}
