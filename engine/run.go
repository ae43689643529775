// Package engine is the run. It takes the items of a source one way (list,
// read, move, plan, journal, apply), many at a time, and keeps the account. It
// knows no format, no key service and no store: a [Mover] decides what has to
// change in an item, and a [sources.Source] changes it.
//
// The files: run.go is the life of a run, list.go hands out the items, way.go
// is the way of one item (with landed.go, which recognises our own earlier
// writes, and room.go, which bounds memory), strikes.go settles items and stops
// a run that cannot go on, ledger.go is the account (with line.go for the
// watermarks and intents.go for the undo journal), commit.go keeps the account
// on disk.
//
// What is bounded is the number of items on their way. A mover bounds its key
// calls over all items, so an item with a thousand keys has them re-wrapped
// beside those of other items, and holds up none of them.
package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/sources"
)

// Results of a run, as the summary names them.
const (
	ResultComplete  = "complete"  // reached the end, and nothing in scope is known to be under an old key
	ResultRemaining = "remaining" // reached the end, but some items failed or were skipped
	ResultStopped   = "stopped"   // stopped before the end; the same command goes on
	ResultFailed    = "failed"    // could not go on, or met nothing under a source key or on target
)

const (
	defaultWorkers = 64
	// itemsPerWorker is how many items are on their way for each key call in
	// work: the others read or write meanwhile.
	itemsPerWorker = 4
	// settledAhead is how many items may wait to be settled, so that the pool
	// seldom waits for the one goroutine that settles. It is also how many more
	// items may meet a cause that is about to end the run.
	settledAhead = 64
	// spansWanted is how many parts a listing is split into.
	spansWanted = 8
)

// Job is what a run is made of.
type Job struct {
	Source sources.Source
	Mover  Mover
	Until  Until

	// State keeps the run. nil: nothing is kept, also no undo, so that is for
	// runs that write nothing.
	State *checkpoint.State
	// Targets are the keys met so far, and the key material of each that
	// counts as on target. The checkpoint keeps them. nil: none.
	Targets func() map[string]string
	// Learned is what the job learned about the items before the first write.
	// The checkpoint keeps it, and the engine does not read it.
	Learned string

	Workers  int                    // key calls that Mover makes at once, with four items on their way for each; 0: 64
	Match    func(name string) bool // the items in scope, by their names; nil: all
	MaxItems int64                  // stop the run after so many items; 0: no limit

	// Stop, when done, ends the run in order: no further item is begun, and
	// those in work are finished and kept. Its cause says why. nil: never. The
	// context of Run ends the run at once.
	Stop context.Context

	// Notice takes what people should know and no error says. It is called
	// from many goroutines. nil: nothing is said.
	Notice func(string)

	// Observe sees every settled item, one call at a time, in the order of
	// settling. It must be quick.
	Observe func(Event)
}

// Report is how a run ended. The sums are of the whole pass, over all the runs
// that share the state directory.
type Report struct {
	account.Tally
	Result  string
	Why     string // stopped, failed: in a few words
	Resumed bool
	// Ended says that there is nothing left to go on with: the pass is
	// complete, or it reached the end and met nothing under a source key or on
	// target. [checkpoint.State.End] is to be called once the report has been
	// handed over.
	Ended   bool
	Elapsed time.Duration // of this run
}

// atOnce is why a run ended whose context is done.
const atOnce = "told to stop at once"

// now is the time that goes into the journal and the audit log.
func now() time.Time { return time.Now().UTC() }

// Run does the job. A report comes with every error: what was done is kept.
// The error is why the run could not go on. Items that failed are in the
// report and are no error.
func Run(ctx context.Context, j Job) (Report, error) {
	if j.Workers <= 0 {
		j.Workers = defaultWorkers
	}
	began := time.Now()
	r := &run{
		job:     j,
		way:     way{source: j.Source, mover: j.Mover, until: j.Until, gates: newGates()},
		ledger:  newLedger(j.State, j.Learned),
		settled: make(chan settled, settledAhead),
		ending:  ending{done: make(chan struct{})},
	}
	resumed := r.ledger.resumed()
	r.calls, r.drop = context.WithCancel(ctx)
	defer r.drop()

	err := r.run(ctx)
	rep := Report{Resumed: resumed}
	rep.Result, rep.Why = r.result(ctx, err)
	if r.opened { // else the account on disk would deny what earlier sessions left
		if cerr := r.commit(rep.Result); err == nil && cerr != nil {
			err = cerr
			rep.Result, rep.Why = ResultFailed, "the state could not be kept"
		}
		rep.Ended = err == nil && (rep.Result == ResultComplete || rep.Result == ResultFailed)
	}
	rep.Tally, rep.Elapsed = r.ledger.tally(), time.Since(began)
	return rep, err
}

type run struct {
	job    Job
	way    way
	ledger *ledger
	ending ending

	settled chan settled // from the pool to the one goroutine that settles
	strikes strikes      // of that goroutine

	opened bool // what earlier sessions left is known

	handing sync.Mutex
	handed  int64 // items that were handed out, where their number is limited

	calls context.Context // of every call but writes; done when the run ends on an error
	drop  context.CancelFunc
}

// ending is why no further item is handed out, once that is so.
type ending struct {
	once sync.Once
	done chan struct{} // closed when it is
	err  error         // why, if it is an error; written before done is closed
	why  string
}

// stop ends the handing out of items; err is nil for an orderly stop. Only the
// first call counts.
func (r *run) stop(why string, err error) {
	e := &r.ending
	e.once.Do(func() {
		e.why, e.err = why, err
		close(e.done)
		r.ledger.close()
		if err != nil {
			r.drop()
		}
	})
}

func (r *run) stopped() bool {
	select {
	case <-r.ending.done:
		return true
	default:
		return false
	}
}

func (r *run) result(ctx context.Context, err error) (result, why string) {
	t := r.ledger.tally()
	i := t.Items
	switch {
	case errors.Is(err, sources.ErrCredentials):
		return ResultStopped, sources.ErrCredentials.Error()
	case err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())):
		return ResultFailed, ""
	case r.stopped(): // only then is why written
		return ResultStopped, r.ending.why
	case ctx.Err() != nil:
		return ResultStopped, atOnce
	case t.Left > 0:
		return ResultRemaining, ""
	case i.Foreign > 0 && i.Rewrapped+i.Current == 0:
		return ResultFailed, "none of the items seen is under a source key or on target"
	}
	return ResultComplete, ""
}

func (r *run) run(ctx context.Context) error {
	if err := r.open(); err != nil {
		return err
	}
	// Whatever ends the context also ends the waiting for room and for work.
	defer context.AfterFunc(ctx, func() { r.stop(atOnce, nil) })()
	if stop := r.job.Stop; stop != nil {
		defer context.AfterFunc(stop, func() { r.stop(context.Cause(stop).Error(), nil) })()
	}

	quit := make(chan struct{})
	var pool, beside sync.WaitGroup
	beside.Go(func() { r.keepState(quit) })
	beside.Go(r.settle)
	work := make(chan *item)
	for range r.job.Workers * itemsPerWorker {
		pool.Go(func() {
			for it := range work {
				done := r.do(ctx, it)
				r.stopAtOnce(done.ev)
				r.settled <- done
			}
		})
	}
	r.list(ctx, work)
	close(work)
	pool.Wait()
	close(r.settled)
	close(quit)
	beside.Wait()
	switch {
	case r.stopped() && r.ending.err != nil:
		return r.ending.err
	case r.stopped(), ctx.Err() != nil:
		return ctx.Err()
	}
	return r.finish()
}

// finish puts in place what the source has staged. Killed before, the next run
// finds no item left to do and comes here again.
func (r *run) finish() error {
	if r.job.Until != Applied {
		return nil
	}
	if err := r.job.Source.Finish(r.calls); err != nil {
		return r.failed("finishing the source", err)
	}
	return nil
}

// failed is the error of a call to the source for the whole run. One that was
// cut off since the run is to stop at once is no failure.
func (r *run) failed(doing string, err error) error {
	if r.calls.Err() != nil {
		return r.calls.Err()
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// do takes one item its way.
func (r *run) do(ctx context.Context, it *item) settled {
	e := r.way.errand(it.ref, ctx)
	if r.job.State != nil {
		e.journal = intent{r.ledger, it}
		e.earlier = func(yield func(checkpoint.Entry, error) bool) {
			for entry, err := range r.ledger.earlier(it) {
				if !r.damaged(err) && !yield(entry, err) {
					return
				}
			}
		}
	}
	ev := e.do(r.calls)
	return settled{it, ev, e.room}
}
