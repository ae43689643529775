package kmskey

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// maxPages bounds how far a list of rotations is read. A key has a few dozen
// of them in its life, and a page has up to 1000, so an endpoint with more
// pages goes in a circle.
const maxPages = 10

// Rotations lists the key materials of a key with the rotations that they came
// with, in the order of KMS. The first material came with no rotation and has
// no date. ListKeyRotations refuses aliases, so the key is given by its ARN.
func Rotations(ctx context.Context, api API, arn string) ([]types.RotationsListEntry, error) {
	in := &kms.ListKeyRotationsInput{KeyId: &arn, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial}
	pages := kms.NewListKeyRotationsPaginator(api, in, func(o *kms.ListKeyRotationsPaginatorOptions) {
		o.Limit, o.StopOnDuplicateToken = 1000, true
	})
	var all []types.RotationsListEntry
	for range maxPages {
		if !pages.HasMorePages() {
			break
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Rotations...)
	}
	return all, nil
}

// Wait is how rotations are waited for. KMS answers RotateKeyOnDemand at once
// and rotates some time later (KMS API Reference, RotateKeyOnDemand).
type Wait struct {
	API   API
	ARN   string
	Sleep func(context.Context, time.Duration) error // nil: a timer
}

// Ended waits until no rotation on demand of the key is under way, and says
// whether one was. KMS shows the start of the rotation for as long as it is
// under way (KMS API Reference, GetKeyRotationStatus). Where the caller may not
// ask, or the service does not know, there is nothing to wait for.
//
// vain is called after each look that found a rotation, with its start. Its
// error ends the wait; so does the context's.
func (w Wait) Ended(ctx context.Context, vain func(since time.Time) error) (waited bool, err error) {
	err = w.poll(ctx, func() (bool, error) {
		out, err := w.API.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &w.ARN})
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if err != nil || out.OnDemandRotationStartDate == nil {
			return true, nil
		}
		waited = true
		return false, vain(*out.OnDemandRotationStartDate)
	})
	return waited, err
}

// Material waits until the key has another current key material than was, and
// returns it. vain is called after each look at a key that still has the old
// one. Its error ends the wait; so does one of DescribeKey.
func (w Wait) Material(ctx context.Context, was string, vain func(*types.KeyMetadata) error) (material string, err error) {
	err = w.poll(ctx, func() (bool, error) {
		m, err := Describe(ctx, w.API, w.ARN)
		if err != nil {
			return false, err
		}
		if material = aws.ToString(m.CurrentKeyMaterialId); material != was {
			return true, nil
		}
		return false, vain(m)
	})
	return material, err
}

// maxPause is the longest pause between two looks; the first is a second.
const maxPause = 5 * time.Second

func (w Wait) poll(ctx context.Context, look func() (done bool, err error)) error {
	sleep := w.Sleep
	if sleep == nil {
		sleep = Sleep
	}
	for pause := time.Second; ; pause = min(2*pause, maxPause) {
		if done, err := look(); done || err != nil {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// Sleep waits for d, or until the context ends; then it returns the cause.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
