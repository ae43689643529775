package engine

import (
	"rewrap/checkpoint/account"
	"rewrap/sources"
)

// Reasons of items that failed or were skipped, for counting. A source's
// UnsupportedError and a format's SkipError bring their own.
const (
	ReasonOldKey     = "not-on-target" // found under an old key by a run that only reads
	ReasonConflict   = "conflict"      // other writers were faster, each time
	ReasonKey        = "key"           // the key service refused the wrapped key
	ReasonFormat     = "format"        // the item claims a format and is broken
	ReasonRead       = "read"          // could not be read
	ReasonWrite      = "write"         // could not be written
	ReasonNotApplied = "not-undoable"  // the edit has no inverse
	ReasonBusy       = "busy"          // written again and again, or held by another program, while it was waited for
)

// Event is the whole fate of an item.
type Event struct {
	Ref     sources.Ref
	Outcome account.Outcome
	Reason  string // failed, skipped: one stable word
	Err     error  // failed, skipped, unsettled: what happened and what to do
	Format  string
	Fields  []string // of the places that the format was told to look at: those that are in the item
	Way     string   // rewrapped: how the source made the edit
	Keys    []account.KeyEvent

	Unconditional bool // written without a condition on the revision
	Nothing       bool // skipped, and it cannot hold a wrapped key
	Again         bool // an earlier session had failed or skipped it

	// Changes are the wrapped keys that this item's write changed, for the
	// audit log. Recovered says that the write was made by an earlier attempt
	// whose answer was lost, or by an earlier process that was killed.
	Changes   []account.KeyChange
	RevBefore string
	RevAfter  string
	Recovered bool

	// Intent is where the undo journal holds the newest edit that was tried on
	// the item and may have landed unnoticed; -1: none.
	Intent int64

	phase phase // what was being done last
}

// phase is what is being done with an item.
type phase int

const (
	reading phase = iota
	rewrapping
	writing // also planning, which reads for the sake of writing
)

// String is what a sources.RunError calls it in Where.
func (p phase) String() string {
	return [...]string{reading: "store: read", rewrapping: "key service", writing: "store: write"}[p]
}

func (p phase) reason() string {
	return [...]string{reading: ReasonRead, rewrapping: ReasonKey, writing: ReasonWrite}[p]
}

// owed says that the item's key is still under an old or an unknown key, so
// that the item has to be tried again before a run is complete.
func (e *Event) owed() bool {
	return e.Outcome == account.Failed || e.Outcome == account.Skipped && !e.Nothing
}
