package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/sources"
	"rewrap/sources/mem"
)

// namer is a mover that collects the names by which it sees items.
type namer struct {
	engine.Mover
	mu    sync.Mutex
	names map[string]string
}

func (n *namer) Move(ctx context.Context, v sources.View, room *engine.Room) (engine.Move, error) {
	n.mu.Lock()
	n.names[v.ID] = v.Name
	n.mu.Unlock()
	return n.Mover.Move(ctx, v, room)
}

// TestNamesKept: an item has its name, to which formats may bind its keys, also
// where an earlier session parked or failed it.
func TestNamesKept(t *testing.T) {
	t.Parallel()
	src := mem.New(mem.Options{
		Name: strings.ToUpper,
		Items: map[string]mem.Item{
			"parked": {Meta: map[string]string{"k": "v1/1"}},
			"failed": {Meta: map[string]string{"k": "rubbish"}},
		},
	})
	if err := src.Begin(t.Context(), sources.Write); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	st := openState(t, dir)
	if _, err := engine.Run(t.Context(), engine.Job{Source: src, Mover: moverOn(func(blob string) error {
		if blob == "v1/1" {
			return errors.New("not now")
		}
		return nil
	}), State: st}); err != nil {
		t.Fatal(err)
	}
	if got := failures(t, dir); got["parked"].Name != "PARKED" || got["failed"].Name != "FAILED" {
		t.Errorf("the list of failures has %+v", got)
	}
	st = again(t, st, dir)
	n := &namer{Mover: mover(&versions{}), names: make(map[string]string)}
	if _, err := engine.Run(t.Context(), engine.Job{Source: src, Mover: n, State: st}); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"parked": "PARKED", "failed": "FAILED"}; !maps.Equal(n.names, want) {
		t.Errorf("names %v, want %v", n.names, want)
	}
}

// TestParkedNames is the same for an item that is parked when the run ends.
func TestParkedNames(t *testing.T) {
	t.Parallel()
	items := make(map[string]mem.Item)
	for i := range 2000 {
		items[fmt.Sprintf("%05d", i)] = mem.Item{Meta: map[string]string{"k": fmt.Sprintf("v1/%d", i)}}
	}
	src := mem.New(mem.Options{Borders: []string{"0"}, Name: func(id string) string { return "name of " + id }, Items: items})
	if err := src.Begin(t.Context(), sources.Write); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	st := openState(t, dir)
	ctx, kill := context.WithCancel(t.Context())
	var n atomic.Int64
	_, _ = engine.Run(ctx, engine.Job{Source: src, State: st,
		Mover: mover(rewrapper(func(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
			if string(k.Blob) == "v1/0" {
				<-ctx.Done()
			}
			return (&versions{}).Rewrap(ctx, k)
		})),
		Observe: func(engine.Event) {
			if n.Add(1) == 1999 {
				kill()
			}
		}})
	st = again(t, st, dir)
	if p := st.Snapshot().Parked; len(p) != 1 {
		t.Fatalf("parked: %+v", p)
	}
	seen := &namer{Mover: mover(&versions{}), names: make(map[string]string)}
	if _, err := engine.Run(t.Context(), engine.Job{Source: src, Mover: seen, State: st}); err != nil || seen.names["00000"] != "name of 00000" {
		t.Errorf("names %v, %v", seen.names, err)
	}
}

// TestTargetsAfterCut: a snapshot that counts an item has the target that the
// item was moved to. A session that goes on without it could take a later
// rotation for the target.
func TestTargetsAfterCut(t *testing.T) {
	t.Parallel()
	m := newMemory(stale(2000))
	dir := t.TempDir()
	var mu sync.Mutex
	met := make(map[string]string)
	j := job(m, openState(t, dir))
	j.Mover = moverOn(func(blob string) error {
		mu.Lock()
		defer mu.Unlock()
		met[blob] = "v2"
		return nil
	})
	j.Targets = func() map[string]string {
		mu.Lock()
		targets := maps.Clone(met)
		mu.Unlock()
		time.Sleep(20 * time.Millisecond)
		return targets
	}
	m.Before = func(string) error { time.Sleep(10 * time.Millisecond); return nil }
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := engine.Run(t.Context(), j); err != nil {
			t.Error(err)
		}
	}()
	commits := 0
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-time.After(5 * time.Millisecond):
		}
		st, err := checkpoint.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		targets, seen := len(st.Snapshot.Targets), st.Snapshot.Tally.Items.Seen
		if int64(targets) < seen {
			t.Fatalf("a snapshot has %d targets for %d items", targets, seen)
		}
		if seen > 0 && !ended {
			commits++
		}
	}
	if commits == 0 {
		t.Error("the run was too short to commit")
	}
}

// TestParkedMakesRoom: where as many items are parked as may be, one that is
// settled lets the listing go on.
func TestParkedMakesRoom(t *testing.T) {
	t.Parallel()
	const slow, n = 65, 1024 + 65 + 100
	items := make(map[string]map[string]string)
	for i := range n {
		items[fmt.Sprintf("a/%05d", i)] = map[string]string{"k": fmt.Sprintf("v1/%d", i)}
	}
	m := newMemory(items)
	first, others := make(chan struct{}), make(chan struct{})
	m.Before = func(id string) error {
		if id == "a/00000" {
			<-first
		} else if id < fmt.Sprintf("a/%05d", slow) {
			<-others
		}
		return nil
	}
	var settled atomic.Int64
	j := job(m, openState(t, t.TempDir()))
	j.Workers = 32
	j.Observe = func(engine.Event) {
		switch settled.Add(1) {
		case 64 + 1024 - slow: // the window behind 64 parked items is full
			close(first)
		case n - slow + 1: // all but the slow ones, and the first of those
			close(others)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	context.AfterFunc(ctx, sync.OnceFunc(func() {
		if settled.Load() < n-slow+1 {
			close(others)
		}
	}))
	rep, err := engine.Run(ctx, j)
	if err != nil {
		t.Fatalf("%v; %d of %d items were settled", err, settled.Load(), n)
	}
	wantItems(t, rep.Items, account.Items{Seen: n, Rewrapped: n})
}
