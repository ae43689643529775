package kms_test

import (
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/keys/kms"
)

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
