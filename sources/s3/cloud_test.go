package s3

import (
	"testing"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
)

type cloud struct{ *emulatortest.World }

func newCloud(t *testing.T) *cloud {
	t.Helper()
	w := emulatortest.New(t, emulator.Options{})
	w.S3 = client(w.URL, credentials(emulatortest.ID, emulatortest.Secret, "")) // which tries again
	return &cloud{w}
}
