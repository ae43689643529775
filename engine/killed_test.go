package engine_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/sources/mem"
)

// TestKilled kills the machine at random moments and goes on from what is on
// its disk, until the job is done. Every item is written exactly once and
// counted as rewrapped, since this job changed it, whichever process did.
func TestKilled(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			const n = 600
			m, dir := untilDone(t, rnd, newMemory(stale(n)), t.TempDir(), engine.ResultComplete)
			wantAccount(t, m, dir, account.Items{Seen: n, Rewrapped: n}, n, n)
			for _, id := range m.IDs() {
				if m.Writes()[id] != 1 {
					t.Errorf("%s was written %d times", id, m.Writes()[id])
				}
			}
		})
	}
}

// TestKilledAmongFailures is the same where every tenth item has a second key
// that is broken at first and mended later: the machine also dies while
// failures are tried again, and no key is counted twice.
func TestKilledAmongFailures(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 2))
			const n = 300
			items := stale(n)
			var broken []string
			for id := range items {
				if len(broken) < n/10 {
					broken = append(broken, id)
					items[id]["k2"] = "rubbish"
				}
			}
			m, dir := untilDone(t, rnd, newMemory(items), t.TempDir(), engine.ResultRemaining)
			wantAccount(t, m, dir, account.Items{Seen: n, Rewrapped: n - n/10, Failed: n / 10}, n, n)
			m, dir = untilDone(t, rnd, m.thaw(), dir, engine.ResultRemaining) // tried again, in vain
			wantAccount(t, m, dir, account.Items{Seen: n, Rewrapped: n - n/10, Failed: n / 10}, n, n)
			for _, id := range broken {
				m.put(id, map[string]string{"k": m.get(id, "k"), "k2": "v1/mended"})
			}
			m, dir = untilDone(t, rnd, m.thaw(), dir, engine.ResultComplete)
			wantAccount(t, m, dir, account.Items{Seen: n, Rewrapped: n}, n+n/10, n+n/10)
		})
	}
}

// TestKilledParked: an item that took so long that the watermark passed it was
// written when the machine died, and nobody was told.
func TestKilledParked(t *testing.T) {
	const n = 2400 // in two lines, each longer than its window
	m, dir, disk := newMemory(stale(n)), t.TempDir(), t.TempDir()
	var one atomic.Bool
	m.After = func(string) error {
		if !one.CompareAndSwap(false, true) {
			return nil
		}
		for {
			st, err := checkpoint.Read(dir)
			if err == nil && len(st.Snapshot.Parked) == 1 && st.Snapshot.Tally.Items.Seen == n-1 {
				break
			}
			if t.Context().Err() != nil {
				return t.Context().Err()
			}
			time.Sleep(time.Millisecond)
		}
		copyDir(t, dir, disk)
		m.Freeze()
		return mem.ErrDied
	}
	st := openState(t, dir)
	_, _ = engine.Run(t.Context(), job(m, st))
	_ = st.Close()
	m, disk = untilDone(t, rand.New(rand.NewPCG(1, 3)), m.thaw(), disk, engine.ResultComplete)
	wantAccount(t, m, disk, account.Items{Seen: n, Rewrapped: n}, n, n)
}

// untilDone lives and dies until a run ends with the result.
func untilDone(t *testing.T, rnd *rand.Rand, m memory, dir, result string) (memory, string) {
	t.Helper()
	for life := 1; life <= 200; life++ {
		left := 1 + rnd.IntN(100)
		var mu sync.Mutex
		die := func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if left--; left == 0 {
				m.Freeze()
			}
			return nil
		}
		// Some deaths come before a write, some between the write and its
		// answer, some while an item is only read.
		switch rnd.IntN(3) {
		case 0:
			m.Before = die
		case 1:
			m.After = func(id string) error {
				_ = die(id)
				if m.Frozen() {
					return mem.ErrDied
				}
				return nil
			}
		case 2:
			m.OnRead = die
		}
		disk, died := live(t, m, dir, result)
		if !died {
			return m, disk
		}
		dir, m = disk, m.thaw()
	}
	t.Fatal("no progress")
	return m, ""
}

// wantAccount holds the account on disk against the world.
func wantAccount(t *testing.T, m memory, dir string, items account.Items, changed, keys int64) {
	t.Helper()
	st, err := checkpoint.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	tally := st.Snapshot.Tally
	wantItems(t, tally.Items, items)
	if tally.Left != items.Failed+items.Skipped {
		t.Errorf("left: %d", tally.Left)
	}
	if tally.Keys.Rewrapped != changed {
		t.Errorf("keys rewrapped: %d, want %d", tally.Keys.Rewrapped, changed)
	}
	onTarget, all := int64(0), int64(0)
	for h, n := range tally.Census {
		all += n
		if h.Material == "v2" {
			onTarget += n
		}
	}
	if onTarget != keys || all != keys+items.Failed {
		t.Errorf("census: %d keys on target, want %d, of %d", onTarget, keys, all)
	}
	lines := make(map[string]int)
	for _, a := range audit(t, dir) {
		lines[a.ID+a.Locator]++
		if a.SHA256After != fmt.Sprintf("%x", sha256.Sum256([]byte(m.get(a.ID, a.Locator)))) {
			t.Errorf("%s %s: what the audit log says is not in the item", a.ID, a.Locator)
		}
	}
	for what, n := range lines {
		if n != 1 {
			t.Errorf("%s has %d lines of audit", what, n)
		}
	}
	if int64(len(lines)) != changed {
		t.Errorf("%d lines of audit, want %d", len(lines), changed)
	}
}

// live runs until the job is done or the machine dies. What a dead machine
// leaves is a copy of its disk, made at that moment: nothing of what its
// process would still do counts.
func live(t *testing.T, m memory, dir, result string) (disk string, died bool) {
	t.Helper()
	st := openState(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	j := job(m, st)
	var once sync.Once
	disk = t.TempDir()
	j.Observe = func(engine.Event) {
		if m.Frozen() {
			once.Do(func() { copyDir(t, dir, disk); died = true; cancel() })
		}
	}
	onRead := m.OnRead
	m.OnRead = func(id string) error {
		if onRead != nil {
			_ = onRead(id)
		}
		if m.Frozen() {
			cancel()
		}
		return nil
	}
	rep, err := engine.Run(ctx, j)
	_ = st.Close()
	if !m.Frozen() {
		if err != nil || rep.Result != result {
			t.Fatalf("result %q, error %v", rep.Result, err)
		}
		return dir, false
	}
	if !died { // it died with nothing settled afterwards
		copyDir(t, dir, disk)
	}
	return disk, true
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Error(err)
	}
}
