package keyadmin_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/sources"
)

const home, abroad = emulatortest.Region, "eu-west-1"

type object = emulatortest.Object

// world is KMS in two Regions over HTTP, with a clock that only goes on when
// somebody sleeps.
type world struct{ *emulatortest.World }

func newWorld(t *testing.T, rotationDelay time.Duration) *world {
	w := &world{emulatortest.New(t, emulator.Options{RotationDelay: rotationDelay})}
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

func contains(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, s := range parts {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("the error does not say %q: %v", s, err)
		}
	}
}

func (w *world) scheduleDeletion(arn string) {
	w.Helper()
	_, err := w.KMS.ScheduleKeyDeletion(w.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &arn})
	w.OK(err)
}
