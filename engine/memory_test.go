package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/sources"
)

// memory is a source whose every step a test can see and disturb: what real
// stores do, at the moment that the test needs it.
type memory struct {
	mu     sync.Mutex
	items  map[string]stored
	writes map[string]int // edits that landed, by item
	frozen bool           // the machine has died: nothing lands and nobody is answered

	// before and after see each Apply, before and after the edit lands; an
	// error is what the caller gets.
	before, after func(id string) error
	onRead        func(id string) error
}

type stored struct {
	rev  int
	meta map[string]string
}

func newMemory(items map[string]map[string]string) *memory {
	m := &memory{items: make(map[string]stored), writes: make(map[string]int)}
	for id, meta := range items {
		m.items[id] = stored{1, meta}
	}
	return m
}

// thaw is the same data on a machine that works.
func (m *memory) thaw() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{items: maps.Clone(m.items), writes: maps.Clone(m.writes)}
}

func (m *memory) Begin(context.Context, sources.Mode) error { return nil }
func (m *memory) Finish(context.Context) error              { return nil }
func (m *memory) Close() error                              { return nil }

func (m *memory) put(id string, meta map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items[id] = stored{m.items[id].rev + 1, meta}
}

func (m *memory) get(id, name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.items[id].meta[name]
}

var errDied = errors.New("the machine has died")

func (m *memory) Spans(context.Context, int) ([]sources.Span, error) {
	return []sources.Span{{ID: "a-m", Data: " n"}, {ID: "n-z", Data: "n ~"}}, nil
}

func (m *memory) List(ctx context.Context, s sources.Span, after sources.Cursor) iter.Seq2[sources.Ref, error] {
	from, until, _ := strings.Cut(s.Data, " ")
	return func(yield func(sources.Ref, error) bool) {
		m.mu.Lock()
		ids := slices.Sorted(maps.Keys(m.items))
		m.mu.Unlock()
		for _, id := range ids {
			if id <= from || id > until || sources.Cursor(id) <= after {
				continue
			}
			if ctx.Err() != nil {
				yield(sources.Ref{}, ctx.Err())
				return
			}
			if !yield(sources.Ref{ID: id, Cursor: sources.Cursor(id)}, nil) {
				return
			}
		}
	}
}

func (m *memory) Read(ctx context.Context, r sources.Ref, w sources.Want) (sources.View, error) {
	if m.onRead != nil {
		if err := m.onRead(r.ID); err != nil {
			return sources.View{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	it, ok := m.items[r.ID]
	switch {
	case m.frozen:
		return sources.View{}, errDied
	case !ok:
		return sources.View{}, sources.ErrGone
	}
	v := sources.View{Ref: r, Rev: strconv.Itoa(it.rev), Meta: make(map[string][]byte)}
	for k, val := range it.meta {
		v.Meta[k] = []byte(val)
	}
	return v, nil
}

func (m *memory) Plan(_ context.Context, v sources.View, e sources.Edit) (sources.Plan, error) {
	if _, ok := v.Meta["refuse"]; ok {
		return sources.Plan{}, &sources.SkipError{Reason: "archived", Detail: "restore it first"}
	}
	return sources.Plan{View: v, Edit: e, Way: "put", Undo: sources.UndoOf(v, e)}, nil
}

func (m *memory) Apply(ctx context.Context, p sources.Plan) (sources.Result, error) {
	id := p.View.ID
	if m.before != nil {
		if err := m.before(id); err != nil {
			return sources.Result{}, err
		}
	}
	rev, err := m.apply(ctx, p)
	if err != nil {
		return sources.Result{}, err
	}
	if m.after != nil {
		if err := m.after(id); err != nil {
			return sources.Result{}, err
		}
	}
	return sources.Result{Rev: rev}, nil
}

func (m *memory) apply(ctx context.Context, p sources.Plan) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, ok := m.items[p.View.ID]
	switch {
	case m.frozen:
		return "", errDied
	case ctx.Err() != nil:
		return "", ctx.Err()
	case !ok:
		return "", sources.ErrGone
	case strconv.Itoa(it.rev) != p.View.Rev:
		return "", sources.ErrConflict
	}
	meta := maps.Clone(it.meta)
	for k, v := range p.Edit.Meta {
		if v == nil {
			delete(meta, k)
		} else {
			meta[k] = string(v)
		}
	}
	m.items[p.View.ID] = stored{it.rev + 1, meta}
	m.writes[p.View.ID]++
	return strconv.Itoa(it.rev + 1), nil
}

// tags is a format: each metadata name that begins with k holds a wrapped key.
type tags struct{}

func (tags) Name() string { return "tags" }
func (tags) Head() int64  { return 0 }

func (tags) Parse(v sources.View) (envelope.Envelope, error) {
	var keys []envelope.WrappedKey
	for _, name := range slices.Sorted(maps.Keys(v.Meta)) {
		if strings.HasPrefix(name, "k") {
			keys = append(keys, envelope.WrappedKey{Locator: name, Blob: v.Meta[name]})
		}
	}
	if keys == nil {
		return envelope.Envelope{}, envelope.ErrForeign
	}
	return envelope.Envelope{Format: "tags", Keys: keys, Replace: func(blobs [][]byte) (sources.Edit, error) {
		e := sources.Edit{Meta: make(map[string][]byte)}
		for i, b := range blobs {
			if b != nil {
				e.Meta[keys[i].Locator] = b
			}
		}
		return e, nil
	}}, nil
}

// versions is a rewrapper: v1/secret becomes v2/secret with a fresh tail, as
// no two answers of a real service are the same.
type versions struct {
	mu    sync.Mutex
	calls int
	on    func(blob string) error
}

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

func job(m *memory, st *checkpoint.State) engine.Job {
	return engine.Job{Worker: engine.Worker{Source: m, Format: tags{}, Rewrapper: &versions{}, How: "kms"}, State: st, Workers: 8}
}

func wantItems(t *testing.T, got account.Items, want account.Items) {
	t.Helper()
	if got != want {
		t.Errorf("items: got %+v, want %+v", got, want)
	}
	if sum := got.Rewrapped + got.Current + got.Foreign + got.Skipped + got.Gone + got.Failed; sum != got.Seen {
		t.Errorf("the outcomes add up to %d, seen are %d", sum, got.Seen)
	}
}
