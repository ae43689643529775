package checkpoint

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

func job(fields ...string) (job []Field) {
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		value, moves := strings.CutPrefix(value, "~")
		job = append(job, Field{name, value, moves})
	}
	return job
}

func TestOpenOtherJob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		was, is     []Field
		going, anew []Difference // that are refused when the pass goes on, and for a new one
	}{
		{"fixed", job("source=s3://a", "from=k1", "from=k2", "to=k3"), job("source=s3://b", "to=k3", "from=k2", "include=*"),
			[]Difference{{"source", "s3://a", "s3://b", false}, {"from", "k1, k2", "k2", false}, {"include", "", "*", false}},
			[]Difference{{"source", "s3://a", "s3://b", false}, {"from", "k1, k2", "k2", false}, {"include", "", "*", false}}},
		{"moved", job("source=a", "to=~k1"), job("source=a", "to=~k2"),
			[]Difference{{"to", "k1", "k2", true}}, nil},
		{"one of two moved", job("from=k1", "from=~k2"), job("from=~k0", "from=k1"),
			[]Difference{{"from", "k1, k2", "k0, k1", true}}, nil},
		{"moved, and the other changed", job("from=k1", "from=~k2"), job("from=k0", "from=~k3"),
			[]Difference{{"from", "k1, k2", "k0, k3", false}}, []Difference{{"from", "k1, k2", "k0, k3", false}}},
		{"moved beside another", job("source=a", "to=~k1"), job("source=b", "to=~k2"),
			[]Difference{{"source", "a", "b", false}, {"to", "k1", "k2", true}}, []Difference{{"source", "a", "b", false}}},
		{"moves only now", job("to=k1"), job("to=~k2"),
			[]Difference{{"to", "k1", "k2", false}}, []Difference{{"to", "k1", "k2", false}}},
		{"moved then", job("to=~k1"), job("to=k2"),
			[]Difference{{"to", "k1", "k2", false}}, []Difference{{"to", "k1", "k2", false}}},
		{"gone", job("from=~k1", "from=~k2"), job("from=~k1"),
			[]Difference{{"from", "k1, k2", "k1", false}}, []Difference{{"from", "k1, k2", "k1", false}}},
		{"not there", job("source=a"), job("source=a", "to=~k1"),
			[]Difference{{"to", "", "k1", false}}, []Difference{{"to", "", "k1", false}}},
		{"the same value", job("to=k1"), job("to=~k1"), nil, nil},
	} {
		for _, ended := range []bool{false, true} {
			for _, restart := range []bool{false, true} {
				want := c.going
				if ended || restart {
					want = c.anew
				}
				dir := t.TempDir()
				s, err := Open(dir, Options{Job: c.was})
				if err != nil {
					t.Fatal(err)
				}
				mustCommit(t, s, func(s *Snapshot) { s.Ended = ended })
				s.Close()
				before := readAll(t, dir)
				// Without a run there is no pass to go on with.
				var other *OtherJobError
				if err := MakeDir(dir, c.is); errors.As(err, &other) != (c.anew != nil) || other != nil && !slices.Equal(other.Differences, c.anew) {
					t.Errorf("%s: without a run: %v", c.name, err)
				}
				s, err = Open(dir, Options{Job: c.is, Restart: restart})
				if want == nil {
					if err != nil {
						t.Errorf("%s, ended %v, restart %v: %v", c.name, ended, restart, err)
						continue
					}
					s.Close()
					if st, err := Read(dir); err != nil || !slices.Equal(st.Snapshot.Job, c.is) {
						t.Errorf("%s: recorded is %v, %v", c.name, st.Snapshot.Job, err)
					}
					continue
				}
				var e *OtherJobError
				if !errors.As(err, &e) || !slices.Equal(e.Differences, want) {
					t.Errorf("%s, ended %v, restart %v: %v", c.name, ended, restart, err)
					continue
				}
				fixed := slices.ContainsFunc(want, func(d Difference) bool { return !d.Moves })
				if text := err.Error(); strings.Contains(text, "--state") != fixed || strings.Contains(text, "--restart") == fixed {
					t.Errorf("%s: the advice of %q", c.name, text)
				}
				if after := readAll(t, dir); !maps.Equal(before, after) {
					t.Errorf("%s: a refused Open has changed %v to %v", c.name, before, after)
				}
				// The old job goes on.
				if s, err = Open(dir, Options{Job: c.was}); err != nil {
					t.Fatal(err)
				}
				s.Close()
			}
		}
	}
}
