package interop

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
)

// Killed again and again at random requests, the same command moves every
// object from A to B: none is lost, changed otherwise, or changed twice.
func TestKilledRun(t *testing.T) {
	w, rng := newWorld(t), seeded(t)
	n := objects(t)
	all := fleet(n, rng)
	w.store(t, w.a, all)
	all = append(all, w.copies(t, all[len(oddKeys):len(oddKeys)+n/50])...)
	strangers := w.strangers(t, n/50)
	everything := slices.Concat(all, strangers)
	before := w.snapshot(t, everything)
	w.settle()

	j := newJob(t, w, "--from", "alias/a", "--to", "alias/b")
	s := j.untilDone(t, rng, n/8)

	w.Disable(w.a)
	after := w.snapshot(t, everything)
	changed := j.changed(t, before, after)
	if changed != len(all) {
		t.Errorf("%d objects changed, want %d", changed, len(all))
	}
	if i := s.Items; i.Rewrapped != changed || i.Foreign != len(strangers) || i.Seen != len(everything) {
		t.Errorf("%+v; want %d rewrapped, %d foreign", i, changed, len(strangers))
	}
	if s.Result != "complete" || s.Unconditional != 0 || s.Keys.Rewrapped != changed {
		t.Errorf("result %q, %d unconditional, %d keys rewrapped; want complete, 0, %d", s.Result, s.Unconditional, s.Keys.Rewrapped, changed)
	}
	for key, lines := range j.audit(t) {
		if l := lines[0]; l.KeyFrom != w.a || l.KeyTo != w.b {
			t.Errorf("%q: the audit log says from %s to %s", key, l.KeyFrom, l.KeyTo)
		}
	}
	w.opened(t, w.b, all)
}

// The same, onto the newest key material of one key.
func TestKilledRotation(t *testing.T) {
	w, rng := newWorld(t), seeded(t)
	n := objects(t) / 5
	all := fleet(n, rng)
	w.store(t, w.a, all[:n/2])
	w.rotate(w.a)
	w.store(t, w.a, all[n/2:])
	newest := w.rotate(w.a)
	before := w.snapshot(t, all)
	w.settle()

	j := newJob(t, w, "--from", "alias/a")
	s := j.untilDone(t, rng, n/8)

	after := w.snapshot(t, all)
	changed := j.changed(t, before, after)
	if changed != n || s.Items.Rewrapped != n || s.Result != "complete" {
		t.Errorf("%d objects changed, %q with %+v; want %d rewrapped", changed, s.Result, s.Items, n)
	}
	each(t, all, func(ctx context.Context, p plain) error {
		got, err := w.under(ctx, p.key)
		if err == nil && got != newest {
			t.Errorf("%q is under key material %s, want %s", p.key, got, newest)
		}
		return err
	})
	w.opened(t, w.a, all)

	// A new pass finds nothing to do.
	var changes atomic.Int64
	w.Hook(func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if isChange(op, r) {
			changes.Add(1)
		}
		next.ServeHTTP(rw, r)
	})
	if s := j.once(t, 0); s.Items.Current != n || s.Items.Seen != n {
		t.Errorf("a second pass: %+v, want %d current", s.Items, n)
	}
	if changes.Load() != 0 {
		t.Errorf("a second pass made %d changes", changes.Load())
	}
}
