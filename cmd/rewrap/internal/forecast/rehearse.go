package forecast

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"rewrap/checkpoint/account"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/sources"
	"rewrap/sources/cloud"
)

// Sample is the source that holds the sample alone.
func (f *Forecast) Sample() sources.Source {
	return sampled{f.session.Source, f.sample.refs()}
}

type sampled struct {
	sources.Source
	items []sources.Ref
}

func (s sampled) Spans(context.Context, int) ([]sources.Span, error) {
	return []sources.Span{{ID: "sample"}}, nil
}

func (s sampled) List(context.Context, sources.Span, sources.Cursor) iter.Seq2[sources.Ref, error] {
	return func(yield func(sources.Ref, error) bool) {
		for _, ref := range s.items {
			if !yield(ref, nil) {
				return
			}
		}
	}
}

// Rehearse sends the sample through the engine up to the write, and makes the
// plan of what it saw. observe sees every item as it is settled.
func (f *Forecast) Rehearse(ctx context.Context, observe func(engine.Event)) (*Plan, error) {
	se := f.session
	told := *se // the same job, with the variants of its format told apart
	told.Format = variants{se.Format}
	s, reasons, fields := newSeen(se.Keys.Rewrapper.Traits()), report.Reasons{}, report.Fields{}
	rep, err := engine.Run(cloud.Metered(ctx, &f.looking), engine.Job{
		Source: f.Sample(), Mover: told.Mover(), Until: engine.Planned,
		Workers: se.Job.Pace.Workers,
		Observe: func(ev engine.Event) {
			observe(ev)
			s.observe(ev)
			reasons.Observe(ev)
			fields.Observe(ev)
		},
	})
	if err != nil {
		return nil, err
	}
	p := f.plan(s)
	if !reasons.Unseen() && rep.Items.Seen > 0 {
		p.Unmet = fields.Unmet(se.Job.Format.Fields)
	}
	return p, nil
}

// variants names the two ways in which the S3 Encryption Client wraps with KMS:
// kms records the key, kms+context does not. Their readers need different things.
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

// seen is what a rehearsal saw. One goroutine adds to it.
type seen struct {
	traits            keys.Traits
	outcomes, reasons map[string]int64
	keys              map[Group]int64
	failure           error // of one of the items that failed

	opens   int64 // calls with which a run checks its new keys
	misses  int64 // calls with a key that the wrapped key was not under
	repeats int64 // wrapped keys that needed no call

	writes writes
}

// writes are the ways and the requests of the edits.
type writes struct {
	ways          map[string]int64
	requests      map[string]int64 // by operation
	in, out       int64            // bytes
	unconditional int64
	assumed       bool // a way is assumed to work at the endpoint
}

func newSeen(t keys.Traits) *seen {
	return &seen{
		traits: t, outcomes: make(map[string]int64), reasons: make(map[string]int64), keys: make(map[Group]int64),
		writes: writes{ways: make(map[string]int64), requests: make(map[string]int64)},
	}
}

func (s *seen) observe(ev engine.Event) {
	outcome := ev.Outcome
	if ev.Way != "" {
		s.writes.observe(ev)
		if outcome == account.Skipped { // it stopped before the write
			outcome = account.Rewrapped
		}
	}
	s.outcomes[outcome.String()]++
	switch outcome {
	case account.Skipped:
		s.reasons[ev.Reason]++
	case account.Failed:
		if s.failure == nil {
			s.failure = fmt.Errorf("%s: %w", ev.Ref.ID, ev.Err)
		}
	}
	for _, k := range ev.Keys {
		s.observeKey(ev.Format, k)
	}
}

func (s *seen) observeKey(format string, k account.KeyEvent) {
	at := Group{Format: format, Key: k.From.ARN, Material: k.From.Material, State: k.Outcome.String()}
	if k.Deduplicated {
		s.repeats++
	}
	switch k.Outcome {
	case account.Skipped:
		at.State = "stale"
		if !k.Deduplicated {
			s.opens += int64(s.traits.Opens)
		}
		s.misses += int64(k.Misses)
	case account.Current:
		s.misses += int64(k.Misses)
	case account.Unsettled:
		at.State = account.Failed.String()
	}
	s.keys[at]++
}

func (w *writes) observe(ev engine.Event) {
	w.ways[ev.Way]++
	for _, r := range ev.Cost.Requests {
		w.requests[r.Op] += r.N
	}
	w.in, w.out = w.in+ev.Cost.In, w.out+ev.Cost.Out
	if ev.Unconditional {
		w.unconditional++
	}
	w.assumed = w.assumed || ev.Assumed
}
