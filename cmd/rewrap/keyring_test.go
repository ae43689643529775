package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"rewrap/bench/emulator"
	"rewrap/cmd/rewrap/internal/setup"
	"rewrap/engine/keys/keyring"
)

// TestKeyringFull: KMS encrypts 4096 bytes itself, which are some forty keys.
// Beyond that the message says how to make room.
func TestKeyringFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.Key("alias/keyrings")
	const file = "keys.json"
	args := []string{file, "--kms", "alias/keyrings", "--context", "app=vault"}
	w.run(append([]string{"keyring", "create"}, args...)...).want(t, exitOK, "")
	w.Through(w.Emulator.Backdoor(), w.URL)
	here := setup.KMSWrapping(w.KMS, "alias/keyrings", "", map[string]string{"app": "vault"})
	n, err := 1, error(nil)
	for ; n <= 80 && err == nil; n++ {
		_, err = keyring.Rotate(t.Context(), filepath.Join(w.dir, file), "", here)
	}
	if err == nil || n < 30 {
		t.Errorf("the rotation to %d keys ended in %v, want an error after 30 or more", n, err)
	}
	w.run(append([]string{"keyring", "rotate"}, args...)...).want(t, exitFailed, "tinkey delete-key")
}

// TestKeyringInterrupted: a change that waits for KMS ends with the signal, and
// has changed nothing.
func TestKeyringInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{KMSLatency: 2 * time.Second})
	w.Key("alias/keyrings")
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		r := w.begin("keyring", "create", "ring.json", "--kms", "alias/keyrings")
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(w.dir, "ring.json.lock")); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("it never began")
			}
		}
		must(t)(nil, r.cmd.Process.Signal(sig))
		r.wait().want(t, exitStopped, "interrupted, nothing was changed")
		if left, err := filepath.Glob(filepath.Join(w.dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}
