//go:build unix

package keyring_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"rewrap/checkpoint/account"
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
}

// TestRefusedFiles: files that hold no keyset in JSON, and what is said then.
func TestRefusedFiles(t *testing.T) {
	s := newSet(t, gcm256, gcm256)
	text, err := protojson.Marshal(s.ks)
	if err != nil {
		t.Fatal(err)
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
	s.ks.PrimaryKeyId++
	if _, err := keyring.Open(t.Context(), s.write(), keyring.Options{}); !errors.Is(err, keyring.ErrUnusable) || errors.Is(err, keyring.ErrNotKeyring) {
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
	if got, want := r.Target(), (account.KeyVersion{ARN: "keyring:keyset.json", Material: "3450840937"}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
