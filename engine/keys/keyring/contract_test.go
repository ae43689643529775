package keyring_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/keys/keyring"
	"rewrap/engine/keys/keytest"
)

// TestContract: what holds of every rewrapper holds of a keyring, with AES-GCM
// and with a key type of tink-go's own.
func TestContract(t *testing.T) {
	for name, c := range map[string]struct {
		template    *tinkpb.KeyTemplate
		openCurrent bool
	}{
		"AES-GCM":              {aead.AES256GCMKeyTemplate(), false},
		"AES-GCM, all opened":  {aead.AES256GCMKeyTemplate(), true},
		"XChaCha20":            {aead.XChaCha20Poly1305KeyTemplate(), false},
		"AES-CTR-HMAC, opened": {aead.AES128CTRHMACSHA256KeyTemplate(), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keytest.Run(t, func(t *testing.T) keytest.World { return contractWorld(t, c.template, c.openCurrent) })
		})
	}
}

func contractWorld(t *testing.T, template *tinkpb.KeyTemplate, openCurrent bool) keytest.World {
	s, other := newSet(t, template, template), newSet(t, template)
	path := s.write()
	wrap := func(s *set, i int) func(*testing.T, string) envelope.WrappedKey {
		a := s.only(i).aead()
		return func(t *testing.T, secret string) envelope.WrappedKey {
			blob, err := a.Encrypt([]byte(secret), []byte("binding"))
			if err != nil {
				t.Fatal(err)
			}
			return envelope.WrappedKey{Blob: blob, AssociatedData: []byte("binding")}
		}
	}
	a := s.aead()
	return keytest.World{
		Rewrapper: open(t, path, keyring.Options{OpenCurrent: openCurrent}),
		Old:       wrap(s, 0), Current: wrap(s, 1), Foreign: wrap(other, 0),
		Open: func(_ *testing.T, k envelope.WrappedKey) (string, account.KeyVersion, error) {
			secret, err := a.Decrypt(k.Blob, k.AssociatedData)
			if err != nil {
				return "", account.KeyVersion{}, err
			}
			id := binary.BigEndian.Uint32(k.Blob[1:5])
			return string(secret), account.KeyVersion{ARN: "keyring:" + filepath.Base(path), Material: strconv.FormatUint(uint64(id), 10)}, nil
		},
	}
}

// TestAssumes: what Assumes is asked, and what is taken where every blob assumes
// something.
func TestAssumes(t *testing.T) {
	s := newSet(t, aead.AES256GCMKeyTemplate(), aead.AES256GCMKeyTemplate())
	r := s.open()
	blob, err := s.only(0).aead().Encrypt([]byte("0123456789abcdef0123456789abcdef"), nil)
	if err != nil {
		t.Fatal(err)
	}
	primary := binary.BigEndian.AppendUint32([]byte{1}, s.ks.PrimaryKeyId)
	for name, c := range map[string]struct {
		answers []int // of Assumes, in turn; the last one for all further
		asked   int
		takes   int // which of the blobs asked about is taken; -1: one that was not asked about
	}{
		"none can":      {[]int{2}, 2, 1},
		"the first":     {[]int{0, 0}, 2, 1},
		"the third":     {[]int{0, 1, 2, 0}, 4, 3},
		"as few as can": {[]int{1, 2, 2, 1}, 4, 3},
		"a thousand no": {[]int{0, 1}, 1000, -1},
	} {
		t.Run(name, func(t *testing.T) {
			var asked [][]byte
			w := envelope.WrappedKey{Blob: blob, Assumes: func(b []byte) int {
				asked = append(asked, bytes.Clone(b))
				return c.answers[min(len(asked), len(c.answers))-1]
			}}
			got, err := r.Rewrap(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if len(asked) != c.asked {
				t.Errorf("asked %d times, want %d", len(asked), c.asked)
			}
			if probe := append(bytes.Clone(primary), make([]byte, 60)...); !bytes.Equal(asked[0], probe) {
				t.Errorf("asked about %x first, want %x", asked[0], probe)
			}
			for i, b := range asked {
				if taken := bytes.Equal(b, got.Blob); taken != (i == c.takes) {
					t.Errorf("blob %d is taken: %v", i, taken)
				}
				if fmt.Sprintf("%x", b[:5]) != fmt.Sprintf("%x", primary) {
					t.Errorf("blob %d begins with %x", i, b[:5])
				}
			}
			if secret, err := s.aead().Decrypt(got.Blob, nil); err != nil || string(secret) != "0123456789abcdef0123456789abcdef" {
				t.Errorf("opens to %q, %v", secret, err)
			}
		})
	}
}

// TestAlphabet: a new blob whose padding has to be assumed, since the target's
// blobs are longer than the old ones, still reads the same in both alphabets.
func TestAlphabet(t *testing.T) {
	bare := func(blob []byte) bool { return !strings.ContainsAny(base64.StdEncoding.EncodeToString(blob), "+/") }
	s := newSet(t, raw(aead.AES256GCMKeyTemplate()), aead.AES256GCMKeyTemplate())
	for !bare(binary.BigEndian.AppendUint32([]byte{1}, s.ks.PrimaryKeyId)) { // then no blob would
		s = newSet(t, raw(aead.AES256GCMKeyTemplate()), aead.AES256GCMKeyTemplate())
	}
	r := s.open()
	for range 20 {
		old, err := s.only(0).aead().Encrypt([]byte("0123456789abcdef0123456789abcdef"), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: old, Assumes: b64.Choice{}.Assumes(0, 0)})
		if err != nil || len(old)%3 != 0 || len(got.Blob)%3 == 0 || !bare(got.Blob) {
			t.Fatalf("%d bytes became %x, %v; want a blob without the characters of one alphabet", len(old), got.Blob, err)
		}
	}
}
