package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/sources"
)

const (
	// readings is how often an item is read and tried before it is left to
	// the other writers.
	readings = 4
	// waits is how often an item that was just written is waited for.
	waits = 10
)

// way is the one way that every item goes: read, move, plan, journal, apply.
// It is made once for a run and shared by all items.
type way struct {
	source sources.Source
	mover  Mover
	until  Until
	gates  *gates // nil: no bound
}

// journal keeps how every edit can be undone. The entry is durable when Append
// returns, and an edit is applied only after that.
type journal interface {
	Append(ctx context.Context, e checkpoint.Entry) (offset int64, err error)
}

// Look takes one item its way until it is known what has to change, and writes
// nothing. An event whose Err is a *sources.RunError says that the mover or the
// store is in doubt, not the item; its outcome is Unsettled.
func Look(ctx context.Context, src sources.Source, m Mover, ref sources.Ref) Event {
	e := (&way{source: src, mover: m, until: Moved}).errand(ref, ctx)
	return *e.do(ctx)
}

// errand is one item on its way, over all its readings. One goroutine does it.
type errand struct {
	*way
	ref  sources.Ref
	hard context.Context // a write that has begun goes on until it is done

	// journal is nil where no undo is kept. intent is where it holds the
	// newest edit that may have landed unnoticed; -1: none.
	journal journal
	intent  int64

	// tried are our own edits that met an error and may have landed all the
	// same. earlier are those of earlier processes, newest first.
	tried   []checkpoint.Entry
	earlier iter.Seq2[checkpoint.Entry, error]

	// paid are the keys that cost a call at an earlier reading. Asking again
	// may be answered from memory, but repeats no other item's key.
	paid []bool

	// room is the memory of the last reading. Its caller gives it back once the
	// item is settled.
	room Room
}

func (w *way) errand(ref sources.Ref, hard context.Context) errand {
	return errand{way: w, ref: ref, hard: hard, intent: -1, room: Room{gates: w.gates}}
}

// do goes the way, again from a fresh reading where the item has to be read
// again. When ctx is done no write is begun.
func (e *errand) do(ctx context.Context) *Event {
	for attempt, waited := 1, 0; ; {
		ev, err := e.once(ctx)
		ev.intent = e.intent
		e.ref.View, ev.Ref.View = nil, nil // another reading asks the store
		if err == nil {
			return ev
		}
		var wait *sources.NotYetError
		var run *sources.RunError
		switch {
		case ctx.Err() != nil, errors.As(err, &run):
			ev.end(account.Unsettled, "", err)
			return ev
		case errors.As(err, &wait):
			if waited++; waited > waits {
				ev.end(account.Failed, ReasonBusy, fmt.Errorf("%w; waited for it %d times", err, waits))
				return ev
			}
			select {
			case <-time.After(wait.Wait):
			case <-ctx.Done():
				ev.end(account.Unsettled, "", context.Cause(ctx))
				return ev
			}
		default:
			if attempt++; attempt > readings {
				reason := ReasonWrite
				if errors.Is(err, sources.ErrConflict) {
					reason = ReasonConflict
				}
				ev.end(account.Failed, reason, fmt.Errorf("%w; tried %d times", err, readings))
				return ev
			}
		}
	}
}

// reading is one reading of an item and all that follows from it.
type reading struct {
	*errand
	ev    *Event
	wrote bool
	// recovered are the keys that an earlier edit of ours had moved.
	recovered []int
}

// once goes the way from a fresh reading. The event is complete where there is
// no error; after an error the item has to be read again.
func (e *errand) once(ctx context.Context) (*Event, error) {
	r := reading{errand: e, ev: &Event{Ref: e.ref, phase: phaseRead}}
	err := r.take(ctx)
	r.unwritten()
	e.room.releaseHead()
	if err != nil { // the item is read again, or ends without an edit
		e.room.release()
	}
	return r.ev, err
}

func (r *reading) take(ctx context.Context) error {
	view, move, err := r.look(ctx)
	if err != nil || r.ev.Outcome != account.Unsettled {
		return err
	}
	r.ev.RevBefore = view.Rev
	if err := r.landed(view); err != nil {
		return err
	}
	switch {
	case len(move.Changes) > 0 && r.until == Moved:
		r.ev.end(account.Skipped, ReasonOldKey, errors.New("not on target"))
	case len(move.Changes) > 0:
		err = r.write(ctx, view, move)
	case r.ev.Recovered:
		r.ev.end(account.Rewrapped, "", nil)
	default:
		r.ev.end(r.ev.outcome(), "", nil)
	}
	if err == nil && move.Failure != nil && r.ev.Outcome != account.Gone {
		r.ev.end(account.Failed, move.Reason, move.Failure)
	}
	return err
}

// look reads the item, and reads more of it while the mover has to see more.
// The event is complete where its outcome is set.
func (r *reading) look(ctx context.Context) (sources.View, Move, error) {
	want := r.mover.Want()
	want.Head = min(want.Head, smallHead)
	for first := want.Head > 0; ; first = false {
		r.ev.phase = phaseRead
		view, err := r.read(ctx, want)
		if err != nil {
			if first && denied(err) {
				// The metadata alone may show that the item is foreign; try
				// that before reporting the body that was denied.
				want.Head = 0
				continue
			}
			return view, Move{}, r.unread(ctx, err)
		}
		r.ev.phase = phaseMove
		move, err := r.mover.Move(ctx, view, &r.room)
		r.ev.Found = move.Found
		r.pay()
		if err == nil {
			return view, move, nil
		}
		var short *sources.ShortError
		if !errors.As(err, &short) || short.Need <= want.Head || short.Need > maxHead {
			return view, Move{}, r.unmoved(ctx, err)
		}
		want.Head = short.Need
		if err := r.room.head(ctx, min(short.Need, view.Size)); err != nil {
			return view, Move{}, err
		}
	}
}

// denied says that the body of this item may not be read, though others may.
func denied(err error) bool {
	var run *sources.RunError
	return errors.As(err, new(*sources.SkipError)) || errors.As(err, &run) && run.Strikes > 1
}

// unread ends the event of an item that cannot be read. An error that is not
// the item's is handed back.
func (r *reading) unread(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, sources.ErrGone):
		r.ev.end(account.Gone, "", nil)
	case r.skipped(err):
	case ctx.Err() != nil || errors.As(err, new(*sources.RunError)) || errors.As(err, new(*sources.NotYetError)):
		return err
	default:
		r.ev.end(account.Failed, ReasonRead, err)
	}
	return nil
}

// unmoved ends the event of an item that the mover could not decide about. An
// error that is not the item's is handed back.
func (r *reading) unmoved(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil || errors.As(err, new(*sources.RunError)):
		return err
	case r.skipped(err):
	default:
		r.ev.end(account.Failed, ReasonFormat, err)
	}
	return nil
}

// skipped ends the event of an item that is left as it is, if the error says so.
func (r *reading) skipped(err error) bool {
	var skip *sources.SkipError
	if !errors.As(err, &skip) {
		return false
	}
	r.ev.end(account.Skipped, skip.Reason, err)
	r.ev.Nothing = skip.Nothing
	return true
}

// read takes the view that the listing brought, if it holds enough.
func (r *reading) read(ctx context.Context, want sources.Want) (sources.View, error) {
	if v := r.ref.View; v != nil && int64(len(v.Head)) >= min(want.Head, v.Size) {
		return *v, nil
	}
	return r.source.Read(ctx, r.ref, want)
}

// pay counts a key as deduplicated only if no reading of this item paid for it.
func (r *reading) pay() {
	keys := r.ev.Keys
	if more := len(keys) - len(r.paid); more > 0 { // at the first reading, or other writers have changed the item
		r.paid = append(r.paid, make([]bool, more)...)
	}
	for i := range keys {
		if o := keys[i].Outcome; o == account.Rewrapped || o == account.Current {
			keys[i].Deduplicated = keys[i].Deduplicated && !r.paid[i]
			r.paid[i] = r.paid[i] || !keys[i].Deduplicated
		}
	}
}

// write makes the edit. The event is complete where there is no error.
func (r *reading) write(ctx context.Context, view sources.View, move Move) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.ev.phase = phaseWrite
	plan, err := r.source.Plan(ctx, view, move.Edit)
	if err != nil {
		return r.refused(err)
	}
	if plan.Undo.None != "" {
		r.ev.end(account.Skipped, ReasonNotUndoable, errors.New(plan.Undo.None))
		return nil
	}
	if r.until == Planned {
		r.ev.Way, r.ev.Cost, r.ev.Unconditional, r.ev.Assumed = plan.Way, plan.Cost, plan.Unconditional, plan.Assumed
		r.ev.end(account.Skipped, ReasonOldKey, errors.New("not on target"))
		return nil
	}
	entry, err := r.record(ctx, view, move, plan.Undo)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	res, err := r.source.Apply(r.hard, plan)
	if err != nil {
		if done := r.refused(err); done == nil || errors.As(err, new(*sources.NotYetError)) {
			return done
		}
		// Even a conflict may be our own write, whose answer was lost below
		// us. The next reading tells.
		r.tried = append(r.tried, entry)
		return err
	}
	r.wrote = true
	r.intent = -1
	r.ev.Recovered = false
	r.ev.Way, r.ev.Cost, r.ev.Unconditional = plan.Way, plan.Cost, plan.Unconditional
	r.ev.Changes, r.ev.RevAfter = append(r.ev.Changes, move.Changes...), res.Rev
	r.ev.end(account.Rewrapped, "", nil)
	return nil
}

// refused ends the event where Plan or Apply refused the edit for good. Other
// errors are handed back.
func (r *reading) refused(err error) error {
	switch {
	case r.skipped(err):
		return nil
	case errors.Is(err, sources.ErrGone):
		r.ev.end(account.Gone, "", nil)
		return nil
	}
	return err
}

// record writes to the undo journal how the edit can be undone, before the first
// byte changes. A process that dies after this and before the edit landed
// leaves an entry of an edit that is not in the item; the digests of the keys
// in it tell.
func (r *reading) record(ctx context.Context, view sources.View, move Move, undo sources.Undo) (checkpoint.Entry, error) {
	entry := checkpoint.Entry{ID: view.ID, Time: now(), Rev: view.Rev, Keys: move.Changes, Version: undo.Version}
	if undo.Edit != nil {
		var err error
		if entry.Inverse, err = undo.Edit.AppendJSON(nil); err != nil {
			return entry, err
		}
	}
	if r.journal == nil {
		return entry, nil
	}
	offset, err := r.journal.Append(ctx, entry)
	if err != nil && ctx.Err() == nil {
		err = &sources.RunError{Err: fmt.Errorf("the undo journal cannot be written, so nothing may be changed: %w", err),
			Hint: "Make room for the state directory, then run the same command again"}
	}
	if err == nil {
		r.intent = offset
	}
	return entry, err
}

// unwritten corrects the keys of an item that was not written: keys that were
// re-wrapped and never written are where they were.
func (r *reading) unwritten() {
	if r.wrote {
		return
	}
	for i := range r.ev.Keys {
		if k := &r.ev.Keys[i]; k.Outcome == account.Rewrapped {
			k.Outcome = account.Skipped
		}
	}
	if r.ev.Outcome == account.Gone {
		return
	}
	for _, i := range r.recovered {
		r.ev.Keys[i].Outcome = account.Rewrapped
	}
}
