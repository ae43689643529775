package engine_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/sources"
)

type brokenListing struct {
	*memory
	err error
}

func (b brokenListing) List(ctx context.Context, s sources.Span, after sources.Cursor) iter.Seq2[sources.Ref, error] {
	return func(yield func(sources.Ref, error) bool) {
		n := 0
		for r, err := range b.memory.List(ctx, s, after) {
			if n++; n == 3 {
				yield(sources.Ref{}, b.err)
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func ref(id string) sources.Ref { return sources.Ref{ID: id, Cursor: sources.Cursor(id)} }

// TestWorkerAlone: one item, with neither pool nor checkpoint.
func TestWorkerAlone(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/item": {"k": "v1/1"}})
	w := engine.Worker{Source: m, Format: tags{}, Rewrapper: &versions{}}
	ev := w.Do(t.Context(), ref("b/item"))
	if ev.Outcome != account.Rewrapped || ev.Err != nil || ev.Way != "put" || len(ev.Changes) != 1 || ev.RevBefore != "1" || ev.RevAfter != "2" {
		t.Errorf("%+v", ev)
	}
	if ev := w.Do(t.Context(), ref("b/item")); ev.Outcome != account.Current {
		t.Errorf("a second time: %v", ev.Outcome)
	}
	if ev := w.Do(t.Context(), ref("b/none")); ev.Outcome != account.Gone {
		t.Errorf("an item that does not exist: %v", ev.Outcome)
	}
}

type journal struct {
	entries []checkpoint.Entry
	err     error
}

func (j *journal) Append(_ context.Context, e checkpoint.Entry) (int64, error) {
	j.entries = append(j.entries, e)
	return int64(len(j.entries)), j.err
}

// TestJournalFirst: before the edit is applied, what undoes it is in the
// journal; and an edit whose inverse cannot be kept is not made.
func TestJournalFirst(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/item": {"k": "v1/1", "other": "x"}})
	kept := &journal{}
	m.before = func(string) error {
		if len(kept.entries) != 1 {
			t.Error("applied before it was in the journal")
		}
		return nil
	}
	w := engine.Worker{Source: m, Format: tags{}, Rewrapper: &versions{}, Journal: kept}
	if ev := w.Do(t.Context(), ref("b/item")); ev.Outcome != account.Rewrapped || ev.Intent != -1 {
		t.Fatalf("%+v", ev)
	}
	var inverse sources.Edit
	if err := json.Unmarshal(kept.entries[0].Inverse, &inverse); err != nil {
		t.Fatal(err)
	}
	if len(inverse.Meta) != 1 || string(inverse.Meta["k"]) != "v1/1" {
		t.Errorf("the inverse is %v", inverse)
	}

	m = newMemory(map[string]map[string]string{"b/item": {"k": "v1/1"}})
	w.Source, w.Journal = m, &journal{err: errors.New("no space left on device")}
	ev := w.Do(t.Context(), ref("b/item"))
	var run *sources.RunError
	if ev.Outcome != account.Unsettled || !errors.As(ev.Err, &run) {
		t.Errorf("%+v", ev)
	}
	if len(m.writes) != 0 {
		t.Error("it was applied though the journal failed")
	}
}

// TestKeysAreTheUnit: an item with many keys shares the key calls with
// others, and never has more of them in work than the bound.
func TestKeysAreTheUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big := make(map[string]string)
		for i := range 1000 {
			big[fmt.Sprintf("k%04d", i)] = fmt.Sprintf("v1/%d", i)
		}
		m := newMemory(map[string]map[string]string{"b/big": big, "b/small": {"k": "v1/small"}})
		var inWork, most atomic.Int64
		slow := &versions{on: func(string) error {
			if n := inWork.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			inWork.Add(-1)
			return nil
		}}
		w := engine.Worker{Source: m, Format: tags{}, Rewrapper: slow, Keys: semaphore.NewWeighted(10)}
		began := time.Now()
		bigDone := make(chan time.Duration)
		go func() {
			if ev := w.Do(t.Context(), ref("b/big")); ev.Outcome != account.Rewrapped || len(ev.Changes) != 1000 {
				t.Errorf("%v, %d changes", ev.Outcome, len(ev.Changes))
			}
			bigDone <- time.Since(began)
		}()
		time.Sleep(1500 * time.Millisecond)
		at := time.Now()
		if ev := w.Do(t.Context(), ref("b/small")); ev.Outcome != account.Rewrapped {
			t.Error(ev.Outcome)
		}
		if took := time.Since(at); took > 3*time.Second {
			t.Errorf("the small item waited %v behind the big one", took)
		}
		if took := <-bigDone; took > 102*time.Second {
			t.Errorf("1000 calls of a second, ten at once, took %v", took)
		}
		if most.Load() > 10 {
			t.Errorf("%d calls at once", most.Load())
		}
		if m.writes["b/big"] != 1 {
			t.Errorf("the big item was written %d times", m.writes["b/big"])
		}
	})
}

type notYet struct {
	*memory
	times int
}

func (n *notYet) Plan(ctx context.Context, v sources.View, e sources.Edit) (sources.Plan, error) {
	if n.times--; n.times >= 0 {
		return sources.Plan{}, &sources.NotYetError{Wait: 2 * time.Second, Detail: "too young"}
	}
	return n.memory.Plan(ctx, v, e)
}

func TestTooYoungIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(map[string]map[string]string{"b/item": {"k": "v1/1"}})
		w := engine.Worker{Source: &notYet{m, 3}, Format: tags{}, Rewrapper: &versions{}}
		began := time.Now()
		if ev := w.Do(t.Context(), ref("b/item")); ev.Outcome != account.Rewrapped {
			t.Errorf("%+v", ev)
		}
		if waited := time.Since(began); waited != 6*time.Second {
			t.Errorf("waited %v", waited)
		}
		m.put("b/item", map[string]string{"k": "v1/1"})
		w.Source = &notYet{m, 1000}
		if ev := w.Do(t.Context(), ref("b/item")); ev.Outcome != account.Failed || ev.Reason != engine.ReasonBusy {
			t.Errorf("%+v", ev)
		}
	})
}

// TestPartlyFailed: one broken key does not keep the others of its item from
// being moved; the item has failed all the same.
func TestPartlyFailed(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/item": {"k1": "v1/1", "k2": "rubbish", "k3": "v1/3"}})
	w := engine.Worker{Source: m, Format: tags{}, Rewrapper: &versions{}}
	ev := w.Do(t.Context(), ref("b/item"))
	if ev.Outcome != account.Failed || len(ev.Changes) != 2 || ev.Err == nil {
		t.Errorf("%+v", ev)
	}
	if m.get("b/item", "k2") != "rubbish" || m.get("b/item", "k1")[:2] != "v2" {
		t.Errorf("%v", m.items["b/item"])
	}
}

// broken is a format that finds what is no wrapped key, in k2 and k3.
type broken struct{ tags }

func (f broken) Parse(v sources.View) (envelope.Envelope, error) {
	e, err := f.tags.Parse(v)
	for i, k := range e.Keys {
		if k.Locator == "k2" || k.Locator == "k3" {
			e.Keys[i].Blob, e.Keys[i].Err = nil, errors.New("a number")
		}
	}
	return e, err
}

// TestBrokenAlone: nobody is asked about what is no wrapped key, and the item's
// others are moved; the item's error names the first and counts the rest.
func TestBrokenAlone(t *testing.T) {
	for _, keys := range []*semaphore.Weighted{nil, semaphore.NewWeighted(2)} {
		m := newMemory(map[string]map[string]string{"b/item": {"k1": "v1/1", "k2": "7", "k3": "8", "k4": "v1/4", "k5": "rubbish"}})
		calls := &versions{}
		w := engine.Worker{Source: m, Format: broken{}, Rewrapper: calls, Keys: keys}
		ev := w.Do(t.Context(), ref("b/item"))
		if ev.Outcome != account.Failed || ev.Reason != engine.ReasonFormat || len(ev.Changes) != 2 || calls.calls != 3 {
			t.Errorf("%+v after %d calls", ev, calls.calls)
		}
		if got := ev.Err.Error(); got != "k2: a number; and 2 more of its wrapped keys failed" {
			t.Error(got)
		}
		if m.get("b/item", "k2") != "7" || m.get("b/item", "k4")[:2] != "v2" {
			t.Errorf("%v", m.items["b/item"])
		}
	}
}

type refusing struct {
	*memory
	read, apply error
}

func (r refusing) Read(ctx context.Context, ref sources.Ref, w sources.Want) (sources.View, error) {
	if r.read != nil {
		return sources.View{}, r.read
	}
	return r.memory.Read(ctx, ref, w)
}

func (r refusing) Apply(context.Context, sources.Plan) (sources.Result, error) {
	return sources.Result{}, r.apply
}

// wanting is a format that wants to see bodies, and tells from metadata what is
// none of its business.
type wanting struct{ tags }

func (wanting) Head() int64 { return 1 << 20 }

func (f wanting) Parse(v sources.View) (envelope.Envelope, error) {
	if _, ok := v.Meta["k"]; ok && v.Head == nil {
		return envelope.Envelope{}, &sources.ShortError{Need: 1}
	}
	return f.tags.Parse(v)
}

// heads is a store that may not read the bodies.
type heads struct {
	*memory
	err  error
	seen []int64
}

func (h *heads) Read(ctx context.Context, r sources.Ref, w sources.Want) (sources.View, error) {
	h.seen = append(h.seen, w.Head)
	if h.err != nil && w.Head > 0 {
		return sources.View{}, h.err
	}
	v, err := h.memory.Read(ctx, r, w)
	if w.Head > 0 {
		v.Head, v.Size = []byte("x"), 1
	}
	return v, err
}

// TestHead: a body that a format wants is read at once, up to what nobody
// counts. Where it may not be read, the rest may tell that the item is foreign.
func TestHead(t *testing.T) {
	denied := &sources.RunError{Err: errors.New("denied"), Strikes: 50}
	down := &sources.RunError{Err: errors.New("down")}
	archived := &sources.SkipError{Reason: "archived"}
	for _, c := range []struct {
		meta map[string]string
		err  error
		want account.Outcome
		seen []int64
	}{
		{map[string]string{"k": "v1/1"}, nil, account.Rewrapped, []int64{64 << 10}},
		{map[string]string{"other": "x"}, denied, account.Foreign, []int64{64 << 10, 0}},
		{map[string]string{"other": "x"}, archived, account.Foreign, []int64{64 << 10, 0}},
		{map[string]string{"k": "v1/1"}, archived, account.Skipped, []int64{64 << 10, 0, 1}},
		{map[string]string{"k": "v1/1"}, denied, account.Unsettled, []int64{64 << 10, 0, 1}},
		{map[string]string{"other": "x"}, down, account.Unsettled, []int64{64 << 10}},
	} {
		src := &heads{memory: newMemory(map[string]map[string]string{"b/item": c.meta}), err: c.err}
		w := engine.Worker{Source: src, Format: wanting{}, Rewrapper: &versions{}}
		if ev := w.Do(t.Context(), ref("b/item")); ev.Outcome != c.want || !slices.Equal(src.seen, c.seen) {
			t.Errorf("%v, %v: %v, %v after reading %v, want %v, %v", c.meta, c.err, ev.Outcome, ev.Err, src.seen, c.want, c.seen)
		}
	}
}

// TestRefused: what the store refuses to hand out or to write is skipped with
// the store's reason, and not tried again and again.
func TestRefused(t *testing.T) {
	archived := fmt.Errorf("b/item: %w", &sources.SkipError{Reason: "archived", Detail: "restore it first"})
	device := fmt.Errorf("b/item: %w", &sources.SkipError{Reason: "device", Detail: "not a file", Nothing: true})
	j := job(newMemory(stale(3)), openState(t, t.TempDir()))
	j.Worker.Source = refusing{memory: newMemory(stale(3)), read: device}
	if rep, err := engine.Run(t.Context(), j); err != nil || rep.Left != 0 || rep.Items.Skipped != 3 || rep.Result != engine.ResultComplete {
		t.Errorf("result %q, %+v, error %v", rep.Result, rep.Tally, err)
	}
	for _, src := range []refusing{{read: archived}, {apply: archived}} {
		src.memory = newMemory(map[string]map[string]string{"b/item": {"k": "v1/1"}})
		calls := &versions{}
		w := engine.Worker{Source: src, Format: tags{}, Rewrapper: calls}
		ev := w.Do(t.Context(), ref("b/item"))
		if ev.Outcome != account.Skipped || ev.Reason != "archived" || ev.Err == nil || calls.calls > 1 {
			t.Errorf("%+v after %d key calls", ev, calls.calls)
		}
	}
}

// refusingBlobs is a format whose edits cannot be made.
type refusingBlobs struct{ tags }

func (f refusingBlobs) Parse(v sources.View) (envelope.Envelope, error) {
	e, err := f.tags.Parse(v)
	e.Replace = func([][]byte) (sources.Edit, error) { return sources.Edit{}, errors.New("no letters for it") }
	return e, err
}

// TestNoEdit: an item whose edit cannot be made fails, and its keys are counted
// where they are.
func TestNoEdit(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/item": {"k1": "v1/1", "k2": "v1/2"}})
	ev := (&engine.Worker{Source: m, Format: refusingBlobs{}, Rewrapper: &versions{}}).Do(t.Context(), ref("b/item"))
	if ev.Outcome != account.Failed || ev.Reason != engine.ReasonFormat || len(ev.Changes) != 0 || !strings.Contains(ev.Err.Error(), "no letters") {
		t.Errorf("%+v", ev)
	}
	for _, k := range ev.Keys {
		if k.Outcome != account.Skipped || k.From.Material != "v1" {
			t.Errorf("%+v, want it counted where it is", k)
		}
	}
}

// picky is a format in which one blob can be written without an assumption, at
// most.
type picky struct {
	tags
	likes string
	none  bool // not even zero bytes, so trying is no use
}

func (f picky) Parse(v sources.View) (envelope.Envelope, error) {
	e, err := f.tags.Parse(v)
	for i := range e.Keys {
		e.Keys[i].Fits = func(blob []byte) bool {
			return string(blob) == f.likes || !f.none && len(blob) > 0 && blob[0] == 0
		}
	}
	return e, err
}

// TestAssumed: a local rewrapper is asked until what it makes fits, and no other
// one is. A blob that does not fit is written, and counted.
func TestAssumed(t *testing.T) {
	broken := &sources.RunError{Err: errors.New("broken memory")}
	for _, c := range []struct {
		name    string
		local   bool
		f       picky
		fails   int // the call that does
		stops   bool
		want    account.Outcome
		calls   int
		assumed bool
	}{
		{"the first", true, picky{likes: "v2/1#1"}, 0, false, account.Rewrapped, 1, false},
		{"a later one", true, picky{likes: "v2/1#30"}, 0, false, account.Rewrapped, 30, false},
		{"none", true, picky{}, 0, false, account.Rewrapped, 1000, true},
		{"none would do", true, picky{none: true}, 0, false, account.Rewrapped, 1, true},
		{"not local", false, picky{likes: "v2/1#30"}, 0, false, account.Rewrapped, 1, true},
		{"not local, the first", false, picky{likes: "v2/1#1"}, 0, false, account.Rewrapped, 1, false},
		{"broken", true, picky{likes: "v2/1#30"}, 7, false, account.Unsettled, 7, false},
		{"stopped", true, picky{likes: "v2/1#30"}, 7, true, account.Unsettled, 7, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			m := newMemory(map[string]map[string]string{"b/item": {"k": "v1/1"}})
			r := new(versions)
			r.on = func(string) error {
				switch {
				case r.calls != c.fails:
					return nil
				case c.stops:
					stop()
					return errors.New("stopped")
				}
				return broken
			}
			w := engine.Worker{Source: m, Format: c.f, Rewrapper: r, Local: c.local}
			ev := w.Do(ctx, ref("b/item"))
			if ev.Outcome != c.want || r.calls != c.calls {
				t.Errorf("%v, %v after %d calls", ev.Outcome, ev.Err, r.calls)
			}
			want := "v1/1"
			if c.want == account.Rewrapped {
				want = fmt.Sprintf("v2/1#%d", c.calls)
				if ev.Keys[0].Assumed != c.assumed {
					t.Errorf("assumed is %v", ev.Keys[0].Assumed)
				}
				if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(want))); ev.Changes[0].SHA256After != sum {
					t.Errorf("%+v, want the digest %s", ev.Changes, sum)
				}
			}
			if is := m.get("b/item", "k"); is != want {
				t.Errorf("%q, want %q", is, want)
			}
			if c.fails > 0 && !c.stops && !errors.Is(ev.Err, broken) {
				t.Errorf("%v", ev.Err)
			}
		})
	}
}
