// Package move holds the movers. A mover decides, from a view of an item, which
// of its keys have to move and which edit moves them; see [engine.Mover].
//
// [Payload] moves the wrapped keys that a format finds in the payload of an
// item.
package move

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/sources"
)

// Payload moves the wrapped keys that a format finds in an item, with a
// rewrapper. Safe for concurrent use.
type Payload struct {
	format    envelope.Format
	rewrapper keys.Rewrapper
	traits    keys.Traits
	// calls bounds the key calls in work over all items, so that an item with
	// many keys shares them with others.
	calls *semaphore.Weighted
}

var _ engine.Mover = (*Payload)(nil)

// NewPayload is a mover that makes at most so many key calls at once.
func NewPayload(f envelope.Format, r keys.Rewrapper, atOnce int) *Payload {
	return &Payload{format: f, rewrapper: r, traits: r.Traits(), calls: semaphore.NewWeighted(int64(atOnce))}
}

// Want implements [engine.Mover].
func (p *Payload) Want() sources.Want { return sources.Want{Head: p.format.Head()} }

// Move implements [engine.Mover].
func (p *Payload) Move(ctx context.Context, v sources.View, room *engine.Room) (engine.Move, error) {
	env, answers, err := p.Ask(ctx, v, room)
	if errors.Is(err, envelope.ErrForeign) {
		return engine.Move{}, nil
	}
	if env.Keys == nil {
		return engine.Move{}, err
	}
	m := engine.Move{Found: engine.Found{Format: env.Format, Fields: env.Fields, Keys: make([]account.KeyEvent, len(answers))}}
	var failed failures
	var blobs [][]byte // the new ones
	moved := 0
	for i := range answers {
		a, w := &answers[i], &env.Keys[i]
		if a.Err != nil && (ctx.Err() != nil || errors.As(a.Err, new(*sources.RunError))) {
			err = cmp.Or(err, a.Err)
			m.Keys[i] = account.KeyEvent{Locator: w.Locator, How: p.traits.How, From: a.From, Calls: a.Calls, Misses: a.Misses}
			continue
		}
		m.Keys[i] = event(w, a, p.traits.How)
		switch {
		case m.Keys[i].Outcome == account.Failed:
			failed.add(w, a)
		case m.Keys[i].Outcome == account.Rewrapped:
			if blobs == nil {
				blobs = make([][]byte, len(answers))
			}
			blobs[i] = a.Blob
			moved++
		}
	}
	m.Failure, m.Reason = failed.error(), failed.reason
	if err != nil || moved == 0 {
		return m, err
	}
	edit, err := env.Replace(blobs)
	if err != nil {
		m.Failure, m.Reason = err, engine.ReasonFormat
		return m, nil
	}
	m.Edit, m.Changes = edit, changes(env.Keys, answers, blobs, moved)
	return m, nil
}

// Landed implements [engine.Mover].
func (p *Payload) Landed(v sources.View, e checkpoint.Entry) bool {
	env, err := p.format.Parse(v)
	if err != nil {
		return false
	}
	at := make(map[string]int, len(env.Keys))
	for i := range env.Keys {
		at[env.Keys[i].Locator] = i
	}
	for _, c := range e.Keys {
		i, ok := at[c.Locator]
		if !ok || c.SHA256After != digests(env.Keys[i].Blob) {
			return false
		}
	}
	return len(e.Keys) > 0
}

// Answer is what the rewrapper said of one wrapped key.
type Answer struct {
	envelope.Rewrapped // beside an error: From, Calls and Misses
	// Err is why the key cannot be moved: the key's own error, or that of the
	// rewrapper. [envelope.ErrForeign] where it is under no source key.
	Err   error
	Asked bool // false: not asked, since the key is broken or the answer to another put the run in doubt
}

var errNoBlob = errors.New("the key service answered with no new wrapped key")

// Ask finds the wrapped keys of an item and asks the rewrapper about each. The
// answers are in the order of the keys. The error is the format's, or the
// context's.
func (p *Payload) Ask(ctx context.Context, v sources.View, room *engine.Room) (envelope.Envelope, []Answer, error) {
	env, err := p.format.Parse(v)
	if err != nil {
		return envelope.Envelope{}, nil, err
	}
	if err := room.Keys(ctx, len(env.Keys)); err != nil {
		return envelope.Envelope{}, nil, err
	}
	answers := make([]Answer, len(env.Keys))
	err = p.each(ctx, len(answers), func(i int) (more bool) {
		a, w := &answers[i], env.Keys[i]
		if a.Err = w.Err; a.Err != nil {
			return true
		}
		a.Rewrapped, a.Err = p.rewrapper.Rewrap(ctx, w)
		a.Asked = true
		if a.Err == nil && !a.Current && len(a.Blob) == 0 {
			a.Err = errNoBlob
		}
		return a.Err == nil || !errors.As(a.Err, new(*sources.RunError)) // which would meet the others too
	})
	return env, answers, err
}

// each makes the key calls of one item, until ctx is done or a call says that
// it is the last, and returns when all have ended. Calls of a service are made
// side by side. A local rewrapper is faster than handing its calls to goroutines.
func (p *Payload) each(ctx context.Context, n int, call func(i int) (more bool)) error {
	if !p.traits.Service || n == 1 {
		if err := p.calls.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
		defer p.calls.Release(1)
		for i := 0; i < n && ctx.Err() == nil && call(i); i++ {
		}
		return context.Cause(ctx)
	}
	var calls sync.WaitGroup
	defer calls.Wait()
	var over atomic.Bool
	for i := 0; i < n && !over.Load(); i++ {
		if err := p.calls.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
		calls.Go(func() {
			defer p.calls.Release(1)
			if !call(i) {
				over.Store(true)
			}
		})
	}
	return nil
}

// event is what the answer says of the key.
func event(w *envelope.WrappedKey, a *Answer, how string) account.KeyEvent {
	k := account.KeyEvent{Locator: w.Locator, How: how, From: a.From, Calls: a.Calls, Misses: a.Misses}
	switch {
	case errors.Is(a.Err, envelope.ErrForeign):
		k.Outcome = account.Foreign
	case a.Err != nil:
		k.Outcome = account.Failed
	case a.Asked:
		k.Outcome, k.To, k.Newer, k.Deduplicated = account.Rewrapped, a.To, a.Newer, a.Deduplicated
		if a.Current {
			k.Outcome = account.Current
		} else {
			k.Assumed = w.Assumes != nil && w.Assumes(a.Blob) > 0
		}
	}
	return k
}

// failures is the error of an item of which keys failed: the first one's, and
// how many more.
type failures struct {
	n      int
	first  error
	reason string
}

func (f *failures) add(w *envelope.WrappedKey, a *Answer) {
	if f.n++; f.n > 1 {
		return
	}
	f.first, f.reason = a.Err, engine.ReasonKey
	if w.Err != nil {
		f.reason = engine.ReasonFormat
	} else if w.Hint != "" {
		f.first = fmt.Errorf("%w; %s", f.first, w.Hint)
	}
	if w.Locator != "" { // "" is a document that is itself the string
		f.first = fmt.Errorf("%s: %w", w.Locator, f.first)
	}
}

func (f *failures) error() error {
	switch more := f.n - 1; more {
	case -1, 0:
		return f.first
	case 1:
		return fmt.Errorf("%w; and 1 more of its wrapped keys failed", f.first)
	default:
		return fmt.Errorf("%w; and %d more of its wrapped keys failed", f.first, more)
	}
}

// changes are the keys that get a new blob.
func changes(old []envelope.WrappedKey, answers []Answer, blobs [][]byte, n int) []account.KeyChange {
	cs := make([]account.KeyChange, 0, n)
	for i, blob := range blobs {
		if blob == nil {
			continue
		}
		a := &answers[i]
		sums := digests(old[i].Blob, blob)
		cs = append(cs, account.KeyChange{
			Locator: old[i].Locator,
			KeyFrom: a.From.ARN, MaterialFrom: a.From.Material,
			KeyTo: a.To.ARN, MaterialTo: a.To.Material,
			RequestID:    a.RequestID,
			SHA256Before: sums[:hexSum], SHA256After: sums[hexSum:],
		})
	}
	return cs
}

const hexSum = 2 * sha256.Size

// digests are the SHA-256 of blobs in hex, one after another in one string.
func digests(blobs ...[]byte) string {
	var room [2 * hexSum]byte
	text := room[:0]
	for _, blob := range blobs {
		sum := sha256.Sum256(blob)
		text = hex.AppendEncode(text, sum[:])
	}
	return string(text)
}
