package job

import (
	"testing"

	"github.com/spf13/pflag"
)

// TestStateDir: the state directories of jobs that are half done are found
// again. The names are those that earlier versions made.
func TestStateDir(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"s3://demo-bucket/", "--from", "alias/demo"}, ".rewrap/s3-demo-bucket-62cc9394"},
		{[]string{"s3://demo-bucket/invoices/", "--to", "alias/demo"}, ".rewrap/s3-demo-bucket-invoices-8fc91321"},
		{[]string{"s3://demo-bucket/invoices/2026", "--from", "alias/demo", "--from", "alias/demo", "--include", "*", "--include", "b", "--exclude", "x",
			"--json-field", "/k", "--json-field", "", "--context", "a=b", "--context", "c=d"}, ".rewrap/s3-demo-bucket-invoices-2026-22368267"},
		{[]string{"s3://demo-bucket/invoices/", "--format", "raw", "--keyring", "/tmp/oldstate/ring.json", "--associated-data", "{name}"}, ".rewrap/s3-demo-bucket-invoices-63b9b2e4"},
		{[]string{"s3://demo-bucket/", "--state", "there"}, "there"},
	} {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		f := Declare(set, Verify)
		if err := set.Parse(tc.args); err != nil {
			t.Fatal(err)
		}
		j, err := f.Parse(set.Args())
		if err != nil {
			t.Errorf("%q: %v", tc.args, err)
		}
		if got := j.StateDir(); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.args, got, tc.want)
		}
	}
}

// TestParseLeavesFlags: a job does not change when its flags are parsed again.
func TestParseLeavesFlags(t *testing.T) {
	t.Parallel()
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	f := Declare(set, Run)
	if err := set.Parse([]string{"--from", "alias/a"}); err != nil {
		t.Fatal(err)
	}
	first, err := f.Parse([]string{"s3://bucket/"})
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Set("from", "alias/b"); err != nil {
		t.Fatal(err)
	}
	second, err := f.Parse([]string{"s3://other/"})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Keys.From) != 1 || first.Place.Bucket != "bucket" || len(second.Keys.From) != 2 {
		t.Errorf("the first job became %+v, the second is %+v", first, second)
	}
}
