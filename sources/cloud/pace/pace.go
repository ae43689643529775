// Package pace decides how fast a service is called: one pacer for the key
// service, one for the store. It knows neither. The sender of requests waits for
// its turn before each attempt, and says afterwards whether it was throttled.
//
// A pacer spaces requests evenly up to a ceiling. It judges them in windows of
// half a second. A window with throttles lowers the rate by the share of the
// throttled requests, by a tenth at least and by half at most. A window without
// throttles wins back a fixed part of the ceiling. With this additive increase
// and multiplicative decrease, several users of one quota end up with fair shares
// of it, and a few throttles cost little.
package pace

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	leastCut = 0.1
	mostCut  = 0.5
	floor    = 10.0 // requests a second that are always tried, if the ceiling allows them
	// climb is the part of the reference rate (the ceiling; without one the
	// rate at the first cut) that is won back each second.
	climb = 1.0 / 20
	// A window is judged after this time, if enough requests ended in it for
	// a share to mean something, and in any case after the longer one.
	window, enough, longest = 500 * time.Millisecond, 5, 5 * time.Second
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

	// The window that is going on: since when, and how the requests that
	// ended in it did.
	since          time.Time
	ended, refused int

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
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.since = now
	}
	p.ended++
	if throttled {
		p.throttled.Add(1)
		p.refused++
	}
	took := now.Sub(p.since)
	if took < window || p.ended < enough && took < longest {
		return
	}
	p.judge(took.Seconds())
	p.since, p.ended, p.refused = now, 0, 0
}

// judge sets the rate by the window that has ended.
func (p *Pacer) judge(seconds float64) {
	switch {
	case p.refused > 0:
		if p.rate == 0 { // what the service allowed is what was answered
			p.rate = max(float64(p.ended-p.refused)/seconds, p.least())
			p.ref = p.rate
			return
		}
		share := float64(p.refused) / float64(p.ended)
		p.rate = max(p.rate*(1-min(max(share, leastCut), mostCut)), p.least())
	case p.rate > 0:
		p.rate += max(p.ref*climb, 1) * min(seconds, longest.Seconds())
		if p.ceiling > 0 {
			p.rate = min(p.rate, p.ceiling)
		}
	}
}

func (p *Pacer) least() float64 {
	if p.ceiling > 0 {
		return min(floor, p.ceiling)
	}
	return floor
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
