package kms_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"rewrap/bench/emulator/emulatortest"
	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys/kms"
)

// nameless is a service that names no key materials.
func nameless(_, _ string, _, out object) {
	delete(out, "SourceKeyMaterialId")
	delete(out, "DestinationKeyMaterialId")
	if m, ok := out["KeyMetadata"].(object); ok {
		delete(m, "CurrentKeyMaterialId")
	}
}

// heedless is a service that does not look at SourceKeyId.
func heedless(_, op string, in object) string {
	if op == "ReEncrypt" {
		delete(in, "SourceKeyId")
	}
	return ""
}

func TestServiceWithoutMaterials(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c := w.key(), w.key(), w.key()
	w.hook(nil, nameless)
	differentKeys(t, w, a, b, c)
	if !w.noticed("not named by this service") {
		t.Errorf("notices: %q", w.notices)
	}
	var usage *kms.UsageError
	m := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	if err := w.openFails(kms.Config{From: []string{a + "@" + m}, To: b}); !errors.As(err, &usage) {
		t.Errorf("KEY@MATERIAL: %v", err)
	}
	n := len(w.notices)
	k := w.open(kms.Config{To: b})
	w.rewrap(k, envelope.WrappedKey{Blob: w.seal(b, nil)})
	w.rewrap(k, envelope.WrappedKey{Blob: w.seal(b, nil)})
	if len(w.notices) != n+1 {
		t.Errorf("said again: %q", w.notices[n:])
	}
}

func TestServiceThatIgnoresSourceKeyID(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c := w.key(), w.key(), w.key()
	w.hook(heedless, nil)
	differentKeys(t, w, a, b, c)
	old := w.seal(b, nil)
	w.rotate(b)
	if r := w.rewrap(w.open(kms.Config{From: []string{a}, To: b}), envelope.WrappedKey{Blob: old}); r.Current || r.From.ARN != b {
		t.Errorf("old material of the target: %+v", r)
	}
	// Each key its own target: the answer that moved b's blob to a is not used.
	r := w.rewrap(w.open(kms.Config{From: []string{a, b}}), envelope.WrappedKey{Blob: old})
	w.opens(r.Blob, account.KeyVersion{ARN: b, Material: w.Material(b)}, nil)
	w.hook(heedless, nameless)
	differentKeys(t, w, a, b, c)

	// It says b when it is asked for a, and c when it is asked for b.
	says := []string{b, c}
	w.hook(heedless, func(_, op string, _, out object) {
		if op == "ReEncrypt" && len(says) > 0 {
			out["SourceKeyId"], says = says[0], says[1:]
		}
	})
	k := w.open(kms.Config{From: []string{a, b}})
	says = []string{b, c}
	_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: w.seal(a, nil)})
	foreign(t, err)
	if len(says) > 0 {
		t.Error("was not asked again")
	}
}

// moto is another implementation of KMS; it names no materials and pays no
// heed to SourceKeyId.
func TestMoto(t *testing.T) {
	path, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("SKIPPED: moto_server is not installed, so no independent KMS was tried")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, l, err)
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.CommandContext(t.Context(), path, "-H", "127.0.0.1", "-p", fmt.Sprint(port))
	must(t, 0, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		r, err := http.Get(url + "/moto-api/")
		if err == nil {
			r.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("moto_server does not answer: %v", err)
		}
	}
	w := newWorld(t, 0)
	w.KMS = emulatortest.KMSClient(url, home, nil)
	differentKeys(t, w, w.key(), w.key(), w.key())
}

// differentKeys holds of every service that can ReEncrypt.
func differentKeys(t *testing.T, w *world, a, b, c string) {
	t.Helper()
	for _, conf := range []kms.Config{
		{From: []string{a}, To: b},
		{From: []string{c, a}, To: b, Verify: kms.VerifyOpen},
		{From: []string{a}, To: b, Look: true},
	} {
		k := w.open(conf)
		r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, ec), Context: ec})
		if r.Current || r.From.ARN != a || r.To.ARN != b {
			t.Errorf("%v: %+v", conf.From, r)
		}
		if r := w.rewrap(k, envelope.WrappedKey{Blob: r.Blob, Context: ec}); !r.Current || r.From.ARN != b {
			t.Errorf("%v: moved already: %+v", conf.From, r)
		}
	}
	k := w.open(kms.Config{From: []string{a}, To: b})
	_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: w.seal(c, ec), Context: ec})
	foreign(t, err)
	_, err = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: w.seal(a, ec)})
	itemError(t, err)

	// Each key its own target: b's blobs stay under b.
	k = w.open(kms.Config{From: []string{a, b}})
	for _, arn := range []string{a, b} {
		if r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(arn, ec), Context: ec}); !r.Current || r.From.ARN != arn {
			t.Errorf("under %s: %+v", arn, r)
		}
	}
	_, err = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: w.seal(c, ec), Context: ec})
	foreign(t, err)
}
