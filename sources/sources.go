// Package sources is the vocabulary of the places that hold items: what a
// source is asked to do, what it promises, and the errors it answers with.
//
// A source is an S3 bucket, a directory, a table: whatever can list its items,
// read them and change them one by one. Everything above this package
// (formats, the engine, the commands) speaks of items in these words alone, so
// it knows no store by name and imports no SDK. Every source passes the suite
// in sources/sourcetest, which is this page written as tests.
package sources

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Cursor is a place in a source's listing order. Only the source that made it
// can read it; the empty cursor stands before the first item of a span.
type Cursor string

// Ref names an item and its place in the listing order.
type Ref struct {
	ID     string // the item's name as people know it; unique within the source
	Cursor Cursor
}

// Span is a part of the listing order: half open, (after, until]. The spans
// of one answer of [Source.Spans] are disjoint and together complete,
// including items that do not exist yet. They are listed side by side, and are
// kept in the checkpoint for as long as a pass takes; so Data must mean the
// same to a later version of the same source.
type Span struct {
	ID   string `json:"id"`
	Data string `json:"data,omitempty"`
}

// Want says how much of an item [Source.Read] shall bring.
type Want struct {
	Head int64 // bytes of the body from its start; 0: none
}

// View is what was read of an item at one revision. Its fields belong to one
// and the same revision: a source that cannot promise that reads again.
type View struct {
	Ref
	Rev  string            // the revision, opaque to all but the source
	Size int64             // bytes of the whole body
	Head []byte            // the first min(Want.Head, Size) bytes
	Meta map[string][]byte // user metadata; on S3 the x-amz-meta- headers, names in lower case and without the prefix

	// State is what the source itself wants to find again in Plan: headers,
	// permissions. Nobody else looks at it.
	State any
}

// Splice replaces Del bytes at Off with Ins.
type Splice struct {
	Off int64  `json:"off"`
	Del int64  `json:"del"`
	Ins []byte `json:"ins"`
}

// Edit says which bytes and which metadata of an item change, never how. All
// of it lands in one write or none of it does.
type Edit struct {
	Meta    map[string][]byte `json:"meta,omitempty"`    // nil value: the name is deleted
	Splices []Splice          `json:"splices,omitempty"` // ascending, not overlapping, in offsets of the body as it was read
}

// Inverse is the edit that undoes e on the item that e leaves behind; it shares
// the memory of v. It can only be made where the view holds every byte that a
// splice takes away.
func (e Edit) Inverse(v View) (Edit, error) {
	inv := Edit{Splices: slices.Grow([]Splice(nil), len(e.Splices))}
	for name := range e.Meta {
		if inv.Meta == nil {
			inv.Meta = make(map[string][]byte, len(e.Meta))
		}
		inv.Meta[name] = v.Meta[name]
	}
	var shift int64
	for _, s := range e.Splices {
		if s.Off < 0 || s.Del < 0 || s.Off+s.Del > int64(len(v.Head)) {
			return Edit{}, fmt.Errorf("bytes %d to %d of %q were not read, so the edit has no inverse", s.Off, s.Off+s.Del, v.ID)
		}
		inv.Splices = append(inv.Splices, Splice{
			Off: s.Off + shift,
			Del: int64(len(s.Ins)),
			Ins: v.Head[s.Off : s.Off+s.Del : s.Off+s.Del],
		})
		shift += int64(len(s.Ins)) - s.Del
	}
	return inv, nil
}

// AppendJSON appends e as encoding/json writes it, which takes a multiple of the
// time where there is a splice for each of a million keys.
func (e Edit) AppendJSON(b []byte) ([]byte, error) {
	size := 2
	for _, s := range e.Splices {
		size += 64 + base64.StdEncoding.EncodedLen(len(s.Ins))
	}
	b = append(slices.Grow(b, size), '{')
	if len(e.Meta) > 0 {
		meta, err := json.Marshal(e.Meta)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `"meta":`...), meta...)
	}
	for i, s := range e.Splices {
		switch {
		case i > 0:
			b = append(b, ',')
		case len(e.Meta) > 0:
			b = append(b, `,"splices":[`...)
		default:
			b = append(b, `"splices":[`...)
		}
		b = strconv.AppendInt(append(b, `{"off":`...), s.Off, 10)
		b = strconv.AppendInt(append(b, `,"del":`...), s.Del, 10)
		if s.Ins == nil {
			b = append(b, `,"ins":null}`...)
			continue
		}
		b = base64.StdEncoding.AppendEncode(append(b, `,"ins":"`...), s.Ins)
		b = append(b, `"}`...)
	}
	if len(e.Splices) > 0 {
		b = append(b, ']')
	}
	return append(b, '}'), nil
}

// Plan is how a source would make an edit, and what that costs.
type Plan struct {
	View View
	Edit Edit
	Way  string // the operations, for people: "CopyObject", "HeadObject and PutObject"

	// Unconditional says that the store cannot be told to refuse the write
	// when the item has changed since it was read. Such writes are counted
	// apart and reported.
	Unconditional bool

	State any // the source's own
}

// Result is what is known of an edit that landed.
type Result struct {
	Rev       string // the new revision, in the same form as View.Rev; "" if the store does not say
	RequestID string // the store's id of the request that made the change
}

// Source is a place that holds items. All methods may be called from many
// goroutines at once, List once per span at a time.
//
// Retries of single requests, pacing and deadlines are below this interface,
// in the client that the source was given; reading an item again after a
// conflict is above it, in the engine. A source does neither.
type Source interface {
	// Spans splits everything in the source into at most want spans, at the
	// cost of a few requests at most. One span is always a right answer.
	Spans(ctx context.Context, want int) ([]Span, error)

	// List yields the items of a span that stand strictly after the cursor,
	// in the order of their cursors, each once. An error ends the listing;
	// a listing that ends without one has reached the end of the span.
	// Items written or deleted meanwhile may or may not be seen.
	List(ctx context.Context, s Span, after Cursor) iter.Seq2[Ref, error]

	// Read brings what Want asks for, all metadata and the revision, from one
	// revision. ErrGone if the item does not exist any more,
	// [UnsupportedError] if the store does not hand it out, [NotYetError] if
	// another writer is just about it.
	Read(ctx context.Context, r Ref, w Want) (View, error)

	// Plan decides how the edit would be made on the item as it was read. It
	// may read (tags, permissions), and never writes. It refuses with
	// [UnsupportedError] what would lose or change something beyond the
	// edit, and with [NotYetError] what cannot be done safely at this moment.
	Plan(ctx context.Context, v View, e Edit) (Plan, error)

	// Apply makes the edit, whole or not at all, and only if the item is
	// still at the revision of the view. The change is durable when Apply
	// returns without error. ErrConflict, ErrGone, [UnsupportedError] and
	// [NotYetError] mean that nothing was written; after any other error the
	// edit may or may not have landed, and the item has to be read again. A
	// context that is done before the write began prevents it.
	Apply(ctx context.Context, p Plan) (Result, error)
}

// Sentinels of Read, Plan and Apply; wrapped errors say which item. Both mean
// that nothing was written.
var (
	ErrConflict = errors.New("changed by another writer since it was read")
	ErrGone     = errors.New("no longer exists")
)

// ErrCredentials is wrapped by a [RunError] whose cause is that the caller's
// credentials ended: nothing is wrong with the run, it goes on with new ones.
var ErrCredentials = errors.New("the credentials have expired")

// ErrThrottled is wrapped by the errors of a client that gave up on a service
// which answers nothing but that it is asked too often. The next request would
// fare no better, so such an error is made a [RunError] that counts at once.
var ErrThrottled = errors.New("the service throttles every request")

// CredentialsEnded knows the error codes of AWS, and of what speaks its
// protocols, that new credentials would cure (AWS API references, "Common
// errors"; S3 API Reference, "Error responses").
func CredentialsEnded(code string) bool {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidClientTokenId", "UnrecognizedClientException":
		return true
	}
	return false
}

// UnsupportedError is the refusal of an edit that the source could only make
// with a loss. The item is skipped, and reported with the reason.
type UnsupportedError struct {
	Reason string // one stable word or two, for counting: "archived", "too-large"
	Detail string // what exactly, and what could be done about it

	// Nothing says that the item cannot hold a wrapped key (a socket, a
	// device), so that nothing stays under an old key where it is skipped.
	Nothing bool
}

func (e *UnsupportedError) Error() string { return e.Detail }

// NotYetError is the refusal of what will be possible later.
type NotYetError struct {
	Wait   time.Duration
	Detail string
}

func (e *NotYetError) Error() string { return e.Detail }

// RunError is an error that is not the item's: it would meet the next item
// just the same. A disabled key, a bucket that cannot be read, a full disk.
// The run ends with its state safe instead of failing every item.
type RunError struct {
	Err  error
	Hint string // what to do about it; a sentence

	// Where names what refused: "key service", "store: read", "store: write".
	// Strikes are counted apart for each. "": as the engine sees it, by what
	// was being done.
	Where string

	// Strikes is how many times in a row, with no success between, it takes
	// to believe that the run itself is meant. 0 and 1: at once. An error
	// that might be one item's after all (access denied to one object) asks
	// for more; until then it fails its item.
	Strikes int
}

func (e *RunError) Error() string {
	if e.Hint == "" {
		return e.Err.Error()
	}
	return strings.TrimSuffix(e.Err.Error(), ".") + ". " + e.Hint
}

func (e *RunError) Unwrap() error { return e.Err }
