//go:build linux

package dir

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// TestNoExchange: that the file system cannot exchange is found out by the
// first write, which writes nothing; from then on plans say so.
func TestNoExchange(t *testing.T) {
	o := newOne(t)
	var notices []string
	o.s.notice = func(text string) { notices = append(notices, text) }
	o.s.exchange = func(*os.File, string, string) error { return unix.EINVAL }
	p := o.mustPlan(t)
	if p.Unconditional {
		t.Error("unconditional before anything is known")
	}
	if _, err := o.s.Apply(t.Context(), p); !errors.Is(err, sources.ErrConflict) {
		t.Errorf("got %v, should be a conflict", err)
	}
	if got := o.body(t, o.name); got != oldBody {
		t.Errorf("it holds %q", got)
	}
	// Nor does a plan that was made before write without a condition.
	if _, err := o.s.Apply(t.Context(), p); !errors.Is(err, sources.ErrConflict) || o.body(t, o.name) != oldBody {
		t.Errorf("the old plan again: %v, should be a conflict; it holds %q", err, o.body(t, o.name))
	}
	if p = o.mustPlan(t); !p.Unconditional || p.Way != wayRename {
		t.Errorf("the second plan: %s, unconditional: %v", p.Way, p.Unconditional)
	}
	if _, err := o.s.Apply(t.Context(), p); err != nil {
		t.Error(err)
	}
	if got := o.body(t, o.name); got != newBody || len(o.tree(t)) != 3 || len(notices) != 1 {
		t.Errorf("it holds %q, the tree is %q, the notices are %q", got, o.tree(t), notices)
	}
}

// TestLastLook: without an exchange, what another writer did before the last
// look stays.
func TestLastLook(t *testing.T) {
	for _, deletes := range []bool{false, true} {
		o := newOne(t)
		o.s.exchange = func(*os.File, string, string) error { return unix.EINVAL }
		if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); !errors.Is(err, sources.ErrConflict) {
			t.Fatal(err)
		}
		p := o.mustPlan(t)
		want, tree := sources.ErrConflict, 3
		o.s.at = func(step string) {
			if step != "look" {
				return
			}
			err := o.put(o.name, []byte("THEIRS"), nil)
			if deletes {
				want, tree = sources.ErrGone, 2
				err = o.delete(o.name)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.s.Apply(t.Context(), p); !errors.Is(err, want) {
			t.Errorf("got %v, should be: %v", err, want)
		}
		if got := o.tree(t); len(got) != tree || !deletes && o.body(t, o.name) != "THEIRS" {
			t.Errorf("the tree is %q", got)
		}
	}
}
