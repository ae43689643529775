package kms_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"rewrap/bench/emulator/emulatortest"
	"rewrap/engine/envelope"
	"rewrap/engine/keys/kms"
	"rewrap/sources"
)

func TestKeyGoesBadInMidRun(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(w *world, arn string)
		hint string
	}{
		"disabled":         {(*world).Disable, "enable-key"},
		"pending deletion": {(*world).scheduleDeletion, "cancel-key-deletion"},
	} {
		for _, side := range []string{"source", "target"} {
			t.Run(name+" "+side, func(t *testing.T) {
				w := newWorld(t, 0)
				a, b := w.key(), w.key()
				k := w.open(kms.Config{From: []string{a}, To: b})
				wk := envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a}
				bad := a
				if side == "target" {
					bad = b
				}
				x.do(w, bad)
				_, err := k.Rewrap(t.Context(), wk)
				contains(t, errors.New(runError(t, err, 1).Hint), x.hint, bad)
			})
		}
	}
}

func TestKeyOfOneItemOnly(t *testing.T) {
	w := newWorld(t, 0)
	a, gone := w.key(), w.key()
	blob := w.seal(gone, nil)
	k := w.open(kms.Config{})
	w.Disable(gone)
	_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, KeyID: gone})
	contains(t, runError(t, err, 50), "enable-key", gone)
	none := strings.Replace(a, a[strings.LastIndex(a, "/")+1:], "12345678-1234-1234-1234-123456789012", 1)
	for _, c := range []kms.Config{{}, {To: a}} {
		_, err = w.open(c).Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, KeyID: none})
		contains(t, runError(t, err, 50), none, "--from")
	}
	// The target is the operator's all the same.
	to := w.key()
	k2 := w.open(kms.Config{To: to})
	wk := envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a}
	w.Disable(to)
	_, err = k2.Rewrap(t.Context(), wk)
	contains(t, runError(t, err, 1), "enable-key", to)
	// Disabled between the look-up and the call.
	late := w.key()
	blob = w.seal(late, nil)
	w.rewrap(k, envelope.WrappedKey{Blob: blob, KeyID: late})
	w.Disable(late)
	_, err = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: late})
	contains(t, runError(t, err, 50), "enable-key", late)
}

func TestErrorClasses(t *testing.T) {
	w := newWorld(t, 0)
	a, b, own := w.key(), w.key(), w.key()
	named := envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a}
	items := envelope.WrappedKey{Blob: w.seal(own, nil), KeyID: own}
	for code, x := range map[string]struct {
		named, items int // strikes; -1: the item's own error
		hint         string
	}{
		"AccessDeniedException":         {5, 50, "kms:ReEncrypt"},
		"DisabledException":             {1, 50, "describe-key"},
		"KMSInvalidStateException":      {1, 50, "describe-key"},
		"NotFoundException":             {1, 50, "describe-key"},
		"InvalidKeyUsageException":      {1, 50, "describe-key"},
		"ExpiredTokenException":         {1, 1, "credentials"},
		"UnrecognizedClientException":   {1, 1, "credentials"},
		"KMSInternalException":          {20, 20, "later"},
		"ThrottlingException":           {20, 20, "--kms-rps"},
		"UnsupportedOperationException": {50, 50, "endpoint"},
		"InvalidCiphertextException":    {-1, -1, ""},
		"ValidationException":           {-1, -1, ""},
	} {
		t.Run(code, func(t *testing.T) {
			w.hook(nil, nil)
			both, one := w.open(kms.Config{From: []string{a}, To: b}), w.open(kms.Config{})
			w.hook(func(_, op string, _ object) string {
				if op == "ReEncrypt" {
					return code
				}
				return ""
			}, nil)
			for _, y := range []struct {
				k       *kms.KMS
				wk      envelope.WrappedKey
				strikes int
			}{{both, named, x.named}, {one, items, x.items}} {
				_, err := y.k.Rewrap(t.Context(), y.wk)
				if y.strikes < 0 {
					itemError(t, err)
					continue
				}
				contains(t, errors.New(runError(t, err, y.strikes).Hint), x.hint)
				if got := errors.Is(err, sources.ErrCredentials); got != (x.hint == "credentials") {
					t.Errorf("ErrCredentials: %v", err)
				}
			}
		})
	}
	w.hook(nil, nil)
	k := w.open(kms.Config{From: []string{a}, To: b, Verify: kms.VerifyOpen})
	w.hook(func(_, op string, _ object) string {
		if op == "Decrypt" {
			return "AccessDeniedException"
		}
		return ""
	}, nil)
	_, err := k.Rewrap(t.Context(), named)
	contains(t, runError(t, err, 5), "kms:Decrypt", "--verify=answer")
}

func TestNoAnswer(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	wk := envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a}
	k := w.open(kms.Config{From: []string{a}, To: b})
	w.KMS = emulatortest.KMSClient("http://127.0.0.1:1", home, nil) // nobody listens
	contains(t, runError(t, w.openFails(kms.Config{To: b}), 20), "AWS_ENDPOINT_URL_KMS")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var run *sources.RunError
	if _, err := k.Rewrap(ctx, wk); !errors.Is(err, context.Canceled) || errors.As(err, &run) {
		t.Errorf("got %v", err)
	}
}

// Something answers, and it is no KMS.
func TestAnswerOfAWebServer(t *testing.T) {
	for _, x := range []struct {
		status int
		body   string
	}{{501, "<html>no</html>"}, {200, "<html>hello</html>"}, {404, ""}, {400, `{"message":"what?"}`}} {
		srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(x.status)
			io.WriteString(rw, x.body)
		}))
		t.Cleanup(srv.Close)
		w := newWorld(t, 0)
		w.KMS = emulatortest.KMSClient(srv.URL, home, nil)
		err := w.openFails(kms.Config{To: "alias/app"})
		runError(t, err, 20)
		contains(t, err, fmt.Sprintf("what answers at %s is no KMS: HTTP %d", srv.URL, x.status), "AWS_ENDPOINT_URL_KMS")
		if strings.Contains(err.Error(), "No answer") {
			t.Errorf("an answer came: %v", err)
		}
	}
	w := newWorld(t, 0)
	b := w.key()
	w.hook(nil, func(_, _ string, _, out object) { delete(out, "KeyMetadata") })
	contains(t, runError(t, w.openFails(kms.Config{To: b}), 1), "no key", "no KMS")
	// An answer that broke off says nothing about who gave it.
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "100")
		io.WriteString(rw, "{")
	}))
	t.Cleanup(srv.Close)
	w.hook(nil, nil)
	w.KMS = emulatortest.KMSClient(srv.URL, home, nil)
	if err := w.openFails(kms.Config{To: b}); strings.Contains(err.Error(), "is no KMS") {
		t.Error(err)
	}
}

func TestRotationInMidRun(t *testing.T) {
	for _, list := range []bool{true, false} {
		t.Run(fmt.Sprintf("ListKeyRotations permitted: %v", list), func(t *testing.T) {
			w := newWorld(t, 0)
			a, b := w.key(), w.key()
			k := w.open(kms.Config{From: []string{a}, To: b})
			m1 := w.Material(b)
			early := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil)})
			w.rotate(b)
			if !list {
				w.hook(func(_, op string, _ object) string {
					if op == "ListKeyRotations" {
						return "AccessDeniedException"
					}
					return ""
				}, nil)
			}
			w.calls("DescribeKey")
			for range 3 {
				r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil)})
				if !r.Newer || r.Current || r.To.Material == m1 {
					t.Errorf("after the rotation: %+v", r)
				}
				w.opens(r.Blob, r.To, nil)
			}
			if n := w.calls("DescribeKey"); n != 1 {
				t.Errorf("%d calls of DescribeKey for one new material", n)
			}
			m2 := w.Material(b)
			// At least the target is on target: what is newer, and what was
			// current when the pass began.
			if r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(b, nil)}); !r.Current || !r.Newer || r.From.Material != m2 {
				t.Errorf("newer: %+v", r)
			}
			if r := w.rewrap(k, envelope.WrappedKey{Blob: early.Blob}); !r.Current || r.Newer {
				t.Errorf("lower bound: %+v", r)
			}
			if got := k.Targets()[b]; got != m1 {
				t.Errorf("the lower bound moved to %s", got)
			}
			if !w.noticed("was rotated during the run") {
				t.Errorf("notices: %q", w.notices)
			}
		})
	}
}

// A blob that somebody else wrapped under newer material than the run's, met
// before any answer of the run's own named that.
func TestNewerSource(t *testing.T) {
	w := newWorld(t, 0)
	a := w.key()
	k := w.open(kms.Config{From: []string{a}})
	w.rotate(a)
	m2blob := w.seal(a, nil)
	w.rotate(a) // so that the source's is neither the bound nor the current
	if r := w.rewrap(k, envelope.WrappedKey{Blob: m2blob, KeyID: a}); !r.Current || !r.Newer {
		t.Errorf("got %+v", r)
	}
}

func lieAbout(field, value string) func(_, op string, in, out object) {
	return func(_, op string, in, out object) {
		if op == "ReEncrypt" {
			out[field] = value
		}
	}
}

func TestOlderMaterialAnswered(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	m1 := w.Material(b)
	w.rotate(b)
	wk := envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a}
	for _, denied := range []bool{false, true} {
		for name, said := range map[string]string{"older": m1, "made up": strings.Repeat("0", 64)} {
			w.hook(nil, nil)
			k := w.open(kms.Config{From: []string{a}, To: b})
			w.slept = nil
			before := func(_, op string, _ object) string {
				if denied && op == "ListKeyRotations" {
					return "AccessDeniedException"
				}
				return ""
			}
			w.hook(before, lieAbout("DestinationKeyMaterialId", said))
			_, err := k.Rewrap(t.Context(), wk)
			contains(t, runError(t, err, 1), said, w.Material(b))
			want := []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9}
			if !slices.Equal(w.slept, want) {
				t.Errorf("%s: slept %v", name, w.slept)
			}
			if n := w.calls("ReEncrypt"); n != 6 {
				t.Errorf("%s: %d calls", name, n)
			}
			// A while later KMS is of one mind.
			n := 0
			w.hook(before, func(region, op string, in, out object) {
				if op == "ReEncrypt" {
					if n++; n <= 2 {
						out["DestinationKeyMaterialId"] = said
					}
				}
			})
			if r := w.rewrap(k, wk); r.Newer || r.To.Material != w.Material(b) {
				t.Errorf("%s: %+v", name, r)
			}
			// Whoever asks for no check gets none.
			w.hook(before, nil)
			k = w.open(kms.Config{From: []string{a}, To: b, Verify: kms.VerifyNone})
			w.hook(before, lieAbout("DestinationKeyMaterialId", said))
			w.rewrap(k, wk)
		}
	}
}

// DescribeKey answers from a server that has not heard of the rotation: that
// the older material is current there must not make it newer.
func TestStaleDescribeKey(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	m1 := w.Material(b)
	w.rotate(b)
	k := w.open(kms.Config{From: []string{a}, To: b})
	w.hook(nil, func(_, op string, _, out object) {
		switch op {
		case "ReEncrypt":
			out["DestinationKeyMaterialId"] = m1
		case "DescribeKey":
			out["KeyMetadata"].(object)["CurrentKeyMaterialId"] = m1
		}
	})
	_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: w.seal(a, nil)})
	contains(t, runError(t, err, 1), m1)
}

func TestAnswersThatMakeNoSense(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c := w.key(), w.key(), w.key()
	wk := envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a}
	for name, lie := range map[string]func(_, op string, in, out object){
		"another destination": lieAbout("KeyId", c),
		"no destination":      lieAbout("KeyId", ""),
		"no material":         lieAbout("DestinationKeyMaterialId", ""),
		"no blob":             lieAbout("CiphertextBlob", ""),
		"the old blob": func(_, op string, in, out object) {
			if op == "ReEncrypt" {
				out["CiphertextBlob"] = in["CiphertextBlob"]
			}
		},
	} {
		w.hook(nil, nil)
		k := w.open(kms.Config{From: []string{a}, To: b})
		w.hook(nil, lie)
		_, err := k.Rewrap(t.Context(), wk)
		if err == nil {
			t.Fatal(name)
		}
		contains(t, runError(t, err, 1), "AWS_ENDPOINT_URL_KMS")
	}
	// What is current cannot be told without the source's material.
	w.hook(nil, nil)
	k := w.open(kms.Config{Verify: kms.VerifyNone})
	w.hook(nil, lieAbout("SourceKeyMaterialId", ""))
	_, err := k.Rewrap(t.Context(), wk)
	runError(t, err, 1)
}
