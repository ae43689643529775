package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/sources"
)

const (
	// readings is how often an item is read and tried before it is left to
	// the other writers.
	readings = 4
	// waits is how often an item that was just written is waited for.
	waits = 10
	// maxHead is the most of a body that a format may ask to see.
	maxHead = 64 << 20
)

// Rewrapper turns an old wrapped key into a new one: KMS ReEncrypt or a local
// keyring. Called from many goroutines at once.
//
// envelope.ErrForeign says that the blob is under none of the source keys, a
// *sources.RunError that the key service is unusable for the run; any other
// error is this wrapped key's. Beside an error only From counts: the key that the
// blob names as the one that it is under, if it names one.
type Rewrapper interface {
	Rewrap(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error)
}

// Journal keeps the inverse of every edit. An edit is applied only after
// Append has returned, so Append returns when the entry is durable.
type Journal interface {
	Append(ctx context.Context, e checkpoint.Entry) (offset int64, err error)
}

// Worker takes one item its whole way: read, parse, re-wrap, plan, journal,
// apply. It needs neither pool nor checkpoint. Safe for concurrent use.
type Worker struct {
	Source    sources.Source
	Format    envelope.Format
	Rewrapper Rewrapper

	// Journal is written before each edit; nil: no undo is kept.
	Journal Journal
	// Keys bounds the key calls in work at once, over all items; nil: one at
	// a time for each item.
	Keys *semaphore.Weighted
	// Local says that the rewrapper calls no service: the keys of one item are
	// re-wrapped one after another, since handing each to a goroutine of its
	// own would cost more than the work.
	Local bool
	// How is the census's word for how the rewrapper knows what a wrapped key is
	// under.
	How string
	// Heads bounds the bytes of bodies that are held at once, over all items,
	// where a format asks to see much of them; nil: no bound.
	Heads *semaphore.Weighted
	// Many bounds the wrapped keys of items that hold many, over all items; nil:
	// no bound. It is waited for with Heads in hand, and never the other way.
	Many *semaphore.Weighted
	// ReadOnly stops before the edit: what is not on target is skipped, with
	// ReasonOldKey.
	ReadOnly bool
}

// Do takes one item its way and tells its fate. An Event whose Err is a
// *sources.RunError says that the run is in doubt, not the item; its Outcome
// is Unsettled and the caller decides. Do never writes after ctx is done.
func (w *Worker) Do(ctx context.Context, r sources.Ref) Event {
	return w.do(ctx, ctx, r, func(func(checkpoint.Entry, error) bool) {})
}

// do is Do with the edits of earlier processes that may have landed though
// nobody was told, newest first. When ctx is done no write is begun; one that
// has begun goes on until hard is done.
func (w *Worker) do(ctx, hard context.Context, r sources.Ref, earlier iter.Seq2[checkpoint.Entry, error]) Event {
	j := job{w: w, hard: hard, ev: Event{Ref: r, Intent: -1}, earlier: earlier}
	for reading, waited := 1, 0; ; {
		err := j.once(ctx)
		var wait *sources.NotYetError
		var run *sources.RunError
		switch {
		case err == nil:
			return j.ev
		case ctx.Err() != nil, errors.As(err, &run):
			return j.end(account.Unsettled, "", err)
		case errors.As(err, &wait):
			if waited++; waited > waits {
				return j.end(account.Failed, ReasonBusy, fmt.Errorf("%w; it was waited for %d times", err, waits))
			}
			select {
			case <-time.After(wait.Wait):
			case <-ctx.Done():
				return j.end(account.Unsettled, "", context.Cause(ctx))
			}
			continue
		}
		if reading++; reading > readings {
			reason := ReasonWrite
			if errors.Is(err, sources.ErrConflict) {
				reason = ReasonConflict
			}
			return j.end(account.Failed, reason, fmt.Errorf("%w; tried %d times", err, readings))
		}
	}
}

// job is one item on its way.
type job struct {
	w    *Worker
	hard context.Context
	ev   Event
	// tried are our own edits that may have landed though they met an error, and
	// earlier those of earlier processes.
	tried   []checkpoint.Entry
	earlier iter.Seq2[checkpoint.Entry, error]
	// wrote says that the edit is in the item, by this call or an earlier one.
	wrote bool
	// landedKeys are the keys of this reading that an edit of ours had changed.
	landedKeys map[int]bool
	// held is what it has of Heads, and many of Many.
	held, many int64
	// paid are the keys that cost a call at an earlier reading: asking again
	// may be answered from memory, but is no repeat of another item's key.
	paid []bool
	// failed counts the keys that failed at this reading; failure is the first
	// one's, and reason its reason.
	failed  int
	failure error
	reason  string
}

// fail counts a key that failed.
func (j *job) fail(locator, reason string, err error) {
	if j.failed++; j.failed > 1 {
		return
	}
	j.reason, j.failure = reason, err
	if locator != "" { // "" is a document that is one string
		j.failure = fmt.Errorf("%s: %w", locator, err)
	}
}

// failures is the error of an item some of whose keys failed.
func (j *job) failures() error {
	switch more := j.failed - 1; more {
	case 0:
		return j.failure
	case 1:
		return fmt.Errorf("%w; and 1 more of its wrapped keys failed", j.failure)
	default:
		return fmt.Errorf("%w; and %d more of its wrapped keys failed", j.failure, more)
	}
}

// end completes the event. What is not in the item is not said to be: keys that
// were rewrapped for nothing are where they were.
func (j *job) end(o account.Outcome, reason string, err error) Event {
	j.ev.Outcome, j.ev.Reason, j.ev.Err = o, reason, err
	if o == account.Gone {
		j.ev.Keys, j.ev.Changes = nil, nil
	}
	for i := range j.ev.Keys {
		if k := &j.ev.Keys[i]; k.Outcome == account.Rewrapped && !j.landedKeys[i] && !j.wrote {
			k.Outcome = account.Skipped
		}
	}
	return j.ev
}

// once goes the way from a fresh reading. It returns nil when the event is
// complete, and an error when the item has to be read again.
func (j *job) once(ctx context.Context) error {
	j.ev = Event{Ref: j.ev.Ref, Intent: j.ev.Intent, phase: reading}
	j.failed, j.landedKeys = 0, nil
	defer j.letGo()
	view, env, err := j.read(ctx)
	if err != nil || env.Keys == nil {
		return err
	}
	j.ev.Format, j.ev.Fields, j.ev.RevBefore = env.Format, env.Fields, view.Rev

	j.ev.phase = rewrapping
	keys := env.Keys
	if err := j.holdMany(ctx, len(keys)); err != nil {
		return err
	}
	answers, err := j.rewrap(ctx, keys)
	if err != nil {
		return err
	}
	stale := 0
	for i, a := range answers {
		if a != nil && a.Current {
			answers[i] = nil // leave
		} else if a != nil {
			stale++
		}
	}

	landed, err := j.landed(keys, view.Rev)
	if err != nil {
		return err
	}
	switch {
	case stale > 0 && j.w.ReadOnly:
		j.end(account.Skipped, ReasonOldKey, errors.New("not on target"))
	case stale > 0:
		if done, err := j.write(ctx, view, env, keys, answers); !done {
			return err
		}
	case landed:
		j.end(account.Rewrapped, "", nil)
	default:
		j.end(worst(j.ev.Keys), "", nil)
	}
	if j.failed > 0 {
		j.end(account.Failed, j.reason, j.failures())
	}
	return nil
}

// read brings the item and its envelope. The event is complete if the envelope
// has no keys.
func (j *job) read(ctx context.Context) (sources.View, envelope.Envelope, error) {
	want := sources.Want{Head: min(j.w.Format.Head(), smallHead)}
	for first := want.Head > 0; ; first = false {
		view, err := j.w.Source.Read(ctx, j.ev.Ref, want)
		var run *sources.RunError
		var refused *sources.SkipError
		switch {
		case first && (errors.As(err, &refused) || errors.As(err, &run) && run.Strikes > 1):
			// A body that may not be read is none of the item's business if the
			// rest tells that it is not of the format.
			want.Head = 0
			continue
		case errors.Is(err, sources.ErrGone):
			j.end(account.Gone, "", nil)
			return view, envelope.Envelope{}, nil
		case errors.As(err, &refused):
			j.end(account.Skipped, refused.Reason, err)
			j.ev.Nothing = refused.Nothing
			return view, envelope.Envelope{}, nil
		case err != nil && (ctx.Err() != nil || errors.As(err, &run) || errors.As(err, new(*sources.NotYetError))):
			return view, envelope.Envelope{}, err
		case err != nil:
			j.end(account.Failed, ReasonRead, err)
			return view, envelope.Envelope{}, nil
		}
		env, err := j.w.Format.Parse(view)
		var short *sources.ShortError
		var skip *sources.SkipError
		switch {
		case err == nil:
			return view, env, nil
		case errors.As(err, &short) && short.Need > want.Head && short.Need <= maxHead:
			want.Head = short.Need
			if err := j.hold(ctx, min(short.Need, view.Size)); err != nil {
				return view, envelope.Envelope{}, err
			}
			continue
		case errors.Is(err, envelope.ErrForeign):
			j.end(account.Foreign, "", nil)
		case errors.As(err, &skip):
			j.end(account.Skipped, skip.Reason, err)
		default:
			j.end(account.Failed, ReasonFormat, err)
		}
		return view, envelope.Envelope{}, nil
	}
}

// smallHead is so little of a body that nobody counts it.
const smallHead = 64 << 10

// hold waits until there is room for so much of a body, and takes it in place
// of what it had.
func (j *job) hold(ctx context.Context, n int64) error {
	j.letGo()
	if j.w.Heads == nil || n <= smallHead {
		return nil
	}
	if err := j.w.Heads.Acquire(ctx, n); err != nil {
		return context.Cause(ctx)
	}
	j.held = n
	return nil
}

// fewKeys are so few that nobody counts them.
const fewKeys = 256

// holdMany waits until there is room for what is kept of so many keys: some
// 2 KiB each, until the item is settled.
func (j *job) holdMany(ctx context.Context, n int) error {
	if j.w.Many == nil || n <= fewKeys {
		return nil
	}
	weight := min(int64(n), manyMax)
	if err := j.w.Many.Acquire(ctx, weight); err != nil {
		return context.Cause(ctx)
	}
	j.many = weight
	return nil
}

func (j *job) letGo() {
	if j.held > 0 {
		j.w.Heads.Release(j.held)
		j.held = 0
	}
	if j.many > 0 {
		j.w.Many.Release(j.many)
		j.many = 0
	}
}

// eachKey makes the key calls of one item, until ctx is done or a call says that
// it is over, and returns when all have ended.
func (w *Worker) eachKey(ctx context.Context, n int, call func(i int) (more bool)) error {
	if w.Keys == nil || w.Local || n == 1 { // a goroutine for each would be for nothing
		if w.Keys != nil {
			if err := w.Keys.Acquire(ctx, 1); err != nil {
				return context.Cause(ctx)
			}
			defer w.Keys.Release(1)
		}
		for i := 0; i < n && ctx.Err() == nil && call(i); i++ {
		}
		return context.Cause(ctx)
	}
	var calls sync.WaitGroup
	defer calls.Wait()
	var over atomic.Bool
	for i := 0; i < n && !over.Load(); i++ {
		if err := w.Keys.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
		calls.Go(func() {
			defer w.Keys.Release(1)
			if !call(i) {
				over.Store(true)
			}
		})
	}
	return nil
}

// rewrap asks the key service about every key of the item. A nil answer means
// that the key stays as it is.
func (j *job) rewrap(ctx context.Context, keys []envelope.WrappedKey) ([]*envelope.Rewrapped, error) {
	answers := make([]*envelope.Rewrapped, len(keys))
	errs := make([]error, len(keys))
	named := make([]account.KeyEvent, len(keys))
	err := j.w.eachKey(ctx, len(keys), func(i int) bool {
		if errs[i] = keys[i].Err; errs[i] != nil {
			return true
		}
		a, err := j.w.fitting(ctx, keys[i])
		if err == nil {
			answers[i] = &a
			return true
		}
		errs[i], named[i].From = err, a.From
		return !errors.As(err, new(*sources.RunError)) // which would meet the others too
	})
	if err != nil {
		return nil, err
	}

	j.ev.Keys = named
	if more := len(keys) - len(j.paid); more > 0 { // or else other writers have changed the item
		j.paid = append(j.paid, make([]bool, more)...)
	}
	for i := range keys {
		k := &j.ev.Keys[i]
		k.How = j.w.How
		var run *sources.RunError
		switch a, e := answers[i], errs[i]; {
		case errors.As(e, &run), e != nil && ctx.Err() != nil:
			return nil, e
		case errors.Is(e, envelope.ErrForeign):
			k.Outcome = account.Foreign
		case e != nil:
			k.Outcome = account.Failed
			reason := ReasonKey
			if keys[i].Err != nil {
				reason = ReasonFormat
			} else if keys[i].Hint != "" {
				e = fmt.Errorf("%w; %s", e, keys[i].Hint)
			}
			j.fail(keys[i].Locator, reason, e)
		case a == nil: // another key's error ended the calls, and is returned when its turn comes
		default:
			*k = account.KeyEvent{How: j.w.How, Outcome: account.Rewrapped, From: a.From, To: a.To, Newer: a.Newer, Deduplicated: a.Deduplicated}
			if a.Current {
				k.Outcome = account.Current
			}
			k.Assumed = !a.Current && a.Blob != nil && keys[i].Fits != nil && !keys[i].Fits(a.Blob)
			k.Deduplicated = k.Deduplicated && !j.paid[i]
			j.paid[i] = j.paid[i] || !k.Deduplicated
		}
	}
	return answers, nil
}

// landed recognises edits of ours whose answer nobody got: every key that such
// an edit changed is in the item, byte for byte. Then those keys were rewrapped
// by this job, though they are current now.
func (j *job) landed(keys []envelope.WrappedKey, rev string) (bool, error) {
	if !slices.ContainsFunc(j.ev.Keys, func(k account.KeyEvent) bool { return k.Outcome == account.Current }) {
		return false, nil // so that no entry has to be read
	}
	var present map[string]int // by locator, which of the keys
	for e, err := range j.mayHaveLanded {
		if err != nil {
			return false, err
		}
		if present == nil {
			present = make(map[string]int, len(keys))
			for i, k := range keys {
				present[k.Locator] = i
			}
		}
		if !holds(keys, present, e.Keys) {
			continue
		}
		for _, c := range e.Keys {
			i := present[c.Locator]
			if k := &j.ev.Keys[i]; k.Outcome == account.Current { // not of a newer one, with the same answer
				k.Outcome = account.Rewrapped
				if j.landedKeys == nil {
					j.landedKeys = make(map[int]bool)
				}
				j.landedKeys[i] = true
				k.From = account.KeyVersion{ARN: c.KeyFrom, Material: c.MaterialFrom}
				j.ev.Changes = append(j.ev.Changes, c)
			}
		}
		j.ev.RevBefore, j.ev.RevAfter = e.Rev, rev
		j.ev.Recovered, j.ev.Intent = true, -1
	}
	return j.ev.Recovered, nil
}

// mayHaveLanded yields the edits that may be in the item, newest first.
func (j *job) mayHaveLanded(yield func(checkpoint.Entry, error) bool) {
	for _, e := range slices.Backward(j.tried) {
		if !yield(e, nil) {
			return
		}
	}
	j.earlier(yield)
}

func holds(keys []envelope.WrappedKey, present map[string]int, changes []account.KeyChange) bool {
	for _, c := range changes {
		if i, ok := present[c.Locator]; !ok || digest(keys[i].Blob) != c.SHA256After {
			return false
		}
	}
	return len(changes) > 0
}

// write makes the edit. It returns true when the event is complete.
func (j *job) write(ctx context.Context, view sources.View, env envelope.Envelope, keys []envelope.WrappedKey, answers []*envelope.Rewrapped) (bool, error) {
	blobs := make([][]byte, len(answers))
	for i, a := range answers {
		if a != nil {
			blobs[i] = a.Blob
		}
	}
	edit, err := env.Replace(blobs)
	if err != nil {
		j.end(account.Failed, ReasonFormat, err)
		return true, nil
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	j.ev.phase = writing
	plan, err := j.w.Source.Plan(ctx, view, edit)
	var refused *sources.SkipError
	switch {
	case errors.As(err, &refused):
		j.end(account.Skipped, refused.Reason, err)
		return true, nil
	case errors.Is(err, sources.ErrGone):
		j.end(account.Gone, "", nil)
		return true, nil
	case err != nil:
		return false, err
	}
	if plan.Undo.Edit == nil {
		j.end(account.Skipped, ReasonNotApplied, errors.New(plan.Undo.None))
		return true, nil
	}

	entry := checkpoint.Entry{ID: view.ID, Time: time.Now().UTC(), Rev: view.Rev, Keys: changes(keys, answers)}
	if entry.Inverse, err = plan.Undo.Edit.AppendJSON(nil); err != nil {
		return false, err
	}
	if j.w.Journal != nil {
		// Before the first byte changes. Killed after this line and before
		// the edit landed: the entry describes an edit that is not in the
		// item, which whoever reads the journal finds out from the digests.
		if j.ev.Intent, err = j.w.Journal.Append(ctx, entry); err != nil {
			if ctx.Err() != nil {
				return false, err
			}
			return false, &sources.RunError{Err: fmt.Errorf("the undo journal cannot be written, so nothing may be changed: %w", err),
				Hint: "Make room for the state directory, then run the same command again"}
		}
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	res, err := j.w.Source.Apply(j.hard, plan)
	switch {
	case err == nil:
	case errors.Is(err, sources.ErrGone):
		j.end(account.Gone, "", nil)
		return true, nil
	case errors.As(err, &refused):
		j.end(account.Skipped, refused.Reason, err)
		return true, nil
	case errors.As(err, new(*sources.NotYetError)):
		return false, err
	default:
		// Even a conflict may be our own write, whose answer was lost below
		// us. The next reading tells.
		j.tried = append(j.tried, entry)
		return false, err
	}
	j.wrote = true
	j.end(account.Rewrapped, "", nil)
	j.ev.Intent = -1
	j.ev.Way, j.ev.Unconditional = plan.Way, plan.Unconditional
	j.ev.Changes, j.ev.RevAfter = append(j.ev.Changes, entry.Keys...), res.Rev
	j.ev.Recovered = false
	return true, nil
}

// trials is how often a local rewrapper makes a new key until one fits. Of short
// ones, every tenth to hundredth does.
const trials = 1000

// fitting asks the rewrapper about one key. A local one is asked again until the
// new key fits; if none does, the last is taken.
func (w *Worker) fitting(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
	a, err := w.Rewrapper.Rewrap(ctx, k)
	if !w.Local || k.Fits == nil || err != nil || a.Current || k.Fits(a.Blob) || !k.Fits(make([]byte, len(a.Blob))) {
		return a, err
	}
	for n := 1; n < trials && !k.Fits(a.Blob); n++ {
		if a, err = w.Rewrapper.Rewrap(ctx, k); err != nil {
			return a, err
		}
	}
	return a, nil
}

func changes(keys []envelope.WrappedKey, answers []*envelope.Rewrapped) []account.KeyChange {
	n := 0
	for _, a := range answers {
		if a != nil {
			n++
		}
	}
	cs := make([]account.KeyChange, 0, n)
	for i, a := range answers {
		if a == nil {
			continue
		}
		cs = append(cs, account.KeyChange{
			Locator: keys[i].Locator,
			KeyFrom: a.From.ARN, MaterialFrom: a.From.Material,
			KeyTo: a.To.ARN, MaterialTo: a.To.Material,
			RequestID:    a.RequestID,
			SHA256Before: digest(keys[i].Blob), SHA256After: digest(a.Blob),
		})
	}
	return cs
}

func digest(blob []byte) string {
	sum := sha256.Sum256(blob)
	return hex.EncodeToString(sum[:])
}

// worst is the outcome of an item of which no key changed.
func worst(keys []account.KeyEvent) account.Outcome {
	o := account.Foreign
	for _, k := range keys {
		if k.Outcome != account.Unsettled && k.Outcome < o {
			o = k.Outcome
		}
	}
	return o
}
