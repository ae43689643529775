// Package engine is the run: it takes the items of a source one way (list,
// read, parse, re-wrap, plan, journal, apply), many at a time, and keeps the
// account. It knows no format, store or key service by name; cmd hands them
// to it.
//
// The parts: [Worker] takes one item its way and needs nothing else; [Run]
// lists the spans side by side, gives the items to a pool of workers, moves a
// watermark per span in the checkpoint, and stops the run when it cannot go
// on. What is bounded is the number of key calls in work (Job.Workers), over
// all items: an item with a thousand keys has them re-wrapped beside those of
// other items, and holds nobody up.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/sources"
)

// Results of a run, as the summary names them.
const (
	ResultComplete  = "complete"  // reached the end, and nothing in scope is known to be under an old key
	ResultRemaining = "remaining" // reached the end, but some items failed or were skipped
	ResultStopped   = "stopped"   // stopped before the end; the same command goes on
	ResultFailed    = "failed"    // could not go on, or met nothing that is its business
)

const (
	// itemsPerWorker is how many items are on their way for each key call in
	// work: the others read or write meanwhile.
	itemsPerWorker = 4
	// commitEvery bounds what is looked at again after a kill; a commit costs
	// a few milliseconds.
	commitEvery = 250 * time.Millisecond
	// headsMax is how much of bodies is in memory at once; one item at least.
	headsMax = maxHead
)

// manyMax is how many keys of items that hold many are in memory at once; one
// item at least. Enough for every processor to have an item of its own.
// Asked once: GOMAXPROCS follows the limit of a container, and a semaphore does
// not.
var manyMax = 1 << 16 * int64(runtime.GOMAXPROCS(0))

// Job is what a run is made of.
type Job struct {
	// Worker is how one item is done. Run sets its Journal, Keys, Heads and Many.
	Worker Worker
	// State keeps the run; nil: nothing is kept (and nothing should be
	// written, so that is for ReadOnly workers).
	State *checkpoint.State
	// Targets are the keys met so far and the key material of each that the
	// run counts as on target; kept in the checkpoint. nil: none.
	Targets func() map[string]string

	Workers int                    // key calls in work at once; 0: 64
	Spans   int                    // how many spans to ask the source for; 0: 8
	Match   func(name string) bool // which items are in scope; nil: all

	// MaxItems stops the run after that many items; 0: no limit.
	MaxItems int64
	// Stop, when done, ends the run in order: no further items, what is in
	// work is finished and kept; its cause says why. nil: never. The context
	// of Run ends it at once.
	Stop context.Context

	// Notice takes what people should know and no error says; may be nil, and
	// is called from many goroutines.
	Notice func(string)

	// Observe sees every settled item, one call at a time, in the order of
	// settling. It must be quick.
	Observe func(Event)
}

// Report is how a run ended. The sums are of the whole pass, over all the
// runs that share the state directory.
type Report struct {
	account.Tally
	Result  string
	Why     string // stopped, failed: in a few words
	Resumed bool
	// Ended says that there is nothing left to go on with: the pass is complete, or
	// reached the end and met nothing of its business. Whoever has made the
	// report known tells the state so: [checkpoint.State.End].
	Ended   bool
	Elapsed time.Duration // of this run
}

// atOnce is why a run ended whose context is done.
const atOnce = "told to stop at once"

// now is the time that goes into the audit log.
func now() time.Time { return time.Now().UTC() }

// Run does the job. A report comes with every error: what was done is kept.
// The error is why the run could not go on; items that failed are in the
// report and no error.
func Run(ctx context.Context, j Job) (Report, error) {
	if j.Workers <= 0 {
		j.Workers = 64
	}
	if j.Spans <= 0 {
		j.Spans = 8
	}
	began := time.Now()
	r := &run{job: j, ledger: newLedger(j.State), worker: j.Worker, halt: make(chan struct{})}
	r.worker.Keys = semaphore.NewWeighted(int64(j.Workers))
	r.worker.Heads = semaphore.NewWeighted(headsMax)
	r.worker.Many = semaphore.NewWeighted(manyMax)
	resumed := r.ledger.snap.Session > 1 && r.ledger.snap.Spans != nil

	r.calls, r.drop = context.WithCancel(ctx)
	defer r.drop()
	err := r.run(ctx)
	rep := Report{Resumed: resumed}
	rep.Result, rep.Why = r.result(ctx, err)
	// A run that could not find out what earlier sessions left must not say
	// on disk that it did.
	if !r.opened {
		rep.Tally, rep.Elapsed = r.ledger.tally(), time.Since(began)
		return rep, err
	}
	if cerr := r.commit(rep.Result); err == nil && cerr != nil {
		err = cerr
		rep.Result, rep.Why = ResultFailed, "the state could not be kept"
	}
	rep.Ended = err == nil && (rep.Result == ResultComplete || rep.Result == ResultFailed)
	rep.Tally = r.ledger.tally()
	rep.Elapsed = time.Since(began)
	return rep, err
}

type run struct {
	job    Job
	worker Worker
	ledger *ledger

	observing sync.Mutex

	handing sync.Mutex
	handed  int64

	striking sync.Mutex
	strikes  map[string]int // run-level errors in a row, by where they came from

	opened bool // what earlier sessions left is known

	calls context.Context // of every call but writes; done when the run ends on an error
	drop  context.CancelFunc

	once sync.Once
	halt chan struct{} // closed when nothing more is to be handed out
	err  error         // why, if it is an error; written before halt is closed
	why  string
}

// stop ends the handing out of items; err is nil for an orderly stop.
func (r *run) stop(why string, err error) {
	r.once.Do(func() {
		r.why, r.err = why, err
		close(r.halt)
		r.ledger.close()
		if err != nil {
			r.drop()
		}
	})
}

func (r *run) stopped() bool {
	select {
	case <-r.halt:
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
		return ResultStopped, r.why
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
	if err := r.open(ctx); err != nil {
		return err
	}
	// Whatever ends the context also ends the waiting for room and for work.
	defer context.AfterFunc(ctx, func() { r.stop(atOnce, nil) })()
	if stop := r.job.Stop; stop != nil {
		defer context.AfterFunc(stop, func() { r.stop(context.Cause(stop).Error(), nil) })()
	}

	ticking, quit := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ticking)
		r.keep(quit)
	}()

	work := make(chan *item)
	var pool sync.WaitGroup
	for range r.job.Workers * itemsPerWorker {
		pool.Go(func() {
			for it := range work {
				r.do(ctx, it)
			}
		})
	}
	r.list(ctx, work)
	close(work)
	pool.Wait()
	close(quit)
	<-ticking
	if r.stopped() && r.err != nil {
		return r.err
	}
	return ctx.Err()
}

// open asks for the spans, once per pass, and finds the edits of earlier
// processes whose fate is not known.
func (r *run) open(ctx context.Context) error {
	l := r.ledger
	if l.snap.Spans == nil {
		spans, err := r.job.Worker.Source.Spans(ctx, r.job.Spans)
		if err != nil {
			return fmt.Errorf("splitting the source: %w", err)
		}
		for _, s := range spans {
			l.snap.Spans = append(l.snap.Spans, checkpoint.SpanState{ID: s.ID, Data: s.Data})
		}
	}
	if r.job.State == nil {
		r.opened = true
		return nil
	}
	l.tried = make(map[string][]int64)
	for _, off := range l.snap.Unsettled {
		if off >= l.snap.JournalFrom {
			break // sorted; the rest comes below
		}
		id, err := r.job.State.Journal().Item(off)
		if r.damaged(err) {
			continue
		}
		if err != nil {
			return stateError(err)
		}
		l.tried[id] = append(l.tried[id], off)
	}
	for at, err := range r.job.State.Journal().Items(l.snap.JournalFrom) {
		if r.damaged(err) {
			break
		}
		if err != nil {
			return stateError(err)
		}
		l.tried[at.ID] = append(l.tried[at.ID], at.Offset)
	}
	r.opened = true
	return r.commit("")
}

// damaged says that an entry of the undo journal cannot be read. That costs its
// undo, and the knowledge whose write it was: an item that it changed counts as
// current. It is no reason not to go on.
func (r *run) damaged(err error) bool {
	var corrupt *checkpoint.CorruptError
	if !errors.As(err, &corrupt) {
		return false
	}
	if r.job.Notice != nil {
		r.job.Notice(corrupt.Error())
	}
	return true
}

// keep commits until quit is closed.
func (r *run) keep(quit <-chan struct{}) {
	t := time.NewTicker(commitEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := r.commit(""); err != nil {
				r.stop("", err)
				return
			}
		case <-quit:
			return
		}
	}
}

func (r *run) commit(result string) error {
	if r.job.State == nil {
		return nil
	}
	snap, cut, err := r.ledger.cut()
	if err != nil {
		return err
	}
	snap.Result = result
	if r.job.Targets != nil {
		snap.Targets = r.job.Targets()
	}
	if err := r.job.State.Commit(snap, cut); err != nil {
		return stateError(err)
	}
	return nil
}

// list hands out everything there is to do: the spans side by side, then what
// earlier sessions parked, then what they failed.
func (r *run) list(ctx context.Context, work chan<- *item) {
	l := r.ledger
	retries := append([]checkpoint.Retry(nil), l.snap.Retries...)
	parked := append([]checkpoint.Parked(nil), l.snap.Parked...)

	var spans sync.WaitGroup
	for i, s := range slices.Clone(l.snap.Spans) {
		if s.Done {
			continue
		}
		ln := l.span(i)
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
		ln := l.retry(rt.File)
		for o, err := range r.job.State.Owed(rt) {
			if err != nil {
				r.stop("", stateError(err))
				return
			}
			ref := sources.Ref{ID: o.Owed.ID, Name: o.Owed.ID, Cursor: sources.Cursor(fmt.Sprint(o.Next))}
			it := l.admit(ln, ref, &o.Owed)
			if it == nil || !r.hand(it, work) {
				return
			}
		}
		l.end(ln)
	}
}

func (r *run) listSpan(ctx context.Context, ln *line, s checkpoint.SpanState, work chan<- *item) error {
	for ref, err := range r.job.Worker.Source.List(r.calls, sources.Span{ID: s.ID, Data: s.Data}, sources.Cursor(s.After)) {
		if r.stopped() || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing stopped: %w", err)
		}
		if r.job.Match != nil && !r.job.Match(ref.ID) {
			continue
		}
		it := r.ledger.admit(ln, ref, nil)
		if it == nil || !r.hand(it, work) {
			return nil
		}
	}
	if !r.stopped() && ctx.Err() == nil {
		r.ledger.end(ln)
	}
	return nil
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
	case <-r.halt:
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

// do takes one item its way and settles it, or ends the run.
func (r *run) do(ctx context.Context, it *item) {
	ref := it.ref
	if it.owed != nil {
		ref.Cursor = sources.Cursor(it.owed.Cursor)
	}
	earlier := func(yield func(checkpoint.Entry, error) bool) {
		for e, err := range r.ledger.earlier(it) {
			if !r.damaged(err) && !yield(e, err) {
				return
			}
		}
	}
	w := r.worker
	if r.job.State != nil {
		w.Journal = intent{r.ledger, it}
	}
	ev := w.do(r.calls, ctx, ref, earlier)
	if ev.Outcome == account.Unsettled {
		var re *sources.RunError
		if !errors.As(ev.Err, &re) || r.stopped() {
			return // the run was stopped
		}
		if r.strike(cmp.Or(re.Where, ev.phase.String())) >= re.Strikes {
			r.stop("", fmt.Errorf("%q: %w", ref.ID, ev.Err))
			return
		}
		ev.Outcome, ev.Reason = account.Failed, ev.phase.reason()
	} else {
		r.succeeded(&ev)
	}
	ev.Again = it.owed != nil
	r.ledger.settle(it, ev)
	if r.job.Observe != nil {
		r.observing.Lock()
		defer r.observing.Unlock()
		r.job.Observe(ev)
	}
}

// strike counts a run-level error. Errors are counted apart by where they came
// from, so that a key service that answers does not hide a store that refuses
// every write.
func (r *run) strike(where string) int {
	r.striking.Lock()
	defer r.striking.Unlock()
	if r.strikes == nil {
		r.strikes = make(map[string]int)
	}
	r.strikes[where]++
	return r.strikes[where]
}

// succeeded forgets the errors in a row of whatever has worked.
func (r *run) succeeded(ev *Event) {
	r.striking.Lock()
	defer r.striking.Unlock()
	if ev.Reason != ReasonRead {
		delete(r.strikes, reading.String())
	}
	if slices.ContainsFunc(ev.Keys, func(k account.KeyEvent) bool {
		return k.Outcome != account.Failed && k.Outcome != account.Unsettled && !k.Deduplicated
	}) {
		delete(r.strikes, rewrapping.String())
	}
	if ev.Outcome == account.Rewrapped && !ev.Recovered {
		delete(r.strikes, writing.String())
	}
}
