package keyring

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"

	"rewrap/engine/envelope"
	"rewrap/sources"
)

func twoKeys(t testing.TB) *Keyring {
	t.Helper()
	return keysOf(t, aead.AES256GCMKeyTemplate(), aead.AES256GCMKeyTemplate())
}

// keysOf is a keyring of a key for each template; the last is primary.
func keysOf(t testing.TB, templates ...*tinkpb.KeyTemplate) *Keyring {
	t.Helper()
	ks := new(tinkpb.Keyset)
	for _, kt := range templates {
		k, err := generate(kt)
		if err != nil {
			t.Fatal(err)
		}
		ks.Key = append(ks.Key, k)
		ks.PrimaryKeyId = k.KeyId
	}
	r, err := newKeyring("test", ks)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *Keyring) old() *key {
	for _, k := range r.prefixed {
		if k != r.primary {
			return k
		}
	}
	return nil
}

// TestBuffersAreZeroed looks into the buffers after a data key went through
// them.
func TestBuffersAreZeroed(t *testing.T) {
	r := twoKeys(t)
	plain := bytes.Repeat([]byte{0xaa}, 32)
	blob, err := r.old().seal(nil, plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := new(buffers)
	if _, err := r.open(b, r.old(), blob, nil); err != nil || !bytes.Equal(b.plain, plain) {
		t.Fatal("the data key is not where it should be", err)
	}
	b.again = append(b.again, plain...)
	one, two := b.plain[:cap(b.plain)], b.again[:cap(b.again)]
	r.give(b)
	if bytes.Contains(one, []byte{0xaa}) || bytes.Contains(two, []byte{0xaa}) {
		t.Error("the data key is still in a buffer")
	}
}

// wrong is an AEAD that goes wrong after it was told to.
type wrong struct {
	cipher.AEAD
	flip int
}

func (w wrong) Seal(dst, nonce, plain, ad []byte) []byte {
	plain = bytes.Clone(plain)
	if w.flip < len(plain) {
		plain[w.flip] ^= 1
	}
	out := w.AEAD.Seal(dst, nonce, plain, ad)
	if w.flip >= len(plain) {
		out[len(out)-1] ^= 1
	}
	return out
}

// TestProvenBeforeHandedOut: a machine that computes wrongly is found out, and
// ends the run.
func TestProvenBeforeHandedOut(t *testing.T) {
	r := twoKeys(t)
	blob, err := r.old().seal(nil, make([]byte, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	right := r.primary.gcm
	for _, flip := range []int{0, 31, 32} {
		r.primary.gcm = wrong{right, flip}
		got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
		var run *sources.RunError
		if !errors.As(err, &run) || got.Blob != nil {
			t.Errorf("byte %d: %q, %v", flip, got.Blob, err)
		}
	}
}

// keeps is an AEAD of tink-go that remembers the slice it opened into.
type keeps struct {
	tink.AEAD
	opened []byte
}

func (k *keeps) Decrypt(blob, ad []byte) (plain []byte, err error) {
	k.opened, err = k.AEAD.Decrypt(blob, ad)
	return k.opened, err
}

// TestTinkCopyIsZeroed: what tink-go hands out is zeroed once it was copied.
func TestTinkCopyIsZeroed(t *testing.T) {
	r := keysOf(t, aead.XChaCha20Poly1305KeyTemplate(), aead.AES256GCMKeyTemplate())
	old := r.old()
	blob, err := old.seal(nil, bytes.Repeat([]byte{0xaa}, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	spy := &keeps{AEAD: old.other}
	old.other = spy
	if _, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob}); err != nil {
		t.Fatal(err)
	}
	if len(spy.opened) != 32 || bytes.Contains(spy.opened, []byte{0xaa}) {
		t.Error("the data key is still in the slice of tink-go")
	}
}
