package engine

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"sync"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/sources"
)

const (
	// window is how many items of one line may be handed out beyond its
	// watermark: what is done twice after a kill is bounded by it, and so is
	// the memory for items that are settled out of order.
	window = 1024
	// parkedMax is how many items may be parked at once. An item that holds
	// up a full window is parked: noted durably, so that the watermark may
	// pass it while it is still in work.
	parkedMax = 64
)

// line is one order of items with a watermark: a span, or the failures of an
// earlier session. Its queue holds what is beyond the watermark, in order.
type line struct {
	queue  []*item
	listed bool // the listing reached its end
	// advance moves the durable watermark in the snapshot.
	advance func(c sources.Cursor)
	// finish notes in the snapshot that everything in the line is settled.
	finish func()
}

// item is one item that was handed out and is not yet behind the watermark.
type item struct {
	ref    sources.Ref
	line   *line
	event  *Event
	parked bool
	// intents are the offsets of the undo journal's entries about it in this
	// session; one that is being written stands at writing or behind it.
	intents []int64
	writing int64 // -1: none is
	// owed is what an earlier session noted of the item, when it is tried
	// again.
	owed *checkpoint.Owed
}

// ledger is the account of a run. It alone changes the snapshot: it knows what
// was handed out, moves the watermarks over what is settled without a gap,
// and adds up. One mutex guards it; nothing under it waits for a disk's sync.
//
// An item is in the tallies, in the audit log and among the failures if and
// only if it is behind its watermark (or was parked, and is settled), so
// every snapshot is a consistent cut: after a kill, what is beyond it is done
// again and counted for the first time.
type ledger struct {
	mu    sync.Mutex
	room  *sync.Cond // signalled when an item leaves a queue or the run ends
	state *checkpoint.State
	snap  checkpoint.Snapshot
	lines []*line
	park  []*item
	over  bool  // admit nothing more
	err   error // the first error of the state directory

	// tried is where the undo journal holds the edits of earlier sessions that
	// may have landed though nobody was told, by item; an item that is settled
	// leaves. The entries stay on disk: one may have a million keys.
	tried map[string][]int64
}

func newLedger(st *checkpoint.State) *ledger {
	l := &ledger{state: st}
	l.room = sync.NewCond(&l.mu)
	if st != nil {
		l.snap = st.Snapshot()
	}
	return l
}

// span makes the line of snap.Spans[i].
func (l *ledger) span(i int) *line {
	ln := &line{
		advance: func(c sources.Cursor) { l.snap.Spans[i].After = string(c) },
		finish:  func() { l.snap.Spans[i].Done = true },
	}
	l.add(ln)
	return ln
}

// retry makes the line of a file of failures; the file, not its place among
// the retries, is what stays the same.
func (l *ledger) retry(file string) *line {
	at := func() int {
		for i, r := range l.snap.Retries {
			if r.File == file {
				return i
			}
		}
		return -1
	}
	ln := &line{
		advance: func(c sources.Cursor) {
			if off, err := strconv.ParseInt(string(c), 10, 64); err == nil {
				l.snap.Retries[at()].Offset = off
			}
		},
		finish: func() {
			i := at()
			l.snap.Retries = append(l.snap.Retries[:i:i], l.snap.Retries[i+1:]...)
		},
	}
	l.add(ln)
	return ln
}

func (l *ledger) add(ln *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, ln)
}

// admit hands out the next item of a line, and waits for room in its window.
// nil: the run is over.
func (l *ledger) admit(ln *line, ref sources.Ref, owed *checkpoint.Owed) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.over && len(ln.queue) >= window && !l.parkHead(ln) {
		l.room.Wait()
	}
	if l.over {
		return nil
	}
	it := &item{ref: ref, line: ln, owed: owed, writing: -1}
	ln.queue = append(ln.queue, it)
	return it
}

// readmit hands out an item that an earlier session parked. It stays parked
// in the snapshot until it is settled.
func (l *ledger) readmit(p checkpoint.Parked) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil
	}
	it := &item{ref: sources.Ref{ID: p.ID, Name: p.ID, Cursor: sources.Cursor(p.Cursor)}, parked: true, writing: -1}
	l.park = append(l.park, it)
	return it
}

// earlier yields the edits of earlier sessions that may be in the item, newest
// first, and goes on after one that cannot be read. They are read when they are
// asked for, one at a time: each may have a million keys, and most kills leave
// some for items that will be done anew anyway.
func (l *ledger) earlier(it *item) iter.Seq2[checkpoint.Entry, error] {
	return func(yield func(checkpoint.Entry, error) bool) {
		l.mu.Lock()
		at := l.unknown(it)
		l.mu.Unlock()
		for _, off := range slices.Backward(at) {
			e, err := l.state.Journal().At(off)
			if err != nil {
				err = stateError(err)
			}
			e.Inverse = nil // not needed to recognise an edit
			if !yield(e, err) {
				return
			}
		}
	}
}

// unknown is where the undo journal holds the edits of earlier sessions that may
// be in the item and not in the account, ascending. A snapshot may name more: it
// has every entry behind one that is being written.
func (l *ledger) unknown(it *item) []int64 {
	at := slices.Clone(l.tried[it.ref.ID])
	if o := it.owed; o != nil {
		at = slices.DeleteFunc(at, func(off int64) bool { return off <= o.Known })
		if o.Journal >= 0 {
			at = append(at, o.Journal)
		}
	}
	slices.Sort(at)
	return at
}

// intent is the undo journal as the worker of one item writes it: the ledger
// knows of every entry before it is on disk, so that no snapshot leaves out
// one whose edit may have landed.
type intent struct {
	l  *ledger
	it *item
}

func (i intent) Append(ctx context.Context, e checkpoint.Entry) (int64, error) {
	j := i.l.state.Journal()
	i.l.mu.Lock()
	i.it.writing = j.Size()
	i.l.mu.Unlock()
	off, err := j.Append(ctx, e)
	i.l.mu.Lock()
	defer i.l.mu.Unlock()
	i.it.writing = -1
	if err == nil {
		i.it.intents = append(i.it.intents, off)
	}
	return off, err
}

// parkHead lets the watermark pass the item that holds it up. It is noted in
// the same snapshot that has the watermark beyond it. An item that was owed
// already is not parked: its line in the file of failures is its note.
func (l *ledger) parkHead(ln *line) bool {
	head := ln.queue[0]
	if l.state == nil || head.owed != nil || len(l.park) >= parkedMax {
		return false
	}
	head.parked = true
	l.park = append(l.park, head)
	l.snap.Parked = append(l.snap.Parked, checkpoint.Parked{ID: head.ref.ID, Cursor: string(head.ref.Cursor)})
	l.pop(ln)
	return true
}

// settle notes an item's fate. Unsettled items are not noted: they stay beyond
// the watermark, or parked, and are done again by the next run.
func (l *ledger) settle(it *item, ev Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it.event = &ev
	if it.parked {
		l.unpark(it)
		l.account(it)
	} else {
		l.pop(it.line)
	}
	l.room.Broadcast()
}

// end says that the listing of a line reached its end.
func (l *ledger) end(ln *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln.listed = true
	l.pop(ln)
}

// pop moves the watermark over everything at the head of the line that is
// settled or parked.
func (l *ledger) pop(ln *line) {
	n := 0
	for ; n < len(ln.queue); n++ {
		it := ln.queue[n]
		if it.event == nil && !it.parked {
			break
		}
		ln.advance(it.ref.Cursor)
		if it.event != nil {
			l.account(it)
		}
		ln.queue[n] = nil
	}
	if n > 0 {
		ln.queue = append(ln.queue[:0], ln.queue[n:]...)
		l.room.Broadcast()
	}
	if ln.listed && len(ln.queue) == 0 && ln.finish != nil {
		ln.finish()
		ln.finish = nil
	}
}

func (l *ledger) unpark(it *item) {
	for i, p := range l.park {
		if p == it {
			l.park = append(l.park[:i:i], l.park[i+1:]...)
			break
		}
	}
	for i, p := range l.snap.Parked {
		if p.ID == it.ref.ID && p.Cursor == string(it.ref.Cursor) {
			l.snap.Parked = append(l.snap.Parked[:i:i], l.snap.Parked[i+1:]...)
			break
		}
	}
}

// account adds a settled item to the sums, once.
func (l *ledger) account(it *item) {
	ev, t := it.event, &l.snap.Tally
	if it.owed != nil {
		t.Retract(account.Counted{Outcome: it.owed.Outcome, Reason: it.owed.Reason, Under: it.owed.Under, Keys: it.owed.Keys})
	}
	counted := t.Count(account.Item{Outcome: ev.Outcome, Reason: ev.Reason, Owed: ev.owed(), Unconditional: ev.Unconditional, Keys: ev.Keys})
	before := l.unknown(it)
	delete(l.tried, it.ref.ID)
	if l.state == nil {
		return
	}
	for _, c := range ev.Changes {
		l.note(l.state.Audit(checkpoint.AuditLine{ID: ev.Ref.ID, Time: now(), KeyChange: c, RevisionBefore: ev.RevBefore, RevisionAfter: ev.RevAfter}))
	}
	if !ev.owed() {
		return
	}
	o := checkpoint.Owed{ID: ev.Ref.ID, Error: ev.Err.Error(), Reason: ev.Reason, Attempts: 1, Outcome: ev.Outcome.String(),
		Cursor: string(it.ref.Cursor), Under: counted.Under, Keys: counted.Keys, Journal: ev.Intent}
	if it.owed != nil {
		o.Attempts += it.owed.Attempts
		o.Cursor = it.owed.Cursor
		o.Known = it.owed.Known
	}
	for _, off := range slices.Concat(before, it.intents) {
		o.Known = max(o.Known, off)
	}
	// An earlier edit whose fate is still not known stays so, unless this
	// reading found it in the item: then its changes are in the account.
	switch {
	case o.Journal >= 0 || len(ev.Changes) > 0:
	case len(before) > 0:
		o.Journal = before[len(before)-1]
	}
	l.note(l.state.Owe(o))
}

func (l *ledger) note(err error) {
	if err != nil && l.err == nil {
		l.err = stateError(err)
		l.over = true
		l.room.Broadcast()
	}
}

// close admits nothing more. What was handed out may still settle.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.room.Broadcast()
}

// cut makes a snapshot to be committed.
func (l *ledger) cut() (snap checkpoint.Snapshot, c checkpoint.Cut, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return snap, c, l.err
	}
	l.snap.JournalFrom, l.snap.Unsettled = l.unsettled()
	if c, err = l.state.Cut(); err != nil {
		l.note(err)
		return snap, c, l.err
	}
	return l.snap.Clone(), c, nil
}

// unsettled are the entries of the undo journal about items that are not in
// the account: those of this session, and what earlier ones left.
func (l *ledger) unsettled() (from int64, offsets []int64) {
	from = l.state.Journal().Size()
	look := func(it *item) {
		offsets = append(offsets, it.intents...)
		if it.writing >= 0 {
			from = min(from, it.writing)
		}
	}
	for _, ln := range l.lines {
		for _, it := range ln.queue {
			look(it)
		}
	}
	for _, it := range l.park {
		look(it)
	}
	for _, at := range l.tried {
		offsets = append(offsets, at...)
	}
	slices.Sort(offsets)
	return from, offsets
}

// tally is the sums so far.
func (l *ledger) tally() account.Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snap.Tally.Clone()
}

func stateError(err error) error {
	var run *sources.RunError
	if errors.As(err, &run) {
		return err
	}
	return &sources.RunError{Err: err, Hint: "The state directory must be writable and have room; then run the same command again"}
}
