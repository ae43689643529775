// Package sources is the vocabulary of the places that hold items: what a
// source is asked to do, what it promises, and the errors it answers with.
//
// A source is an S3 bucket, a directory, a table: any place that can list its
// items, read them and change them one by one. Everything above this package
// (formats, the engine, the commands) speaks of items in these words alone. It
// knows no store by name and imports no SDK. Every source passes the suite in
// sources/sourcetest, which is this page written as tests.
package sources

import (
	"context"
	"iter"
)

// Cursor is a place in a source's listing order. Only the source that made it
// can read it. The empty cursor stands before the first item of a span.
type Cursor string

// Ref names an item and its place in the listing order.
type Ref struct {
	ID     string // unique in the source; the journal, the audit log and the list of failures use it
	Name   string // patterns and {name} mean it; the versions of one object share it
	Cursor Cursor

	// View is the item as the listing saw it, with its whole body in Head, where
	// a listing brings items along (the rows of a table). Its own View is nil.
	// nil: the item has to be read.
	View *View
}

// Span is a part of the listing order: half open, (after, until]. The spans of
// one answer of [Source.Spans] are disjoint and together complete, including
// items that do not exist yet. They are listed side by side. The checkpoint
// keeps them for as long as a pass takes, so Data must mean the same to a
// later version of the same source.
type Span struct {
	ID   string `json:"id"`
	Data string `json:"data,omitempty"`
}

// Want says how much of an item [Source.Read] shall bring.
type Want struct {
	Head int64 // bytes of the body from its start; 0: none
}

// View is what was read of an item at one revision. All fields belong to the
// same revision: a source that cannot promise that reads again.
type View struct {
	Ref
	Rev   string            // the revision, opaque to all but the source
	Size  int64             // bytes of the whole body
	Head  []byte            // the first min(Want.Head, Size) bytes
	Meta  map[string][]byte // user metadata; on S3 the x-amz-meta- headers, names in lower case and without the prefix
	Store StoreKey          // how the store itself encrypts the item; zero where it does not say

	// State is what the source itself wants to find again in Plan: headers,
	// permissions. Nobody else looks at it.
	State any
}

// Plan is how a source would make an edit, what that costs, and how it can be
// taken back.
type Plan struct {
	View View
	Edit Edit
	Way  string // the operations, for people: "CopyObject", "HeadObject and PutObject"
	Cost Cost   // of Apply alone
	Undo Undo

	// Unconditional says that the store cannot be told to refuse the write
	// when the item has changed since it was read. Such writes are counted
	// apart and reported.
	Unconditional bool

	// Assumed says that the plan was made on an assumption about the store, which
	// Begin with Write tries out. Apply refuses such a plan.
	Assumed bool

	State any // the source's own
}

// Cost is what an operation on a source takes: the requests that are made if
// none has to be retried, and the bytes of their bodies. It is zero in a source
// without a service behind it. Requests may be shared, and is not to be changed.
type Cost struct {
	Requests []Request
	In, Out  int64 // bytes received and sent
}

// Request is a number of requests of one operation, by the service's own name
// for it.
type Request struct {
	Op string
	N  int64
}

// Once marks the requests of a source that are made once, however many items
// there are: they are part of opening, and a forecast does not scale them up.
func Once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

// IsOnce says whether a request is marked so.
func IsOnce(ctx context.Context) bool { return ctx.Value(onceKey{}) != nil }

type onceKey struct{}

// Result is what is known of an edit that landed.
type Result struct {
	Rev       string // the new revision, in the same form as View.Rev; "" if the store does not say
	RequestID string // the store's id of the request that made the change
}

// Mode is what a source is begun for.
type Mode int

const (
	Look  Mode = iota // nothing is written, anywhere
	Write             // items are going to be changed
)

// Source is a place that holds items. All methods may be called from many
// goroutines at once, List once per span at a time.
//
// A source is opened by its own package, begun and closed. Between Begin and
// Close everything else may be called; Apply and Finish need Begin with Write.
// Begin may be called again, as with Write after Look. All other calls fail; a
// [Life] sees to that.
//
// Retries of single requests, pacing and deadlines are below this interface,
// in the client that the source was given. Reading an item again after a
// conflict is above it, in the engine. A source does neither.
type Source interface {
	// Begin comes before everything else. With Look it writes nothing. With
	// Write it finds out what the store honours, if that has to be tried, and
	// clears up what killed runs have left.
	Begin(ctx context.Context, m Mode) error

	// Spans splits everything in the source into at most want spans, at the
	// cost of a few requests at most. One span is always a right answer.
	Spans(ctx context.Context, want int) ([]Span, error)

	// List yields the items of a span that stand strictly after the cursor,
	// in the order of their cursors, each once. An error ends the listing;
	// a listing that ends without one has reached the end of the span.
	// Items written or deleted meanwhile may or may not be seen.
	List(ctx context.Context, s Span, after Cursor) iter.Seq2[Ref, error]

	// Read brings what Want asks for, all metadata and the revision, from one
	// revision. ErrGone if the item does not exist any more, [SkipError] if
	// the store does not hand it out, [NotYetError] if another writer is at
	// work on it.
	Read(ctx context.Context, r Ref, w Want) (View, error)

	// Plan decides how the edit would be made on the item as it was read. It
	// may read (tags, permissions), and never writes. It refuses with
	// [SkipError] an edit that would lose or change something besides, and
	// with [NotYetError] one that cannot be done safely at this moment.
	Plan(ctx context.Context, v View, e Edit) (Plan, error)

	// Apply makes the edit, whole or not at all, and only if the item is
	// still at the revision of the view. The change is durable when Apply
	// returns without error. ErrConflict, ErrGone, [SkipError] and
	// [NotYetError] mean that nothing was written; after any other error the
	// edit may or may not have landed, and the item has to be read again. A
	// context that is done before the write began prevents it.
	Apply(ctx context.Context, p Plan) (Result, error)

	// Finish is called after a run with Write in which every span ended, and
	// before the pass counts as complete. It puts in place what Apply has staged,
	// where a source stages. If the process dies before it or in it, the next run
	// calls it again at its end.
	Finish(ctx context.Context) error

	// Close lets go of what opening the source took. Nothing may be called after
	// it. It may be called without Begin.
	Close() error
}
