// Package pace decides how fast a service is called: one pacer for the key
// service, one for the store. It knows neither; whoever sends requests waits
// for its turn before each attempt and says afterwards whether it was
// throttled.
//
// A pacer spaces requests evenly up to a ceiling. When the service throttles,
// the rate falls by a third at once, and then climbs back by a fixed step a
// second: additive increase, multiplicative decrease, so that several users of
// one shared quota end up with fair shares of it.
package pace

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	decrease = 0.7 // what is left of the rate after a throttle
	floor    = 1.0 // requests a second that are always tried
	// climb is the part of the reference rate (the ceiling; without one the
	// rate at the last cut) that is won back each second.
	climb = 1.0 / 20
	// hold is how long after a cut further throttles are taken for echoes of
	// the same overload: requests that were already on their way.
	hold = 500 * time.Millisecond
	// slack is how far behind its schedule a pacer may catch up, so that the
	// grain of timers costs no throughput.
	slack = 20 * time.Millisecond
)

// Pacer paces requests to one service. All methods may be called from many
// goroutines at once.
type Pacer struct {
	turn chan struct{} // held by the one waiter whose slot is next

	mu      sync.Mutex
	ceiling float64 // requests a second; 0: whatever the service allows
	rate    float64 // requests a second; 0: not limited
	ref     float64 // the rate that climb is a part of
	next    time.Time
	cut     time.Time // of the last decrease
	climbed time.Time // of the last increase

	// The throughput of the last full second: where to cut from when there
	// was no limit before.
	second   time.Time
	count    int
	measured float64

	requests, throttled atomic.Int64
}

// New makes a pacer with a ceiling in requests a second; 0 or less: none.
func New(ceiling float64) *Pacer {
	p := &Pacer{turn: make(chan struct{}, 1)}
	p.SetCeiling(ceiling)
	return p
}

// SetCeiling changes the ceiling, also while requests wait.
func (p *Pacer) SetCeiling(perSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ceiling = max(perSecond, 0)
	p.rate, p.ref = p.ceiling, p.ceiling
}

// Wait returns when the next request may be sent, or with the context's error.
// Waiters go in the order in which they came.
func (p *Pacer) Wait(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if wait := p.reserve(time.Now()); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	p.requests.Add(1)
	return nil
}

func (p *Pacer) reserve(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.second) >= time.Second {
		p.measured, p.second, p.count = float64(p.count), now, 0
	}
	p.count++
	if p.rate == 0 {
		return 0
	}
	if earliest := now.Add(-slack); p.next.Before(earliest) {
		p.next = earliest
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(time.Second) / p.rate))
	return wait
}

// Done reports how a request ended.
func (p *Pacer) Done(throttled bool) {
	if throttled {
		p.throttled.Add(1)
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if throttled {
		if now.Sub(p.cut) < hold {
			return
		}
		from := p.rate
		if from == 0 {
			from = max(p.measured, float64(p.count))
		}
		if p.ceiling == 0 {
			p.ref = from
		}
		p.rate = max(from*decrease, floor)
		p.cut, p.climbed = now, now
		return
	}
	if p.rate == 0 || p.rate == p.ceiling {
		return
	}
	p.rate += max(p.ref*climb, floor) * now.Sub(p.climbed).Seconds()
	p.climbed = now
	if p.ceiling > 0 {
		p.rate = min(p.rate, p.ceiling)
	}
}

// Stats is what a pacer has seen and where it stands.
type Stats struct {
	Requests, Throttled int64
	Rate                float64 // requests a second allowed now; 0: not limited
	Ceiling             float64 // 0: none
}

// Stats tells how many requests were let through and how many were throttled.
func (p *Pacer) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Requests: p.requests.Load(), Throttled: p.throttled.Load(), Rate: p.rate, Ceiling: p.ceiling}
}
