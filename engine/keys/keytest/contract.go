package keytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/sources"
)

func testTraits(t *testing.T, w World) {
	tr := w.Traits()
	if tr.How != account.HowKMS && tr.How != account.HowKeyring {
		t.Errorf("the census does not know the word %q", tr.How)
	}
	if tr.Service != (w.Requests != nil) || tr.Opens < 0 || !tr.Service && tr.Opens > 0 {
		t.Errorf("got %+v", tr)
	}
}

func testMoves(t *testing.T, w World) {
	k := w.Old(t, secret("moves"))
	r := w.moved(t, k, secret("moves"))
	// The same answer about what it made: nothing is left to do.
	k.Blob = r.Blob
	again, err := w.Rewrap(t.Context(), k)
	if err != nil || !again.Current || again.Blob != nil || again.From != r.To || again.To != r.To {
		t.Errorf("the new key: %+v, %v; want current under %v", again, err, r.To)
	}
}

func testKeepsCurrent(t *testing.T, w World) {
	k := w.Current(t, secret("current"))
	r, err := w.Rewrap(t.Context(), k)
	if err != nil || !r.Current || r.Blob != nil {
		t.Fatalf("a key on target: current %v, a blob of %d bytes, %v", r.Current, len(r.Blob), err)
	}
	if _, under, err := w.Open(t, k); err != nil || r.From != under || r.To != under {
		t.Errorf("it is under %v (%v), and the answer says from %v to %v", under, err, r.From, r.To)
	}
}

func testForeign(t *testing.T, w World) {
	for range 2 {
		r, err := w.Rewrap(t.Context(), w.Foreign(t, secret("foreign")))
		if !errors.Is(err, envelope.ErrForeign) || errors.As(err, new(*sources.RunError)) {
			t.Errorf("a key that is none of the source keys: %v", err)
		}
		empty(t, "foreign", r)
	}
	w.moved(t, w.Old(t, secret("after")), secret("after"))
}

func testDamaged(t *testing.T, w World) {
	k := w.Old(t, secret("damaged"))
	_, under, _ := w.Open(t, k)
	for what, bad := range damagedCopies(k) {
		r, err := w.Rewrap(t.Context(), bad)
		own(t, what, r, err)
		if r.From != (account.KeyVersion{}) && r.From != under && !errors.Is(err, envelope.ErrForeign) {
			t.Errorf("%s: beside the error it is said to be under %v, and was under %v", what, r.From, under)
		}
	}
	w.moved(t, k, secret("damaged"))
}

func testMisbound(t *testing.T, w World) {
	k := w.Old(t, secret("misbound"))
	refused := func() {
		t.Helper()
		r, err := w.Rewrap(t.Context(), misbound(k))
		own(t, "bound to something else", r, err)
		if errors.Is(err, envelope.ErrForeign) {
			t.Errorf("bound to something else is not foreign: %v", err)
		}
	}
	refused()
	w.moved(t, k, secret("misbound"))
	refused() // though the blob is known by now
}

func testRunError(t *testing.T, w World) {
	if w.Break == nil {
		return
	}
	ks := []envelope.WrappedKey{w.Old(t, secret("first")), w.Old(t, secret("second")), w.Old(t, secret("third"))}
	w.Break(t)
	for _, k := range ks {
		r, err := w.Rewrap(t.Context(), k)
		var run *sources.RunError
		if !errors.As(err, &run) || run.Err == nil || run.Hint == "" {
			t.Errorf("a cause that every key meets: %v", err)
		}
		empty(t, "broken", r)
	}
}

func testCancelled(t *testing.T, w World) {
	k := w.Old(t, secret("cancelled"))
	cause := errors.New("had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for _, k := range []envelope.WrappedKey{k, w.Current(t, secret("cancelled"))} {
		r, err := w.Rewrap(ctx, k)
		if !errors.Is(err, cause) || errors.As(err, new(*sources.RunError)) {
			t.Errorf("under a context that has ended: %v, want its cause", err)
		}
		empty(t, "cancelled", r)
	}
	w.moved(t, k, secret("cancelled")) // that the first try was cancelled is not remembered
}

func testEqualKeys(t *testing.T, w World) {
	k := w.Old(t, secret("equal"))
	first := w.moved(t, k, secret("equal"))
	second := w.moved(t, k, secret("equal"))
	if first.From != second.From || first.To != second.To {
		t.Errorf("equal keys: from %v to %v, and from %v to %v", first.From, first.To, second.From, second.To)
	}
	other := w.Old(t, secret("another"))
	w.moved(t, other, secret("another"))
}

func testInputUnchanged(t *testing.T, w World) {
	for what, k := range map[string]envelope.WrappedKey{
		"old": w.Old(t, secret("input")), "current": w.Current(t, secret("input")),
		"foreign": w.Foreign(t, secret("input")), "damaged": damagedCopies(w.Old(t, secret("input")))["the last bit is wrong"],
	} {
		// Memory behind the blob belongs to others, as in an item's body.
		room := append(slices.Clone(k.Blob), "behind the blob"...)
		k.Blob = room[:len(k.Blob)]
		before, ec, ad := slices.Clone(room), maps.Clone(k.Context), slices.Clone(k.AssociatedData)
		_, _ = w.Rewrap(t.Context(), k)
		if !bytes.Equal(room, before) || !maps.Equal(ec, k.Context) || !bytes.Equal(ad, k.AssociatedData) {
			t.Errorf("%s: the wrapped key was changed", what)
		}
	}
}

func testAnswerIsTheCallers(t *testing.T, w World) {
	k := w.Old(t, secret("answer"))
	first, second := w.moved(t, k, secret("answer")), w.moved(t, k, secret("answer"))
	third := w.moved(t, w.Old(t, secret("neighbour")), secret("neighbour"))
	neighbour := slices.Clone(third.Blob)
	clear(first.Blob)
	_ = append(second.Blob, make([]byte, 512)...)
	clear(second.Blob)
	if !bytes.Equal(neighbour, third.Blob) {
		t.Error("a change to one answer changes another")
	}
	w.moved(t, k, secret("answer"))

	// The wrapped key is the caller's again, too.
	k = w.Old(t, secret("reused"))
	mine := k
	mine.Blob = slices.Clone(k.Blob)
	r := w.moved(t, mine, secret("reused"))
	for i := range mine.Blob {
		mine.Blob[i] = 0xff
	}
	w.holds(t, k, r, secret("reused"))
	w.moved(t, k, secret("reused"))
}

func testConcurrent(t *testing.T, w World) {
	const each = 8
	type job struct {
		kind, secret string
		k            envelope.WrappedKey
		r            envelope.Rewrapped
		err          error
	}
	var jobs []*job
	for i := range each {
		s := secret(fmt.Sprint(i, " concurrent"))
		jobs = append(jobs,
			&job{kind: "old", secret: s, k: w.Old(t, s)}, &job{kind: "current", k: w.Current(t, s)},
			&job{kind: "foreign", k: w.Foreign(t, s)}, &job{kind: "misbound", k: misbound(w.Old(t, s))})
	}
	same, s := w.Old(t, secret("the same")), secret("the same")
	for range each {
		jobs = append(jobs, &job{kind: "old", secret: s, k: same})
	}
	var g sync.WaitGroup
	for _, j := range jobs {
		g.Go(func() { j.r, j.err = w.Rewrap(t.Context(), j.k) })
	}
	g.Wait()
	for _, j := range jobs {
		switch j.kind {
		case "old":
			if j.err != nil {
				t.Errorf("old: %v", j.err)
				continue
			}
			w.holds(t, j.k, j.r, j.secret)
		case "current":
			if j.err != nil || !j.r.Current {
				t.Errorf("current: %v, %v", j.r.Current, j.err)
			}
		case "foreign":
			if !errors.Is(j.err, envelope.ErrForeign) {
				t.Errorf("foreign: %v", j.err)
			}
		default:
			own(t, j.kind, j.r, j.err)
		}
	}
}

// testCalls: the answers account for every request, and an answer that was
// known for none.
func testCalls(t *testing.T, w World) {
	if w.Requests == nil {
		r := w.moved(t, w.Old(t, secret("calls")), secret("calls"))
		if r.Calls != 0 || r.Misses != 0 || r.Deduplicated || r.RequestID != "" {
			t.Errorf("no service was called: %+v", r)
		}
		return
	}
	k := w.Old(t, secret("calls"))
	for what, k := range map[string]envelope.WrappedKey{
		"old": k, "old again": k, "current": w.Current(t, secret("calls")),
		"foreign": w.Foreign(t, secret("calls")), "misbound": misbound(k),
	} {
		w.Requests()
		r, err := w.Rewrap(t.Context(), k)
		if n := w.Requests(); n != r.Calls || r.Misses < 0 || r.Misses > r.Calls || r.Deduplicated && n > 0 {
			t.Errorf("%s (%v): %d requests; the answer says %d calls with %d misses, known before: %v", what, err, n, r.Calls, r.Misses, r.Deduplicated)
		}
		if err == nil && !r.Deduplicated && r.Misses >= r.Calls {
			t.Errorf("%s: %d calls with %d misses make no answer", what, r.Calls, r.Misses)
		}
	}
	w.Requests()
	var all [8]envelope.Rewrapped
	k = w.Old(t, secret("side by side"))
	var g sync.WaitGroup
	for i := range all {
		g.Go(func() { all[i], _ = w.Rewrap(t.Context(), k) })
	}
	g.Wait()
	n := 0
	for _, r := range all {
		n += r.Calls
	}
	if got := w.Requests(); got != n {
		t.Errorf("side by side: %d requests, and the answers say %d", got, n)
	}
}

// testAssumes: a rewrapper that is no service can choose among new blobs.
func testAssumes(t *testing.T, w World) {
	if w.Traits().Service {
		return
	}
	assumes := func(blob []byte) int { return min(1, int(blob[len(blob)-1]%16)) }
	for i := range 20 {
		s := secret(fmt.Sprint(i, " assumes nothing"))
		k := w.Old(t, s)
		k.Assumes = assumes
		if r := w.moved(t, k, s); assumes(r.Blob) > 0 {
			t.Fatal("the new blob assumes something, and others do not")
		}
	}
	k := w.Current(t, secret("assumes"))
	k.Assumes = func([]byte) int { return 2 }
	if r, err := w.Rewrap(t.Context(), k); err != nil || !r.Current {
		t.Errorf("a key on target that would assume something: %+v, %v", r, err)
	}
}

// mostTrials is how often a new blob may be held against Assumes: once before the
// first, and then a thousand times.
const mostTrials = 1001

// testAssumesMuch: where each new blob assumes more than it could there is one all
// the same, and soon.
func testAssumesMuch(t *testing.T, w World) {
	var probe []byte
	for what, first := range map[string]int{"hopeless": 2, "unlucky": 0} {
		s := secret(what)
		k := w.Old(t, s)
		trials := 0
		k.Assumes = func(blob []byte) int {
			if trials++; trials == 1 {
				probe = slices.Clone(blob)
				return first
			}
			return 2
		}
		began := time.Now()
		r := w.moved(t, k, s)
		if trials > mostTrials || time.Since(began) > 10*time.Second {
			t.Errorf("%s: %d trials in %v", what, trials, time.Since(began))
		}
		if trials > 0 && len(probe) != len(r.Blob) {
			t.Errorf("%s: asked about %d bytes, and the new blob has %d", what, len(probe), len(r.Blob))
		}
	}
}
