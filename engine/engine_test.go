package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/sources"
)

func TestRun(t *testing.T) {
	items := stale(500)
	items["b/current"] = map[string]string{"k": "v2/x"}
	items["b/foreign"] = map[string]string{"k": "x/x"}
	items["b/nothing"] = map[string]string{"other": "x"}
	items["b/broken"] = map[string]string{"k": "rubbish"}
	items["b/refused"] = map[string]string{"k": "v1/x", "refuse": ""}
	items["b/several"] = map[string]string{"k1": "v1/a", "k2": "v2/b", "k3": "x/c", "k4": "v1/d"}
	m := newMemory(items)
	dir := t.TempDir()
	st := openState(t, dir)

	seen := 0
	j := job(m, st)
	j.Observe = func(engine.Event) { seen++ } // not atomic: the calls come one at a time
	rep, err := engine.Run(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	wantItems(t, rep.Items, account.Items{Seen: 506, Rewrapped: 501, Current: 1, Foreign: 2, Skipped: 1, Failed: 1})
	if rep.Result != engine.ResultRemaining {
		t.Errorf("result %q", rep.Result)
	}
	if seen != 506 {
		t.Errorf("observed %d items", seen)
	}
	if want := (account.KeyCounts{Rewrapped: 502, Current: 2}); rep.Keys != want {
		t.Errorf("keys: got %+v, want %+v", rep.Keys, want)
	}
	if got := rep.SkippedByReason["archived"]; got != 1 {
		t.Errorf("skipped by reason: %v", rep.SkippedByReason)
	}
	census := account.Census{{Key: "key", Material: "v2", How: "kms"}: 504, {Key: "key", Material: "v1", How: "kms"}: 1, {How: "unknown"}: 3}
	for h, n := range census {
		if rep.Census[h] != n {
			t.Errorf("census of %+v: got %d, want %d", h, rep.Census[h], n)
		}
	}
	for id, it := range items {
		if got := m.get(id, "other"); got != it["other"] {
			t.Errorf("%s: other metadata is %q, was %q", id, got, it["other"])
		}
	}
	if got := m.get("b/several", "k3"); got != "x/c" {
		t.Errorf("a foreign key beside others was changed to %q", got)
	}
	if st.Snapshot().Session != 1 {
		t.Errorf("session %d", st.Snapshot().Session)
	}
	if lines := audit(t, dir); len(lines) != 502 {
		t.Errorf("%d lines of audit for 502 changed keys", len(lines))
	}
	owed := failures(t, dir)
	if len(owed) != 2 || owed["b/broken"].Outcome != "failed" || owed["b/refused"].Reason != "archived" {
		t.Errorf("failures: %+v", owed)
	}
}

func audit(t *testing.T, dir string) []checkpoint.AuditLine {
	return jsonLines[checkpoint.AuditLine](t, filepath.Join(dir, "audit.jsonl"))
}

func failures(t *testing.T, dir string) map[string]checkpoint.Owed {
	m := make(map[string]checkpoint.Owed)
	for _, o := range jsonLines[checkpoint.Owed](t, filepath.Join(dir, "failures.jsonl")) {
		m[o.ID] = o
	}
	return m
}

func jsonLines[T any](t *testing.T, name string) (all []T) {
	t.Helper()
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, v)
	}
	return all
}

// TestFaults is the matrix of what can become of a write: not made, made and
// the answer lost, made by somebody else first. Whatever happens, the item is
// written exactly once, nothing of the other writer is lost, and the account
// says what is true.
func TestFaults(t *testing.T) {
	const id = "b/item"
	lost := errors.New("connection reset")
	for _, tc := range []struct {
		name   string
		before func(m memory) error
		after  error
		once   bool
		want   account.Items
		value  string
		writes int
	}{
		{name: "not written, once", before: func(memory) error { return lost }, once: true,
			want: account.Items{Seen: 1, Rewrapped: 1}, value: "v2/1", writes: 1},
		{name: "not written, each time", before: func(memory) error { return lost },
			want: account.Items{Seen: 1, Failed: 1}, value: "v1/1"},
		{name: "written, answer lost once", after: lost, once: true,
			want: account.Items{Seen: 1, Rewrapped: 1}, value: "v2/1", writes: 1},
		{name: "written, answer says conflict", after: sources.ErrConflict, once: true,
			want: account.Items{Seen: 1, Rewrapped: 1}, value: "v2/1", writes: 1},
		{name: "other writer with an old key", once: true,
			before: func(m memory) error { m.put(id, map[string]string{"k": "v1/other"}); return nil },
			want:   account.Items{Seen: 1, Rewrapped: 1}, value: "v2/other", writes: 1},
		{name: "other writer with a new key", once: true,
			before: func(m memory) error { m.put(id, map[string]string{"k": "v2/other#0"}); return nil },
			want:   account.Items{Seen: 1, Current: 1}, value: "v2/other"},
		{name: "other writer, each time",
			before: func(m memory) error { m.put(id, map[string]string{"k": "v1/other"}); return nil },
			want:   account.Items{Seen: 1, Failed: 1}, value: "v1/other"},
		{name: "deleted before the write", once: true,
			before: func(m memory) error { m.Delete(id); return nil },
			want:   account.Items{Seen: 1, Gone: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMemory(map[string]map[string]string{id: {"k": "v1/1"}})
			times := 0
			again := func() bool { times++; return times == 1 || !tc.once }
			m.Before = func(string) error {
				if tc.before != nil && again() {
					return tc.before(m)
				}
				return nil
			}
			m.After = func(string) error {
				if tc.after != nil && again() {
					return tc.after
				}
				return nil
			}
			dir := t.TempDir()
			rep, err := engine.Run(t.Context(), job(m, openState(t, dir)))
			if err != nil {
				t.Fatal(err)
			}
			wantItems(t, rep.Items, tc.want)
			value, _, _ := strings.Cut(m.get(id, "k"), "#")
			if value != tc.value {
				t.Errorf("the key is %q, want %q", value, tc.value)
			}
			if m.Writes()[id] != tc.writes {
				t.Errorf("written %d times, want %d", m.Writes()[id], tc.writes)
			}
			if got := len(audit(t, dir)); got != tc.writes {
				t.Errorf("%d lines of audit for %d writes", got, tc.writes)
			}
		})
	}
}

func TestFailuresAreTriedAgain(t *testing.T) {
	const n = 300
	items := stale(n)
	for i := range n / 10 {
		id := fmt.Sprintf("%c/%05d", "az"[i%2], i)
		items[id]["k"] = "rubbish"
	}
	m := newMemory(items)
	dir := t.TempDir()
	for attempt := 1; attempt <= 2; attempt++ {
		st := openState(t, dir)
		rep, err := engine.Run(t.Context(), job(m, st))
		if err != nil {
			t.Fatal(err)
		}
		_ = st.Close()
		wantItems(t, rep.Items, account.Items{Seen: n, Rewrapped: n - n/10, Failed: n / 10})
		owed := failures(t, dir)
		if len(owed) != n/10 {
			t.Fatalf("run %d: %d failures are listed", attempt, len(owed))
		}
		for id, o := range owed {
			if o.Attempts != attempt {
				t.Errorf("run %d: %s was attempted %d times", attempt, id, o.Attempts)
			}
		}
	}
	for i := range n / 10 {
		m.put(fmt.Sprintf("%c/%05d", "az"[i%2], i), map[string]string{"k": "v1/mended"})
	}
	st := openState(t, dir)
	rep, err := engine.Run(t.Context(), job(m, st))
	if err != nil {
		t.Fatal(err)
	}
	_ = st.Close()
	wantItems(t, rep.Items, account.Items{Seen: n, Rewrapped: n})
	if rep.Result != engine.ResultComplete || !rep.Resumed || !rep.Ended {
		t.Errorf("result %q, resumed %v", rep.Result, rep.Resumed)
	}
	if got := rep.Census[account.Holder{How: "unknown"}]; got != 0 {
		t.Errorf("the census still has %d keys under unknown keys", got)
	}
	if left := failures(t, dir); len(left) != 0 {
		t.Errorf("still listed: %v", left)
	}

	// Killed before the report was handed over, the same command makes it again.
	st = openState(t, dir)
	again, err := engine.Run(t.Context(), job(m, st))
	if err != nil {
		t.Fatal(err)
	}
	wantItems(t, again.Items, rep.Items)
	if again.Result != engine.ResultComplete || !again.Resumed || !again.Ended || again.Keys != rep.Keys {
		t.Errorf("%+v, want %+v again", again, rep)
	}
	if err := st.End(); err != nil {
		t.Fatal(err)
	}
	_ = st.Close()

	// After it, it begins a new pass.
	rep, err = engine.Run(t.Context(), job(m, openState(t, dir)))
	if err != nil {
		t.Fatal(err)
	}
	wantItems(t, rep.Items, account.Items{Seen: n, Current: n})
	if rep.Resumed {
		t.Error("a new pass is called resumed")
	}
}

// TestFailedButWritten: the write landed, and neither its answer nor any
// later reading came through, so the item is owed. The next run recognises
// its own write.
func TestFailedButWritten(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/item": {"k": "v1/1"}})
	down := errors.New("service unavailable")
	m.After = func(string) error {
		m.OnRead = func(string) error { return down }
		return down
	}
	dir := t.TempDir()
	st := openState(t, dir)
	rep, err := engine.Run(t.Context(), job(m, st))
	if err != nil {
		t.Fatal(err)
	}
	_ = st.Close()
	wantItems(t, rep.Items, account.Items{Seen: 1, Failed: 1})

	m.After, m.OnRead = nil, nil
	rep, err = engine.Run(t.Context(), job(m, openState(t, dir)))
	if err != nil {
		t.Fatal(err)
	}
	wantItems(t, rep.Items, account.Items{Seen: 1, Rewrapped: 1})
	if m.Writes()["b/item"] != 1 || len(audit(t, dir)) != 1 {
		t.Errorf("%d writes, %d lines of audit", m.Writes()["b/item"], len(audit(t, dir)))
	}
}

// TestParked: one item that takes very long does not hold the watermark, and
// is not forgotten when the process dies meanwhile.
func TestParked(t *testing.T) {
	const n = 5000
	items := stale(n)
	items["a/00000"]["k"] = "v1/slow"
	m := newMemory(items)
	dir, disk := t.TempDir(), t.TempDir()
	st := openState(t, dir)
	release := make(chan struct{})
	var settled atomic.Int64
	j := job(m, st)
	j.Mover = moverOn(func(blob string) error {
		if blob == "v1/slow" {
			<-release
		}
		return nil
	})
	j.Observe = func(engine.Event) {
		if settled.Add(1) == n-1 {
			// Everything but the slow one. Its note must be on disk with the
			// watermark that passed it.
			close(release)
		}
	}
	stop, end := context.WithCancelCause(t.Context())
	j.Stop = stop
	defer end(nil)
	rep, err := engine.Run(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	wantItems(t, rep.Items, account.Items{Seen: n, Rewrapped: n})
	_ = st.Close()

	// The same, with a death while the slow one is parked.
	m = newMemory(stale(n))
	m.put("a/00000", map[string]string{"k": "v1/slow"})
	st = openState(t, disk)
	release = make(chan struct{})
	ctx, kill := context.WithCancel(t.Context())
	j = job(m, st)
	j.Mover = moverOn(func(blob string) error {
		if blob == "v1/slow" {
			<-release
			return ctx.Err()
		}
		return nil
	})
	settled.Store(0)
	j.Observe = func(engine.Event) {
		if settled.Add(1) == n-1 {
			kill()
			close(release)
		}
	}
	if _, err := engine.Run(ctx, j); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	_ = st.Close()
	status, err := checkpoint.Read(disk)
	if err != nil {
		t.Fatal(err)
	}
	if p := status.Snapshot.Parked; len(p) != 1 || p[0].ID != "a/00000" {
		t.Fatalf("parked: %+v", p)
	}
	rep, err = engine.Run(t.Context(), job(m, openState(t, disk)))
	if err != nil {
		t.Fatal(err)
	}
	wantItems(t, rep.Items, account.Items{Seen: n, Rewrapped: n})
	if m.Writes()["a/00000"] != 1 {
		t.Errorf("the slow item was written %d times", m.Writes()["a/00000"])
	}
}

func TestNothingInScope(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/1": {"k": "x/1"}, "b/2": {"other": ""}})
	dir := t.TempDir()
	st := openState(t, dir)
	rep, err := engine.Run(t.Context(), job(m, st))
	if err != nil || rep.Result != engine.ResultFailed || rep.Why == "" {
		t.Fatalf("result %q (%s), error %v", rep.Result, rep.Why, err)
	}
	if err := st.End(); err != nil || !rep.Ended {
		t.Fatal(rep.Ended, err)
	}
	_ = st.Close()
	m.put("b/1", map[string]string{"k": "v1/1"})
	rep, err = engine.Run(t.Context(), job(m, openState(t, dir)))
	if err != nil || rep.Result != engine.ResultComplete {
		t.Fatalf("the next run does not look again: result %q, error %v", rep.Result, err)
	}
	wantItems(t, rep.Items, account.Items{Seen: 2, Rewrapped: 1, Foreign: 1})
}

func TestEmptySource(t *testing.T) {
	rep, err := engine.Run(t.Context(), job(newMemory(nil), openState(t, t.TempDir())))
	if err != nil || rep.Result != engine.ResultComplete {
		t.Fatalf("result %q, error %v", rep.Result, err)
	}
}

func TestListingError(t *testing.T) {
	m := newMemory(stale(10))
	j := job(m, openState(t, t.TempDir()))
	broken := errors.New("listing broke")
	j.Source = brokenListing{m, broken}
	rep, err := engine.Run(t.Context(), j)
	if !errors.Is(err, broken) || rep.Result != engine.ResultFailed {
		t.Fatalf("result %q, error %v", rep.Result, err)
	}
}

// TestReadOnly is verify: nothing is written, and what is not on target is
// skipped with that reason.
func TestReadOnly(t *testing.T) {
	items := stale(20)
	items["b/current"] = map[string]string{"k": "v2/x"}
	m := newMemory(items)
	j := job(m, nil)
	j.Until = engine.Moved
	rep, err := engine.Run(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	wantItems(t, rep.Items, account.Items{Seen: 21, Current: 1, Skipped: 20})
	if rep.SkippedByReason[engine.ReasonOldKey] != 20 || rep.Result != engine.ResultRemaining {
		t.Errorf("result %q, skipped %v", rep.Result, rep.SkippedByReason)
	}
	if len(m.Writes()) != 0 {
		t.Errorf("written: %v", m.Writes())
	}
	if got := rep.Census[account.Holder{Key: "key", Material: "v1", How: "kms"}]; got != 20 {
		t.Errorf("census: %v", rep.Census)
	}
}

// TestLearned: what the job learned is in the checkpoint from the first commit
// on, for the next session.
func TestLearned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st := openState(t, dir)
	j := job(newMemory(stale(50)), st)
	j.Learned, j.MaxItems = "url", 10
	if _, err := engine.Run(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if got := again(t, st, dir).Snapshot().Learned; got != "url" {
		t.Errorf("the next session learns %q, want url", got)
	}
}
