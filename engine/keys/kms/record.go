package kms

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"rewrap/engine/envelope"
	"rewrap/sources"
	"rewrap/sources/cloud/arn"
)

// inScope returns the index, among the keys of the job, of the key that the
// item records. It is 0 where that cannot be known, and the error is ErrForeign
// if the recorded key is certainly none of them.
func (k *KMS) inScope(ctx context.Context, w envelope.WrappedKey) (int, error) {
	if w.KeyID == "" {
		return 0, nil
	}
	index := func(name string) int {
		return slices.IndexFunc(k.job.all, func(c candidate) bool { return arn.Names(name, c.src.ARN) || name == c.src.Given })
	}
	i, known := index(w.KeyID), w.KeyID
	if i < 0 && arn.IsAlias(w.KeyID) {
		r, err := k.reg.find(ctx, w.KeyID)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err != nil {
			return 0, nil
		}
		i, known = index(r.ARN), r.ARN
	}
	if i >= 0 {
		return i, nil
	}
	for _, v := range w.Context {
		if v == w.KeyID {
			return 0, nil
		}
	}
	return 0, fmt.Errorf("the item records the key %s: %w", known, envelope.ErrForeign)
}

// ofRecord returns the candidates where the job names no source keys: then the
// source key is the one that the item records. A blob under neither that key
// nor the target is under a key that nobody knows. That is an error of its own,
// since "foreign" would mean that the blob need not be moved.
func (k *KMS) ofRecord(ctx context.Context, w envelope.WrappedKey) (cs []candidate, none, err error) {
	to := k.job.to
	if to != nil {
		cs = k.job.all // the target alone
	}
	switch {
	case w.KeyID == "" && to == nil:
		return nil, nil, unrecorded("")
	case w.KeyID == "":
		return cs, unrecorded(" and it is not under the target " + to.ARN), nil
	}
	none = fmt.Errorf("the item records the key %s, and its wrapped key is not under it: name the key that it is under with --from", w.KeyID)
	if to != nil && (arn.Names(w.KeyID, to.ARN) || w.KeyID == to.Given) {
		return cs, none, nil
	}
	r, err := k.recorded(ctx, w.KeyID)
	switch {
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case errors.Is(err, sources.ErrCredentials), err != nil && to == nil:
		return nil, nil, err
	case err != nil:
		return cs, err, nil // the blob may have been moved since
	}
	c := candidate{src: r, dst: to}
	if to == nil {
		c.dst = r
	}
	return append([]candidate{c}, cs...), none, nil
}

func unrecorded(more string) error {
	return &sources.RunError{
		Err:     fmt.Errorf("the item does not record the key of its wrapped key%s", more),
		Hint:    "Name the keys that such wrapped keys may be under with --from.",
		Strikes: manyStrikes,
	}
}

// recorded returns the key that an item records, ready to be called.
func (k *KMS) recorded(ctx context.Context, name string) (*key, error) {
	if t := k.targets.get(name); t != nil {
		return t, nil
	}
	to := k.job.to
	if a, ok := arn.Parse(name); ok && to != nil && a.Region == to.region {
		return k.reg.assume(name, to.api), nil // nothing else of a source matters
	}
	r, err := k.reg.find(ctx, name)
	if err != nil {
		return nil, k.unresolved(ctx, name, false, err)
	}
	if to != nil {
		return k.reachable(ctx, r)
	}
	t, err := k.adopt(ctx, r)
	var moved *MovedError
	if errors.As(err, &moved) {
		return nil, &sources.RunError{Err: moved, Hint: "Nothing is lost by that: what is on target already will be known as such.", Strikes: atOnce}
	}
	return t, err
}
