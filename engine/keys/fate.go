package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources"
)

// fate is whether KMS still works with a key that the operator named. The
// first refusal of such a key ends the run; the calls that wait for their turn
// at that moment, hundreds of them, are then called off instead of each being
// refused in its own time, and none is made after.
type fate struct {
	ctx context.Context // ends with the key; its cause is a *verdict
	end context.CancelCauseFunc
}

func newFate() *fate {
	ctx, end := context.WithCancelCause(context.Background())
	return &fate{ctx, end}
}

// verdict is the error that every call about a refused key ends with. It may
// take a moment to be known: KMS is asked which key it refuses, and why.
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

// verdictOn is what stands against either of two keys, nil if nothing does.
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

// during makes a call that concerns two keys, unless one of them is refused
// before it has ended. What its error means, failed says.
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

// refused is what it means that KMS will not work with one of two keys: the
// error names it in the text alone.
//
// Where the operator named both, that ends the run whichever it is, and no
// time is lost before calls are called off. Where an item named one, KMS is
// asked first.
func (k *KMS) refused(ctx context.Context, doing error, src, dst *key) error {
	unclear := fmt.Sprintf("Check the state of the key: aws kms describe-key --key-id %s", src.ARN)
	if src.named() && dst.named() {
		return k.condemn(src, dst, func() *sources.RunError {
			// Others wait for this, so it does not end with this caller.
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
		run, _, err := k.blaming.do(ctx, c.ARN, func(ctx context.Context) (*sources.RunError, error) {
			if v := verdictOn(c, c); v != nil { // from a flight that landed since
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

// complaint is what KMS says against a key now, and what to do about it; ""
// if nothing.
func (k *KMS) complaint(ctx context.Context, c *key) string {
	out, err := c.api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &c.ARN})
	if is[*types.NotFoundException](err) {
		return k.notFoundHint(c)
	}
	var u *unusableError
	if err == nil && out.KeyMetadata != nil && errors.As(usable(c.ARN, out.KeyMetadata), &u) {
		return u.what + ". " + u.hint
	}
	return ""
}

// condemn ends all calls about two keys that the operator named, with the
// error that why finds, or with an earlier one.
func (k *KMS) condemn(src, dst *key, why func() *sources.RunError) *verdict {
	k.mu.Lock()
	defer k.mu.Unlock()
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
