package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/sources"
	s3source "rewrap/sources/s3"
)

// reasonRehearsed is what a rehearsal refuses every write with.
const reasonRehearsed = "would-be-rewrapped"

// rehearsal is a source that holds the sample alone, hands on what is asked of
// it but writes, and counts. The engine takes the items the same way as in a
// run, so that what it waits for, tries again and gives up is the same.
type rehearsal struct {
	sources.Source // never asked to Apply
	se             *session
	items          []sources.Ref
	candidates     int64       // keys that a blob may be under
	assumed        atomic.Bool // a way rests on an assumption

	heads, gets, reencrypts, decrypts, learning, repeats, unconditional, bodies, fetched atomic.Int64

	mu   sync.Mutex
	ways map[string]int64

	// By the observer alone.
	outcomes, reasons map[string]int64
	keys              map[planKeys]int64
	failure           error // one of those that items failed with
}

func newRehearsal(se *session, items []sources.Ref) *rehearsal {
	r := &rehearsal{
		Source: se.source, se: se, items: items, ways: make(map[string]int64),
		outcomes: make(map[string]int64), reasons: make(map[string]int64), keys: make(map[planKeys]int64),
	}
	if se.kms == nil {
		return r
	}
	tried := make(map[string]bool)
	for _, k := range se.kms.From() {
		tried[k.ARN] = true
	}
	if to := se.kms.To(); to != nil {
		tried[to.ARN] = true
	}
	r.candidates = int64(len(tried))
	return r
}

func (r *rehearsal) Spans(context.Context, int) ([]sources.Span, error) {
	return []sources.Span{{ID: "sample"}}, nil
}

func (r *rehearsal) List(context.Context, sources.Span, sources.Cursor) iter.Seq2[sources.Ref, error] {
	return func(yield func(sources.Ref, error) bool) {
		for _, ref := range r.items {
			if !yield(ref, nil) {
				return
			}
		}
	}
}

func (r *rehearsal) Read(ctx context.Context, ref sources.Ref, w sources.Want) (sources.View, error) {
	if w.Head > 0 {
		r.gets.Add(1)
	} else {
		r.heads.Add(1)
	}
	v, err := r.Source.Read(ctx, ref, w)
	if err == nil && w.Head > 0 && v.Size == 0 {
		r.heads.Add(1) // no range fits an empty object, so S3 was asked once more
	}
	return v, err
}

// Plan learns the way, and refuses the write.
func (r *rehearsal) Plan(ctx context.Context, v sources.View, e sources.Edit) (sources.Plan, error) {
	p, err := r.Source.Plan(ctx, v, e)
	if err != nil {
		return p, err
	}
	if p.Unconditional {
		r.unconditional.Add(1)
	}
	if p.Assumed {
		r.assumed.Store(true)
	}
	if p.Way == s3source.WayPut || p.Way == s3source.WayPutRead {
		r.bodies.Add(v.Size)
	}
	if p.Way == s3source.WayPut {
		r.fetched.Add(v.Size)
	}
	r.mu.Lock()
	r.ways[p.Way]++
	r.mu.Unlock()
	return sources.Plan{}, &sources.SkipError{Reason: reasonRehearsed, Detail: "plan writes nothing"}
}

func (r *rehearsal) Apply(context.Context, sources.Plan) (sources.Result, error) {
	return sources.Result{}, errors.New("plan writes nothing")
}

// variants tells the two ways of wrapping with KMS apart that the S3
// Encryption Client has: one records the key, the other does not, and their
// readers differ.
type variants struct{ envelope.Format }

func (f variants) Parse(v sources.View) (envelope.Envelope, error) {
	e, err := f.Format.Parse(v)
	if err != nil || !strings.HasPrefix(e.Format, "s3ec") {
		return e, err
	}
	if e.Keys[0].KeyID != "" {
		e.Format += " kms"
	} else {
		e.Format += " kms+context"
	}
	return e, nil
}

// asker asks the key service, and adds up the calls that a run would make.
type asker struct {
	keys.Rewrapper
	r *rehearsal
}

func (a asker) Rewrap(ctx context.Context, w envelope.WrappedKey) (envelope.Rewrapped, error) {
	got, err := a.Rewrapper.Rewrap(ctx, w)
	a.r.reencrypts.Add(int64(got.Calls))
	if err == nil { // after an error, each blob like this one costs as much
		a.r.learning.Add(int64(got.Misses))
	}
	if got.Deduplicated {
		a.r.repeats.Add(1)
	}
	if err == nil && !got.Current && !got.Deduplicated {
		a.r.decrypts.Add(int64(a.Traits().Opens))
	}
	return got, err
}

func (r *rehearsal) observe(ev engine.Event) {
	switch {
	case ev.Outcome == account.Skipped && ev.Reason == reasonRehearsed:
		r.outcomes[account.Rewrapped.String()]++
	default:
		r.outcomes[ev.Outcome.String()]++
		switch ev.Outcome {
		case account.Skipped:
			r.reasons[ev.Reason]++
		case account.Failed:
			if r.failure == nil {
				r.failure = fmt.Errorf("%s: %w", ev.Ref.ID, ev.Err)
			}
		}
	}
	for _, k := range ev.Keys {
		at := planKeys{Format: ev.Format, Key: k.From.ARN, Material: k.From.Material, State: k.Outcome.String()}
		switch k.Outcome {
		case account.Skipped:
			at.State = "stale"
		case account.Unsettled:
			at.State = account.Failed.String()
		}
		r.keys[at]++
	}
}
