package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"rewrap/checkpoint/account"
	"rewrap/sources"
)

// settled is an item that has gone its way, with the room that it holds until
// settle has taken it in.
type settled struct {
	it   *item
	ev   *Event
	room Room
}

// settle takes in every item that has gone its way, one at a time: it counts
// strikes, tells the ledger, and shows the event. It ends when the pool has.
func (r *run) settle() {
	for s := range r.settled {
		r.settleOne(s.it, s.ev)
		s.room.release()
	}
}

func (r *run) settleOne(it *item, ev *Event) {
	switch {
	case ev.Outcome != account.Unsettled:
		r.strikes.succeeded(ev)
	case !r.strike(ev):
		return // the item stays beyond the watermark, and is done again
	}
	ev.Again = it.owed != nil
	r.ledger.settle(it, ev)
	if r.job.Observe != nil {
		r.job.Observe(*ev)
	}
}

// strike counts an error that puts the run in doubt. It fails the item, or stops
// the run when there were too many in a row. false: the item stays unsettled.
func (r *run) strike(ev *Event) (fails bool) {
	var re *sources.RunError
	if r.stopped() || !errors.As(ev.Err, &re) {
		return false
	}
	if r.strikes.add(cmp.Or(re.Where, ev.phase.String())) >= re.Strikes {
		r.stop("", fmt.Errorf("%q: %w", ev.Ref.ID, ev.Err))
		return false
	}
	ev.Outcome, ev.Reason = account.Failed, ev.phase.reason()
	return true
}

// stopAtOnce stops the run on an error that needs no other of its kind, before
// the next item is begun.
func (r *run) stopAtOnce(ev *Event) {
	var re *sources.RunError
	if ev.Outcome == account.Unsettled && errors.As(ev.Err, &re) && re.Strikes <= 1 {
		r.stop("", fmt.Errorf("%q: %w", ev.Ref.ID, ev.Err))
	}
}

// strikes counts the errors in a row that put the run in doubt, apart for each
// place that they come from: a key service that answers must not hide a store
// that refuses every write. One goroutine owns it.
type strikes map[string]int

func (s *strikes) add(where string) int {
	if *s == nil {
		*s = make(strikes)
	}
	(*s)[where]++
	return (*s)[where]
}

// succeeded forgets the strikes of every place that has worked for the item.
func (s strikes) succeeded(ev *Event) {
	if len(s) == 0 {
		return
	}
	if ev.Reason != ReasonRead {
		delete(s, phaseRead.String())
	}
	if slices.ContainsFunc(ev.Keys, func(k account.KeyEvent) bool {
		return k.Outcome != account.Failed && k.Outcome != account.Unsettled && !k.Deduplicated
	}) {
		delete(s, phaseMove.String())
	}
	if ev.Outcome == account.Rewrapped && !ev.Recovered {
		delete(s, phaseWrite.String())
	}
}
