//go:build !race

package kms

import (
	"testing"

	"rewrap/engine/envelope"
)

// Not under the race detector, where a sync.Pool drops at random.
func TestLookUpAllocatesNothing(t *testing.T) {
	a := newAnswers(1 << 20)
	w := envelope.WrappedKey{Blob: make([]byte, 184), KeyID: "arn:a", Context: map[string]string{"a": "b", "c": "d"}}
	if n := testing.AllocsPerRun(1000, func() { a.get(digestOf(w)) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
