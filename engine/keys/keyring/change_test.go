//go:build unix

package keyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"rewrap/engine/envelope"
	"rewrap/engine/keys/keyring"
)

// TestLife: created, rotated and disabled here, read by tink-go at each step;
// what was wrapped before is moved, and opens with the newest key alone.
func TestLife(t *testing.T) {
	ctx := t.Context()
	for _, base := range keyring.Templates() {
		for _, template := range []string{base, base + "_RAW"} {
			path := filepath.Join(t.TempDir(), "keys.json")
			first, err := keyring.Create(ctx, path, template, keyring.Wrapping{})
			if err != nil {
				t.Fatal(template, err)
			}
			one := tinkRead(t, path)
			blob := one.wrap(0, dataKey, "ad")
			second, err := keyring.Rotate(ctx, path, "", keyring.Wrapping{})
			if err != nil {
				t.Fatal(template, err)
			}
			two := tinkRead(t, path)
			if len(two.ks.Key) != 2 || two.id(0) != first || two.id(1) != second || two.ks.PrimaryKeyId != second {
				t.Errorf("%s: not an added primary key", template)
			}
			if a, b := two.ks.Key[0], two.ks.Key[1]; a.KeyData.TypeUrl != b.KeyData.TypeUrl || a.OutputPrefixType != b.OutputPrefixType || len(a.KeyData.Value) != len(b.KeyData.Value) {
				t.Errorf("%s: the new key is of another kind", template)
			}
			got, err := open(t, path, keyring.Options{}).Rewrap(ctx, envelope.WrappedKey{Blob: blob, AssociatedData: []byte("ad")})
			if err != nil {
				t.Fatal(template, err)
			}
			if err := keyring.SetStatus(ctx, path, first, false, keyring.Wrapping{}); err != nil {
				t.Fatal(template, err)
			}
			last := tinkRead(t, path)
			if plain, err := last.aead().Decrypt(got.Blob, []byte("ad")); err != nil || string(plain) != dataKey {
				t.Errorf("%s: %v", template, err)
			}
			if _, err := last.aead().Decrypt(blob, []byte("ad")); err == nil {
				t.Errorf("%s: the disabled key still opens", template)
			}
			if err := keyring.SetStatus(ctx, path, first, true, keyring.Wrapping{}); err != nil {
				t.Fatal(template, err)
			}
			if _, err := tinkRead(t, path).aead().Decrypt(blob, []byte("ad")); err != nil {
				t.Errorf("%s: enabled again: %v", template, err)
			}
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", st.Mode(), err)
			}
			alone(t, path)
		}
	}
}

// alone: nothing is left behind beside the file.
func alone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

// TestNeutral: blobs under a key that this package made can read the same in both
// alphabets. Under a key that another program made they may not.
func TestNeutral(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	id, err := keyring.Create(t.Context(), path, "AES128_GCM", keyring.Wrapping{})
	if err != nil {
		t.Fatal(err)
	}
	neutral := func() bool {
		t.Helper()
		r, err := keyring.Open(t.Context(), path, keyring.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Neutral()
	}
	if !neutral() {
		t.Errorf("a blob under the key %d cannot read the same in both alphabets", id)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const needsSlash = 0xfff0_0000
	text = bytes.ReplaceAll(text, fmt.Append(nil, id), fmt.Append(nil, uint32(needsSlash)))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if neutral() {
		t.Errorf("a blob under the key %d is said to read the same in both alphabets", uint32(needsSlash))
	}
}

// TestIDs: no id takes a letter of base64 that tells the alphabet.
func TestIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	try := func(with func(ctx context.Context, path, template string, w keyring.Wrapping) (uint32, error)) {
		t.Helper()
		id, err := with(t.Context(), path, "AES128_GCM", keyring.Wrapping{})
		if err != nil {
			t.Fatal(err)
		}
		if text := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32([]byte{1}, id)); strings.ContainsAny(text, "+/") {
			t.Errorf("%d: what it wraps begins with %s", id, text)
		}
	}
	for range 40 {
		try(keyring.Create)
		try(keyring.Rotate)
		try(keyring.Rotate)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangesRefused(t *testing.T) {
	ctx := t.Context()
	s := newSet(t, gcm256, gcm256, gcm256)
	s.ks.Key[0].Status = tinkpb.KeyStatusType_DESTROYED
	s.ks.Key[0].KeyData = nil
	path := s.write()
	before, _ := os.ReadFile(path)
	var w keyring.Wrapping
	_, exists := keyring.Create(ctx, path, "AES256_GCM", w)
	_, template := keyring.Create(ctx, path+"2", "ROT13", w)
	_, absent := keyring.Rotate(ctx, path+"2", "", w)
	cipher := keyring.Wrapping{Decrypt: func(_ context.Context, b []byte, _ map[string]string) ([]byte, error) { return b, nil }}
	_, clear := keyring.Rotate(ctx, path, "", cipher)
	_, clearOpen := keyring.Open(ctx, path, keyring.Options{Wrapping: cipher})
	for name, c := range map[string]struct{ err, want error }{
		"create over a file":    {exists, keyring.ErrExists},
		"an unknown template":   {template, keyring.ErrTemplate},
		"rotate nothing":        {absent, os.ErrNotExist},
		"disable the primary":   {keyring.SetStatus(ctx, path, s.id(2), false, w), keyring.ErrPrimary},
		"disable nothing":       {keyring.SetStatus(ctx, path, s.id(2)+1, false, w), keyring.ErrNoKey},
		"enable a destroyed":    {keyring.SetStatus(ctx, path, s.id(0), true, w), keyring.ErrDestroyed},
		"clear for encrypted":   {clear, keyring.ErrClear},
		"clear for encrypted 2": {clearOpen, keyring.ErrClear},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the file was changed")
	}
	alone(t, path)
	// A destroyed key stays as it is when others change.
	if err := keyring.SetStatus(ctx, path, s.id(1), false, w); err != nil {
		t.Error(err)
	}
	if info, err := keyring.List(path); err != nil || fmt.Sprint(info.Keys) != fmt.Sprintf("[{%d none DESTROYED TINK false} {%d AesGcmKey DISABLED TINK false} {%d AesGcmKey ENABLED TINK true}]", s.id(0), s.id(1), s.id(2)) {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestRotationsAtOnce: of many rotations at once every one that says it was
// done is in the file, and the others say why not.
func TestRotationsAtOnce(t *testing.T) {
	path := newSet(t, gcm256).write()
	var mu sync.Mutex
	var wg sync.WaitGroup
	done := 0
	for range 16 {
		wg.Go(func() {
			_, err := keyring.Rotate(t.Context(), path, "", keyring.Wrapping{})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done++
			case !errors.Is(err, keyring.ErrLocked):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(tinkRead(t, path).ks.Key); n != done+1 || done == 0 {
		t.Errorf("%d keys after %d rotations", n, done)
	}
	alone(t, path)
}

// TestOwnerStays: a rotation by root leaves the keyring readable to the program
// that owns it.
func TestOwnerStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can give a file away, so it was not seen that the owner is kept")
	}
	path := newSet(t, gcm256).write()
	if err := os.Chown(path, 1234, 5678); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Rotate(t.Context(), path, "", keyring.Wrapping{}); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := st.Sys().(*syscall.Stat_t); s.Uid != 1234 || s.Gid != 5678 || st.Mode().Perm() != 0o600 {
		t.Errorf("owner %d, group %d, mode %v", s.Uid, s.Gid, st.Mode())
	}
}

// TestLinkAndMode: a link stays a link, and a stricter mode stays.
func TestLinkAndMode(t *testing.T) {
	path := newSet(t, gcm256).write()
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Rotate(t.Context(), link, "CHACHA20_POLY1305", keyring.Wrapping{}); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is now %v, %v", st.Mode(), err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o400 {
		t.Errorf("the mode is now %v, %v", st.Mode(), err)
	}
	if n := len(tinkRead(t, path).ks.Key); n != 2 {
		t.Errorf("%d keys", n)
	}

	// Whoever reads it by another name would not get the new key.
	twin := filepath.Join(t.TempDir(), "twin.json")
	if err := os.Link(path, twin); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Rotate(t.Context(), twin, "", keyring.Wrapping{}); err == nil || !strings.Contains(err.Error(), "has 2 names (hard links)") {
		t.Errorf("a keyring of two names: %v", err)
	}
	if a, b := len(tinkRead(t, path).ks.Key), len(tinkRead(t, twin).ks.Key); a != 2 || b != 2 {
		t.Errorf("%d and %d keys", a, b)
	}
	alone(t, twin)
}

// TestLock: a change that is under way is not joined, one that was killed
// hinders nobody, and what it left goes, also a finished new keyring that was
// linked to its name already.
func TestLock(t *testing.T) {
	path := newSet(t, gcm256).write()
	leave := func(path string, named bool) {
		for _, suffix := range []string{".lock", ".new"} {
			if err := os.WriteFile(path+suffix, []byte("left"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if named {
			if err := errors.Join(os.Remove(path+".new"), os.Link(path, path+".new")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, named := range []bool{false, true} {
		leave(path, named)
		if _, err := keyring.Rotate(t.Context(), path, "", keyring.Wrapping{}); err != nil {
			t.Error(err)
		}
		alone(t, path)
	}
	if n := len(tinkRead(t, path).ks.Key); n != 3 {
		t.Errorf("%d keys", n)
	}
	created := filepath.Join(t.TempDir(), "keys.json")
	leave(created, false)
	if _, err := keyring.Create(t.Context(), created, "AES256_GCM", keyring.Wrapping{}); err != nil {
		t.Error(err)
	}
	alone(t, created)

	// The holder of a lock changes nothing once its file was taken away.
	kms := encrypting()
	path = filepath.Join(t.TempDir(), "keys.json")
	if _, err := keyring.Create(t.Context(), path, "AES256_GCM", kms); err != nil {
		t.Fatal(err)
	}
	slow, encrypt := kms, kms.Encrypt
	slow.Encrypt = func(ctx context.Context, in []byte, pairs map[string]string) ([]byte, error) {
		if _, err := keyring.Rotate(ctx, path, "", kms); !errors.Is(err, keyring.ErrLocked) {
			t.Errorf("two at once: %v", err)
		}
		if err := os.Remove(path + ".lock"); err != nil {
			t.Error(err)
		}
		if _, err := keyring.Rotate(ctx, path, "", kms); err != nil {
			t.Error(err)
		}
		return encrypt(ctx, in, pairs)
	}
	if _, err := keyring.Rotate(t.Context(), path, "", slow); err == nil || !strings.Contains(err.Error(), "was not changed") {
		t.Errorf("without its lock: %v", err)
	}
	if info, err := keyring.List(path); err != nil || len(info.Keys) != 2 {
		t.Errorf("%+v, %v", info, err)
	}
	alone(t, path)
}

// TestCreateNeverOverwrites: also what somebody put there while it was made.
func TestCreateNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	kms := encrypting()
	encrypt := kms.Encrypt
	kms.Encrypt = func(ctx context.Context, in []byte, pairs map[string]string) ([]byte, error) {
		if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
			t.Error(err)
		}
		return encrypt(ctx, in, pairs)
	}
	if _, err := keyring.Create(t.Context(), path, "AES256_GCM", kms); !errors.Is(err, keyring.ErrExists) {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "theirs" {
		t.Errorf("%q, %v", text, err)
	}
	alone(t, path)
}
