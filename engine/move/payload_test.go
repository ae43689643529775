package move_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/engine/move"
	"rewrap/sources"
	"rewrap/sources/mem"
)

// tags is a format: every metadata value whose name begins with k is a wrapped
// key. A blob that is a number is no wrapped key.
type tags struct {
	assumes func(blob []byte) int
	fail    error // of Replace
}

func (tags) Name() string { return "tags" }
func (tags) Head() int64  { return 0 }

func (f tags) Parse(v sources.View) (envelope.Envelope, error) {
	e := envelope.Envelope{Format: "tags", Fields: []string{"/k"}}
	for _, name := range slices.Sorted(maps.Keys(v.Meta)) {
		if !strings.HasPrefix(name, "k") {
			continue
		}
		k := envelope.WrappedKey{Locator: name, Blob: v.Meta[name], Assumes: f.assumes}
		if c := k.Blob[0]; '0' <= c && c <= '9' {
			k.Blob, k.Err = nil, errors.New("a number")
		}
		e.Keys = append(e.Keys, k)
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
		return edit, f.fail
	}
	return e, nil
}

// versions is a rewrapper: v1/secret becomes v2/secret.
type versions struct {
	calls   atomic.Int64
	service bool
	on      func(ctx context.Context, blob string) error
}

func (r *versions) Traits() keys.Traits {
	return keys.Traits{How: account.HowKMS, Service: r.service}
}

var (
	v1 = account.KeyVersion{ARN: "key", Material: "v1"}
	v2 = account.KeyVersion{ARN: "key", Material: "v2"}
)

func (r *versions) Rewrap(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
	r.calls.Add(1)
	if r.on != nil {
		if err := r.on(ctx, string(k.Blob)); err != nil {
			return envelope.Rewrapped{From: v1, Calls: 1, Misses: 1}, err
		}
	}
	version, secret, _ := strings.Cut(string(k.Blob), "/")
	switch version {
	case "v1":
		return envelope.Rewrapped{Blob: []byte("v2/" + secret), From: v1, To: v2, Calls: 2, Misses: 1, RequestID: "id"}, nil
	case "v2":
		return envelope.Rewrapped{Current: true, From: v2, To: v2, Calls: 1}, nil
	case "x":
		return envelope.Rewrapped{Calls: 1}, envelope.ErrForeign
	}
	return envelope.Rewrapped{Calls: 1}, errors.New("damaged")
}

func view(meta map[string]string) sources.View {
	v := sources.View{Ref: sources.Ref{ID: "item", Name: "item"}, Rev: "1", Meta: make(map[string][]byte)}
	for k, s := range meta {
		v.Meta[k] = []byte(s)
	}
	return v
}

// TestMove: everything that is found in an item is told at once, with the edit
// of the keys that move.
func TestMove(t *testing.T) {
	t.Parallel()
	for _, service := range []bool{false, true} {
		p := move.NewPayload(tags{}, &versions{service: service}, 3)
		m, err := p.Move(t.Context(), view(map[string]string{"k1": "v1/a", "k2": "v2/b", "k3": "x/c", "k4": "v1/d", "other": "o"}), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := []account.KeyEvent{
			{Locator: "k1", Outcome: account.Rewrapped, From: v1, To: v2, How: "kms", Calls: 2, Misses: 1},
			{Locator: "k2", Outcome: account.Current, From: v2, To: v2, How: "kms", Calls: 1},
			{Locator: "k3", Outcome: account.Foreign, How: "kms", Calls: 1},
			{Locator: "k4", Outcome: account.Rewrapped, From: v1, To: v2, How: "kms", Calls: 2, Misses: 1},
		}
		if !slices.Equal(m.Keys, want) {
			t.Errorf("keys:\ngot  %+v\nwant %+v", m.Keys, want)
		}
		if m.Format != "tags" || !slices.Equal(m.Fields, []string{"/k"}) || m.Failure != nil {
			t.Errorf("format %q, fields %q, failure %v; want tags, /k and none", m.Format, m.Fields, m.Failure)
		}
		if got := m.Edit.Meta; len(got) != 2 || string(got["k1"]) != "v2/a" || string(got["k4"]) != "v2/d" {
			t.Errorf("the edit is %q, want k1 and k4 under v2", got)
		}
		sum := func(blob string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(blob))) }
		changes := []account.KeyChange{
			{Locator: "k1", KeyFrom: "key", MaterialFrom: "v1", KeyTo: "key", MaterialTo: "v2", RequestID: "id", SHA256Before: sum("v1/a"), SHA256After: sum("v2/a")},
			{Locator: "k4", KeyFrom: "key", MaterialFrom: "v1", KeyTo: "key", MaterialTo: "v2", RequestID: "id", SHA256Before: sum("v1/d"), SHA256After: sum("v2/d")},
		}
		if !slices.Equal(m.Changes, changes) {
			t.Errorf("changes:\ngot  %+v\nwant %+v", m.Changes, changes)
		}
		if !p.Landed(view(map[string]string{"k1": "v2/a", "k4": "v2/d"}), checkpoint.Entry{Keys: m.Changes}) {
			t.Error("the edit is not found in an item that has it")
		}
		for _, meta := range []map[string]string{{"k1": "v2/a"}, {"k1": "v2/a", "k4": "v2/x"}, {"k1": "v1/a", "k4": "v2/d"}, {}} {
			if p.Landed(view(meta), checkpoint.Entry{Keys: m.Changes}) {
				t.Errorf("the edit is found in %v, which lacks it", meta)
			}
		}
		if p.Landed(view(map[string]string{"k1": "v2/a"}), checkpoint.Entry{}) {
			t.Error("an edit of no key is found in an item")
		}
	}
}

// TestForeignItem: an item without a wrapped key is foreign, and no error.
func TestForeignItem(t *testing.T) {
	t.Parallel()
	m, err := move.NewPayload(tags{}, &versions{}, 1).Move(t.Context(), view(map[string]string{"other": "x"}), nil)
	if err != nil || len(m.Keys) != 0 || !m.Edit.Empty() {
		t.Errorf("%+v, %v; want nothing found", m, err)
	}
}

// TestPartlyFailed: a broken key does not keep the others of its item from
// being moved. A key that is none is not asked about. The error names the first
// that failed and counts the others.
func TestPartlyFailed(t *testing.T) {
	t.Parallel()
	for _, service := range []bool{false, true} {
		r := &versions{service: service}
		m, err := move.NewPayload(tags{}, r, 2).Move(t.Context(), view(map[string]string{"k1": "v1/1", "k2": "7", "k3": "8", "k4": "v1/4", "k5": "rubbish"}), nil)
		if err != nil {
			t.Fatal(err)
		}
		if m.Reason != engine.ReasonFormat || len(m.Changes) != 2 || r.calls.Load() != 3 {
			t.Errorf("reason %q, %d changes after %d calls; want %q, 2 after 3", m.Reason, len(m.Changes), r.calls.Load(), engine.ReasonFormat)
		}
		if got, want := fmt.Sprint(m.Failure), "k2: a number; and 2 more of its wrapped keys failed"; got != want {
			t.Errorf("the failure is %q, want %q", got, want)
		}
		if len(m.Edit.Meta) != 2 || m.Edit.Meta["k2"] != nil {
			t.Errorf("the edit is %q, want k1 and k4", m.Edit.Meta)
		}
	}
}

// TestNoEdit: an item whose new keys cannot be written fails, and changes
// nothing.
func TestNoEdit(t *testing.T) {
	t.Parallel()
	src := mem.New(mem.Options{Items: map[string]mem.Item{"item": {Meta: map[string]string{"k1": "v1/1"}}}})
	if err := src.Begin(t.Context(), sources.Write); err != nil {
		t.Fatal(err)
	}
	var ev engine.Event
	_, err := engine.Run(t.Context(), engine.Job{Source: src, Mover: move.NewPayload(tags{fail: errors.New("too long")}, &versions{}, 1),
		Observe: func(e engine.Event) { ev = e }})
	if err != nil {
		t.Fatal(err)
	}
	if ev.Outcome != account.Failed || ev.Reason != engine.ReasonFormat || len(ev.Changes) != 0 || ev.Keys[0].Outcome != account.Skipped {
		t.Errorf("%v for %q, %d changes, key %v; want failed for format, none, skipped", ev.Outcome, ev.Reason, len(ev.Changes), ev.Keys[0].Outcome)
	}
}

// TestRunError: an answer that puts the run in doubt ends the calls, and is the
// error of the move.
func TestRunError(t *testing.T) {
	t.Parallel()
	disabled := &sources.RunError{Err: errors.New("the key is disabled")}
	meta := make(map[string]string)
	for i := range 1000 {
		meta[fmt.Sprintf("k%04d", i)] = "v1/x"
	}
	for _, service := range []bool{false, true} {
		r := &versions{service: service, on: func(context.Context, string) error { return disabled }}
		m, err := move.NewPayload(tags{}, r, 10).Move(t.Context(), view(meta), nil)
		if len(m.Keys) != len(meta) || m.Keys[0].Locator != "k0000" || m.Keys[0].From != v1 || m.Keys[0].Outcome != account.Unsettled {
			t.Errorf("%d keys, the first %+v; want all %d, as far as they are known", len(m.Keys), m.Keys[0], len(meta))
		}
		if !errors.Is(err, disabled) || r.calls.Load() > 20 {
			t.Errorf("%v after %d calls, want %v after a few", err, r.calls.Load(), disabled)
		}
	}
}

// TestStopped: a context that ends meanwhile is the error, and fails no key.
func TestStopped(t *testing.T) {
	t.Parallel()
	for _, service := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		r := &versions{service: service, on: func(ctx context.Context, _ string) error { cancel(); return ctx.Err() }}
		if _, err := move.NewPayload(tags{}, r, 1).Move(ctx, view(map[string]string{"k1": "v1/1", "k2": "v1/2"}), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want %v", err, context.Canceled)
		}
		cancel()
	}
}

// TestAssumed: a new blob that could not be written without an assumption is
// counted, and no other.
func TestAssumed(t *testing.T) {
	t.Parallel()
	for n, want := range []bool{false, true, true} {
		f := tags{assumes: func(blob []byte) int {
			if string(blob) == "v2/1" {
				return n
			}
			return 0
		}}
		m, err := move.NewPayload(f, &versions{}, 1).Move(t.Context(), view(map[string]string{"k1": "v1/1", "k2": "v1/2", "k3": "v2/1"}), nil)
		if err != nil {
			t.Fatal(err)
		}
		if m.Keys[0].Assumed != want || m.Keys[1].Assumed || m.Keys[2].Assumed {
			t.Errorf("assumes %d: assumed %v, %v, %v; want %v, false, false", n, m.Keys[0].Assumed, m.Keys[1].Assumed, m.Keys[2].Assumed, want)
		}
	}
}

// TestKeysAreTheUnit: an item with many keys shares the key calls with other
// items, and never has more of them in work than the bound.
func TestKeysAreTheUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big := make(map[string]string)
		for i := range 1000 {
			big[fmt.Sprintf("k%04d", i)] = fmt.Sprintf("v1/%d", i)
		}
		var inWork, most atomic.Int64
		p := move.NewPayload(tags{}, &versions{service: true, on: func(context.Context, string) error {
			if n := inWork.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			inWork.Add(-1)
			return nil
		}}, 10)
		began := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			if m, err := p.Move(t.Context(), view(big), nil); err != nil || len(m.Changes) != 1000 {
				t.Errorf("%d changes, %v", len(m.Changes), err)
			}
			if took := time.Since(began); took > 102*time.Second {
				t.Errorf("1000 calls of a second, ten at once, took %v", took)
			}
		})
		time.Sleep(1500 * time.Millisecond)
		at := time.Now()
		if m, err := p.Move(t.Context(), view(map[string]string{"k": "v1/small"}), nil); err != nil || len(m.Changes) != 1 {
			t.Errorf("%d changes, %v", len(m.Changes), err)
		}
		if took := time.Since(at); took > 3*time.Second {
			t.Errorf("the small item waited %v behind the big one", took)
		}
		all.Wait()
		if most.Load() > 10 {
			t.Errorf("%d calls at once, want 10 at most", most.Load())
		}
	})
}
