package sources

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Sentinels of Read, Plan and Apply. Wrapped errors say which item. Both mean
// that nothing was written.
var (
	ErrConflict = errors.New("changed by another writer since it was read")
	ErrGone     = errors.New("no longer exists")
)

// ErrCredentials is wrapped by a [RunError] whose cause is that the caller's
// credentials ended. The run goes on with new ones.
var ErrCredentials = errors.New("the credentials have expired")

// ErrThrottled is wrapped by the errors of a client that gave up on a service
// which throttles every request. The next request would fare no better, so
// such an error becomes a [RunError] that counts at once.
var ErrThrottled = errors.New("the service throttles every request")

// ShortError says that a view holds too little of the body to decide. The item
// has to be read again with Want.Head at Need, or whole if it is shorter.
type ShortError struct{ Need int64 }

func (e *ShortError) Error() string {
	return fmt.Sprintf("needs the first %d bytes of the body", e.Need)
}

// SkipError says that an item is left as it is, for a known reason: the source
// could make the edit only with a loss, or the item holds a wrapped key in a
// form that cannot be moved. The item counts as skipped.
type SkipError struct {
	Reason string // one or two stable words, for counting: "archived", "too-large"
	Detail string // what exactly, and what could be done about it

	// Nothing says that the item cannot hold a wrapped key (a socket, a
	// device). Skipping it leaves nothing under an old key.
	Nothing bool
}

func (e *SkipError) Error() string { return e.Detail }

// NotYetError says that an edit or a reading is not possible yet. The item has to
// be read again after Wait.
type NotYetError struct {
	Wait   time.Duration
	Detail string
}

func (e *NotYetError) Error() string { return e.Detail }

// RunError is an error that would meet the next item just the same: a disabled
// key, a bucket that cannot be read, a full disk. The run stops with its state
// safe, instead of failing every item.
type RunError struct {
	Err  error
	Hint string // what to do about it; a sentence

	// Where names the part that refused: "key service", "store: list", "store:
	// read", "store: write". Strikes are counted for each part by itself. "": the
	// engine uses the name of its own step.
	Where string

	// Strikes is how often the error has to come in a row, with no success in
	// between, before the run stops. 0 and 1: at once. An error that may concern
	// one item only (access denied to one object) has more; until then it fails
	// its item.
	Strikes int
}

func (e *RunError) Error() string {
	if e.Hint == "" {
		return e.Err.Error()
	}
	return strings.TrimSuffix(e.Err.Error(), ".") + ". " + e.Hint
}

func (e *RunError) Unwrap() error { return e.Err }
