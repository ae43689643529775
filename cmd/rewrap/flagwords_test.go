package main

import (
	"testing"

	"rewrap/bench/emulator"
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
		{[]string{"migrate"}, `unknown command "migrate" (see 'rewrap --help')`},
	} {
		w.run(tc.args...).want(t, exitUsage, tc.message)
	}
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
