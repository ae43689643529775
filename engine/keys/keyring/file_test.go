//go:build unix

package keyring_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"rewrap/bench/emulator"
	"rewrap/engine/envelope"
	"rewrap/engine/keys/keyring"
)

func TestModes(t *testing.T) {
	s := newSet(t, gcm256)
	path := s.write()
	for _, mode := range []os.FileMode{0o600, 0o400} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		open(t, path, keyring.Options{})
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o601, 0o700, 0o644, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := keyring.Open(t.Context(), path, keyring.Options{})
		if !errors.Is(err, keyring.ErrMode) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %v: %v", mode, err)
		}
		if _, err := keyring.Rotate(t.Context(), path, "", keyring.Wrapping{}); !errors.Is(err, keyring.ErrMode) {
			t.Errorf("rotate with mode %v: %v", mode, err)
		}
	}
}

// TestRefused: what is no keyring, or one that Tink would refuse too, is an
// error that does not quote the file.
func TestRefused(t *testing.T) {
	s := newSet(t, gcm256, gcm256)
	text, err := protojson.Marshal(s.ks)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(f func(*tinkpb.Keyset)) string {
		ks := new(tinkpb.Keyset)
		if err := protojson.Unmarshal(text, ks); err != nil {
			t.Fatal(err)
		}
		f(ks)
		out, err := protojson.Marshal(ks)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	hmac := newSet(t, mac.HMACSHA256Tag256KeyTemplate())
	macText, _ := protojson.Marshal(hmac.ks)
	secret := base64.StdEncoding.EncodeToString(s.ks.Key[0].KeyData.Value)
	for name, c := range map[string]struct{ text, say string }{
		"empty":              {"", ""},
		"no JSON":            {"secret-" + secret, ""},
		"a list":             {"[]", ""},
		"no keys":            {"{}", "no key"},
		"an unknown field":   {`{"primaryKeyId":1,"keys":[]}`, ""},
		"a broken key":       {strings.Replace(string(text), secret, secret[:20]+"!"+secret[21:], 1), ""},
		"a null key":         {`{"primaryKeyId":1,"key":[null]}`, ""},
		"an empty key":       {`{"key":[{}]}`, ""},
		"no primary":         {edit(func(ks *tinkpb.Keyset) { ks.PrimaryKeyId++ }), "primary key"},
		"disabled primary":   {edit(func(ks *tinkpb.Keyset) { ks.Key[1].Status = tinkpb.KeyStatusType_DISABLED }), "DISABLED"},
		"destroyed primary":  {edit(func(ks *tinkpb.Keyset) { ks.Key[1].Status = tinkpb.KeyStatusType_DESTROYED }), "DESTROYED"},
		"unknown status":     {edit(func(ks *tinkpb.Keyset) { ks.Key[0].Status = 7 }), "status"},
		"unknown prefix":     {edit(func(ks *tinkpb.Keyset) { ks.Key[0].OutputPrefixType = 9 }), "prefix"},
		"two of one id":      {edit(func(ks *tinkpb.Keyset) { ks.Key[0].KeyId = ks.PrimaryKeyId }), "two keys"},
		"enabled, no data":   {edit(func(ks *tinkpb.Keyset) { ks.Key[0].KeyData = nil }), "cannot be used"},
		"enabled, cut short": {edit(func(ks *tinkpb.Keyset) { ks.Key[0].KeyData.Value = ks.Key[0].KeyData.Value[:9] }), "cannot be used"},
		"AES of 17 bytes": {edit(func(ks *tinkpb.Keyset) {
			ks.Key[0].KeyData.Value = append([]byte{0x1a, 17}, make([]byte, 17)...)
		}), "cannot be used"},
		"unknown type": {edit(func(ks *tinkpb.Keyset) {
			ks.Key[0].KeyData.TypeUrl = "type.googleapis.com/google.crypto.tink.RotThirteenKey"
		}), "RotThirteenKey"},
		"a KMS's type": {edit(func(ks *tinkpb.Keyset) {
			ks.Key[0].KeyData.TypeUrl = "type.googleapis.com/google.crypto.tink.KmsAeadKey"
		}), "KmsAeadKey"},
		"a MAC": {string(macText), "HmacKey"},
		"a newer AES-GCM key": {edit(func(ks *tinkpb.Keyset) {
			ks.Key[0].KeyData.Value = append([]byte{0x08, 1}, ks.Key[0].KeyData.Value...)
		}), "cannot be used"},
	} {
		path := writeFile(t, c.text, 0o600)
		_, err := keyring.Open(t.Context(), path, keyring.Options{})
		if err == nil || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), "keys.json") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), secret[4:16]) {
			t.Errorf("%s: the error quotes a key: %v", name, err)
		}
	}
	for name, path := range map[string]string{"folder": t.TempDir(), "device": "/dev/null"} {
		if _, err := keyring.Open(t.Context(), path, keyring.Options{}); err == nil || !strings.Contains(err.Error(), "is not a file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := keyring.Open(t.Context(), filepath.Join(t.TempDir(), "x"), keyring.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error("no file:", err)
	}
	if _, err := keyring.Open(t.Context(), writeFile(t, string(text)+strings.Repeat(" ", 1<<20), 0o600), keyring.Options{}); !errors.Is(err, keyring.ErrUnusable) {
		t.Error("a big file:", err)
	}
	binary, err := proto.Marshal(s.ks)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Open(t.Context(), writeFile(t, string(binary), 0o600), keyring.Options{}); !errors.Is(err, keyring.ErrNotKeyring) || !strings.Contains(err.Error(), "convert-keyset") {
		t.Error("a binary keyset:", err)
	}
	if _, err := keyring.Open(t.Context(), writeFile(t, edit(func(ks *tinkpb.Keyset) { ks.PrimaryKeyId++ }), 0o600), keyring.Options{}); !errors.Is(err, keyring.ErrUnusable) || errors.Is(err, keyring.ErrNotKeyring) {
		t.Error("a keyset without its primary key:", err)
	}
}

// TestUnknownTypeThatIsNotEnabled is no hindrance.
func TestUnknownTypeThatIsNotEnabled(t *testing.T) {
	s := newSet(t, gcm256, gcm256, gcm256)
	blob := s.wrap(1, dataKey, "")
	s.ks.Key[0].KeyData.TypeUrl = "type.googleapis.com/google.crypto.tink.RotThirteenKey"
	s.ks.Key[0].Status = tinkpb.KeyStatusType_DISABLED
	if _, err := s.open().Rewrap(t.Context(), envelope.WrappedKey{Blob: blob}); err != nil {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	text, err := protojson.Marshal(newSet(f, gcm256, known["AES256_CTR_HMAC"]).ks)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"encryptedKeyset":"AAAA","keysetInfo":{}}`)
	f.Add(`{"key":[{}]}`)
	path := filepath.Join(f.TempDir(), "keys.json")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := keyring.Open(t.Context(), path, keyring.Options{}); err == nil {
			_, _ = r.Rewrap(t.Context(), envelope.WrappedKey{Blob: []byte(text)})
		}
		_, _ = keyring.List(path)
	})
}

// tinkRead is the keyring file as tink-go's own JSON reader has it.
func tinkRead(t *testing.T, path string) *set {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(f))
	if err != nil {
		t.Fatal(err)
	}
	return setOf(t, h)
}

func setOf(t *testing.T, h *keyset.Handle) *set {
	t.Helper()
	var m memory
	if err := insecurecleartextkeyset.Write(h, &m); err != nil {
		t.Fatal(err)
	}
	return &set{t: t, ks: m.ks}
}

type memory struct{ ks *tinkpb.Keyset }

func (m *memory) Write(ks *tinkpb.Keyset) error                { m.ks = ks; return nil }
func (m *memory) WriteEncrypted(*tinkpb.EncryptedKeyset) error { return errors.New("not here") }

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

// encrypting is a key service that turns the bits over.
func encrypting() keyring.Wrapping {
	turn := func(_ context.Context, in []byte, _ map[string]string) ([]byte, error) {
		out := make([]byte, len(in))
		for i, b := range in {
			out[i] = ^b
		}
		return out, nil
	}
	return keyring.Wrapping{Decrypt: turn, Encrypt: turn}
}

// service is the emulator's KMS, and the key k of it.
func service(t *testing.T) (*kms.Client, func(key string, pairs map[string]string) keyring.Wrapping) {
	t.Helper()
	srv, err := emulator.New(emulator.Options{}).Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := srv.URL()
	client := kms.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
	return client, func(key string, pairs map[string]string) keyring.Wrapping {
		return keyring.Wrapping{
			Context: pairs,
			Decrypt: func(ctx context.Context, blob []byte, pairs map[string]string) ([]byte, error) {
				out, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, KeyId: &key, EncryptionContext: pairs})
				if err != nil {
					return nil, err
				}
				return out.Plaintext, nil
			},
			Encrypt: func(ctx context.Context, plain []byte, pairs map[string]string) ([]byte, error) {
				out, err := client.Encrypt(ctx, &kms.EncryptInput{Plaintext: plain, KeyId: &key, EncryptionContext: pairs})
				if err != nil {
					return nil, err
				}
				return out.CiphertextBlob, nil
			},
		}
	}
}

func newKey(t *testing.T, client *kms.Client) string {
	t.Helper()
	out, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

// remote is a KMS key as tink-go wants it to read and write encrypted keysets:
// what tink-go-awskms does, with associated data as one pair of the context.
type remote struct {
	ctx context.Context
	w   keyring.Wrapping
}

func (r remote) pairs(ad []byte) map[string]string {
	if len(ad) == 0 {
		return nil
	}
	return map[string]string{"associatedData": fmt.Sprintf("%x", ad)}
}

func (r remote) Encrypt(plain, ad []byte) ([]byte, error) {
	return r.w.Encrypt(r.ctx, plain, r.pairs(ad))
}
func (r remote) Decrypt(blob, ad []byte) ([]byte, error) {
	return r.w.Decrypt(r.ctx, blob, r.pairs(ad))
}

// TestEncrypted: keysets that tink-go encrypted with KMS open here, and the
// other way round, bound to their context and to their key.
func TestEncrypted(t *testing.T) {
	ctx := t.Context()
	client, wrapping := service(t)
	a, b := newKey(t, client), newKey(t, client)

	// tink-go writes.
	s := newSet(t, gcm256, gcm256)
	path := filepath.Join(t.TempDir(), "keys.json")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := handle(t, s.ks).WriteWithAssociatedData(keyset.NewJSONWriter(f), remote{ctx, wrapping(a, nil)}, []byte("vault")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	pairs := map[string]string{"associatedData": "7661756c74"}
	moved, err := open(t, path, keyring.Options{Wrapping: wrapping(a, pairs)}).Rewrap(ctx, envelope.WrappedKey{Blob: s.wrap(0, dataKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := s.only(1).aead().Decrypt(moved.Blob, nil); err != nil || string(plain) != dataKey {
		t.Fatal(err)
	}

	// Another key, another context, no way to decrypt.
	var wrongKey *types.IncorrectKeyException
	if _, err := keyring.Open(ctx, path, keyring.Options{Wrapping: wrapping(b, pairs)}); !errors.As(err, &wrongKey) {
		t.Error("another key:", err)
	}
	var invalid *types.InvalidCiphertextException
	if _, err := keyring.Open(ctx, path, keyring.Options{Wrapping: wrapping(a, nil)}); !errors.As(err, &invalid) {
		t.Error("no context:", err)
	}
	if _, err := keyring.Open(ctx, path, keyring.Options{}); !errors.Is(err, keyring.ErrEncrypted) {
		t.Error("no key:", err)
	}
	if _, err := keyring.Rotate(ctx, path, "", keyring.Wrapping{}); !errors.Is(err, keyring.ErrEncrypted) {
		t.Error("rotate without a key:", err)
	}

	// rewrap rotates, tink-go reads.
	id, err := keyring.Rotate(ctx, path, "", wrapping(a, pairs))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := keyset.ReadWithAssociatedData(keyset.NewJSONReader(strings.NewReader(string(text))), remote{ctx, wrapping(a, nil)}, []byte("vault"))
	if err != nil {
		t.Fatal(err)
	}
	if again := setOf(t, h); again.ks.PrimaryKeyId != id || len(again.ks.Key) != 3 {
		t.Errorf("tink-go sees %d keys with %d as the primary", len(again.ks.Key), again.ks.PrimaryKeyId)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o644 {
		t.Errorf("the mode is now %v", st.Mode())
	}

	// list says the same without a key.
	info, err := keyring.List(path)
	if err != nil || !info.Encrypted || info.Primary != id || len(info.Keys) != 3 || !info.Keys[2].Primary {
		t.Errorf("%+v, %v", info, err)
	}
	secret := base64.StdEncoding.EncodeToString(s.ks.Key[0].KeyData.Value)
	if out, _ := json.Marshal(info); strings.Contains(string(out)+string(text), secret) {
		t.Error("a key is in the clear")
	}

	if _, err := keyring.List(writeFile(t, `{"encryptedKeyset":"AAAA"}`, 0o600)); err == nil {
		t.Error("a list of nothing")
	}

	// rewrap creates, tink-go reads.
	path = filepath.Join(t.TempDir(), "keys.json")
	if id, err = keyring.Create(ctx, path, "AES128_GCM", wrapping(b, nil)); err != nil {
		t.Fatal(err)
	}
	f, err = os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err = keyset.Read(keyset.NewJSONReader(f), remote{ctx, wrapping(b, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := aead.New(h); err != nil || h.KeysetInfo().PrimaryKeyId != id {
		t.Error(err)
	}

	// A key service that does not answer leaves the file as it was.
	before, _ := os.ReadFile(path)
	if _, err := client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &b}); err != nil {
		t.Fatal(err)
	}
	var disabled *types.DisabledException
	if _, err := keyring.Rotate(ctx, path, "", wrapping(b, nil)); !errors.As(err, &disabled) {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the file was changed")
	}
	alone(t, path)
}

// TestTinkVector opens an encrypted keyset that tink-go-awskms wrote; its KMS
// blob has to come to the key service as it is in the file.
func TestTinkVector(t *testing.T) {
	const (
		blobHash = "9f841bb392fb70eab26e6107f8671e1763590782a3cc551e484523a77d57d038"
		plain    = "COnOvu0MEmQKWAowdHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUuY3J5cHRvLnRpbmsuQWVzR2NtS2V5EiIaIM8p9B1iya9oiZcF9J3KxN16irHuz9fWpFLiTsEpcoxeGAEQARjpzr7tDCAB"
	)
	r := open(t, "testdata/keyset.json", keyring.Options{Wrapping: keyring.Wrapping{
		Decrypt: func(_ context.Context, blob []byte, pairs map[string]string) ([]byte, error) {
			if got := fmt.Sprintf("%x", sha256.Sum256(blob)); got != blobHash || len(pairs) > 0 {
				return nil, fmt.Errorf("asked to decrypt %s with %v", got, pairs)
			}
			return base64.StdEncoding.DecodeString(plain)
		},
	}})
	if got, want := r.Target(), (envelope.KeyVersion{ARN: "keyring:keyset.json", Material: "3450840937"}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
