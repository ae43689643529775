package engine

import (
	"cmp"
	"slices"
	"sync"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/sources"
)

const (
	// window is how many items of one line may be handed out beyond its
	// watermark. It bounds the work that is done twice after a kill, and the
	// memory for items that are settled out of order.
	window = 1024
	// parkedMax is how many items may be parked at once. An item that holds
	// up a full window is parked: it is noted durably, so that the watermark
	// may pass it while it is still in work.
	parkedMax = 64
)

// item is one item that was handed out and is not yet behind the watermark.
type item struct {
	ref    sources.Ref
	line   *line
	event  *Event
	parked bool
	// intents are the offsets of the undo journal's entries about the item in
	// this session. writing is a lower bound for the offset of the entry that
	// is being written; -1: none is.
	intents []int64
	writing int64
	// owed is what an earlier session noted of an item that is tried again,
	// and next is where the line after its own begins.
	owed *checkpoint.Owed
	next int64
}

// nameOf is the name of an item as the checkpoint keeps it: "" if it is the ID.
func nameOf(r sources.Ref) string {
	if r.Name == r.ID {
		return ""
	}
	return r.Name
}

// refOf is the item that the checkpoint names.
func refOf(id, name, cursor string) sources.Ref {
	return sources.Ref{ID: id, Name: cmp.Or(name, id), Cursor: sources.Cursor(cursor)}
}

// ledger is the account of a run, and alone touches the snapshot from its
// making on. It knows which items were handed out, moves the watermarks over
// items that are settled without a gap, and adds up. One mutex guards it;
// nothing under it waits for a disk's sync.
//
// An item is in the tallies, in the audit log and among the failures if and
// only if it is behind its watermark (or was parked, and is settled). So every
// snapshot is a consistent cut: after a kill, the items beyond it are done
// again and counted for the first time.
type ledger struct {
	mu    sync.Mutex
	space *sync.Cond // signalled when an item leaves a queue or the run ends
	state *checkpoint.State
	snap  checkpoint.Snapshot
	lines []*line
	park  []*item
	over  bool  // admit nothing more
	err   error // the first error of the state directory

	// inherited is where the undo journal holds edits of earlier sessions that
	// may have landed unnoticed, by item. An item that is settled leaves. The
	// entries stay on disk: one may have a million keys.
	inherited map[string][]int64
}

func newLedger(st *checkpoint.State, learned string) *ledger {
	l := &ledger{state: st}
	l.space = sync.NewCond(&l.mu)
	if st != nil {
		l.snap = st.Snapshot()
	}
	l.snap.Learned = learned
	return l
}

// resumed says that an earlier session of the pass has begun the listing.
func (l *ledger) resumed() bool { return l.snap.Session > 1 && l.snap.Spans != nil }

// begins says that the pass has no spans yet.
func (l *ledger) begins() bool { return l.snap.Spans == nil }

// begin notes the spans of a new pass.
func (l *ledger) begin(spans []sources.Span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range spans {
		l.snap.Spans = append(l.snap.Spans, checkpoint.SpanState{ID: s.ID, Data: s.Data})
	}
}

// spans is how far the listing is.
func (l *ledger) spans() []checkpoint.SpanState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.snap.Spans)
}

// unfinished are the items of earlier sessions that are to be done beside the
// listing.
func (l *ledger) unfinished() (parked []checkpoint.Parked, retries []checkpoint.Retry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.snap.Parked), slices.Clone(l.snap.Retries)
}

// line makes a line of the items that the watermark is for.
func (l *ledger) line(m watermark) *line {
	ln := &line{mark: m}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, ln)
	return ln
}

// admit hands out the next item of a line, and waits for room in its window.
// nil: the run is over.
func (l *ledger) admit(ln *line, it item) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.over && len(ln.queue) >= window && !l.parkHead(ln) {
		l.space.Wait()
	}
	if l.over {
		return nil
	}
	it.line, it.writing = ln, -1
	ln.queue = append(ln.queue, &it)
	return &it
}

// readmit hands out an item that an earlier session parked. It stays parked
// in the snapshot until it is settled.
func (l *ledger) readmit(p checkpoint.Parked) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil
	}
	it := &item{ref: refOf(p.ID, p.Name, p.Cursor), parked: true, writing: -1}
	l.park = append(l.park, it)
	return it
}

// parkHead lets the watermark pass the item that holds it up. The item is noted
// in the same snapshot that has the watermark beyond it. An item that was owed
// already is not parked: its line in the file of failures is its note.
func (l *ledger) parkHead(ln *line) bool {
	head := ln.queue[0]
	if l.state == nil || head.owed != nil || len(l.park) >= parkedMax {
		return false
	}
	head.parked = true
	l.park = append(l.park, head)
	l.snap.Parked = append(l.snap.Parked, checkpoint.Parked{ID: head.ref.ID, Name: nameOf(head.ref), Cursor: string(head.ref.Cursor)})
	l.pop(ln)
	return true
}

// unpark forgets an item that was parked, since it is settled.
func (l *ledger) unpark(it *item) {
	l.park = slices.DeleteFunc(l.park, func(p *item) bool { return p == it })
	l.snap.Parked = slices.DeleteFunc(l.snap.Parked, func(p checkpoint.Parked) bool {
		return p.ID == it.ref.ID && p.Cursor == string(it.ref.Cursor)
	})
}

// settle notes how an item ended. Items that are unsettled never come here: they
// stay beyond the watermark, or parked, and the next run does them again.
func (l *ledger) settle(it *item, ev *Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it.event = ev
	it.ref.View = nil // which may be large, and the item may stay in its queue for long
	if it.parked {
		l.unpark(it)
		l.account(it)
		l.space.Broadcast() // there is room to park another
		return
	}
	l.pop(it.line)
}

// listed says that the listing of a line reached its end.
func (l *ledger) listed(ln *line) {
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
		ln.mark.pass(&l.snap, it)
		if it.event != nil {
			l.account(it)
		}
		ln.queue[n] = nil
	}
	if n > 0 {
		ln.queue = append(ln.queue[:0], ln.queue[n:]...)
		l.space.Broadcast()
	}
	if ln.listed && len(ln.queue) == 0 && !ln.done {
		ln.done = true
		ln.mark.done(&l.snap)
	}
}

// account adds a settled item to the sums, once.
func (l *ledger) account(it *item) {
	ev, t := it.event, &l.snap.Tally
	if it.owed != nil {
		t.Retract(it.owed.Counted())
	}
	wrote := len(ev.Changes) > 0 // and not only planned to
	counted := account.Item{Outcome: ev.Outcome, Reason: ev.Reason, Owed: ev.owed(), Unconditional: wrote && ev.Unconditional, Keys: ev.Keys}
	t.Count(counted)
	before := l.unknown(it)
	delete(l.inherited, it.ref.ID)
	if l.state == nil {
		return
	}
	for _, c := range ev.Changes {
		l.note(l.state.Audit(checkpoint.AuditLine{ID: ev.Ref.ID, Time: now(), KeyChange: c, RevisionBefore: ev.RevBefore, RevisionAfter: ev.RevAfter}))
	}
	if ev.owed() {
		l.owe(it, counted.Counted(), before)
	}
}

// owe adds an item to the list of failures. before are the entries of the undo
// journal whose fate was not known when the item was tried.
func (l *ledger) owe(it *item, counted account.Counted, before []int64) {
	ev := it.event
	o := checkpoint.Owed{
		ID: it.ref.ID, Name: nameOf(it.ref), Cursor: string(it.ref.Cursor),
		Error: ev.Err.Error(), Attempts: 1, Journal: ev.intent,
	}
	o.SetCounted(counted)
	if it.owed != nil {
		o.Attempts += it.owed.Attempts
		o.Known = it.owed.Known
	}
	for _, off := range slices.Concat(before, it.intents) {
		o.Known = max(o.Known, off)
	}
	// The fate of an earlier edit stays unknown, unless this reading found the
	// edit in the item: then its changes are in the account.
	if o.Journal < 0 && len(ev.Changes) == 0 && len(before) > 0 {
		o.Journal = before[len(before)-1]
	}
	l.note(l.state.Owe(o))
}

func (l *ledger) note(err error) {
	if err != nil && l.err == nil {
		l.err = stateError(err)
		l.over = true
		l.space.Broadcast()
	}
}

// close admits nothing more. Items that were handed out may still settle.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.space.Broadcast()
}

// cut makes a snapshot to be committed.
func (l *ledger) cut(result string) (snap checkpoint.Snapshot, c checkpoint.Cut, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return snap, c, l.err
	}
	l.snap.JournalFrom, l.snap.Unsettled = l.unsettled()
	l.snap.Result = result
	if c, err = l.state.Cut(); err != nil {
		l.note(err)
		return snap, c, l.err
	}
	return l.snap.Clone(), c, nil
}

// tally is the sums so far.
func (l *ledger) tally() account.Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snap.Tally.Clone()
}
