package kms_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rewrap/engine/envelope"
	"rewrap/engine/keys/kms"
)

// Calls count beside an error too, and once for each call: not for answers that
// were known, nor for those of another caller's call.
func TestCallsAreCounted(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c, d := w.key(), w.key(), w.key(), w.key()
	k := w.open(kms.Config{From: []string{a, c}, To: b})
	unknown := envelope.WrappedKey{Blob: w.seal(d, ec), Context: ec}
	r, err := k.Rewrap(t.Context(), unknown)
	foreign(t, err)
	if n := w.calls("ReEncrypt"); n != 3 || r.Calls != 3 || r.Misses != 3 {
		t.Errorf("foreign: %d calls, %+v", n, r)
	}
	r, err = k.Rewrap(t.Context(), unknown)
	foreign(t, err)
	if n := w.calls("ReEncrypt"); n != 0 || r.Calls != 0 || r.Misses != 0 || !r.Deduplicated {
		t.Errorf("foreign, again: %d calls, %+v", n, r)
	}
	r, err = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: w.seal(a, ec)}) // without its context
	itemError(t, err)
	if n := w.calls("ReEncrypt"); n != r.Calls || r.Calls == 0 {
		t.Errorf("damaged: %d calls, %+v", n, r)
	}
	w.hook(func(_, op string, _ object) string {
		if op == "ReEncrypt" {
			return "KMSInternalException"
		}
		return ""
	}, nil)
	wk := envelope.WrappedKey{Blob: w.seal(a, nil)}
	r, err = k.Rewrap(t.Context(), wk)
	runError(t, err, 20)
	if n := w.calls("ReEncrypt"); n != 1 || r.Calls != 1 || r.Misses != 0 {
		t.Errorf("in trouble: %d calls, %+v", n, r)
	}
	w.hook(nil, nil)

	var all, shared atomic.Int64
	var g sync.WaitGroup
	for range 20 {
		g.Go(func() {
			r, err := k.Rewrap(t.Context(), wk)
			if err != nil {
				t.Error(err)
			}
			all.Add(int64(r.Calls))
			if r.Deduplicated {
				shared.Add(1)
			}
		})
	}
	g.Wait()
	if n := w.calls("ReEncrypt"); int64(n) != all.Load() || shared.Load() != 19 {
		t.Errorf("side by side: %d calls, the answers say %d; %d of 20 were known", n, all.Load(), shared.Load())
	}
}

func TestDeduplication(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	k := w.open(kms.Config{From: []string{a}, To: b})
	wk := envelope.WrappedKey{Blob: w.seal(a, ec), KeyID: a, Context: ec}
	w.calls("Encrypt")
	first := w.rewrap(k, wk)
	second := w.rewrap(k, wk)
	if first.Deduplicated || !second.Deduplicated || !bytes.Equal(first.Blob, second.Blob) || second.RequestID != first.RequestID || second.From != first.From || second.To != first.To {
		t.Errorf("first %+v, second %+v", first, second)
	}
	first.Blob[0] ^= 1 // the answers are the callers' own
	if third := w.rewrap(k, wk); !bytes.Equal(second.Blob, third.Blob) {
		t.Error("a caller's blob is the cache's")
	}
	if n := w.calls("ReEncrypt"); n != 1 {
		t.Errorf("%d calls for one wrapped key", n)
	}
	// Equal but for the context or the record: another wrapped key.
	k.Rewrap(t.Context(), envelope.WrappedKey{Blob: wk.Blob, KeyID: a})
	w.rewrap(k, envelope.WrappedKey{Blob: wk.Blob, Context: ec})
	if n := w.calls("ReEncrypt"); n != 2 {
		t.Errorf("%d calls for two others", n)
	}
	// Errors are not kept.
	k.Rewrap(t.Context(), envelope.WrappedKey{Blob: wk.Blob, KeyID: a})
	if n := w.calls("ReEncrypt"); n != 1 {
		t.Errorf("%d calls after an error", n)
	}
}

func TestConcurrentRepeats(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	k := w.open(kms.Config{From: []string{a}, To: b})
	var blobs [][]byte
	for range 8 {
		blobs = append(blobs, w.seal(a, ec))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	repeats := 0
	for i := range 64 {
		wg.Go(func() {
			r, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blobs[i%8], Context: ec})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got[string(r.Blob)]++
			if r.Deduplicated {
				repeats++
			}
			clear(r.Blob) // nobody else's
		})
	}
	wg.Wait()
	if len(got) != 8 || repeats != 56 {
		t.Errorf("%d different answers, %d repeats", len(got), repeats)
	}
	if n := w.calls("ReEncrypt"); n != 8 {
		t.Errorf("%d calls for 8 wrapped keys", n)
	}
}

func TestCallerLeaves(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	k := w.open(kms.Config{From: []string{a}, To: b})
	wk := envelope.WrappedKey{Blob: w.seal(a, nil)}
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	w.hook(func(_, op string, _ object) string {
		if op == "ReEncrypt" {
			arrived <- struct{}{}
			<-release
		}
		return ""
	}, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	left := make(chan error)
	go func() { _, err := k.Rewrap(ctx, wk); left <- err }()
	<-arrived
	stayed := make(chan error)
	go func() {
		r, err := k.Rewrap(t.Context(), wk)
		if err == nil && !r.Deduplicated {
			err = errors.New("made a call of its own")
		}
		stayed <- err
	}()
	for k.Waiting(wk) < 2 { // until the second is aboard
		time.Sleep(time.Millisecond)
	}
	why := errors.New("had enough")
	cancel(why)
	if err := <-left; !errors.Is(err, why) {
		t.Errorf("who left got %v", err)
	}
	close(release)
	if err := <-stayed; err != nil {
		t.Errorf("who stayed got %v", err)
	}
	if n := w.calls("ReEncrypt"); n != 1 {
		t.Errorf("%d calls", n)
	}
	if _, err := k.Rewrap(ctx, envelope.WrappedKey{Blob: w.seal(a, nil)}); !errors.Is(err, context.Canceled) && !errors.Is(err, why) {
		t.Errorf("a context that was done: %v", err)
	}
}

// TestOneScout: of calls that come at once with blobs that begin alike, one finds
// out the key.
func TestOneScout(t *testing.T) {
	w := newWorld(t, 0)
	from := []string{w.key(), w.key(), w.key(), w.key()}
	stranger := w.key()
	const n = 40
	all := func(blobs [][]byte, k *kms.KMS) (errs []error) {
		errs = make([]error, len(blobs))
		var wg sync.WaitGroup
		for i, b := range blobs {
			wg.Go(func() { _, errs[i] = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: b}) })
		}
		wg.Wait()
		return errs
	}
	seal := func(arn string, damage bool) (blobs [][]byte) {
		for range n {
			b := w.seal(arn, nil)
			if damage {
				b[len(b)-1] ^= 1
			}
			blobs = append(blobs, b)
		}
		return blobs
	}
	var atOnce, most atomic.Int64
	open := func() *kms.KMS {
		w.hook(nil, nil)
		k := w.open(kms.Config{From: from})
		w.hook(func(_, op string, _ object) string {
			most.Store(max(most.Load(), atOnce.Add(1)))
			time.Sleep(5 * time.Millisecond)
			atOnce.Add(-1)
			return ""
		}, nil)
		return k
	}
	last := from[3]
	good, damaged, foreign := seal(last, false), seal(last, true), seal(stranger, false)

	if errs := all(good, open()); errors.Join(errs...) != nil {
		t.Error(errs)
	}
	if got := w.calls("ReEncrypt"); got != n+3 {
		t.Errorf("%d calls for %d blobs under the last of 4 keys", got, n)
	}
	for _, err := range all(damaged, open()) {
		itemError(t, err)
	}
	if got := w.calls("ReEncrypt"); got != n+3 {
		t.Errorf("%d calls for %d damaged blobs", got, n)
	}
	most.Store(0)
	for _, err := range all(foreign, open()) {
		if !errors.Is(err, envelope.ErrForeign) {
			t.Error(err)
		}
	}
	if got := w.calls("ReEncrypt"); got != 4*n || most.Load() < n/4 {
		t.Errorf("%d calls for %d foreign blobs, %d at once", got, n, most.Load())
	}
}

// A scout whose caller leaves gives its place to the next.
func TestScoutLeaves(t *testing.T) {
	w := newWorld(t, 0)
	from := []string{w.key(), w.key(), w.key(), w.key()}
	good := w.blobs(2, from[3])
	k := w.open(kms.Config{From: from})
	ctx, cancel := context.WithCancel(t.Context())
	held, release := make(chan struct{}, 1), make(chan struct{})
	w.hook(func(_, op string, _ object) string {
		select {
		case held <- struct{}{}:
			<-release
		default:
		}
		return ""
	}, nil)
	gone := make(chan error, 1)
	go func() { _, err := k.Rewrap(ctx, envelope.WrappedKey{Blob: good[0]}); gone <- err }()
	for len(held) == 0 {
		time.Sleep(time.Millisecond)
	}
	next := make(chan error, 1)
	go func() { _, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: good[1]}); next <- err }()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-next; err != nil {
		t.Error(err)
	}
	close(release)
}
