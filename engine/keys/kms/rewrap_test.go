package kms_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
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
