package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"rewrap/bench/emulator"
	"rewrap/engine/keys/keyring"
)

// listed is what rewrap keyring list --json says.
func (w *world) listed(file string) keyring.Info {
	w.t.Helper()
	e := w.run("keyring", "list", file, "--json").want(w.t, exitOK, "")
	var info keyring.Info
	if err := json.Unmarshal([]byte(e.out), &info); err != nil {
		w.t.Fatalf("%v\n%s", err, e.out)
	}
	return info
}

// TestKeyringCommands takes a keyring in the clear through its life, and reads
// it with tink-go.
func TestKeyringCommands(t *testing.T) {
	w := newWorld(t, emulator.Options{})
	const file = "keys.json"
	path := filepath.Join(w.dir, file)

	w.run("keyring", "create", file).want(t, exitOK, "")
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	first := w.listed(file)
	w.run("keyring", "create", file).want(t, exitFailed, "never overwritten")
	w.run("keyring", "rotate", file, "--template", "CHACHA20_POLY1305").want(t, exitOK, "")
	second := w.listed(file)
	if second.Primary == first.Primary || len(second.Keys) != 2 || second.Encrypted || second.Keys[1].Type != "ChaCha20Poly1305Key" {
		t.Errorf("%+v", second)
	}
	old, primary := strconv.FormatUint(uint64(first.Primary), 10), strconv.FormatUint(uint64(second.Primary), 10)
	w.run("keyring", "disable", file, primary).want(t, exitFailed, "rotate first")
	w.run("keyring", "disable", file, "1").want(t, exitFailed, "no such key")
	w.run("keyring", "disable", file, "first").want(t, exitUsage, "decimal")
	w.run("keyring", "disable", file, old).want(t, exitOK, "")
	if got := w.listed(file); got.Keys[0].Status != "DISABLED" {
		t.Errorf("%+v", got)
	}
	w.run("keyring", "enable", file, old).want(t, exitOK, "")
	if got := w.listed(file); got.Keys[0].Status != "ENABLED" || got.Primary != second.Primary {
		t.Errorf("%+v", got)
	}

	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(f))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := aead.New(h); err != nil || h.KeysetInfo().PrimaryKeyId != second.Primary {
		t.Errorf("tink-go: %v, %v", h.KeysetInfo(), err)
	}

	// Neither form of the list holds a key.
	var doc struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &doc); err != nil || len(doc.Key) != 2 {
		t.Fatal(err, len(doc.Key))
	}
	said := w.run("keyring", "list", file).want(t, exitOK, "").out + w.run("keyring", "list", file, "--json").out
	for _, k := range doc.Key {
		if k.KeyData.Value == "" || strings.Contains(said, k.KeyData.Value) {
			t.Error("a key is in the list")
		}
	}
	wants(t, said, file+" is in the clear")
	if !strings.Contains(said, primary) || strings.Count(said, "primary\n") != 1 {
		t.Errorf("%s", said)
	}

	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"list", file}, {"rotate", file}, {"disable", file, old}} {
		w.run(append([]string{"keyring"}, args...)...).want(t, exitFailed, "chmod 600")
	}
	w.run("keyring", "create", "other.json", "--template", "ROT13").want(t, exitUsage, "AES256_GCM_SIV")
	w.run("keyring", "create").want(t, exitUsage, "")
	w.run("keyring", "create", "other.json", "--context", "a=b").want(t, exitUsage, "--kms")
	w.run("keyring", "rotate", "other.json").want(t, exitFailed, "keyring create")
	left, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if n := w.emu.Counters()["kms:Encrypt"] + w.emu.Counters()["kms:Decrypt"]; n > 0 {
		t.Errorf("%d calls to KMS for a keyring in the clear", n)
	}
}

// TestKeyringEncrypted is the same with a KMS key and a context.
func TestKeyringEncrypted(t *testing.T) {
	w := newWorld(t, emulator.Options{})
	w.key("alias/keyrings")
	w.key("alias/other")
	const file = "keys.json"
	kms := []string{"--kms", "alias/keyrings", "--context", "app=vault", "--context", "stage=test"}
	with := func(args ...string) []string { return append(append([]string{"keyring"}, args...), kms...) }

	w.run(with("create", file)...).want(t, exitOK, "")
	first := w.listed(file)
	if !first.Encrypted || len(first.Keys) != 1 {
		t.Errorf("%+v", first)
	}
	before, err := os.ReadFile(filepath.Join(w.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	w.run("keyring", "rotate", file).want(t, exitUsage, "--kms")
	w.run("keyring", "rotate", file, "--kms", "alias/other", "--context", "app=vault", "--context", "stage=test").want(t, exitFailed, "see --kms")
	w.run("keyring", "rotate", file, "--kms", "alias/keyrings").want(t, exitFailed, "see --context")
	if e := w.run("keyring", "rotate", file, "--kms", "alias/none", "--context", "app=vault").want(t, exitFailed, "NotFoundException"); strings.Contains(e.errors, "--") {
		t.Errorf("a hint that does not help: %s", e.errors)
	}
	w.run("keyring", "rotate", file, "--kms", "alias/keyrings", "--context", "app").want(t, exitUsage, "k=v")
	if after, err := os.ReadFile(filepath.Join(w.dir, file)); err != nil || string(after) != string(before) {
		t.Error("the file was changed by a rotation that failed", err)
	}
	w.run(with("rotate", file)...).want(t, exitOK, "")
	w.run(with("disable", file, strconv.FormatUint(uint64(first.Primary), 10))...).want(t, exitOK, "")
	got := w.listed(file)
	if !got.Encrypted || len(got.Keys) != 2 || got.Primary == first.Primary || got.Keys[0].Status != "DISABLED" {
		t.Errorf("%+v", got)
	}

	// KMS encrypts 4096 bytes itself: some forty keys.
	here := kmsWrapping(w.kms, "alias/keyrings", "", map[string]string{"app": "vault", "stage": "test"})
	for range 80 {
		if _, err = keyring.Rotate(t.Context(), filepath.Join(w.dir, file), "", here); err != nil {
			break
		}
	}
	if n := len(w.listed(file).Keys); err == nil || n < 30 {
		t.Errorf("%d keys, %v", n, err)
	}
	w.run(with("rotate", file)...).want(t, exitFailed, "tinkey delete-key")
	wants(t, w.run("keyring", "list", file).want(t, exitOK, "").out, file+" is encrypted")

	// A file in the clear is not taken for the encrypted one.
	w.run("keyring", "create", "clear.json").want(t, exitOK, "")
	w.run(with("rotate", "clear.json")...).want(t, exitUsage, "in the clear")
}

// TestKeyringEncryptedRun: the one call that opens the keyring is counted,
// foreseen and paced as every other.
func TestKeyringEncryptedRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.key("alias/keyrings")
	w.run("keyring", "create", "ring.json", "--kms", "alias/keyrings", "--context", "app=vault").want(t, exitOK, "")
	w.tree(map[string][]byte{"none": []byte("no key at all, but longer than nothing!")})
	args := []string{"vault", "--format", "raw", "--keyring", "ring.json", "--keyring-kms", "alias/keyrings", "--json"}
	with := func(verb ...string) []string { return append(append(verb, args...), "--keyring-context", "app=vault") }
	w.emu.ResetCounters()
	p := w.run(with("plan")...).want(t, exitFailed, "").plan(t)
	s := w.run(with("run", "--yes")...).want(t, exitFailed, "").summary(t)
	if p.KMS.Requests != 1 || s.KMS.Requests != 1 || w.emu.Counters()["kms:Decrypt"] != 2 {
		t.Errorf("planned %+v, counted %+v, asked %v", p.KMS, s.KMS, w.emu.Counters())
	}
	e := w.run(append([]string{"run", "--yes"}, args...)...).want(t, exitFailed, "see --keyring-context")
	if e.out != "" {
		t.Errorf("%s", e.out)
	}
}

// TestKeyringInterrupted: a change that waits for KMS ends with the signal, and
// has changed nothing.
func TestKeyringInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{KMSLatency: 2 * time.Second})
	w.key("alias/keyrings")
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

// TestKeyringListOfAnyFile: what a file says of its keys reaches no terminal as
// it is.
func TestKeyringListOfAnyFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	const set = `{"encryptedKeyset":"AAAA","keysetInfo":{"primaryKeyId":1,"keyInfo":[{"typeUrl":"type.googleapis.com/google.crypto.tink.A\u001b[2J","status":"ENABLED","keyId":1,"outputPrefixType":"TINK"}]}}`
	if err := os.WriteFile(filepath.Join(w.dir, "ring.json"), []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	if e := w.run("keyring", "list", "ring.json").want(t, exitOK, ""); !strings.Contains(e.out, `A\x1b[2J`) || strings.Contains(e.out, "\x1b") {
		t.Errorf("%q", e.out)
	}
}
