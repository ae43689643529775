package kms

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/sources"
)

// maxBlob is the longest CiphertextBlob (KMS API Reference, ReEncrypt).
const maxBlob = 6144

// candidate is a key that a blob may be under, and the key it would go to.
type candidate struct {
	src, dst *key
	only     []string // of src's key materials; nil: all
}

type answer struct {
	envelope.Rewrapped
	foreign error
}

// Traits implements [keys.Rewrapper].
func (k *KMS) Traits() keys.Traits {
	t := keys.Traits{How: account.HowKMS, Service: true}
	if k.cfg.Verify == VerifyOpen {
		t.Opens = 2 // the old blob and the new one
	}
	return t
}

// Rewrap returns the same data key wrapped under the target, or says that it is
// there already. It makes one ReEncrypt call where the first key tried is the
// right one. It changes nothing anywhere: an answer that the caller does not use
// has no effect.
//
// Once KMS has refused a key that the operator named, every later call that
// needs this key returns the same error without asking KMS again.
//
// Errors: [envelope.ErrForeign], *[sources.RunError] (with a *[MovedError] in
// it where a key is not under the material that the pass began with), the
// context's, and others that concern this wrapped key alone. Calls and Misses
// are set beside an error as well. Safe for concurrent use.
func (k *KMS) Rewrap(ctx context.Context, w envelope.WrappedKey) (envelope.Rewrapped, error) {
	if n := len(w.Blob); n == 0 || n > maxBlob {
		return envelope.Rewrapped{}, fmt.Errorf("the wrapped key has %d bytes, which no KMS ciphertext has (1 to %d): the item is damaged, or it is not a wrapped key", n, maxBlob)
	}
	d := digestOf(w)
	if r, err, ok := k.answers.get(d); ok {
		return r, err
	}
	a, shared, err := k.flights.do(ctx, d, func(ctx context.Context) (answer, error) {
		if r, err, ok := k.answers.get(d); ok { // kept since, by a flight that has ended
			return answer{r, err}, nil
		}
		s := search{k: k, w: w}
		r, err := s.run(ctx)
		foreign := errors.Is(err, envelope.ErrForeign)
		if err == nil || foreign {
			k.answers.put(d, r, err)
		}
		r.Calls, r.Misses = s.calls, s.misses
		if err != nil && !foreign {
			return answer{Rewrapped: r}, err
		}
		return answer{r, err}, nil
	})
	if shared { // the calls are counted for the caller that made them
		a.Deduplicated, a.Calls, a.Misses = true, 0, 0
	}
	if err != nil {
		return a.Rewrapped, err
	}
	a.Blob = slices.Clone(a.Blob) // other callers of the flight may still read it
	return a.Rewrapped, a.foreign
}

var errWrongKey = errors.New("not under this key")

// search is one wrapped key on its way through the keys that it may be under.
// It has one owner, and is used once.
type search struct {
	k             *KMS
	w             envelope.WrappedKey
	cs            []candidate // likeliest first
	calls, misses int         // of ReEncrypt
}

func (s *search) run(ctx context.Context) (envelope.Rewrapped, error) {
	none, err := s.candidates(ctx)
	if err != nil {
		return envelope.Rewrapped{}, err
	}
	likely := &s.k.likely
	if len(s.cs) > 1 {
		defer likely.scout(ctx, s.w.Blob)()
		if arn := likely.recall(s.w.Blob); arn != "" {
			front(s.cs, slices.IndexFunc(s.cs, func(c candidate) bool { return c.src.ARN == arn }))
		}
	}
	for _, c := range s.cs {
		r, err := s.try(ctx, c)
		var run *sources.RunError
		ends := errors.As(err, &run)
		switch {
		case errors.Is(err, errWrongKey):
		case !c.src.named() && (isManaged(err) || ends && run.Strikes == manyStrikes):
			// The key that the item records cannot be used; the blob may have
			// been moved from it since.
			none = err
		case err == nil:
			likely.learn(s.w.Blob, r.From.ARN)
			likely.learn(r.Blob, r.To.ARN)
			return r, nil
		default:
			if !ends && ctx.Err() == nil { // damaged, or not in scope: KMS did not say that the key is wrong
				likely.learn(s.w.Blob, c.src.ARN)
			}
			return r, err
		}
	}
	return envelope.Rewrapped{}, none
}

// candidates fills in the keys to try, likeliest first: the one that the item
// records, those given with --from, last the target. none is the answer if
// the blob is under none of them.
//
// Where --from is given, an item that records some other key is foreign, and
// that costs no call. The record is not believed where it is part of the
// encryption context (S3 Encryption Client, kms_cmk_id): the context stays as
// it was when the blob moves to another key.
func (s *search) candidates(ctx context.Context) (none, err error) {
	k := s.k
	if len(k.job.from) == 0 {
		s.cs, none, err = k.ofRecord(ctx, s.w)
	} else {
		s.cs, none = slices.Clone(k.job.all), envelope.ErrForeign
		var i int
		if i, err = k.inScope(ctx, s.w); i > 0 {
			front(s.cs, i)
		}
	}
	if err != nil {
		return nil, err
	}
	if to := k.job.to; k.cfg.TargetFirst && to != nil {
		front(s.cs, slices.IndexFunc(s.cs, func(c candidate) bool { return c.src.ARN == to.ARN }))
	}
	return none, nil
}

// front moves an element to the front; the others keep their order.
func front(cs []candidate, i int) {
	if i > 0 {
		c := cs[i]
		copy(cs[1:i+1], cs[:i])
		cs[0] = c
	}
}
