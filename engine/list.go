package engine

import (
	"context"
	"fmt"
	"sync"

	"rewrap/checkpoint"
	"rewrap/sources"
)

// list hands out all there is to do: the spans side by side, then the items
// that earlier sessions parked, then those that they failed.
func (r *run) list(ctx context.Context, work chan<- *item) {
	l := r.ledger
	parked, retries := l.unfinished()
	var spans sync.WaitGroup
	for i, s := range l.spans() {
		if s.Done {
			continue
		}
		ln := l.line(spanMark(i))
		spans.Go(func() {
			if err := r.listSpan(ctx, ln, s, work); err != nil {
				r.stop("", err)
			}
		})
	}
	spans.Wait()
	for _, p := range parked {
		it := l.readmit(p)
		if it == nil || !r.hand(it, work) {
			return
		}
	}
	for _, rt := range retries {
		more, err := r.listOwed(rt, work)
		if err != nil {
			r.stop("", stateError(err))
		}
		if err != nil || !more {
			return
		}
	}
}

// listSpan hands out the items of a span.
func (r *run) listSpan(ctx context.Context, ln *line, s checkpoint.SpanState, work chan<- *item) error {
	for ref, err := range r.job.Source.List(r.calls, sources.Span{ID: s.ID, Data: s.Data}, sources.Cursor(s.After)) {
		if r.stopped() || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing stopped: %w", err)
		}
		if r.job.Match != nil && !r.job.Match(ref.Name) {
			continue
		}
		it := r.ledger.admit(ln, item{ref: ref})
		if it == nil || !r.hand(it, work) {
			return nil
		}
	}
	if !r.stopped() && ctx.Err() == nil {
		r.ledger.listed(ln)
	}
	return nil
}

// listOwed hands out the items of one list of failures. more is false when the
// run is over.
func (r *run) listOwed(rt checkpoint.Retry, work chan<- *item) (more bool, err error) {
	ln := r.ledger.line(owedMark(rt.File))
	for o, err := range r.job.State.Owed(rt) {
		if err != nil {
			return false, err
		}
		it := r.ledger.admit(ln, item{ref: refOf(o.ID, o.Name, o.Cursor), owed: &o.Owed, next: o.Next})
		if it == nil || !r.hand(it, work) {
			return false, nil
		}
	}
	r.ledger.listed(ln)
	return true, nil
}

// hand gives an item to the pool. false: the run is over.
func (r *run) hand(it *item, work chan<- *item) bool {
	limit := r.job.MaxItems
	if limit > 0 { // one at a time, so that it is exactly that many
		r.handing.Lock()
		defer r.handing.Unlock()
		if r.handed == limit {
			return false
		}
	}
	select {
	case <-r.ending.done:
		return false
	case work <- it:
	}
	if limit > 0 {
		if r.handed++; r.handed == limit {
			r.stop(fmt.Sprintf("reached --max-items %d", limit), nil)
		}
	}
	return true
}
