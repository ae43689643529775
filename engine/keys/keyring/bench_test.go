package keyring

import (
	"testing"

	"rewrap/bench/floor"
	"rewrap/engine/envelope"
)

// BenchmarkBareLoop is the floor, and nothing else.
func BenchmarkBareLoop(b *testing.B) {
	step := floor.Loop(false)()
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
}

func BenchmarkBareLoopParallel(b *testing.B) {
	loop := floor.Loop(false)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for step := loop(); pb.Next(); {
			step()
		}
	})
}

// BenchmarkBareProof is the floor with what no run does without: the new blob is
// opened again.
func BenchmarkBareProof(b *testing.B) {
	step := floor.Loop(true)()
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
