package engine

import (
	"context"

	"rewrap/sources"
)

// Do takes one item its whole way, with neither pool nor checkpoint. j may be
// nil.
func Do(ctx context.Context, src sources.Source, m Mover, j journal, ref sources.Ref) Event {
	e := (&way{source: src, mover: m}).errand(ref, ctx)
	e.journal = j
	return *e.do(ctx)
}

// Intent is where the undo journal holds the newest edit of the item that may
// have landed unnoticed; -1: none.
func (e *Event) Intent() int64 { return e.intent }
