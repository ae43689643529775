package kms

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
)

func numbered(n uint64) (d digest) {
	return digestOf(envelope.WrappedKey{Blob: binary.BigEndian.AppendUint64(nil, n)})
}

func some(r *rand.Rand, n uint64) (envelope.Rewrapped, error) {
	if r.IntN(8) == 0 {
		return envelope.Rewrapped{}, envelope.ErrForeign
	}
	blob := make([]byte, r.IntN(400))
	if r.IntN(100) == 0 {
		blob = make([]byte, maxBlob)
	}
	for i := range blob {
		blob[i] = byte(r.Uint32())
	}
	if len(blob) == 0 {
		blob = nil
	}
	return envelope.Rewrapped{
		Blob:      blob,
		From:      account.KeyVersion{ARN: "arn:a", Material: fmt.Sprint(r.IntN(5))},
		To:        account.KeyVersion{ARN: "arn:b"},
		Current:   blob == nil,
		Newer:     r.IntN(2) == 0,
		RequestID: strings.Repeat("x", r.IntN(40)),
	}, nil
}

func same(a, b envelope.Rewrapped) bool {
	return bytes.Equal(a.Blob, b.Blob) && a.From == b.From && a.To == b.To && a.Current == b.Current && a.Newer == b.Newer && a.RequestID == b.RequestID
}

// Against a map that forgets nothing: what is found is what was put last, and
// what was put or found lately is found.
func TestAnswersAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		a := newAnswers(64<<10 + int(seed)*1001)
		type kept struct {
			r    envelope.Rewrapped
			err  error
			when int
		}
		model := map[uint64]kept{}
		lately, misses, hits := 0, 0, 0
		for i := range 20000 {
			n := r.Uint64N(600)
			if r.IntN(3) == 0 {
				got, err := some(r, n)
				a.put(numbered(n), got, err)
				model[n] = kept{got, err, i}
				continue
			}
			got, err, ok := a.get(numbered(n))
			want, known := model[n]
			if !ok {
				if known && i-want.when < 100 {
					misses++
				}
				continue
			}
			hits++
			if known && i-want.when < 100 {
				lately++
			}
			if !known || !same(got, want.r) || !errors.Is(err, want.err) || !got.Deduplicated {
				t.Fatalf("seed %d, step %d: %d: got %+v %v, want %+v", seed, i, n, got, err, want)
			}
			want.when = i
			model[n] = want
		}
		if hits == 0 || lately == 0 || misses > lately/100 {
			t.Errorf("seed %d: %d hits; of what was used lately, %d found and %d lost", seed, hits, lately, misses)
		}
	}
}

// What is asked for again and again outlives any number of others.
func TestAnswersKeepWhatIsAskedFor(t *testing.T) {
	a := newAnswers(64 << 10)
	blob := make([]byte, 184)
	a.put(numbered(0), envelope.Rewrapped{Blob: blob}, nil)
	for n := uint64(1); n < 100000; n++ {
		a.put(numbered(n), envelope.Rewrapped{Blob: blob}, nil)
		if n%20 == 0 {
			if _, _, ok := a.get(numbered(0)); !ok {
				t.Fatalf("lost after %d others", n)
			}
		}
	}
	if _, _, ok := a.get(numbered(1)); ok {
		t.Error("more is kept than fits")
	}
}

func TestAnswersAreBounded(t *testing.T) {
	for _, size := range []int{64 << 10, 1 << 20, defaultCacheBytes} {
		a := newAnswers(size)
		if got := cap(a.ring) + 8*cap(a.index); got > size || got < size*9/10 {
			t.Errorf("%d bytes taken of %d", got, size)
		}
	}
	if a := newAnswers(1000); a != nil {
		t.Error("a cache of 1000 bytes")
	}
	var none *answers
	none.put(digest{}, envelope.Rewrapped{}, nil)
	if _, _, ok := none.get(digest{}); ok {
		t.Error("found in nothing")
	}
	a := newAnswers(64 << 10)
	for i := range maxVersions + 10 {
		a.put(numbered(uint64(i)), envelope.Rewrapped{From: account.KeyVersion{ARN: fmt.Sprint(i)}}, nil)
	}
	if len(a.versions) != maxVersions {
		t.Errorf("%d key versions kept", len(a.versions))
	}
}

func TestDigestTellsApart(t *testing.T) {
	seen := map[digest]int{}
	for i, w := range []envelope.WrappedKey{
		{},
		{Blob: []byte("a")},
		{KeyID: "a"},
		{KeyID: "\x00\x00\x00\x01a\x00\x00\x00\x01b"},
		{Context: map[string]string{"a": "b"}},
		{Context: map[string]string{"a": "b", "c": "d"}},
		{Context: map[string]string{"a": "b\x00\x00\x00\x01c\x00\x00\x00\x01d"}},
		{KeyID: "\x00\x00\x00\x01a\x00\x00\x00\x01b", Context: map[string]string{"c": "d"}},
	} {
		d := digestOf(w)
		if j, ok := seen[d]; ok {
			t.Errorf("%d and %d have one digest", i, j)
		}
		seen[d] = i
	}
	for range 100 { // maps come in any order
		w := envelope.WrappedKey{Context: map[string]string{"c": "d", "a": "b"}}
		if seen[digestOf(w)] != 5 {
			t.Fatal("one wrapped key has two digests")
		}
	}
}

// No two wrapped keys that differ read as the same bytes.
func FuzzDigest(f *testing.F) {
	f.Add([]byte("ab"), "c", "d", "e", []byte("a"), "bc", "d", "e")
	f.Add([]byte("a"), "k", "ab", "c", []byte("a"), "k", "a", "bc")
	f.Fuzz(func(t *testing.T, blob1 []byte, key1, name1, value1 string, blob2 []byte, key2, name2, value2 string) {
		w1 := envelope.WrappedKey{Blob: blob1, KeyID: key1, Context: map[string]string{name1: value1}}
		w2 := envelope.WrappedKey{Blob: blob2, KeyID: key2, Context: map[string]string{name2: value2}}
		same := bytes.Equal(blob1, blob2) && key1 == key2 && name1 == name2 && value1 == value2
		if (digestOf(w1) == digestOf(w2)) != same {
			t.Error("confused")
		}
		w1.Context[name2] = value2
		w2.Context[name1] = value1
		same = bytes.Equal(blob1, blob2) && key1 == key2 && w1.Context[name1] == w2.Context[name1] && w1.Context[name2] == w2.Context[name2]
		if (digestOf(w1) == digestOf(w2)) != same {
			t.Error("confused by two names")
		}
	})
}

func BenchmarkMiss(b *testing.B) {
	a := newAnswers(defaultCacheBytes)
	w := envelope.WrappedKey{Blob: make([]byte, 184), KeyID: "arn:aws:kms:us-east-1:111122223333:key/12345678-1234-1234-1234-123456789012", Context: map[string]string{"aws:x-amz-cek-alg": "AES/GCM/NoPadding"}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		binary.BigEndian.PutUint64(w.Blob, uint64(i))
		a.get(digestOf(w))
	}
}

func BenchmarkPut(b *testing.B) {
	a := newAnswers(defaultCacheBytes)
	r := envelope.Rewrapped{Blob: make([]byte, 184), RequestID: "12345678-1234-1234-1234-123456789012"}
	b.ReportAllocs()
	var d digest
	for i := 0; b.Loop(); i++ {
		binary.LittleEndian.PutUint64(d[:], uint64(i)*0x9e3779b97f4a7c15)
		a.put(d, r, nil)
	}
}

func TestFlightIsCancelledByTheLast(t *testing.T) {
	var g flights[int, int]
	started, ended := make(chan struct{}), make(chan error, 1)
	fly := func(ctx context.Context) (int, error) {
		close(started)
		<-ctx.Done()
		ended <- ctx.Err()
		return 0, ctx.Err()
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 3 {
		wg.Go(func() {
			if _, _, err := g.do(ctx, 1, fly); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	<-started
	cancel()
	wg.Wait()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// Whoever comes after that begins anew.
	v, shared, err := g.do(t.Context(), 1, func(context.Context) (int, error) { return 7, nil })
	if v != 7 || shared || err != nil {
		t.Errorf("%d %v %v", v, shared, err)
	}
	if len(g.m) != 0 {
		t.Errorf("%d flights left behind", len(g.m))
	}
}

func TestLikelyIsBounded(t *testing.T) {
	var l likely
	blob := make([]byte, 64)
	for i := range uint64(5000) {
		binary.BigEndian.PutUint64(blob[5:], i)
		l.learn(blob, "arn")
		if l.recall(blob) != "arn" {
			t.Fatal("not learned")
		}
	}
	if len(l.m) > maxLikely {
		t.Errorf("%d beginnings", len(l.m))
	}
	l.learn(blob[:37], "short")
	if l.recall(blob[:37]) != "" {
		t.Error("learned from a short blob")
	}
}
