package pace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// drive sends requests for d, each answered by answer, and counts the ones
// that were let through.
func drive(t *testing.T, p *Pacer, d time.Duration, answer func(n int) (throttled bool)) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	n := 0
	for p.Wait(ctx) == nil {
		n++
		time.Sleep(100 * time.Microsecond)
		p.Done(answer(n))
	}
	return n
}

func never(int) bool { return false }

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want*(1-tolerance) || got > want*(1+tolerance) {
		t.Errorf("%s: got %.1f, want %.1f within %.0f %%", what, got, want, tolerance*100)
	}
}

func TestCeilingHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(500)
		within(t, "requests in 10 s", float64(drive(t, p, 10*time.Second, never)), 5000, 0.01)
	})
}

func TestSmooth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(100)
		time.Sleep(time.Hour) // an idle pacer saves nothing up
		for i := range 20 {
			got := drive(t, p, 100*time.Millisecond, never)
			if got > 13 {
				t.Errorf("window %d: %d requests in 100 ms at 100 a second", i, got)
			}
		}
	})
}

func TestNoCeilingIsNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(0)
		within(t, "requests in 1 s", float64(drive(t, p, time.Second, never)), 10000, 0.01)
	})
}

// A service with a quota of 300 a second in fixed windows, a pacer that does
// not know it: nearly all of the quota is used and few requests are wasted.
func TestFindsAQuota(t *testing.T) {
	for _, ceiling := range []float64{0, 1000} {
		synctest.Test(t, func(t *testing.T) {
			p := New(ceiling)
			var window time.Time
			used, answered, refused := 0, 0, 0
			quota := func(int) bool {
				if now := time.Now().Truncate(time.Second); now != window {
					window, used = now, 0
				}
				if used++; used > 300 {
					refused++
					return true
				}
				answered++
				return false
			}
			drive(t, p, 10*time.Second, quota) // finding it
			answered, refused = 0, 0
			drive(t, p, 60*time.Second, quota)
			if answered < 60*300*75/100 {
				t.Errorf("ceiling %.0f: %d answered of a quota of %d", ceiling, answered, 60*300)
			}
			if refused > answered/10 {
				t.Errorf("ceiling %.0f: %d refused beside %d answered", ceiling, refused, answered)
			}
		})
	}
}

func TestThrottleCutsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(100)
		end := func(n, throttled int) {
			for i := range n {
				if i == n-1 {
					time.Sleep(window)
				}
				p.Done(i < throttled)
			}
		}
		end(10, 0)
		within(t, "rate without throttles", p.Stats().Rate, 100, 0.001)
		end(10, 3)
		within(t, "rate after a window with 30 % throttled", p.Stats().Rate, 70, 0.001)
		end(100, 1)
		within(t, "rate after one with 1 %", p.Stats().Rate, 63, 0.001)
		end(10, 10)
		within(t, "rate after nothing but throttles", p.Stats().Rate, 31.5, 0.001)
		drive(t, p, 20*time.Second, never)
		within(t, "rate 20 s later", p.Stats().Rate, 100, 0.001)
		if got := p.Stats().Throttled; got != 14 {
			t.Errorf("throttled: %d, want 14", got)
		}
	})
}

// Throttles that no rate can avoid, as from one hot partition of a store, slow
// a run down by their share and do not bring it to a halt.
func TestConstantShareOfThrottles(t *testing.T) {
	for _, tc := range []struct{ every, atLeast int }{{100, 100}, {20, 40}, {4, 10}} {
		synctest.Test(t, func(t *testing.T) {
			p := New(500)
			n := drive(t, p, 100*time.Second, func(n int) bool { return n%tc.every == 0 })
			if n < tc.atLeast*100 {
				t.Errorf("one of %d throttled: %d requests a second of 500", tc.every, n/100)
			}
		})
	}
}

func TestNeverStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(100)
		drive(t, p, 1000*time.Second, func(int) bool { return true })
		within(t, "rate under nothing but throttles", p.Stats().Rate, floor, 0.001)
	})
}

func TestSetCeilingTakesEffectOnWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(1)
		began := time.Now()
		done := make(chan struct{})
		for range 50 {
			go func() { _ = p.Wait(t.Context()); done <- struct{}{} }()
		}
		<-done
		<-done
		p.SetCeiling(1000)
		for range 48 {
			<-done
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the waiters needed %v: they kept to the old ceiling", took)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(1.0 / 3600)
		_ = p.Wait(t.Context())
		cause := errors.New("told to stop")
		for range 2 { // one holds the turn, one waits for it
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			if err := p.Wait(ctx); !errors.Is(err, cause) {
				t.Errorf("got %v, want the cause", err)
			}
		}
	})
}
