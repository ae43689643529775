package kms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys/kms"
	"rewrap/sources"
)

var ec = map[string]string{"aws:x-amz-cek-alg": "AES/GCM/NoPadding", "tenant": "a"}

func TestMoveToAnotherKey(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	wk := envelope.WrappedKey{Blob: w.seal(a, ec), KeyID: a, Context: ec}
	for _, c := range []kms.Config{
		{From: []string{a}, To: b},
		{To: b},
		{From: []string{a}, To: b, Verify: kms.VerifyNone},
		{From: []string{a}, To: b, Verify: kms.VerifyOpen},
	} {
		k := w.open(c)
		r := w.rewrap(k, wk)
		if r.Current || r.Newer || r.Deduplicated || r.RequestID == "" {
			t.Errorf("got %+v", r)
		}
		if want := (account.KeyVersion{ARN: a, Material: w.Material(a)}); r.From != want {
			t.Errorf("from %v, want %v", r.From, want)
		}
		if want := (account.KeyVersion{ARN: b, Material: w.Material(b)}); r.To != want {
			t.Errorf("to %v, want %v", r.To, want)
		}
		w.opens(r.Blob, r.To, ec)
		if n := w.calls("ReEncrypt"); n != 1 {
			t.Errorf("%d calls", n)
		}
		if got := k.From(); len(c.From) == 0 && got != nil {
			t.Errorf("From: %v", got)
		}

		// What was moved is known as current, at one call again: the blob's
		// beginning tells which key to try.
		w.calls("ReEncrypt")
		again := w.rewrap(k, envelope.WrappedKey{Blob: r.Blob, KeyID: a, Context: ec})
		if !again.Current || again.Blob != nil || again.From != r.To || again.To != r.To {
			t.Errorf("moved already: %+v", again)
		}
		if n := w.calls("ReEncrypt"); n != 1 {
			t.Errorf("moved already: %d calls", n)
		}
		if got := k.Targets(); len(got) != 1 || got[b] != w.Material(b) {
			t.Errorf("targets %v", got)
		}
	}
}

func TestSameKeyAfterRotation(t *testing.T) {
	w := newWorld(t, 0)
	a := w.key()
	m1 := w.Material(a)
	old := envelope.WrappedKey{Blob: w.seal(a, ec), KeyID: a, Context: ec}
	older := envelope.WrappedKey{Blob: w.seal(a, ec), KeyID: a, Context: ec}
	w.rotate(a)
	m2 := w.Material(a)
	fresh := envelope.WrappedKey{Blob: w.seal(a, ec), KeyID: a, Context: ec}
	for _, c := range []kms.Config{{}, {From: []string{a}}} {
		k := w.open(c)
		r := w.rewrap(k, old)
		w.calls("DescribeKey")
		w.rewrap(k, older)
		if n := w.calls("DescribeKey"); n != 0 {
			t.Errorf("%d calls of DescribeKey about a material that is known", n)
		}
		w.calls("ReEncrypt")
		w.rewrap(k, old)
		if r.Current || r.From.Material != m1 || r.To.Material != m2 || r.Newer {
			t.Errorf("old: %+v", r)
		}
		w.opens(r.Blob, r.To, ec)
		r = w.rewrap(k, fresh)
		if !r.Current || r.Blob != nil || r.From.Material != m2 {
			t.Errorf("new: %+v", r)
		}
		if n := w.calls("ReEncrypt"); n != 1 {
			t.Errorf("%d calls", n)
		}
		if w.calls("ListKeyRotations") != 0 {
			t.Error("asked for what DescribeKey says already")
		}
		if got := k.Targets(); len(got) != 1 || got[a] != m2 {
			t.Errorf("targets %v", got)
		}
	}
}

func TestRecordedKeyByEveryName(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	w.Alias("alias/a", a)
	blob := w.seal(a, nil)
	aliasARN := a[:strings.LastIndex(a, ":")+1] + "alias/a"
	for _, name := range []string{a, a[strings.LastIndex(a, "/")+1:], "alias/a", aliasARN} {
		for _, c := range []kms.Config{{}, {To: b}, {From: []string{a}, To: b}, {From: []string{"alias/a"}}, {From: []string{name}, To: b}} {
			r := w.rewrap(w.open(c), envelope.WrappedKey{Blob: blob, KeyID: name})
			if r.From.ARN != a || r.Current != (c.To == "") {
				t.Errorf("recorded %q, %+v: %+v", name, c.From, r)
			}
			if n := w.calls("ReEncrypt"); n != 1 {
				t.Errorf("recorded %q: %d calls", name, n)
			}
		}
	}
}

// Of a source whose ARN is recorded nothing has to be looked up.
func TestRecordedARNNeedsNoLookUp(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	blob := w.seal(a, nil)
	k := w.open(kms.Config{To: b})
	w.rewrap(k, envelope.WrappedKey{Blob: blob, KeyID: a})
	if n := w.calls("DescribeKey"); n != 0 {
		t.Errorf("%d calls of DescribeKey", n)
	}
}

// A name that could not be used is asked for again after a while, one that
// could never.
func TestNamesAreRemembered(t *testing.T) {
	w := newWorld(t, 0)
	a := w.key()
	w.Alias("alias/a", a)
	wk := func() envelope.WrappedKey { return envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: "alias/a"} }
	k := w.open(kms.Config{})
	wks := []envelope.WrappedKey{wk(), wk(), wk(), wk()}
	w.Disable(a)
	for _, x := range wks[:2] {
		_, err := k.Rewrap(t.Context(), x)
		contains(t, runError(t, err, 50), "Disabled")
	}
	if n := w.calls("DescribeKey"); n != 1 {
		t.Errorf("%d look-ups of a key that is disabled", n)
	}
	_, err := w.KMS.EnableKey(t.Context(), &sdk.EnableKeyInput{KeyId: &a})
	must(t, 0, err)
	w.Clock.Pass(2 * time.Minute)
	w.rewrap(k, wks[2])
	w.Clock.Pass(time.Hour)
	w.rewrap(k, wks[3])
	if n := w.calls("DescribeKey"); n != 1 {
		t.Errorf("%d look-ups of a key that is enabled", n)
	}
}

func TestStaleRecord(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c := w.key(), w.key(), w.key()

	// The record is the one that was written; the blob has moved to b since.
	stale := envelope.WrappedKey{Blob: w.seal(b, nil), KeyID: a}
	if r := w.rewrap(w.open(kms.Config{To: b}), stale); !r.Current {
		t.Errorf("no --from: %+v", r)
	}
	if r := w.rewrap(w.open(kms.Config{From: []string{a}, To: b}), stale); !r.Current {
		t.Errorf("--from: %+v", r)
	}
	_, err := w.open(kms.Config{To: c}).Rewrap(t.Context(), stale)
	itemError(t, err) // under a key that nobody named: not foreign
	contains(t, err, "--from", a)

	// A record that is bound into the context cannot be kept true, so it is
	// not believed: a, though no source key, may be b's blob.
	bound := map[string]string{"kms_cmk_id": a}
	k := w.open(kms.Config{From: []string{b}, To: c})
	r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(b, bound), KeyID: a, Context: bound})
	w.opens(r.Blob, account.KeyVersion{ARN: c, Material: w.Material(c)}, bound)

	// The recorded key is gone altogether.
	w.scheduleDeletion(a)
	if r := w.rewrap(w.open(kms.Config{To: b}), stale); !r.Current {
		t.Errorf("recorded key unusable: %+v", r)
	}
	_, err = w.open(kms.Config{To: c}).Rewrap(t.Context(), stale)
	contains(t, runError(t, err, 50), "PendingDeletion", "cancel-key-deletion", a)
}

func TestForeign(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c := w.key(), w.key(), w.key()
	w.Alias("alias/c", c)
	blob := w.seal(c, nil)
	k := w.open(kms.Config{From: []string{a}, To: b})

	_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
	foreign(t, err)
	if n := w.calls("ReEncrypt"); n != 2 {
		t.Errorf("%d calls, want one per key", n)
	}
	_, err = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
	foreign(t, err)
	if n := w.calls("ReEncrypt"); n != 0 {
		t.Errorf("%d calls for what is known to be foreign", n)
	}
	for _, name := range []string{c, c[strings.LastIndex(c, "/")+1:], "alias/c"} {
		_, err = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, KeyID: name})
		foreign(t, err)
		contains(t, err, c[strings.LastIndex(c, "/")+1:])
		if n := w.calls("ReEncrypt"); n != 0 {
			t.Errorf("%d calls for an item that records %s", n, name)
		}
	}
	// An alias that is no more: KMS has to say.
	_, err = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, KeyID: "alias/gone"})
	foreign(t, err)
	if n := w.calls("ReEncrypt"); n != 2 {
		t.Errorf("%d calls for an alias that is gone", n)
	}
	if r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: "alias/gone"}); r.To.ARN != b {
		t.Errorf("got %+v", r)
	}
	if w.calls("DescribeKey") != 2 { // alias/c, alias/gone: once each
		t.Error("a name was looked up again")
	}
}

func TestNothingToGoBy(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	blob := w.seal(a, nil)
	_, err := w.open(kms.Config{}).Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
	contains(t, runError(t, err, 50), "--from")
	k := w.open(kms.Config{To: b})
	_, err = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
	contains(t, runError(t, err, 50), "--from", b)
	if r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(b, nil)}); !r.Current {
		t.Errorf("got %+v", r)
	}
	_, err = w.open(kms.Config{}).Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, KeyID: "alias/gone"})
	contains(t, runError(t, err, 50), "alias/gone", "--from")
}

func TestDamagedAndMisbound(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	k := w.open(kms.Config{From: []string{a}, To: b})
	blob := w.seal(a, ec)
	bad := bytes.Clone(blob)
	bad[len(bad)-1] ^= 1
	for name, wk := range map[string]envelope.WrappedKey{
		"damaged":         {Blob: bad, Context: ec},
		"wrong context":   {Blob: blob, Context: map[string]string{"tenant": "b"}},
		"missing context": {Blob: blob},
		"garbage":         {Blob: []byte("garbage"), Context: ec},
		"empty":           {Context: ec},
		"too long":        {Blob: make([]byte, 6145), Context: ec},
	} {
		_, err := k.Rewrap(t.Context(), wk)
		itemError(t, err)
		if err != nil && (strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(blob)) || bytes.Contains([]byte(err.Error()), blob)) {
			t.Errorf("%s: the blob is in the error", name)
		}
	}
	_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
	contains(t, err, "--context", "raw and json", "record it in the item")
	if r := w.rewrap(k, envelope.WrappedKey{Blob: blob, Context: ec}); r.To.ARN != b {
		t.Errorf("got %+v", r)
	}
}

func TestOneMaterialOnly(t *testing.T) {
	w := newWorld(t, 0)
	a := w.key()
	b := w.key()
	var blobs [][]byte
	var ms []string
	for range 3 {
		ms = append(ms, w.Material(a))
		blobs = append(blobs, w.seal(a, nil))
		w.rotate(a)
	}
	k := w.open(kms.Config{From: []string{a + "@" + ms[0], a + "@" + ms[2]}, To: b})
	if got := k.From(); len(got) != 2 || got[0].Only != ms[0] || got[1].Only != ms[2] || got[0].ARN != a {
		t.Errorf("From: %+v", got)
	}
	for i, blob := range blobs {
		r, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
		if i == 1 {
			foreign(t, err)
			contains(t, err, ms[1])
		} else if err != nil || r.From.Material != ms[i] {
			t.Errorf("%d: %+v %v", i, r, err)
		}
	}
	// Refreshing one material: others of the key are out of scope, the current
	// one is on target.
	k = w.open(kms.Config{From: []string{a + "@" + ms[0]}})
	if r := w.rewrap(k, envelope.WrappedKey{Blob: blobs[0], KeyID: a}); r.To.Material != w.Material(a) || r.Current {
		t.Errorf("got %+v", r)
	}
	_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blobs[1], KeyID: a})
	foreign(t, err)
	if r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a}); !r.Current {
		t.Errorf("got %+v", r)
	}
}

func TestLook(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c := w.key(), w.key(), w.key()
	old := w.seal(b, ec)
	w.rotate(b)
	look := kms.Config{From: []string{a}, To: b, Look: true, TargetFirst: true, Verify: kms.VerifyOpen}
	k := w.open(look)
	mb := w.Material(b)
	for name, x := range map[string]struct {
		blob          []byte
		from          string
		current       bool
		calls, misses int
	}{
		"source":       {w.seal(a, ec), a, false, 2, 1},
		"target":       {w.seal(b, ec), b, true, 1, 0},
		"old material": {old, b, false, 1, 0},
	} {
		r := w.rewrap(k, envelope.WrappedKey{Blob: x.blob, Context: ec})
		if r.Current != x.current || r.From.ARN != x.from || r.From.Material == "" || r.To.ARN != b || r.To.Material != mb {
			t.Errorf("%s: %+v", name, r)
		}
		if n := w.calls("ReEncrypt"); n != r.Calls || r.Calls != x.calls || r.Misses != x.misses {
			t.Errorf("%s: %d calls; the answer says %d with %d misses, want %d with %d", name, n, r.Calls, r.Misses, x.calls, x.misses)
		}
		if w.calls("Decrypt") != 0 {
			t.Errorf("%s: a look opened something", name)
		}
		if (r.Blob == nil) != x.current {
			t.Errorf("%s: a blob of %d bytes", name, len(r.Blob))
		}
		if r.Blob != nil {
			w.opens(r.Blob, r.To, ec)
			w.calls("Decrypt")
		}
	}
	_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: w.seal(c, ec), Context: ec})
	foreign(t, err)

	// A look takes the blob as KMS gave it; a run would refuse this one.
	w.hook(nil, func(_, op string, _, out object) {
		if op == "ReEncrypt" {
			out["CiphertextBlob"], out["KeyId"] = "aGVsbG8=", c
		}
	})
	if r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil)}); string(r.Blob) != "hello" {
		t.Errorf("got %+v", r)
	}
	w.hook(nil, nil)

	// The target is the material that the pass began with, whatever KMS wraps
	// under by now.
	blob := w.seal(a, ec)
	w.rotate(b)
	if r := w.rewrap(k, envelope.WrappedKey{Blob: blob, Context: ec}); r.To.Material != mb || r.Blob == nil {
		t.Errorf("after a rotation: %+v, want %s", r, mb)
	}

	// Each key its own target.
	k = w.open(kms.Config{Look: true, Verify: kms.VerifyOpen})
	if r := w.rewrap(k, envelope.WrappedKey{Blob: old, KeyID: b, Context: ec}); r.Current || r.Blob == nil || w.calls("Decrypt") != 0 {
		t.Errorf("got %+v", r)
	}
}

// In a rehearsal the target is tried last, as in a run. What a run would learn
// from its own blobs is learned.
func TestLookInTheOrderOfARun(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c := w.key(), w.key(), w.key()
	k := w.open(kms.Config{From: []string{a, c}, To: b, Look: true})
	for i, calls := range []int{3, 1, 1} {
		blob := w.seal([]string{b, a, b}[i], nil)
		if i > 0 {
			w.calls("ReEncrypt")
		}
		r := w.rewrap(k, envelope.WrappedKey{Blob: blob})
		if n := w.calls("ReEncrypt"); n != calls || r.Calls != calls || r.Misses != calls-1 {
			t.Errorf("%d calls, want %d; the answer says %d with %d misses", n, calls, r.Calls, r.Misses)
		}
	}
	k = w.open(kms.Config{From: []string{a}, To: b, Look: true})
	w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil)})
	w.calls("ReEncrypt")
	if w.rewrap(k, envelope.WrappedKey{Blob: w.seal(b, nil)}); w.calls("ReEncrypt") != 1 {
		t.Error("what a run makes is not known as on target")
	}
}

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

func TestVerifyOpenMismatch(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	other, err := w.KMS.Encrypt(t.Context(), &sdk.EncryptInput{KeyId: &b, Plaintext: []byte("another data key that is as long")})
	must(t, other, err)
	lie := func(_, op string, _, out object) {
		if op == "ReEncrypt" {
			out["CiphertextBlob"] = base64.StdEncoding.EncodeToString(other.CiphertextBlob)
		}
	}
	wk := envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a}
	k := w.open(kms.Config{From: []string{a}, To: b, Verify: kms.VerifyOpen})
	w.hook(nil, lie)
	_, err = k.Rewrap(t.Context(), wk)
	contains(t, runError(t, err, 1), "do not open to the same data key")
	// A blob of another key, and one that is none.
	for _, blob := range [][]byte{w.seal(a, nil), []byte("no blob at all, but long enough to look like one")} {
		w.hook(nil, func(_, op string, _, out object) {
			if op == "ReEncrypt" {
				out["CiphertextBlob"] = base64.StdEncoding.EncodeToString(blob)
			}
		})
		_, err = k.Rewrap(t.Context(), wk)
		contains(t, runError(t, err, 1), "does not open")
	}
	w.hook(nil, nil)
	if r := w.rewrap(k, wk); r.To.ARN != b {
		t.Errorf("got %+v", r)
	}
	var run *sources.RunError
	if errors.As(err, &run) && strings.Contains(run.Error(), "0123456789abcdef") {
		t.Error("a data key is in the error")
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

	// A scout that is called back leaves its place to the next.
	k := open()
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
