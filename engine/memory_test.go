package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/engine/move"
	"rewrap/sources"
	"rewrap/sources/mem"
)

// memory is a store in memory with items of metadata alone, in two spans. An
// item with metadata of the name "refuse" cannot be written.
type memory struct{ *mem.Source }

func newMemory(items map[string]map[string]string) memory {
	o := mem.Options{Borders: []string{"n"}, Items: make(map[string]mem.Item)}
	for id, meta := range items {
		o.Items[id] = mem.Item{Meta: meta}
	}
	return begin(mem.New(o))
}

func begin(src *mem.Source) memory {
	src.OnPlan = func(v sources.View, _ sources.Edit) error {
		if _, ok := v.Meta["refuse"]; ok {
			return &sources.SkipError{Reason: "archived", Detail: "restore it first"}
		}
		return nil
	}
	if err := src.Begin(context.Background(), sources.Write); err != nil {
		panic(err)
	}
	return memory{src}
}

// thaw is the same data on a machine that works.
func (m memory) thaw() memory { return begin(m.Thaw()) }

func (m memory) put(id string, meta map[string]string) { m.Put(id, mem.Item{Meta: meta}) }

func (m memory) get(id, name string) string {
	it, _ := m.Get(id)
	return it.Meta[name]
}

// tags is a format: every metadata value whose name begins with k is a wrapped
// key.
type tags struct{}

func (tags) Name() string { return "tags" }
func (tags) Head() int64  { return 0 }

func (tags) Parse(v sources.View) (envelope.Envelope, error) {
	e := envelope.Envelope{Format: "tags"}
	for _, name := range slices.Sorted(maps.Keys(v.Meta)) {
		if strings.HasPrefix(name, "k") {
			e.Keys = append(e.Keys, envelope.WrappedKey{Locator: name, Blob: v.Meta[name]})
		}
	}
	if e.Keys == nil {
		return e, envelope.ErrForeign
	}
	e.Replace = func(blobs [][]byte) (sources.Edit, error) {
		edit := sources.Edit{Meta: make(map[string][]byte)}
		for i, blob := range blobs {
			if blob != nil {
				edit.Meta[e.Keys[i].Locator] = blob
			}
		}
		return edit, nil
	}
	return e, nil
}

// versions is a rewrapper: v1/secret becomes v2/secret with a fresh tail, as
// no two answers of a real service are the same.
type versions struct {
	mu    sync.Mutex
	calls int
	on    func(blob string) error
}

func (*versions) Traits() keys.Traits { return keys.Traits{How: account.HowKMS, Service: true} }

func (r *versions) Rewrap(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
	if ctx.Err() != nil {
		return envelope.Rewrapped{}, ctx.Err()
	}
	r.mu.Lock()
	r.calls++
	n, on := r.calls, r.on
	r.mu.Unlock()
	blob := string(k.Blob)
	if on != nil {
		if err := on(blob); err != nil {
			return envelope.Rewrapped{}, err
		}
	}
	v2 := account.KeyVersion{ARN: "key", Material: "v2"}
	version, rest, _ := strings.Cut(blob, "/")
	switch version {
	case "v1":
		secret, _, _ := strings.Cut(rest, "#")
		return envelope.Rewrapped{Blob: fmt.Appendf(nil, "v2/%s#%d", secret, n), From: account.KeyVersion{ARN: "key", Material: "v1"}, To: v2}, nil
	case "v2":
		return envelope.Rewrapped{Current: true, From: v2, To: v2}, nil
	case "x":
		return envelope.Rewrapped{}, envelope.ErrForeign
	}
	return envelope.Rewrapped{}, errors.New("damaged")
}

func openState(t *testing.T, dir string) *checkpoint.State {
	t.Helper()
	st, err := checkpoint.Open(dir, checkpoint.Options{Job: []checkpoint.Field{{Name: "source", Value: "memory"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// stale is n items under the old version, in both spans.
func stale(n int) map[string]map[string]string {
	items := make(map[string]map[string]string, n)
	for i := range n {
		items[fmt.Sprintf("%c/%05d", "az"[i%2], i)] = map[string]string{"k": fmt.Sprintf("v1/%d", i), "other": "stays"}
	}
	return items
}

func job(m memory, st *checkpoint.State) engine.Job {
	return engine.Job{Source: m, Mover: mover(&versions{}), State: st, Workers: 8}
}

func mover(r keys.Rewrapper) engine.Mover { return move.NewPayload(tags{}, r, 8) }

func moverOn(on func(blob string) error) engine.Mover { return mover(&versions{on: on}) }

func wantItems(t *testing.T, got account.Items, want account.Items) {
	t.Helper()
	if got != want {
		t.Errorf("items: got %+v, want %+v", got, want)
	}
	if sum := got.Rewrapped + got.Current + got.Foreign + got.Skipped + got.Gone + got.Failed; sum != got.Seen {
		t.Errorf("the outcomes add up to %d, seen are %d", sum, got.Seen)
	}
}
