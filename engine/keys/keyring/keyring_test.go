package keyring_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/engine/keys/keyring"
)

var _ keys.Rewrapper = (*keyring.Keyring)(nil)

var (
	gcm256 = aead.AES256GCMKeyTemplate()
	gcm128 = aead.AES128GCMKeyTemplate()
)

// TestTinkBothWays: tink-go wraps under an old key, rewrap moves, and tink-go
// reads with a keyset that has the new key alone; for every pair of an AES-GCM
// key and any other type, in both directions, with and without prefix.
func TestTinkBothWays(t *testing.T) {
	templates := make(map[string]*tinkpb.KeyTemplate)
	for name, kt := range known {
		templates[name] = kt
		templates[name+"_RAW"] = raw(kt)
		if !strings.HasPrefix(name, "XAES") { // which tink-go does not have
			templates[name+"_CRUNCHY"] = withPrefix(kt, tinkpb.OutputPrefixType_CRUNCHY)
		}
	}
	for name, kt := range templates {
		for _, gcm := range []*tinkpb.KeyTemplate{gcm256, raw(gcm128)} {
			for _, pair := range [][2]*tinkpb.KeyTemplate{{kt, gcm}, {gcm, kt}} {
				s := newSet(t, pair[0], pair[1])
				r := s.open()
				for _, plain := range []string{dataKey, "", "k", strings.Repeat("long", 1000)} {
					for _, ad := range []string{"", "tenant=7"} {
						got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: s.wrap(0, plain, ad), AssociatedData: []byte(ad)})
						if err != nil {
							t.Fatalf("%s, %d bytes: %v", name, len(plain), err)
						}
						opened, err := s.only(1).aead().Decrypt(got.Blob, []byte(ad))
						if err != nil || string(opened) != plain {
							t.Fatalf("%s: the new key alone: %q, %v", name, opened, err)
						}
						if _, err := s.only(0).aead().Decrypt(got.Blob, []byte(ad)); err == nil {
							t.Errorf("%s: the old key opens what was moved", name)
						}
						if _, err := s.only(1).aead().Decrypt(got.Blob, []byte(ad+"x")); err == nil {
							t.Errorf("%s: the new blob is not bound", name)
						}
						want := envelope.Rewrapped{Blob: got.Blob, From: version(s.id(0)), To: version(s.id(1))}
						if fmt.Sprint(got) != fmt.Sprint(want) {
							t.Errorf("%s: %+v, want %+v", name, got, want)
						}
					}
				}
			}
		}
	}
}

func version(id uint32) account.KeyVersion {
	return account.KeyVersion{ARN: "keyring:keys.json", Material: strconv.FormatUint(uint64(id), 10)}
}

// TestCurrent: what is under the primary key stays, whether tink-go or rewrap
// wrote it, and what was moved is current from then on.
func TestCurrent(t *testing.T) {
	for name, kt := range known {
		for _, kt := range []*tinkpb.KeyTemplate{kt, raw(kt)} {
			s := newSet(t, gcm128, raw(gcm256), kt)
			r := s.open()
			moved, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: s.wrap(0, dataKey, "ad"), AssociatedData: []byte("ad")})
			if err != nil {
				t.Fatal(name, err)
			}
			for _, blob := range [][]byte{s.wrap(2, dataKey, "ad"), moved.Blob} {
				got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, AssociatedData: []byte("ad")})
				if err != nil || !got.Current || got.Blob != nil || got.From != version(s.id(2)) || got.To != got.From {
					t.Errorf("%s: %+v, %v", name, got, err)
				}
			}
		}
	}
}

// TestCurrentCostsNothing: where every key has a prefix, what is under the
// primary key is known by it, and is not opened; so damage does not show there,
// but for a blob that is too short to be one. OpenCurrent opens it.
func TestCurrentCostsNothing(t *testing.T) {
	s := newSet(t, gcm256, gcm256)
	r := s.open()
	blob := s.wrap(1, dataKey, "")
	broken := flipped(blob, len(blob)-1, 1)
	if got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: broken}); err != nil || !got.Current {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob[:32]}); !errors.Is(err, keyring.ErrOpen) {
		t.Errorf("a stump: %v", err)
	}
	proving := open(t, s.write(), keyring.Options{OpenCurrent: true})
	if _, err := proving.Rewrap(t.Context(), envelope.WrappedKey{Blob: broken}); !errors.Is(err, keyring.ErrOpen) {
		t.Errorf("OpenCurrent: %v", err)
	}
	if got, err := proving.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob}); err != nil || !got.Current {
		t.Errorf("OpenCurrent: %+v, %v", got, err)
	}
}

// TestPrefixByChance: a blob without prefix may begin like one of the primary
// key. It is told apart by opening it.
func TestPrefixByChance(t *testing.T) {
	s := newSet(t, raw(gcm256), gcm256)
	blob := s.wrap(0, dataKey, "")
	s.ks.Key[1].KeyId = binary.BigEndian.Uint32(blob[1:])
	s.ks.PrimaryKeyId = s.id(1)
	for blob[0] != 1 { // one in 256
		blob = s.wrap(0, dataKey, "")
		s.ks.Key[1].KeyId = binary.BigEndian.Uint32(blob[1:])
		s.ks.PrimaryKeyId = s.id(1)
	}
	got, err := s.open().Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
	if err != nil || got.Current || got.From != version(s.id(0)) {
		t.Fatalf("%+v, %v", got, err)
	}
	if plain, err := s.only(1).aead().Decrypt(got.Blob, nil); err != nil || string(plain) != dataKey {
		t.Errorf("%q, %v", plain, err)
	}
}

func TestForeign(t *testing.T) {
	s, other := newSet(t, gcm256, gcm256), newSet(t, gcm256)
	r := s.open()
	for name, blob := range map[string][]byte{
		"unknown id": other.wrap(0, dataKey, ""), "KMS": append([]byte{1, 2, 2, 0, 0x78}, make([]byte, 179)...),
		"empty": nil, "short": {1, 2, 3, 4}, "text": []byte("no ciphertext at all"),
		"CRUNCHY of a TINK key": append([]byte{0}, s.wrap(0, dataKey, "")[1:]...),
	} {
		_, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
		if !errors.Is(err, envelope.ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: other.wrap(0, dataKey, "")})
	if id := strconv.FormatUint(uint64(other.id(0)), 10); err == nil || !strings.Contains(err.Error(), id) {
		t.Errorf("the error does not say the id %s: %v", id, err)
	}

	// Where a key without prefix might be the one, nothing can be called
	// foreign: the blob may as well be damaged.
	_, err = newSet(t, raw(gcm256), gcm256).open().Rewrap(t.Context(), envelope.WrappedKey{Blob: other.wrap(0, dataKey, "")})
	if errors.Is(err, envelope.ErrForeign) || !errors.Is(err, keyring.ErrOpen) {
		t.Errorf("with a key without prefix: %v", err)
	}
}

// TestNamed: beside an error stands the key that the blob names, be it in the
// keyring or not; of strangers so many that bytes at random do not fill the
// memory.
func TestNamed(t *testing.T) {
	s, other := newSet(t, gcm256, gcm256, gcm256), newSet(t, gcm256)
	disabled := s.wrap(0, dataKey, "")
	s.ks.Key[0].Status = tinkpb.KeyStatusType_DISABLED
	r := s.open()
	for name, c := range map[string]struct {
		blob []byte
		want account.KeyVersion
	}{
		"disabled": {disabled, version(s.id(0))}, "damaged": {flipped(s.wrap(1, dataKey, ""), 30, 1), version(s.id(1))},
		"a stranger": {other.wrap(0, dataKey, ""), version(other.id(0))}, "text": {[]byte("text"), account.KeyVersion{}},
	} {
		if got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: c.blob}); err == nil || got.From != c.want || got.Blob != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	seen := make(map[account.KeyVersion]bool)
	for i := range uint32(1000) {
		got, _ := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: append(binary.BigEndian.AppendUint32([]byte{1}, i), make([]byte, 60)...)})
		seen[got.From] = true
	}
	if len(seen) > 100 || !seen[account.KeyVersion{}] {
		t.Errorf("%d keys are told apart", len(seen))
	}
}

func TestDisabledAndDestroyed(t *testing.T) {
	for _, kt := range []*tinkpb.KeyTemplate{gcm256, known["XCHACHA20_POLY1305"]} {
		for _, rawToo := range []bool{false, true} {
			s := newSet(t, kt, kt, kt, gcm256)
			if rawToo {
				s = newSet(t, kt, kt, kt, gcm256, raw(gcm256))
			}
			blobs := [][]byte{s.wrap(0, dataKey, ""), s.wrap(1, dataKey, ""), s.wrap(2, dataKey, "")}
			s.ks.Key[0].Status = tinkpb.KeyStatusType_DISABLED
			s.ks.Key[1].Status = tinkpb.KeyStatusType_DESTROYED
			s.ks.Key[1].KeyData = nil // as tinkey leaves it
			r := s.open()
			for i, want := range []error{keyring.ErrDisabled, keyring.ErrDestroyed, nil} {
				_, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blobs[i]})
				if !errors.Is(err, want) || errors.Is(err, envelope.ErrForeign) {
					t.Errorf("key %d: %v, want %v", i, err, want)
				}
				if err != nil && !strings.Contains(err.Error(), strconv.FormatUint(uint64(s.id(i)), 10)) {
					t.Errorf("the error does not name the key: %v", err)
				}
			}
		}
	}
	// A key without prefix does not open anything then either.
	for status, want := range map[tinkpb.KeyStatusType]error{tinkpb.KeyStatusType_DISABLED: keyring.ErrDisabled, tinkpb.KeyStatusType_DESTROYED: keyring.ErrDestroyed} {
		s := newSet(t, raw(gcm256), gcm256)
		blob := s.wrap(0, dataKey, "")
		s.ks.Key[0].Status = status
		for _, blob := range [][]byte{blob, []byte("of nobody, as far as anybody can tell")} {
			if got, err := s.open().Rewrap(t.Context(), envelope.WrappedKey{Blob: blob}); !errors.Is(err, want) || errors.Is(err, envelope.ErrForeign) {
				t.Errorf("%v: %+v, %v", status, got, err)
			}
		}
	}
}

func TestContextIsRefused(t *testing.T) {
	s := newSet(t, gcm256, gcm256)
	_, err := s.open().Rewrap(t.Context(), envelope.WrappedKey{Blob: s.wrap(0, dataKey, ""), Context: map[string]string{"a": "b"}})
	if !errors.Is(err, keyring.ErrContext) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("told to stop")
	cancel(cause)
	if _, err := s.open().Rewrap(ctx, envelope.WrappedKey{Blob: s.wrap(0, dataKey, "")}); !errors.Is(err, cause) {
		t.Error(err)
	}
}

// TestDamage: no bit of a blob can be flipped, no byte cut off or added and no
// associated data changed without an error, and dst is as it was.
func TestDamage(t *testing.T) {
	for name, kt := range known {
		for _, kt := range []*tinkpb.KeyTemplate{kt, raw(kt)} {
			s := newSet(t, kt, gcm256)
			r := s.open()
			blob := s.wrap(0, dataKey, "ad")
			refused := func(what string, blob []byte, ad string) {
				t.Helper()
				got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, AssociatedData: []byte(ad)})
				if !errors.Is(err, keyring.ErrOpen) && !errors.Is(err, envelope.ErrForeign) {
					t.Errorf("%s, %s: %v", name, what, err)
				}
				if got.Blob != nil {
					t.Errorf("%s, %s: there is a new blob", name, what)
				}
				if err != nil && strings.Contains(err.Error(), dataKey) {
					t.Errorf("%s: the error holds the data key", name)
				}
			}
			for i := range blob {
				refused(fmt.Sprint("byte ", i), flipped(blob, i, 1<<(i%8)), "ad")
				refused(fmt.Sprint("cut at ", i), blob[:i], "ad")
			}
			refused("one more", append(slices.Clone(blob), 0), "ad")
			for _, ad := range []string{"", "a", "ad ", "AD"} {
				refused("associated data "+ad, blob, ad)
			}
			if _, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, AssociatedData: []byte("ad")}); err != nil {
				t.Errorf("%s: the blob itself: %v", name, err)
			}
		}
	}
}

// TestNoncesDiffer: the same data key moved twice is two blobs.
func TestNoncesDiffer(t *testing.T) {
	s := newSet(t, gcm256, gcm256)
	r := s.open()
	blob := s.wrap(0, dataKey, "")
	seen := make(map[string]bool)
	for range 1000 {
		got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob})
		if err != nil {
			t.Fatal(err)
		}
		nonce := string(got.Blob[5:17])
		if seen[nonce] {
			t.Fatal("a nonce came twice")
		}
		seen[nonce] = true
	}
}

// TestManyAtOnce: data keys of different sizes and types at once, each of which
// has to come out as what it was.
func TestManyAtOnce(t *testing.T) {
	s := newSet(t, gcm128, known["XCHACHA20_POLY1305"], raw(gcm256), gcm256)
	r := s.open()
	reader := s.only(3).aead()
	var wg sync.WaitGroup
	for g := range 16 {
		plain, ad := strings.Repeat(string(rune('a'+g)), 1+g*g*100), fmt.Sprint("item ", g)
		blob := s.wrap(g%3, plain, ad)
		wg.Go(func() {
			for range 50 {
				got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, AssociatedData: []byte(ad)})
				if err != nil {
					t.Error(err)
					return
				}
				if opened, err := reader.Decrypt(got.Blob, []byte(ad)); err != nil || string(opened) != plain {
					t.Errorf("worker %d: %v", g, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// FuzzRewrap: whatever the bytes, no panic; and what is moved opens, by tink-go
// with the new key alone, to what tink-go opens the old to.
func FuzzRewrap(f *testing.F) {
	s := newSet(f, gcm256, known["AES128_CTR_HMAC"], raw(gcm128), gcm256)
	r := s.open()
	all, target := s.aead(), s.only(3).aead()
	for i := range 4 {
		f.Add(s.wrap(i, dataKey, "ad"), []byte("ad"))
		f.Add(s.wrap(i, "", ""), []byte(nil))
	}
	f.Add([]byte{1}, []byte{})
	f.Fuzz(func(t *testing.T, blob, ad []byte) {
		got, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, AssociatedData: ad})
		plain, tinkErr := all.Decrypt(blob, ad)
		if (err == nil) != (tinkErr == nil) {
			t.Fatalf("rewrap: %v, tink-go: %v", err, tinkErr)
		}
		if err != nil || got.Current {
			return
		}
		if again, err := target.Decrypt(got.Blob, ad); err != nil || !bytes.Equal(plain, again) {
			t.Fatalf("%v", err)
		}
	})
}
