package engine_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/sources"
	"rewrap/sources/mem"
)

// TestNotWritten: keys that KMS re-wrapped and nobody wrote are where they
// were, in the census and in the counts.
func TestNotWritten(t *testing.T) {
	m := newMemory(stale(20))
	denied := errors.New("denied")
	m.Before = func(id string) error {
		if strings.HasPrefix(id, "a") {
			return denied
		}
		return nil
	}
	rep, err := engine.Run(t.Context(), job(m, openState(t, t.TempDir())))
	if err != nil {
		t.Fatal(err)
	}
	wantItems(t, rep.Items, account.Items{Seen: 20, Rewrapped: 10, Failed: 10})
	if rep.Keys.Rewrapped != 10 || rep.Census[account.Holder{Key: "key", Material: "v1", How: "kms"}] != 10 {
		t.Errorf("keys %+v, census %v", rep.Keys, rep.Census)
	}
}

// TestStoreRefusesWrites: a store that refuses every write ends the run, also
// where the key service answers all the time.
func TestStoreRefusesWrites(t *testing.T) {
	items := stale(2000)
	for i := range 400 {
		items[fmt.Sprintf("c/%05d", i)] = map[string]string{"k": "v2/current"}
	}
	m := newMemory(items)
	denied := &sources.RunError{Err: errors.New("writing is denied"), Hint: "Allow it.", Strikes: 50}
	m.Before = func(string) error { return denied }
	j := job(m, openState(t, t.TempDir()))
	j.Observe = func(ev engine.Event) {
		if ev.Outcome == account.Failed && ev.Reason != engine.ReasonWrite {
			t.Errorf("%s failed for %q", ev.Ref.ID, ev.Reason)
		}
	}
	rep, err := engine.Run(t.Context(), j)
	if !errors.Is(err, denied) || rep.Result != engine.ResultFailed {
		t.Fatalf("result %q, error %v", rep.Result, err)
	}
	if rep.Items.Failed > 50 {
		t.Errorf("%d items failed before the run was stopped", rep.Items.Failed)
	}
}

// TestWrongKeyAndOneGone: an item that was deleted meanwhile is no sign that
// the right source keys were named.
func TestWrongKeyAndOneGone(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/1": {"k": "x/1"}, "b/2": {"k": "x/2"}, "b/3": {"k": "v1/3"}})
	m.OnRead = func(id string) error {
		if id == "b/3" {
			m.Delete(id)
		}
		return nil
	}
	rep, err := engine.Run(t.Context(), job(m, openState(t, t.TempDir())))
	if err != nil || rep.Result != engine.ResultFailed {
		t.Fatalf("result %q, error %v: %+v", rep.Result, err, rep.Items)
	}
}

// TestDamagedJournal: an entry that cannot be read costs its undo, and, if its
// edit is in the item, who wrote it; the run goes on, and says so. It is not
// read where its edit is not in the item: it may be long.
func TestDamagedJournal(t *testing.T) {
	for _, landed := range []bool{false, true} {
		t.Run(fmt.Sprintf("landed %v", landed), func(t *testing.T) {
			m := newMemory(stale(300))
			dir := t.TempDir()
			st := openState(t, dir)
			ctx, cancel := context.WithCancel(t.Context())
			j := job(m, st)
			var n atomic.Int64
			die := func(string) error {
				if n.Add(1) == 100 {
					m.Freeze()
					cancel()
				}
				if m.Frozen() {
					return mem.ErrDied
				}
				return nil
			}
			if m.Before = die; landed {
				m.Before, m.After = nil, die
			}
			_, _ = engine.Run(ctx, j)
			_ = st.Close()
			before, err := checkpoint.Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(before.Snapshot.Unsettled) == 0 {
				t.Fatal("the edit that was cut off is not among the unsettled")
			}
			name := filepath.Join(dir, "journal")
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			damaged := 0
			for _, off := range before.Snapshot.Unsettled {
				var e checkpoint.Entry
				if err := json.NewDecoder(bytes.NewReader(data[off+8:])).Decode(&e); err != nil {
					t.Fatal(err)
				}
				if m.Writes()[e.ID] > 0 == landed {
					data[int(off)+bytes.Index(data[off:], []byte(`"rev"`))] ^= 1
					damaged++
				}
			}
			if damaged == 0 {
				t.Fatal("no such edit")
			}
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			st = openState(t, dir)
			j = job(m.thaw(), st)
			var mu sync.Mutex
			var notices []string
			j.Notice = func(msg string) {
				mu.Lock()
				defer mu.Unlock()
				notices = append(notices, msg)
			}
			rep, err := engine.Run(t.Context(), j)
			if err != nil || rep.Result != engine.ResultComplete || (len(notices) > 0) != landed {
				t.Fatalf("result %q, error %v, notices %q", rep.Result, err, notices)
			}
			if i := rep.Items; i.Seen != 300 || i.Rewrapped+i.Current != 300 || (i.Current > 0) != landed || i.Rewrapped < before.Snapshot.Tally.Items.Rewrapped {
				t.Errorf("%+v", i)
			}
		})
	}
}

// TestCountedOnce: a snapshot names an edit whose item is in the account
// already, since it stands behind one that was being written for long. Where the
// item is owed for another key, its next try finds that edit and knows it.
func TestCountedOnce(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/i": {"k1": "v1/a", "k2": "rubbish"}})
	dir := t.TempDir()
	for range 3 {
		st := openState(t, dir)
		rep, err := engine.Run(t.Context(), job(m, st))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(audit(t, dir)); rep.Keys.Rewrapped != 1 || n != 1 {
			t.Errorf("%d keys rewrapped, %d lines of audit, of one that was", rep.Keys.Rewrapped, n)
		}
		st = again(t, st, dir)
		cut, err := st.Cut()
		if err != nil {
			t.Fatal(err)
		}
		snap := st.Snapshot()
		snap.JournalFrom = 0
		if err := st.Commit(snap, cut); err != nil {
			t.Fatal(err)
		}
		_ = st.Close()
	}
}

func again(t *testing.T, st *checkpoint.State, dir string) *checkpoint.State {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return openState(t, dir)
}

// TestLandedAndMore: an edit landed and nobody was told, and another writer
// added an old key before the item was read again. All keys that the job
// changed are in the account.
func TestLandedAndMore(t *testing.T) {
	keys := map[string]string{"k1": "v1/a", "k2": "v1/b", "k3": "v1/c"}
	add := func(m memory) {
		meta := map[string]string{"k4": "v1/new"}
		for k := range keys {
			meta[k] = m.get("b/i", k)
		}
		m.put("b/i", meta)
	}
	want := func(t *testing.T, m memory, dir string, rep engine.Report, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		lines := audit(t, dir)
		if len(lines) != 4 || rep.Keys.Rewrapped != 4 || rep.Items.Rewrapped != 1 {
			t.Errorf("%+v, %+v, %d lines of audit", rep.Items, rep.Keys, len(lines))
		}
		for _, l := range lines {
			if l.SHA256After != fmt.Sprintf("%x", sha256.Sum256([]byte(m.get("b/i", l.Locator)))) {
				t.Errorf("%s: what the audit log says is not in the item", l.Locator)
			}
		}
	}
	t.Run("killed", func(t *testing.T) {
		m := newMemory(map[string]map[string]string{"b/i": keys})
		m.After = func(string) error {
			m.Freeze()
			return mem.ErrDied
		}
		dir, _ := live(t, m, t.TempDir(), "")
		m = m.thaw()
		add(m)
		rep, err := engine.Run(t.Context(), job(m, openState(t, dir)))
		want(t, m, dir, rep, err)
	})
	t.Run("no answer", func(t *testing.T) {
		m := newMemory(map[string]map[string]string{"b/i": keys})
		var once sync.Once
		m.After = func(string) (err error) {
			once.Do(func() {
				add(m)
				err = errors.New("connection reset")
			})
			return err
		}
		dir := t.TempDir()
		rep, err := engine.Run(t.Context(), job(m, openState(t, dir)))
		want(t, m, dir, rep, err)
	})
}

// TestErrorThenStop: what ended a run is told, also where it was told to stop at
// once while its last writes ended.
func TestErrorThenStop(t *testing.T) {
	m := newMemory(stale(50))
	ctx, cancel := context.WithCancel(t.Context())
	writing, calling := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.Before = func(string) error {
		once.Do(func() { close(writing) })
		<-ctx.Done()
		return ctx.Err()
	}
	j := job(m, openState(t, t.TempDir()))
	j.Mover = mover(rewrapper(func(calls context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
		switch string(k.Blob) {
		case "v1/7":
			<-writing
			<-calling
			return envelope.Rewrapped{}, &sources.RunError{Err: errors.New("the key is disabled"), Hint: "Enable it"}
		case "v1/8":
			close(calling)
			<-calls.Done() // the run has ended on the error
			cancel()
			return envelope.Rewrapped{}, calls.Err()
		}
		return (&versions{}).Rewrap(calls, k)
	}))
	rep, err := engine.Run(ctx, j)
	if rep.Result != engine.ResultFailed || !errors.As(err, new(*sources.RunError)) {
		t.Errorf("result %q, error %v", rep.Result, err)
	}
}

type rewrapper func(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error)

func (rewrapper) Traits() keys.Traits { return keys.Traits{How: account.HowKMS, Service: true} }

func (f rewrapper) Rewrap(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
	return f(ctx, k)
}

// TestStoppedWhileJournalled: a run that is told to stop at once begins no write,
// also not of what is in the undo journal already.
func TestStoppedWhileJournalled(t *testing.T) {
	m := newMemory(stale(1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, id := range m.IDs() {
		if ev := engine.Do(ctx, deaf{m}, mover(&versions{}), journalThen(cancel), ref(id)); ev.Outcome != account.Unsettled || len(m.Writes()) != 0 {
			t.Errorf("%+v, %d writes", ev, len(m.Writes()))
		}
	}
}

// deaf is a store whose writes land whatever their context says.
type deaf struct{ memory }

func (d deaf) Apply(ctx context.Context, p sources.Plan) (sources.Result, error) {
	return d.memory.Apply(context.WithoutCancel(ctx), p)
}

type journalThen func()

func (f journalThen) Append(context.Context, checkpoint.Entry) (int64, error) { f(); return 16, nil }

// TestMoreProcessors: the bound on keys in memory does not change during a run.
func TestMoreProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	meta := make(map[string]string)
	for i := range 1<<16*runtime.GOMAXPROCS(0) + 10 {
		meta[fmt.Sprintf("k%06d", i)] = "v2/x"
	}
	m := newMemory(map[string]map[string]string{"b/big": meta})
	m.OnRead = func(string) error { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1); return nil }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if rep, err := engine.Run(ctx, job(m, nil)); err != nil || rep.Items.Current != 1 {
		t.Errorf("%+v, %v", rep.Items, err)
	}
}

// TestShortSessions: what is remembered of earlier sessions does not grow with
// their number.
func TestShortSessions(t *testing.T) {
	m := newMemory(stale(1000))
	dir := t.TempDir()
	for range 9 {
		st := openState(t, dir)
		j := job(m, st)
		j.MaxItems = 100
		if _, err := engine.Run(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		_ = st.Close()
	}
	s, err := checkpoint.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Snapshot.Unsettled) > 0 || s.Snapshot.JournalFrom != s.Snapshot.JournalLen {
		t.Errorf("%d entries are unsettled, the journal is read from %d of %d", len(s.Snapshot.Unsettled), s.Snapshot.JournalFrom, s.Snapshot.JournalLen)
	}
}

// TestLostThenFailed: a write whose answer was lost is credited once, however
// often the item fails for another reason before and afterwards.
func TestLostThenFailed(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/item": {"k1": "v1/1", "k2": "rubbish"}})
	dir := t.TempDir()
	down := errors.New("service unavailable")
	session := func() engine.Report {
		t.Helper()
		st := openState(t, dir)
		defer st.Close()
		rep, err := engine.Run(t.Context(), job(m, st))
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	m.After = func(string) error {
		m.OnRead = func(string) error { return down }
		return down
	}
	session()     // written, the answer lost, and not to be read again
	m.After = nil // still not to be read
	session()
	m.OnRead = nil
	for range 3 {
		session() // k2 fails each time
	}
	m.put("b/item", map[string]string{"k1": m.get("b/item", "k1"), "k2": "v1/2"})
	rep := session()
	wantItems(t, rep.Items, account.Items{Seen: 1, Rewrapped: 1})
	if lines := len(audit(t, dir)); rep.Keys.Rewrapped != 2 || lines != 2 {
		t.Errorf("keys %+v, %d lines of audit", rep.Keys, lines)
	}
}

// TestLostAndFailed is the same where the item is read again at once.
func TestLostAndFailed(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/item": {"k1": "v1/1", "k2": "rubbish"}})
	dir := t.TempDir()
	m.After = func(string) error { return errors.New("connection reset") }
	for i := range 3 {
		st := openState(t, dir)
		rep, err := engine.Run(t.Context(), job(m, st))
		_ = st.Close()
		if lines := len(audit(t, dir)); err != nil || rep.Items.Failed != 1 || rep.Keys.Rewrapped != 1 || lines != 1 {
			t.Errorf("session %d: %+v, %+v, %d lines of audit, %v", i+1, rep.Items, rep.Keys, lines, err)
		}
	}
}

// TestListingEndsWithTheRun: names out of scope do not keep a listing going.
func TestListingEndsWithTheRun(t *testing.T) {
	m := newMemory(stale(5000))
	j := job(m, openState(t, t.TempDir()))
	listed := 0
	j.Match = func(name string) bool { listed++; return name == "a/00000" || name == "z/00001" }
	denied := &sources.RunError{Err: errors.New("denied"), Hint: "Allow it."}
	block := make(chan struct{})
	j.Mover = moverOn(func(string) error { <-block; return denied })
	seen := j.Match
	var mu sync.Mutex
	j.Match = func(name string) bool {
		mu.Lock()
		ok := seen(name)
		n := listed
		mu.Unlock()
		if n == 1000 {
			close(block)
		}
		if n > 1000 {
			time.Sleep(time.Millisecond) // what a page of a real listing takes, and more
		}
		return ok
	}
	if _, err := engine.Run(t.Context(), j); !errors.Is(err, denied) {
		t.Fatal(err)
	}
	if listed > 4000 {
		t.Errorf("%d names were listed after the run had ended", listed-1000)
	}
}

// TestPaidThenRefused: an item that paid for a key and had to be read again did
// not get that key from memory, also where it fails in the end.
func TestPaidThenRefused(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/i": {"k1": "v1/a", "k2": "v1/b"}})
	conflict := true
	m.Before = func(string) (err error) {
		if conflict {
			conflict, err = false, sources.ErrConflict
		}
		return err
	}
	var mu sync.Mutex
	asked := make(map[string]bool)
	j := job(m, openState(t, t.TempDir()))
	j.Mover = mover(rewrapper(func(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
		a, err := (&versions{}).Rewrap(ctx, k)
		mu.Lock()
		defer mu.Unlock()
		a.Deduplicated = asked[k.Locator]
		asked[k.Locator] = true
		if a.Deduplicated && k.Locator == "k2" {
			return envelope.Rewrapped{}, &sources.RunError{Err: errors.New("denied"), Strikes: 50}
		}
		return a, err
	}))
	rep, err := engine.Run(t.Context(), j)
	if err != nil || rep.Items.Failed != 1 || rep.Keys.Deduplicated != 0 {
		t.Errorf("%+v, %+v, %v; want one failed and no key from memory", rep.Items, rep.Keys, err)
	}
}

// TestPlannedIsNotWritten: the sums of a plan say of no item that it was
// written without a condition.
func TestPlannedIsNotWritten(t *testing.T) {
	for until, want := range map[engine.Until]int64{engine.Planned: 0, engine.Applied: 1} {
		src := mem.New(mem.Options{
			Items:         map[string]mem.Item{"item": {Meta: map[string]string{"k": "v1/1"}}},
			Unconditional: func(sources.Edit) bool { return true },
		})
		if err := src.Begin(t.Context(), sources.Write); err != nil {
			t.Fatal(err)
		}
		rep, err := engine.Run(t.Context(), engine.Job{Source: src, Mover: mover(&versions{}), Until: until})
		if err != nil || rep.Unconditional != want {
			t.Errorf("until %d: %d unconditional, %v; want %d", until, rep.Unconditional, err, want)
		}
	}
}
