package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/move"
	"rewrap/sources"
	"rewrap/sources/mem"
)

type brokenListing struct {
	memory
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

func ref(id string) sources.Ref { return sources.Ref{ID: id, Name: id, Cursor: sources.Cursor(id)} }

// TestWorkerAlone: one item, with neither pool nor checkpoint.
func TestWorkerAlone(t *testing.T) {
	m := newMemory(map[string]map[string]string{"b/item": {"k": "v1/1"}})
	ev := engine.Do(t.Context(), m, mover(&versions{}), nil, ref("b/item"))
	if ev.Outcome != account.Rewrapped || ev.Err != nil || ev.Way != "put" || len(ev.Changes) != 1 || ev.RevBefore != "1" || ev.RevAfter != "2" {
		t.Errorf("%+v", ev)
	}
	if ev := engine.Do(t.Context(), m, mover(&versions{}), nil, ref("b/item")); ev.Outcome != account.Current {
		t.Errorf("a second time: %v", ev.Outcome)
	}
	if ev := engine.Do(t.Context(), m, mover(&versions{}), nil, ref("b/none")); ev.Outcome != account.Gone {
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
	m.Before = func(string) error {
		if len(kept.entries) != 1 {
			t.Error("applied before it was in the journal")
		}
		return nil
	}
	if ev := engine.Do(t.Context(), m, mover(&versions{}), kept, ref("b/item")); ev.Outcome != account.Rewrapped || ev.Intent() != -1 {
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
	full := &journal{err: errors.New("no space left on device")}
	ev := engine.Do(t.Context(), m, mover(&versions{}), full, ref("b/item"))
	var run *sources.RunError
	if ev.Outcome != account.Unsettled || !errors.As(ev.Err, &run) {
		t.Errorf("%+v", ev)
	}
	if len(m.Writes()) != 0 {
		t.Error("it was applied though the journal failed")
	}
}

type notYet struct {
	memory
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
		began := time.Now()
		if ev := engine.Do(t.Context(), &notYet{m, 3}, mover(&versions{}), nil, ref("b/item")); ev.Outcome != account.Rewrapped {
			t.Errorf("%+v", ev)
		}
		if waited := time.Since(began); waited != 6*time.Second {
			t.Errorf("waited %v", waited)
		}
		m.put("b/item", map[string]string{"k": "v1/1"})
		if ev := engine.Do(t.Context(), &notYet{m, 1000}, mover(&versions{}), nil, ref("b/item")); ev.Outcome != account.Failed || ev.Reason != engine.ReasonBusy {
			t.Errorf("%+v", ev)
		}
	})
}

type refusing struct {
	memory
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
	memory
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
		m := move.NewPayload(wanting{}, &versions{}, 1)
		if ev := engine.Do(t.Context(), src, m, nil, ref("b/item")); ev.Outcome != c.want || !slices.Equal(src.seen, c.seen) {
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
	j.Source = refusing{memory: newMemory(stale(3)), read: device}
	if rep, err := engine.Run(t.Context(), j); err != nil || rep.Left != 0 || rep.Items.Skipped != 3 || rep.Result != engine.ResultComplete {
		t.Errorf("result %q, %+v, error %v", rep.Result, rep.Tally, err)
	}
	for _, src := range []refusing{{read: archived}, {apply: archived}} {
		src.memory = newMemory(map[string]map[string]string{"b/item": {"k": "v1/1"}})
		calls := &versions{}
		ev := engine.Do(t.Context(), src, mover(calls), nil, ref("b/item"))
		if ev.Outcome != account.Skipped || ev.Reason != "archived" || ev.Err == nil || calls.calls > 1 {
			t.Errorf("%+v after %d key calls", ev, calls.calls)
		}
	}
}

// TestUntil: an item goes as far as it is asked to, and no further.
func TestUntil(t *testing.T) {
	t.Parallel()
	for until, want := range map[engine.Until]engine.Event{
		engine.Applied: {Outcome: account.Rewrapped},
		engine.Planned: {Outcome: account.Skipped, Reason: engine.ReasonOldKey},
		engine.Moved:   {Outcome: account.Skipped, Reason: engine.ReasonOldKey},
	} {
		m := newMemory(map[string]map[string]string{"b/item": {"k": "v1/1"}, "b/refused": {"k": "v1/1", "refuse": ""}})
		j := job(m, nil)
		j.Until = until
		events := make(map[string]engine.Event)
		j.Observe = func(ev engine.Event) { events[ev.Ref.ID] = ev }
		if _, err := engine.Run(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		ev := events["b/item"]
		if ev.Outcome != want.Outcome || ev.Reason != want.Reason {
			t.Errorf("until %d: %v for %q, want %v for %q", until, ev.Outcome, ev.Reason, want.Outcome, want.Reason)
		}
		if wrote := len(m.Writes()) > 0; wrote != (until == engine.Applied) {
			t.Errorf("until %d: written: %v", until, wrote)
		}
		if planned := ev.Way != "" && len(ev.Cost.Requests) > 0; planned != (until != engine.Moved) {
			t.Errorf("until %d: the way is %q and the cost %v", until, ev.Way, ev.Cost)
		}
		// The source is asked only by commands that want to know the way.
		refused := "archived"
		if until == engine.Moved {
			refused = engine.ReasonOldKey
		}
		if got := events["b/refused"].Reason; got != refused {
			t.Errorf("until %d: an item that cannot be written is skipped for %q, want %q", until, got, refused)
		}
	}
}

// TestListedView: an item that the listing brought along is not read, unless it
// has to be read again.
func TestListedView(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		src := mem.New(mem.Options{Bring: true, Items: map[string]mem.Item{"item": {Meta: map[string]string{"k": "v1/1"}}}})
		if err := src.Begin(t.Context(), sources.Write); err != nil {
			t.Fatal(err)
		}
		reads := 0
		src.OnRead = func(string) error { reads++; return nil }
		var once sync.Once
		src.Before = func(string) (err error) {
			if again {
				once.Do(func() { err = sources.ErrConflict })
			}
			return err
		}
		kept := false
		rep, err := engine.Run(t.Context(), engine.Job{Source: src, Mover: mover(&versions{}), Observe: func(ev engine.Event) {
			kept = ev.Ref.View != nil
		}})
		if err != nil || rep.Items.Rewrapped != 1 || kept {
			t.Fatalf("%+v, %v; want one rewrapped; view kept: %v", rep.Items, err, kept)
		}
		if want := map[bool]int{false: 0, true: 1}[again]; reads != want {
			t.Errorf("read %d times, want %d (again: %v)", reads, want, again)
		}
	}
}
