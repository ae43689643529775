// Package keytest is the suite that every rewrapper passes: the contract of
// [keys.Rewrapper], held against a world in which wrapped keys can be made and
// opened.
package keytest

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/sources"
)

// World is a rewrapper and what a test needs around it. Each test gets a new
// one. The functions end the test where they fail, and are called from the
// goroutine of the test.
type World struct {
	keys.Rewrapper

	// Old wraps a secret under a source key from which it has to move, Current
	// under the target, and Foreign under a key that is none of the source
	// keys. The wrapped keys are bound to a context or to associated data.
	Old, Current, Foreign func(t *testing.T, secret string) envelope.WrappedKey

	// Open opens a blob that is bound as k is, and returns the key that it is
	// under.
	Open func(t *testing.T, k envelope.WrappedKey) (secret string, under account.KeyVersion, err error)

	// Requests is how many calls of the key service moved, or tried to move, a
	// wrapped key since it was last asked. nil: there is no service.
	Requests func() int

	// Break lets the rewrapper fail in a way that every wrapped key would meet.
	// nil: nothing outside of the process can do that.
	Break func(t *testing.T)
}

// tests by name, in the order in which they run.
var tests = []struct {
	name string
	run  func(*testing.T, World)
}{
	{"Traits", testTraits},
	{"Moves", testMoves},
	{"KeepsCurrent", testKeepsCurrent},
	{"Foreign", testForeign},
	{"Damaged", testDamaged},
	{"Misbound", testMisbound},
	{"RunError", testRunError},
	{"Cancelled", testCancelled},
	{"EqualKeys", testEqualKeys},
	{"InputUnchanged", testInputUnchanged},
	{"AnswerIsTheCallers", testAnswerIsTheCallers},
	{"Concurrent", testConcurrent},
	{"Calls", testCalls},
	{"Assumes", testAssumes},
	{"AssumesMuch", testAssumesMuch},
}

// Run holds a rewrapper to the contract. newWorld makes a world for one test.
func Run(t *testing.T, newWorld func(t *testing.T) World) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, newWorld(t)) })
	}
}

// secret is long enough to be a data key, and no two tests' are mistaken for
// each other.
func secret(name string) string { return (name + " 0123456789abcdef0123456789abcdef")[:32] }

// moved wants a wrapped key to move, and the new blob to hold its secret. It
// returns the answer.
func (w World) moved(t *testing.T, k envelope.WrappedKey, want string) envelope.Rewrapped {
	t.Helper()
	r, err := w.Rewrap(t.Context(), k)
	if err != nil {
		t.Fatalf("a key that has to move: %v", err)
	}
	w.holds(t, k, r, want)
	return r
}

// holds checks an answer about a key that has to move.
func (w World) holds(t *testing.T, k envelope.WrappedKey, r envelope.Rewrapped, want string) {
	t.Helper()
	if r.Current || len(r.Blob) == 0 || bytes.Equal(r.Blob, k.Blob) {
		t.Fatalf("a key that has to move is answered with current %v and a blob of %d bytes", r.Current, len(r.Blob))
	}
	old, from, err := w.Open(t, k)
	if err != nil || old != want || r.From != from {
		t.Errorf("the old key holds %q (%v) under %v; the answer says under %v", old, err, from, r.From)
	}
	after := k
	after.Blob = r.Blob
	now, to, err := w.Open(t, after)
	if err != nil || now != want || r.To != to || to == from {
		t.Errorf("the new key holds %q (%v) under %v, want %q; the answer says under %v", now, err, to, want, r.To)
	}
	if _, _, err := w.Open(t, misbound(after)); err == nil {
		t.Error("the new key opens without what binds it")
	}
}

// misbound is the same blob, bound to something else.
func misbound(k envelope.WrappedKey) envelope.WrappedKey {
	switch {
	case len(k.Context) > 0:
		k.Context = maps.Clone(k.Context)
		for name := range k.Context {
			k.Context[name] += ", and more"
		}
	default:
		k.AssociatedData = append(slices.Clone(k.AssociatedData), ", and more"...)
	}
	return k
}

// own wants an error that concerns one wrapped key alone.
func own(t *testing.T, what string, r envelope.Rewrapped, err error) {
	t.Helper()
	var run *sources.RunError
	switch {
	case err == nil:
		t.Errorf("%s: no error", what)
	case errors.As(err, &run):
		t.Errorf("%s would end the run: %v", what, err)
	}
	empty(t, what, r)
}

// empty wants an answer beside an error that cannot be taken for one.
func empty(t *testing.T, what string, r envelope.Rewrapped) {
	t.Helper()
	if r.Blob != nil || r.Current {
		t.Errorf("%s: beside the error there is a blob of %d bytes, and current %v", what, len(r.Blob), r.Current)
	}
}

// damagedCopies are wrapped keys that do not open any more, by what is wrong
// with them.
func damagedCopies(k envelope.WrappedKey) map[string]envelope.WrappedKey {
	with := func(blob []byte) envelope.WrappedKey {
		c := k
		c.Blob = blob
		return c
	}
	flipped := slices.Clone(k.Blob)
	flipped[len(flipped)-1] ^= 1
	return map[string]envelope.WrappedKey{
		"the last bit is wrong":    with(flipped),
		"the last byte is missing": with(slices.Clone(k.Blob[:len(k.Blob)-1])),
		"bytes follow":             with(append(slices.Clone(k.Blob), 0, 0)),
		"the beginning alone":      with(slices.Clone(k.Blob[:5])),
		"one byte":                 with(slices.Clone(k.Blob[:1])),
		"nothing":                  with(nil),
		"a megabyte":               with(append(slices.Clone(k.Blob), make([]byte, 1<<20)...)),
	}
}
