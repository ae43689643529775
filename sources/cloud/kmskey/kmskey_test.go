package kmskey_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources/cloud/kmskey"
)

// fake answers with what its functions say; what they lack is not called.
type fake struct {
	describe func() (*types.KeyMetadata, error)
	status   func() (*time.Time, error)
	list     func(marker string) (*kms.ListKeyRotationsOutput, error)
}

func (f fake) DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	m, err := f.describe()
	return &kms.DescribeKeyOutput{KeyMetadata: m}, err
}

func (f fake) GetKeyRotationStatus(context.Context, *kms.GetKeyRotationStatusInput, ...func(*kms.Options)) (*kms.GetKeyRotationStatusOutput, error) {
	since, err := f.status()
	return &kms.GetKeyRotationStatusOutput{OnDemandRotationStartDate: since}, err
}

func (f fake) ListKeyRotations(_ context.Context, in *kms.ListKeyRotationsInput, _ ...func(*kms.Options)) (*kms.ListKeyRotationsOutput, error) {
	if in.IncludeKeyMaterial != types.IncludeKeyMaterialAllKeyMaterial || aws.ToInt32(in.Limit) != 1000 {
		return nil, fmt.Errorf("asked for %+v", in)
	}
	return f.list(aws.ToString(in.Marker))
}

func TestDescribe(t *testing.T) {
	gone := errors.New("gone")
	for name, x := range map[string]struct {
		m    *types.KeyMetadata
		err  error
		want error
	}{
		"a key":    {&types.KeyMetadata{Arn: aws.String("arn")}, nil, nil},
		"no key":   {nil, nil, kmskey.ErrNoKey},
		"no ARN":   {&types.KeyMetadata{}, nil, kmskey.ErrNoKey},
		"an error": {nil, gone, gone},
	} {
		m, err := kmskey.Describe(t.Context(), fake{describe: func() (*types.KeyMetadata, error) { return x.m, x.err }}, "key")
		if err != x.want || (err == nil) != (m != nil) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

func TestRotations(t *testing.T) {
	pages := 0
	page := func(next string) (*kms.ListKeyRotationsOutput, error) {
		pages++
		out := &kms.ListKeyRotationsOutput{Rotations: []types.RotationsListEntry{{KeyMaterialId: aws.String(fmt.Sprint(pages))}}}
		if next != "" {
			out.Truncated, out.NextMarker = true, &next
		}
		return out, nil
	}
	for name, x := range map[string]struct {
		list func(marker string) (*kms.ListKeyRotationsOutput, error)
		want int
	}{
		"two pages": {func(marker string) (*kms.ListKeyRotationsOutput, error) {
			if marker == "" {
				return page("second")
			}
			return page("")
		}, 2},
		"the same page for ever": {func(string) (*kms.ListKeyRotationsOutput, error) { return page("again") }, 2},
		"pages without end":      {func(marker string) (*kms.ListKeyRotationsOutput, error) { return page(marker + "x") }, 10},
	} {
		pages = 0
		all, err := kmskey.Rotations(t.Context(), fake{list: x.list}, "arn")
		if err != nil || len(all) != x.want || pages != x.want {
			t.Errorf("%s: %d rotations in %d pages, want %d: %v", name, len(all), pages, x.want, err)
		}
	}
	denied := errors.New("denied")
	if all, err := kmskey.Rotations(t.Context(), fake{list: func(string) (*kms.ListKeyRotationsOutput, error) { return nil, denied }}, "arn"); err != denied || all != nil {
		t.Errorf("%v, %v", all, err)
	}
}

func TestWait(t *testing.T) {
	var slept []time.Duration
	sleep := func(ctx context.Context, d time.Duration) error {
		slept = append(slept, d)
		return ctx.Err()
	}
	since, looks := time.Unix(1e9, 0), 0
	w := kmskey.Wait{ARN: "arn", Sleep: sleep, API: fake{
		status: func() (*time.Time, error) {
			if looks++; looks > 5 {
				return nil, nil
			}
			return &since, nil
		},
		describe: func() (*types.KeyMetadata, error) {
			looks++
			return &types.KeyMetadata{Arn: aws.String("arn"), CurrentKeyMaterialId: aws.String([]string{"old", "new"}[looks/4])}, nil
		},
	}}
	vain := 0
	waited, err := w.Ended(t.Context(), func(s time.Time) error {
		if vain++; s != since {
			t.Errorf("since %v", s)
		}
		return nil
	})
	if want := []time.Duration{1e9, 2e9, 4e9, 5e9, 5e9}; !waited || err != nil || vain != 5 || !slices.Equal(slept, want) {
		t.Errorf("waited %v, %v, %d looks in vain, slept %v", waited, err, vain, slept)
	}
	if waited, err := w.Ended(t.Context(), nil); waited || err != nil {
		t.Errorf("no rotation: waited %v, %v", waited, err)
	}

	looks, vain, slept = 0, 0, nil
	material, err := w.Material(t.Context(), "old", func(*types.KeyMetadata) error { vain++; return nil })
	if material != "new" || err != nil || vain != 3 || len(slept) != 3 {
		t.Errorf("%q, %v, %d looks in vain, slept %v", material, err, vain, slept)
	}
	enough := errors.New("enough")
	looks = 0
	if material, err := w.Material(t.Context(), "old", func(*types.KeyMetadata) error { return enough }); material != "old" || err != enough {
		t.Errorf("%q, %v", material, err)
	}

	denied := errors.New("denied")
	w.API = fake{
		status:   func() (*time.Time, error) { return nil, denied },
		describe: func() (*types.KeyMetadata, error) { return nil, denied },
	}
	if waited, err := w.Ended(t.Context(), nil); waited || err != nil {
		t.Errorf("may not ask: waited %v, %v", waited, err)
	}
	if _, err := w.Material(t.Context(), "old", nil); err != denied {
		t.Errorf("got %v", err)
	}
	cause := errors.New("had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := w.Ended(ctx, nil); err != cause {
		t.Errorf("got %v", err)
	}
}

func TestSleep(t *testing.T) {
	if err := kmskey.Sleep(t.Context(), time.Microsecond); err != nil {
		t.Error(err)
	}
	why := errors.New("had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := kmskey.Sleep(ctx, time.Hour); err != why {
		t.Error(err)
	}
}

func TestStates(t *testing.T) {
	for _, s := range types.KeyState("").Values() {
		serves := s == types.KeyStateEnabled || s == types.KeyStateUpdating
		if kmskey.Serves(s) != serves {
			t.Errorf("%s serves: %v", s, !serves)
		}
		if kmskey.StateHint(s, "arn") == "" {
			t.Errorf("%s: no hint", s)
		}
	}
	if !kmskey.Serves("") {
		t.Error("a key whose state is not named is refused")
	}
}
