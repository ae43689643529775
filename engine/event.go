package engine

import (
	"rewrap/checkpoint/account"
	"rewrap/sources"
)

// Reasons of items that failed or were skipped, for counting. A SkipError of a
// source or a mover brings its own.
const (
	ReasonOldKey      = "not-on-target" // found under an old key by a command that only reads
	ReasonConflict    = "conflict"      // other writers were faster, each time
	ReasonKey         = "key"           // the key service refused the wrapped key
	ReasonFormat      = "format"        // the item claims a format and is broken
	ReasonRead        = "read"          // could not be read
	ReasonWrite       = "write"         // could not be written
	ReasonNotUndoable = "not-undoable"  // the edit could not be undone
	ReasonBusy        = "busy"          // written again and again, or held by another program, while rewrap waited for it
)

// Event is how one item ended, and all that is known of it.
type Event struct {
	Ref     sources.Ref
	Outcome account.Outcome
	Reason  string // failed, skipped: one stable word
	Err     error  // failed, skipped, unsettled: what happened and what to do
	Nothing bool   // skipped, and it cannot hold a wrapped key
	Again   bool   // an earlier session had failed or skipped it

	Found
	Written

	intent int64 // of the errand
	phase  phase // the step that the item was at last
}

// Written is the edit that was made on an item. For an item that goes until
// Planned it describes the edit that would be made, and only Way, Cost,
// Unconditional and Assumed are set.
type Written struct {
	Way           string // as the source names it
	Cost          sources.Cost
	Unconditional bool // without a condition on the revision
	Assumed       bool // the way rests on an assumption about the store

	// Changes are the keys that moved, for the audit log.
	Changes             []account.KeyChange
	RevBefore, RevAfter string
	// Recovered says that an earlier attempt whose answer was lost, or an
	// earlier process that was killed, had made the edit.
	Recovered bool
}

// end sets the outcome. A key of an item that is gone is nowhere.
func (e *Event) end(o account.Outcome, reason string, err error) {
	e.Outcome, e.Reason, e.Err = o, reason, err
	if o == account.Gone {
		e.Keys, e.Changes = nil, nil
	}
}

// owed says that the item may still hold a key under an old or an unknown key,
// so that it has to be tried again before a run is complete.
func (e *Event) owed() bool {
	return e.Outcome == account.Failed || e.Outcome == account.Skipped && !e.Nothing
}

// phase is the step that an item is at.
type phase int

const (
	phaseRead phase = iota
	phaseMove
	phaseWrite // also planning, which reads for the sake of writing
)

// String is the name of the step in [sources.RunError.Where].
func (p phase) String() string {
	return [...]string{phaseRead: "store: read", phaseMove: "key service", phaseWrite: "store: write"}[p]
}

func (p phase) reason() string {
	return [...]string{phaseRead: ReasonRead, phaseMove: ReasonKey, phaseWrite: ReasonWrite}[p]
}
