package kms_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys/kms"
	"rewrap/sources"
)

const home, abroad = emulatortest.Region, "eu-west-1"

const secret = "0123456789abcdef0123456789abcdef"

type object = emulatortest.Object

// world is KMS in two Regions over HTTP, with a clock that only goes on when
// somebody sleeps.
type world struct {
	*emulatortest.World

	mu      sync.Mutex
	notices []string
	slept   []time.Duration
}

func newWorld(t *testing.T, rotationDelay time.Duration) *world {
	w := &world{World: emulatortest.New(t, emulator.Options{RotationDelay: rotationDelay})}
	w.In(abroad)
	return w
}

var regions = []string{home, abroad}

// hook changes the KMS of both Regions.
func (w *world) hook(before func(region, op string, in object) string, after func(region, op string, in, out object)) {
	w.HookKMS(regions, before, after)
}

// calls is how many requests of an operation arrived since it was last asked,
// in both Regions.
func (w *world) calls(op string) int { return w.CallsKMS(regions, op) }

func (w *world) noticed(s string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.notices {
		if strings.Contains(n, s) {
			return true
		}
	}
	return false
}

func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) key() string { w.Helper(); return w.Key("") }

// rotate rotates a key, and lets time pass: rotations are apart in time, as
// they are on AWS.
func (w *world) rotate(arn string) {
	w.Helper()
	w.Rotate(arn)
	w.Clock.Pass(time.Second)
}

func (w *world) seal(arn string, ec map[string]string) []byte {
	w.Helper()
	in := w.World
	if strings.Contains(arn, abroad) {
		in = w.In(abroad)
	}
	return in.Seal(arn, secret, ec)
}

// opens checks that a blob is under the key and material, with the context and
// only with it.
func (w *world) opens(blob []byte, v account.KeyVersion, ec map[string]string) {
	w.Helper()
	held, material := w.Open(v.ARN, blob, ec)
	if held != secret {
		w.Error("the new blob holds another data key")
	}
	if material != v.Material {
		w.Errorf("the new blob is under material %s, and the answer said %s", material, v.Material)
	}
	if len(ec) > 0 {
		if _, err := w.KMS.Decrypt(w.Context(), &sdk.DecryptInput{CiphertextBlob: blob, KeyId: &v.ARN}); err == nil {
			w.Error("the new blob opens without its context")
		}
	}
}

func (w *world) config(c kms.Config) kms.Config {
	c.Client = func(region string) kms.API {
		if region == "" {
			region = home
		}
		return w.In(region).KMS
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 1 << 20
	}
	c.Clock = w.Clock.Now
	c.Sleep = func(ctx context.Context, d time.Duration) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.slept = append(w.slept, d)
		return w.Clock.Sleep(ctx, d)
	}
	c.Notice = func(s string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.notices = append(w.notices, s)
	}
	return c
}

// open opens, and forgets what that cost.
func (w *world) open(c kms.Config) *kms.KMS {
	w.Helper()
	k, err := kms.Open(w.Context(), w.config(c))
	w.OK(err)
	w.Forget()
	w.In(abroad).Forget()
	return k
}

func (w *world) rewrap(k *kms.KMS, wk envelope.WrappedKey) envelope.Rewrapped {
	w.Helper()
	r, err := k.Rewrap(w.Context(), wk)
	w.OK(err)
	return r
}

func (w *world) scheduleDeletion(arn string) {
	w.Helper()
	_, err := w.KMS.ScheduleKeyDeletion(w.Context(), &sdk.ScheduleKeyDeletionInput{KeyId: &arn})
	w.OK(err)
}

func runError(t *testing.T, err error, strikes int) *sources.RunError {
	t.Helper()
	var run *sources.RunError
	if !errors.As(err, &run) {
		t.Fatalf("not a RunError: %v", err)
	}
	if run.Hint == "" {
		t.Errorf("no hint: %v", run.Err)
	}
	if run.Strikes != strikes {
		t.Errorf("%d strikes, want %d: %v", run.Strikes, strikes, err)
	}
	return run
}

func foreign(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, envelope.ErrForeign) {
		t.Errorf("want ErrForeign, got %v", err)
	}
}

func itemError(t *testing.T, err error) {
	t.Helper()
	var run *sources.RunError
	if err == nil || errors.As(err, &run) || errors.Is(err, envelope.ErrForeign) {
		t.Errorf("want an error of the item's own, got %v", err)
	}
}

func contains(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, s := range parts {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("the error does not say %q: %v", s, err)
		}
	}
}
