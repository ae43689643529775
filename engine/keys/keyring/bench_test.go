package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"testing"

	"rewrap/engine/envelope"
)

// BenchmarkBareLoop is the floor: the standard library's AES-256-GCM, open and
// seal of a 32-byte key with a fresh random nonce, and nothing else.
func BenchmarkBareLoop(b *testing.B) {
	loop := bareLoop(b)
	b.ReportAllocs()
	step := loop()
	for b.Loop() {
		step()
	}
}

func BenchmarkBareLoopParallel(b *testing.B) {
	loop := bareLoop(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for step := loop(); pb.Next(); {
			step()
		}
	})
}

func bareLoop(b *testing.B) func() func() { return bare(b, false) }

func bare(b *testing.B, proof bool) func() func() {
	gcm := func() cipher.AEAD {
		key := make([]byte, 32)
		_, _ = rand.Read(key)
		block, err := aes.NewCipher(key)
		if err != nil {
			b.Fatal(err)
		}
		g, err := cipher.NewGCM(block)
		if err != nil {
			b.Fatal(err)
		}
		return g
	}
	from, to := gcm(), gcm()
	nonce := make([]byte, 12)
	blob := from.Seal(nil, nonce, make([]byte, 32), nil)
	return func() func() {
		plain, again, out, fresh := make([]byte, 0, 32), make([]byte, 0, 32), make([]byte, 0, 48), make([]byte, 12)
		return func() {
			opened, err := from.Open(plain, nonce, blob, nil)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = rand.Read(fresh)
			out = to.Seal(out[:0], fresh, opened, nil)
			if !proof {
				return
			}
			if _, err := to.Open(again, fresh, out, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkBareProof is the floor with what no run does without: the new blob is
// opened again.
func BenchmarkBareProof(b *testing.B) {
	step := bare(b, true)()
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
}

// BenchmarkRewrap is the same through the keyring, as the engine calls it: the
// key found by its prefix, opened, sealed, opened again and compared.
func BenchmarkRewrap(b *testing.B) {
	r, blob := benchmarked(b)
	ctx, k := b.Context(), envelope.WrappedKey{Blob: blob}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Rewrap(ctx, k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRewrapParallel(b *testing.B) {
	r, blob := benchmarked(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx, k := b.Context(), envelope.WrappedKey{Blob: blob}
		for pb.Next() {
			if _, err := r.Rewrap(ctx, k); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCurrent is what a data key costs that is there already.
func BenchmarkCurrent(b *testing.B) {
	r, _ := benchmarked(b)
	blob, err := r.primary.seal(nil, make([]byte, 32), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, k := b.Context(), envelope.WrappedKey{Blob: blob}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Rewrap(ctx, k); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarked(b *testing.B) (*Keyring, []byte) {
	b.Helper()
	r := twoKeys(b)
	blob, err := r.old().seal(nil, make([]byte, 32), nil)
	if err != nil {
		b.Fatal(err)
	}
	return r, blob
}
