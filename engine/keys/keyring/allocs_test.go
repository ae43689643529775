//go:build !race

package keyring

import (
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"

	"rewrap/engine/envelope"
)

// Not under the race detector, where a sync.Pool drops at random.
func TestRewrapAllocatesNothing(t *testing.T) {
	r := twoKeys(t)
	ad := []byte("tenant=7")
	old, err := r.old().seal(nil, make([]byte, 32), ad)
	if err != nil {
		t.Fatal(err)
	}
	current, err := r.primary.seal(nil, make([]byte, 32), ad)
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range [][]byte{old, current} {
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := r.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, AssociatedData: ad}); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%v allocations a key", n)
		}
	}
	// Found by trying: the primary key does not open it, the other one does.
	raw := keysOf(t, aead.AES256GCMNoPrefixKeyTemplate(), aead.AES256GCMNoPrefixKeyTemplate())
	tried, err := raw.raw[1].seal(nil, make([]byte, 32), ad)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := raw.Rewrap(t.Context(), envelope.WrappedKey{Blob: tried, AssociatedData: ad}); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a key that is found by trying", n)
	}
}
