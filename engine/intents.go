package engine

import (
	"context"
	"iter"
	"slices"

	"rewrap/checkpoint"
)

// intent is the undo journal as the way of one item writes it. The ledger knows
// of every entry before it is on disk, so no snapshot leaves out an entry whose
// edit may have landed.
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

// recall finds the entries of the undo journal of which it is not known whether
// their edits landed. damaged says whether an error costs no more than the entry.
func (l *ledger) recall(damaged func(error) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inherited = make(map[string][]int64)
	for _, off := range l.snap.Unsettled {
		if off >= l.snap.JournalFrom {
			break // ascending; the rest comes below
		}
		id, err := l.state.Journal().Item(off)
		if damaged(err) {
			continue
		}
		if err != nil {
			return err
		}
		l.inherited[id] = append(l.inherited[id], off)
	}
	for at, err := range l.state.Journal().Items(l.snap.JournalFrom) {
		if damaged(err) {
			break
		}
		if err != nil {
			return err
		}
		l.inherited[at.ID] = append(l.inherited[at.ID], at.Offset)
	}
	return nil
}

// earlier yields the edits of earlier sessions that may be in the item, newest
// first, and goes on after one that cannot be read. They are read one at a
// time and only when they are asked for: each may have a million keys, and most
// kills leave some for items that will be done anew anyway.
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
// be in the item and not in the account, ascending. A snapshot may name too
// many: it has every entry behind one that is being written.
func (l *ledger) unknown(it *item) []int64 {
	at := slices.Clone(l.inherited[it.ref.ID])
	if o := it.owed; o != nil {
		at = slices.DeleteFunc(at, func(off int64) bool { return off <= o.Known })
		if o.Journal >= 0 {
			at = append(at, o.Journal)
		}
	}
	slices.Sort(at)
	return at
}

// unsettled are the entries of the undo journal about items that are not in
// the account: those of this session, and what earlier ones left. Every entry
// from from on belongs to them too.
func (l *ledger) unsettled() (from int64, offsets []int64) {
	from = l.state.Journal().Size()
	add := func(it *item) {
		offsets = append(offsets, it.intents...)
		if it.writing >= 0 {
			from = min(from, it.writing)
		}
	}
	for _, ln := range l.lines {
		for _, it := range ln.queue {
			add(it)
		}
	}
	for _, it := range l.park {
		add(it)
	}
	for _, at := range l.inherited {
		offsets = append(offsets, at...)
	}
	slices.Sort(offsets)
	return from, offsets
}
