package keyring_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"rewrap/engine/keys/keyring"
)

// set is a keyset in the making, with tink-go behind every key.
type set struct {
	t  testing.TB
	ks *tinkpb.Keyset
}

// newSet makes a keyset of one key for each template; the last is primary.
func newSet(t testing.TB, templates ...*tinkpb.KeyTemplate) *set {
	t.Helper()
	s := &set{t: t, ks: new(tinkpb.Keyset)}
	for _, kt := range templates {
		handle, err := keyset.NewHandle(kt)
		if err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&buf)); err != nil {
			t.Fatal(err)
		}
		one := new(tinkpb.Keyset)
		if err := proto.Unmarshal(buf.Bytes(), one); err != nil {
			t.Fatal(err)
		}
		s.ks.Key = append(s.ks.Key, one.Key[0])
		s.ks.PrimaryKeyId = one.Key[0].KeyId
	}
	return s
}

// raw is a template without output prefix.
func raw(kt *tinkpb.KeyTemplate) *tinkpb.KeyTemplate {
	return withPrefix(kt, tinkpb.OutputPrefixType_RAW)
}

func withPrefix(kt *tinkpb.KeyTemplate, p tinkpb.OutputPrefixType) *tinkpb.KeyTemplate {
	kt = proto.CloneOf(kt)
	kt.OutputPrefixType = p
	return kt
}

// write is the keyset as a JSON file with mode 0600.
func (s *set) write() string {
	s.t.Helper()
	text, err := protojson.Marshal(s.ks)
	if err != nil {
		s.t.Fatal(err)
	}
	return writeFile(s.t, string(text), 0o600)
}

func writeFile(t testing.TB, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *set) open() *keyring.Keyring {
	s.t.Helper()
	return open(s.t, s.write(), keyring.Options{})
}

func open(t testing.TB, path string, o keyring.Options) *keyring.Keyring {
	t.Helper()
	r, err := keyring.Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// only is a keyset that holds key i alone.
func (s *set) only(i int) *set {
	return &set{t: s.t, ks: &tinkpb.Keyset{PrimaryKeyId: s.ks.Key[i].KeyId, Key: []*tinkpb.Keyset_Key{s.ks.Key[i]}}}
}

// aead is tink-go's primitive of the keyset.
func (s *set) aead() tink.AEAD {
	s.t.Helper()
	a, err := aead.New(handle(s.t, s.ks))
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func handle(t testing.TB, ks *tinkpb.Keyset) *keyset.Handle {
	t.Helper()
	b, err := proto.Marshal(ks)
	if err != nil {
		t.Fatal(err)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// wrap is a data key wrapped by tink-go under key i alone.
func (s *set) wrap(i int, plain, ad string) []byte {
	s.t.Helper()
	blob, err := s.only(i).aead().Encrypt([]byte(plain), []byte(ad))
	if err != nil {
		s.t.Fatal(err)
	}
	return blob
}

func (s *set) id(i int) uint32 { return s.ks.Key[i].KeyId }

func flipped(b []byte, i int, mask byte) []byte {
	b = slices.Clone(b)
	b[i] ^= mask
	return b
}

const dataKey = "0123456789abcdef0123456789abcdef"

// known are the AEAD key templates that tink-go has.
var known = map[string]*tinkpb.KeyTemplate{
	"AES128_GCM":         aead.AES128GCMKeyTemplate(),
	"AES256_GCM":         aead.AES256GCMKeyTemplate(),
	"AES128_GCM_SIV":     aead.AES128GCMSIVKeyTemplate(),
	"AES256_GCM_SIV":     aead.AES256GCMSIVKeyTemplate(),
	"AES128_CTR_HMAC":    aead.AES128CTRHMACSHA256KeyTemplate(),
	"AES256_CTR_HMAC":    aead.AES256CTRHMACSHA256KeyTemplate(),
	"CHACHA20_POLY1305":  aead.ChaCha20Poly1305KeyTemplate(),
	"XCHACHA20_POLY1305": aead.XChaCha20Poly1305KeyTemplate(),
	"XAES_256_GCM":       aead.XAES256GCM192BitNonceKeyTemplate(),
}
