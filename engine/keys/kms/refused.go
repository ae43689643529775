package kms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
	"rewrap/sources/cloud/kmskey"
)

// fate says whether KMS still works with a key that the operator named. The
// first refusal of such a key ends the run. Hundreds of calls may wait for their
// turn at that moment; they are called off instead of being refused one by one,
// and no call is made after.
type fate struct {
	ctx context.Context // ends with the key; its cause is a *verdict
	end context.CancelCauseFunc
}

func newFate() *fate {
	ctx, end := context.WithCancelCause(context.Background())
	return &fate{ctx, end}
}

// refusals finds out, once for each refused key, why KMS refuses it.
type refusals struct {
	mu     sync.Mutex // held while a key is condemned
	asking flights[string, *sources.RunError]
}

// verdict is the error that every call about a refused key ends with. It takes
// a moment to be known: KMS is asked which key it refuses, and why.
type verdict struct {
	known chan struct{}
	run   *sources.RunError
}

func (v *verdict) Error() string { return errRefused.Error() }

func (v *verdict) wait(ctx context.Context) error {
	select {
	case <-v.known:
		return v.run
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// verdictOn returns the verdict on either of two keys; nil if there is none.
func verdictOn(src, dst *key) *verdict {
	for _, c := range []*key{src, dst} {
		if c.named() {
			if v, ok := context.Cause(c.fate.ctx).(*verdict); ok {
				return v
			}
		}
	}
	return nil
}

var errRefused = errors.New("the key was refused before")

// during makes a call that concerns two keys. It calls off the call as soon as
// one of them is refused. [KMS.failed] says what an error means.
func during[O any](ctx context.Context, src, dst *key, call func(context.Context) (O, error)) (O, error) {
	if verdictOn(src, dst) != nil {
		var none O
		return none, errRefused
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, c := range []*key{src, dst} {
		if c.named() {
			defer context.AfterFunc(c.fate.ctx, cancel)()
		}
	}
	return call(ctx)
}

// refused is the error for a call in which KMS refused one of two keys; only the
// text of its answer says which.
//
// Where the operator named both keys, the run ends whichever it is, and all
// calls are called off at once. Where an item named one, KMS is asked first.
func (k *KMS) refused(ctx context.Context, doing error, src, dst *key) error {
	unclear := fmt.Sprintf("Check the state of the key: aws kms describe-key --key-id %s", src.ARN)
	if src.named() && dst.named() {
		return k.condemn(src, dst, func() *sources.RunError {
			// Other callers wait for this, so it does not end with this one.
			ctx := context.WithoutCancel(ctx)
			hint := k.complaint(ctx, src)
			if hint == "" && dst.ARN != src.ARN {
				hint = k.complaint(ctx, dst)
			}
			return &sources.RunError{Err: doing, Hint: cmp.Or(hint, unclear), Strikes: atOnce}
		}).wait(ctx)
	}
	ask := []*key{dst, src} // in a pair it is the target that the operator named
	if src.ARN == dst.ARN {
		ask = ask[1:]
	}
	for _, c := range ask {
		run, _, err := k.refusals.asking.do(ctx, c.ARN, func(ctx context.Context) (*sources.RunError, error) {
			if v := verdictOn(c, c); v != nil { // reached since, by a flight that has ended
				return nil, v.wait(ctx)
			}
			hint := k.complaint(ctx, c)
			switch {
			case hint == "":
				return nil, nil
			case !c.named():
				return &sources.RunError{Err: doing, Hint: hint, Strikes: manyStrikes}, nil
			}
			return nil, k.condemn(c, c, func() *sources.RunError {
				return &sources.RunError{Err: doing, Hint: hint, Strikes: atOnce}
			}).wait(ctx)
		})
		switch {
		case err != nil:
			return err
		case run != nil:
			return run
		}
	}
	return &sources.RunError{Err: doing, Hint: unclear, Strikes: manyStrikes}
}

// complaint is why KMS does not work with a key now, and what to do about it; ""
// if it does.
func (k *KMS) complaint(ctx context.Context, c *key) string {
	m, err := kmskey.Describe(ctx, c.api, c.ARN)
	if err != nil {
		if meaning, _ := awserr.KMS(err); meaning == awserr.NotFound {
			return k.notFoundHint(c)
		}
		return ""
	}
	var u *unusableError
	if errors.As(usable(c.ARN, m), &u) {
		return u.what + ". " + u.hint
	}
	return ""
}

// condemn ends all calls about two keys that the operator named, with the
// error that why finds, or with an earlier one.
func (k *KMS) condemn(src, dst *key, why func() *sources.RunError) *verdict {
	k.refusals.mu.Lock()
	defer k.refusals.mu.Unlock()
	if v := verdictOn(src, dst); v != nil {
		return v
	}
	v := &verdict{known: make(chan struct{})}
	src.fate.end(v)
	dst.fate.end(v)
	go func() {
		defer close(v.known)
		v.run = why()
	}()
	return v
}
