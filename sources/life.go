package sources

import (
	"errors"
	"sync/atomic"
)

// Life is how far a source is between its opening and its Close. Each source
// has one and asks it first, so that a caller who forgets Begin is told so. The
// zero value is that of a source that was opened and not begun.
type Life struct{ stage atomic.Int32 }

const (
	opened int32 = iota
	looking
	writing
	closed
)

var (
	errNotBegun   = errors.New("the source was not begun: call Begin first")
	errNotWriting = errors.New("the source was begun for looking only: call Begin with Write first")
	errClosed     = errors.New("the source is closed")
)

// MayBegin says why Begin cannot be called any more.
func (l *Life) MayBegin() error {
	if l.stage.Load() == closed {
		return errClosed
	}
	return nil
}

// Begun records that Begin has done its work. A source that was begun with
// Write stays so.
func (l *Life) Begun(m Mode) {
	to := looking
	if m == Write {
		to = writing
	}
	for {
		at := l.stage.Load()
		if at >= to || l.stage.CompareAndSwap(at, to) {
			return
		}
	}
}

// May says why nothing can be done that needs a source begun with m.
func (l *Life) May(m Mode) error {
	switch at := l.stage.Load(); {
	case at == closed:
		return errClosed
	case at == opened:
		return errNotBegun
	case at == looking && m == Write:
		return errNotWriting
	}
	return nil
}

// Close ends it. A second Close is an error.
func (l *Life) Close() error {
	if l.stage.Swap(closed) == closed {
		return errClosed
	}
	return nil
}
