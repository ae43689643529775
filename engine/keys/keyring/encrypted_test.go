//go:build unix

package keyring_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"rewrap/bench/emulator"
	"rewrap/engine/envelope"
	"rewrap/engine/keys/keyring"
)

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
}

// TestEncryptedAnew: rewrap creates, tink-go reads.
func TestEncryptedAnew(t *testing.T) {
	ctx := t.Context()
	client, wrapping := service(t)
	b := newKey(t, client)
	path := filepath.Join(t.TempDir(), "keys.json")
	id, err := keyring.Create(ctx, path, "AES128_GCM", wrapping(b, nil))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := keyset.Read(keyset.NewJSONReader(f), remote{ctx, wrapping(b, nil)})
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
