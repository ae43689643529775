package kms

import (
	"context"
	"sync"
)

// flights shares work that is under way: callers that ask for the same thing at
// the same time get the one answer.
//
// Unlike in singleflight, no caller owns a flight. A caller whose context ends
// leaves, and the flight goes on for the others. When the last caller has left,
// the flight is cancelled.
type flights[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]*flight[V]
}

type flight[V any] struct {
	done   chan struct{}
	cancel context.CancelFunc
	riders int
	v      V
	err    error
}

// do runs fn, or waits for the one that runs. shared says that another
// caller's fn made the answer.
func (g *flights[K, V]) do(ctx context.Context, k K, fn func(context.Context) (V, error)) (v V, shared bool, err error) {
	if ctx.Err() != nil {
		return v, false, context.Cause(ctx)
	}
	g.mu.Lock()
	f, shared := g.m[k]
	if !shared {
		if g.m == nil {
			g.m = make(map[K]*flight[V])
		}
		fctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight[V]{done: make(chan struct{}), cancel: cancel}
		g.m[k] = f
		go func() {
			defer cancel()
			f.v, f.err = fn(fctx)
			g.mu.Lock()
			if g.m[k] == f {
				delete(g.m, k)
			}
			g.mu.Unlock()
			close(f.done)
		}()
	}
	f.riders++
	g.mu.Unlock()

	select {
	case <-f.done:
		return f.v, shared, f.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if f.riders--; f.riders == 0 {
		f.cancel()
		if g.m[k] == f {
			delete(g.m, k) // the next caller begins anew
		}
	}
	return v, shared, context.Cause(ctx)
}
