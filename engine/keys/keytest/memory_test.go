package keytest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/engine/keys/keytest"
	"rewrap/sources"
)

// memory is a rewrapper that keeps the whole contract, but for one defect. Its
// key versions are bytes: 1 is the source, 2 the target, 3 is foreign. Its blobs
// are in the clear:
//
//	version 1 | sum 8 | secret | nonce 8
type memory struct {
	defect  string
	service bool

	mu       sync.Mutex
	answers  map[string]envelope.Rewrapped // of a service, by blob and binding
	requests int
	broken   bool
	ended    map[string]bool // wrapped keys that were cancelled
	seen     map[string]int
	slab     []byte
	scratch  []byte
}

const head = 17

func version(v byte) account.KeyVersion {
	return account.KeyVersion{ARN: "memory", Material: string('0' + rune(v))}
}

func sum(v byte, nonce []byte, secret, ad string) []byte {
	s := sha256.Sum256(slices.Concat([]byte{v}, nonce, []byte(secret), []byte{0}, []byte(ad)))
	return s[:8]
}

func seal(v byte, secret, ad string) []byte {
	nonce := make([]byte, 8)
	rand.Read(nonce)
	return slices.Concat([]byte{v}, sum(v, nonce, secret, ad), []byte(secret), nonce)
}

func open(blob []byte, ad string) (secret string, v byte, err error) {
	if len(blob) < head {
		return "", 0, errors.New("too short")
	}
	n := len(blob) - 8
	v, secret = blob[0], string(blob[9:n])
	if v > 3 || !bytes.Equal(sum(v, blob[n:], secret, ad), blob[1:9]) && !bytes.Equal(sum(v, blob[n:], secret, "any"), blob[1:9]) {
		return "", 0, errors.New("does not open")
	}
	return secret, v, nil
}

func (m *memory) has(defect string) bool { return m.defect == defect }

func (m *memory) Traits() keys.Traits {
	t := keys.Traits{How: account.HowKeyring, Service: m.service}
	if m.service {
		t.How = account.HowKMS
	}
	if m.has("a word of its own") {
		t.How = "memory"
	}
	return t
}

func (m *memory) Rewrap(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
	id := string(k.Blob) + "\x00" + string(k.AssociatedData)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.early(ctx, id, k); err != nil {
		return envelope.Rewrapped{}, err
	}
	if m.has("remembers by the blob alone") {
		id = string(k.Blob)
	}
	if r, ok := m.answers[id]; ok {
		return m.known(r), nil
	}
	var r envelope.Rewrapped
	if m.service && !m.has("counts nothing") {
		r.Calls = 1
	}
	if m.service {
		m.requests++
	}
	r, err := m.answer(k, r)
	if err != nil {
		if m.has("counts only what succeeds") {
			r.Calls = 0
		}
		if m.has("a blob beside an error") {
			r.Blob = k.Blob
		}
		return r, err
	}
	if m.service || m.has("shares its answers") {
		kept := r
		if !m.has("shares its answers") {
			kept.Blob = slices.Clone(r.Blob)
		}
		m.answers[id] = kept
	}
	if m.has("clears the wrapped key") {
		clear(k.Blob)
	}
	if m.has("writes behind the wrapped key") {
		_ = append(k.Blob, 0)
	}
	return r, nil
}

// early is what is looked at before the blob.
func (m *memory) early(ctx context.Context, id string, k envelope.WrappedKey) error {
	if m.ended[id] {
		return errors.New("was cancelled")
	}
	if ctx.Err() != nil && !m.has("does not look at the context") {
		if m.has("remembers what was cancelled") {
			m.ended[id] = true
		}
		if m.has("hides the cause") {
			return ctx.Err()
		}
		return context.Cause(ctx)
	}
	if m.broken {
		switch {
		case m.has("a run's error is any error"):
			return errors.New("broken")
		case m.has("no hint"):
			return &sources.RunError{Err: errors.New("broken")}
		}
		return &sources.RunError{Err: errors.New("broken"), Hint: "mend it"}
	}
	return nil
}

func (m *memory) known(r envelope.Rewrapped) envelope.Rewrapped {
	if !m.has("shares its answers") {
		r.Blob = slices.Clone(r.Blob)
	}
	if m.service {
		r.Deduplicated = true
		if !m.has("counts for what was known") {
			r.Calls = 0
		}
	}
	return r
}

func (m *memory) answer(k envelope.WrappedKey, r envelope.Rewrapped) (envelope.Rewrapped, error) {
	ad := string(k.AssociatedData)
	blob := k.Blob
	secret, v, err := open(blob, ad)
	if m.has("opens what is damaged") && len(blob) >= head && blob[0] == 1 {
		secret, v, err = string(blob[9:len(blob)-8]), 1, nil
	}
	if m.has("one scratch for all") {
		m.scratch = []byte(secret)
		m.mu.Unlock()
		time.Sleep(time.Millisecond)
		m.mu.Lock()
		secret = string(m.scratch)
	}
	switch {
	case err != nil && m.has("damage ends the run"):
		return r, &sources.RunError{Err: err, Hint: "stop"}
	case err != nil && m.has("misbound is foreign"):
		return r, envelope.ErrForeign
	case err != nil:
		return r, err
	case v == 3 && m.has("foreign is any error"):
		return r, errors.New("foreign")
	case v == 3 && m.has("foreign ends the run"):
		return r, &sources.RunError{Err: envelope.ErrForeign, Hint: "stop"}
	case v == 3:
		return r, envelope.ErrForeign
	}
	r.From, r.To = version(v), version(2)
	if v == 2 && !m.has("moves what is current") || m.has("takes all for current") {
		r.Current = true
		if m.has("a blob of what is current") {
			r.Blob = slices.Clone(blob)
		}
		return r, nil
	}
	switch {
	case m.has("wraps another secret"):
		secret = "1" + secret[1:]
	case m.has("loses the binding"):
		ad = "any"
	case m.has("names the wrong source"):
		r.From = version(3)
	case m.has("names the wrong target"):
		r.To = version(1)
	}
	if m.seen[string(k.Blob)]++; m.has("changes its mind") && m.seen[string(k.Blob)] > 1 {
		r.From.ARN = "another"
	}
	if r.Blob, err = m.chosen(k, secret, ad); err != nil {
		return envelope.Rewrapped{}, err
	}
	if m.has("cuts blobs without a limit") {
		if m.slab == nil {
			m.slab = make([]byte, 0, 4096)
		}
		at := len(m.slab)
		m.slab = append(m.slab, r.Blob...)
		r.Blob = m.slab[at:]
	}
	if m.has("keeps the wrapped key's memory") && cap(k.Blob) >= len(r.Blob) {
		copy(k.Blob, r.Blob)
		r.Blob = k.Blob
	}
	return r, nil
}

func (m *memory) chosen(k envelope.WrappedKey, secret, ad string) ([]byte, error) {
	least, tries := 0, 1
	if k.Assumes != nil && !m.service && !m.has("takes the first blob") {
		least, tries = k.Assumes(make([]byte, head+len(secret))), 1000
	}
	if tries > 1 && m.has("tries for long") {
		tries *= 3
	}
	for ; ; tries-- {
		blob := seal(2, secret, ad)
		switch {
		case tries > 1 && k.Assumes(blob) > least:
		case tries <= 1 && k.Assumes != nil && m.has("fails where each assumes something"):
			return nil, errors.New("each assumes something")
		default:
			return blob, nil
		}
	}
}

func world(defect string, service bool) func(*testing.T) keytest.World {
	return func(*testing.T) keytest.World {
		m := &memory{
			defect: defect, service: service,
			answers: make(map[string]envelope.Rewrapped), ended: make(map[string]bool), seen: make(map[string]int),
		}
		wrap := func(v byte) func(*testing.T, string) envelope.WrappedKey {
			return func(_ *testing.T, secret string) envelope.WrappedKey {
				return envelope.WrappedKey{Blob: seal(v, secret, "binding"), AssociatedData: []byte("binding")}
			}
		}
		w := keytest.World{
			Rewrapper: m, Old: wrap(1), Current: wrap(2), Foreign: wrap(3),
			Open: func(_ *testing.T, k envelope.WrappedKey) (string, account.KeyVersion, error) {
				secret, v, err := open(k.Blob, string(k.AssociatedData))
				return secret, version(v), err
			},
			Break: func(*testing.T) {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.broken = true
			},
		}
		if service {
			w.Requests = func() int {
				m.mu.Lock()
				defer m.mu.Unlock()
				n := m.requests
				m.requests = 0
				return n
			}
		}
		return w
	}
}
