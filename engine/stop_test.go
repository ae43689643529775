package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/move"
	"rewrap/sources"
)

func TestRunErrors(t *testing.T) {
	disabled := &sources.RunError{Err: errors.New("the key is disabled"), Hint: "Enable it"}
	t.Run("at once", func(t *testing.T) {
		m := newMemory(stale(500))
		st := openState(t, t.TempDir())
		j := job(m, st)
		var calls atomic.Int64
		j.Mover = moverOn(func(string) error {
			if calls.Add(1) > 100 {
				return disabled
			}
			return nil
		})
		rep, err := engine.Run(t.Context(), j)
		if !errors.Is(err, disabled) {
			t.Fatalf("got %v", err)
		}
		if rep.Result != engine.ResultFailed || rep.Items.Failed != 0 {
			t.Errorf("result %q, %d items failed", rep.Result, rep.Items.Failed)
		}
		if got := calls.Load(); got > 100+8*4 {
			t.Errorf("%d calls were made though the key was disabled at the 100th", got)
		}
	})
	t.Run("in a row", func(t *testing.T) {
		m := newMemory(stale(5000))
		st := openState(t, t.TempDir())
		j := job(m, st)
		j.Workers = 1
		stray := &sources.RunError{Err: errors.New("denied"), Hint: "Allow it", Strikes: 50}
		n := 0
		j.Mover = move.NewPayload(tags{}, &versions{on: func(string) error {
			if n++; n%40 == 0 || n > 400 { // one now and then is the item's; from 400 on it is the run's
				return stray
			}
			return nil
		}}, 1)
		rep, err := engine.Run(t.Context(), j)
		if !errors.Is(err, stray) {
			t.Fatalf("got %v", err)
		}
		// The item that tripped it is not settled, and holds the watermark.
		if rep.Items.Failed < 9 || rep.Items.Failed > 400 || rep.Items.Rewrapped < 380 {
			t.Errorf("items: %+v", rep.Items)
		}
	})
	t.Run("credentials", func(t *testing.T) {
		j := job(newMemory(stale(10)), openState(t, t.TempDir()))
		expired := &sources.RunError{Err: fmt.Errorf("ReEncrypt: %w", sources.ErrCredentials), Hint: "Log in"}
		j.Mover = moverOn(func(string) error { return expired })
		rep, err := engine.Run(t.Context(), j)
		if rep.Result != engine.ResultStopped || !errors.Is(err, sources.ErrCredentials) {
			t.Errorf("result %q, error %v", rep.Result, err)
		}
	})
}

func TestStops(t *testing.T) {
	t.Run("max items", func(t *testing.T) {
		m := newMemory(stale(500))
		dir := t.TempDir()
		for i := 1; i <= 5; i++ {
			st := openState(t, dir)
			j := job(m, st)
			j.MaxItems = 120
			rep, err := engine.Run(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			_ = st.Close()
			if i < 5 {
				wantItems(t, rep.Items, account.Items{Seen: int64(120 * i), Rewrapped: int64(120 * i)})
				if rep.Result != engine.ResultStopped {
					t.Errorf("result %q", rep.Result)
				}
				continue
			}
			wantItems(t, rep.Items, account.Items{Seen: 500, Rewrapped: 500})
			if rep.Result != engine.ResultComplete {
				t.Errorf("result %q", rep.Result)
			}
		}
	})
	t.Run("in order", func(t *testing.T) {
		m := newMemory(stale(2000))
		stop, end := context.WithCancelCause(t.Context())
		j := job(m, openState(t, t.TempDir()))
		j.Stop = stop
		n := 0
		j.Observe = func(engine.Event) {
			if n++; n == 100 {
				end(errors.New("it is morning"))
			}
		}
		rep, err := engine.Run(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Result != engine.ResultStopped || rep.Why != "it is morning" {
			t.Errorf("result %q: %s", rep.Result, rep.Why)
		}
		landed := 0
		for _, w := range m.Writes() {
			landed += w
		}
		if int64(landed) != rep.Items.Rewrapped || landed < 100 || landed > 1000 {
			t.Errorf("%d writes landed, %d are reported", landed, rep.Items.Rewrapped)
		}
	})
	t.Run("at once", func(t *testing.T) {
		m := newMemory(stale(2000))
		ctx, cancel := context.WithCancel(t.Context())
		j := job(m, openState(t, t.TempDir()))
		n := 0
		j.Observe = func(engine.Event) {
			if n++; n == 100 {
				cancel()
			}
		}
		rep, err := engine.Run(ctx, j)
		if !errors.Is(err, context.Canceled) || rep.Result != engine.ResultStopped {
			t.Errorf("result %q, error %v", rep.Result, err)
		}
		if rep.Items.Failed != 0 {
			t.Errorf("%d items failed because the run was stopped", rep.Items.Failed)
		}
	})
}

// TestFinish: a source is finished once all its items have gone their way, and
// by no run that wrote nothing or did not reach the end.
func TestFinish(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*engine.Job)
		want   int
	}{
		"complete":  {func(*engine.Job) {}, 1},
		"stopped":   {func(j *engine.Job) { j.MaxItems = 10 }, 0},
		"read only": {func(j *engine.Job) { j.Until = engine.Moved }, 0},
		"planned":   {func(j *engine.Job) { j.Until = engine.Planned }, 0},
		"failed": {func(j *engine.Job) {
			j.Mover = moverOn(func(string) error { return &sources.RunError{Err: errors.New("disabled")} })
		}, 0},
	} {
		m := newMemory(stale(50))
		j := job(m, nil)
		c.change(&j)
		_, _ = engine.Run(t.Context(), j)
		if got := m.Finished(); got != c.want {
			t.Errorf("%s: finished %d times, want %d", name, got, c.want)
		}
	}
}

// TestOneKeyRefused: a cause that meets every item ends the run, also where
// another key of each item is answered.
func TestOneKeyRefused(t *testing.T) {
	t.Parallel()
	items := stale(2000)
	for id := range items {
		items[id]["k2"] = "v1/refused"
	}
	m := newMemory(items)
	j := job(m, openState(t, t.TempDir()))
	denied := &sources.RunError{Err: errors.New("denied"), Hint: "Allow it", Strikes: 50}
	j.Mover = moverOn(func(blob string) error {
		if blob == "v1/refused" {
			return denied
		}
		return nil
	})
	rep, err := engine.Run(t.Context(), j)
	if !errors.Is(err, denied) || rep.Result != engine.ResultFailed {
		t.Fatalf("result %q, error %v: %+v", rep.Result, err, rep.Items)
	}
	if rep.Items.Failed > 50 {
		t.Errorf("%d items failed before the run was stopped, at 50 in a row", rep.Items.Failed)
	}
}

// TestFewMoreCalls: a cause that ends the run is met by few items more, also
// where those that watch are slow.
func TestFewMoreCalls(t *testing.T) {
	t.Parallel()
	j := job(newMemory(stale(3000)), openState(t, t.TempDir()))
	var calls atomic.Int64
	j.Mover = moverOn(func(string) error {
		calls.Add(1)
		return &sources.RunError{Err: errors.New("denied"), Hint: "Allow it", Strikes: 50}
	})
	j.Observe = func(engine.Event) { time.Sleep(time.Millisecond) }
	if _, err := engine.Run(t.Context(), j); err == nil {
		t.Fatal("no error")
	}
	if n := calls.Load(); n > 300 {
		t.Errorf("%d calls were made, and the run ends on 50 refusals", n)
	}
}

// cutOff is a source that is told to stop at once while the run asks for the
// spans, or finishes. It answers with the cause.
type cutOff struct {
	memory
	first, last func()
}

func (c cutOff) Spans(ctx context.Context, want int) ([]sources.Span, error) {
	if c.first(); ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return c.memory.Spans(ctx, want)
}

func (c cutOff) Finish(ctx context.Context) error {
	c.last()
	<-ctx.Done()
	return context.Cause(ctx)
}

// TestCutOff: a run that is told to stop at once before its first item or after
// its last was stopped, and did not fail.
func TestCutOff(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop, nothing := func() { cancel(errors.New("interrupted")) }, func() {}
		src := cutOff{newMemory(stale(5)), nothing, stop}
		if early {
			src = cutOff{newMemory(stale(5)), stop, nothing}
		}
		j := job(src.memory, openState(t, t.TempDir()))
		j.Source = src
		rep, err := engine.Run(ctx, j)
		if rep.Result != engine.ResultStopped || !errors.Is(err, context.Canceled) {
			t.Errorf("early %v: result %q, %v", early, rep.Result, err)
		}
	}
}
