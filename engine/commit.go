package engine

import (
	"errors"
	"time"

	"rewrap/checkpoint"
	"rewrap/sources"
)

// commitEvery bounds what is looked at again after a kill. A commit costs a few
// milliseconds.
const commitEvery = 250 * time.Millisecond

// open asks for the spans, once in a pass, and finds the edits of earlier
// processes of which it is not known whether they landed.
func (r *run) open() error {
	if r.ledger.begins() {
		spans, err := r.job.Source.Spans(r.calls, spansWanted)
		if err != nil {
			return r.failed("splitting the source", err)
		}
		r.ledger.begin(spans)
	}
	if r.job.State == nil {
		r.opened = true
		return nil
	}
	if err := r.ledger.recall(r.damaged); err != nil {
		return stateError(err)
	}
	r.opened = true
	return r.commit("")
}

// damaged says that an entry of the undo journal cannot be read. The edit cannot
// be undone, and if it landed unnoticed the item counts as current. The run
// continues.
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

// keepState commits until quit is closed.
func (r *run) keepState(quit <-chan struct{}) {
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

// commit makes the account durable, with the result once the run has one. It is
// called from one goroutine at a time.
func (r *run) commit(result string) error {
	if r.job.State == nil {
		return nil
	}
	snap, cut, err := r.ledger.cut(result)
	if err != nil {
		return err
	}
	// Taken after the cut: the targets are then never behind an item in it.
	if r.job.Targets != nil {
		snap.Targets = r.job.Targets()
	}
	if err := r.job.State.Commit(snap, cut); err != nil {
		return stateError(err)
	}
	return nil
}

func stateError(err error) error {
	var run *sources.RunError
	if errors.As(err, &run) {
		return err
	}
	return &sources.RunError{Err: err, Hint: "The state directory must be writable and have room; then run the same command again"}
}
