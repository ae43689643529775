package engine

import (
	"context"
	"runtime"

	"golang.org/x/sync/semaphore"
)

const (
	// maxHead is the most of a body that a mover may ask to see. It is also
	// how much of bodies is in memory at once, over all items.
	maxHead = 64 << 20
	// smallHead is so little of a body that it is not counted.
	smallHead = 64 << 10
	// fewKeys are so few keys that they are not counted.
	fewKeys = 256
	// keysPerProcessor is how many keys of items with many keys are in memory
	// at once for each processor: some 2 KiB each, until the item is settled.
	keysPerProcessor = 1 << 16
)

// gates bound the memory of the items in work. An item that needs more than
// there is goes alone.
type gates struct {
	heads, keys *semaphore.Weighted
	maxKeys     int64
}

func newGates() *gates {
	// Asked once: GOMAXPROCS follows the limit of a container, and a semaphore
	// does not.
	n := keysPerProcessor * int64(runtime.GOMAXPROCS(0))
	return &gates{heads: semaphore.NewWeighted(maxHead), keys: semaphore.NewWeighted(n), maxKeys: n}
}

// Room is the memory that one item holds of the memory that all items share:
// for its body while it is read and edited, for its keys until it is settled.
// Room for the body is taken before room for the keys, never the other way. One
// goroutine uses it at a time.
type Room struct {
	gates       *gates // nil: no bound
	heads, keys int64
}

// head waits for room for n bytes of a body, in place of what it had.
func (r *Room) head(ctx context.Context, n int64) error {
	r.release()
	if r.gates == nil || n <= smallHead {
		return nil
	}
	if err := r.gates.heads.Acquire(ctx, n); err != nil {
		return context.Cause(ctx)
	}
	r.heads = n
	return nil
}

// Keys waits for room for n keys and what is kept of each until the item is
// settled. A mover calls it once, before it holds that much.
func (r *Room) Keys(ctx context.Context, n int) error {
	if r == nil || r.gates == nil || n <= fewKeys || r.keys > 0 {
		return nil
	}
	weight := min(int64(n), r.gates.maxKeys)
	if err := r.gates.keys.Acquire(ctx, weight); err != nil {
		return context.Cause(ctx)
	}
	r.keys = weight
	return nil
}

// releaseHead gives back the room for the body.
func (r *Room) releaseHead() {
	if r.heads > 0 {
		r.gates.heads.Release(r.heads)
	}
	r.heads = 0
}

// release gives back everything. It may be called more than once.
func (r *Room) release() {
	r.releaseHead()
	if r.keys > 0 {
		r.gates.keys.Release(r.keys)
	}
	r.keys = 0
}
