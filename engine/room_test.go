package engine_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"rewrap/engine"
	"rewrap/sources"
)

// crowd is a mover whose every item needs all the room there is for keys. It
// knows the items that have it.
type crowd struct {
	engine.Mover
	mu   sync.Mutex
	now  map[string]bool
	most int
}

func (c *crowd) Move(ctx context.Context, v sources.View, room *engine.Room) (engine.Move, error) {
	if err := room.Keys(ctx, 1<<30); err != nil {
		return engine.Move{}, err
	}
	c.mu.Lock()
	c.now[v.ID] = true
	c.most = max(c.most, len(c.now))
	c.mu.Unlock()
	return c.Mover.Move(ctx, v, nil)
}

func (c *crowd) leave(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.now, id)
}

// TestRoomUntilSettled: the keys of an item are in memory until the item is
// settled, so it holds its room as long. An item that is read again gives it
// back first.
func TestRoomUntilSettled(t *testing.T) {
	t.Parallel()
	m := newMemory(stale(100))
	c := &crowd{now: make(map[string]bool), Mover: mover(&versions{})}
	writes := 0
	m.Before = func(id string) error {
		if writes++; writes%7 > 0 {
			return nil
		}
		c.leave(id)
		return sources.ErrConflict
	}
	j := job(m, openState(t, t.TempDir()))
	j.Mover = c
	j.Observe = func(ev engine.Event) { c.leave(ev.Ref.ID) }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rep, err := engine.Run(ctx, j)
	if err != nil || rep.Items.Seen != 100 {
		t.Fatalf("%+v, %v", rep.Items, err)
	}
	if c.most != 1 {
		t.Errorf("%d items were in memory at once, of which each takes all the room", c.most)
	}
}
