package keys

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources"
)

// target is what is known of the key materials of a key that wrapped keys end
// at. bound is the material that was current when the pass began: at least
// that is what everything shall be under. A rotation in mid-run makes newer
// material, which is as good.
type target struct {
	bound string // "": the service names no materials; never changes

	mu    sync.Mutex
	newer map[string]bool
	older map[string]bool
}

// maxMaterials bounds what is remembered of one key. A key has a few dozen
// materials in its life (25 rotations on demand, and a few a year by itself);
// more can only be an endpoint that makes them up.
const maxMaterials = 256

type standing int

const (
	unknown standing = iota
	older
	bound
	newer
)

func (s standing) onTarget() bool { return s >= bound }

func (t *target) recall(material string) standing {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case material == t.bound:
		return bound
	case t.newer[material]: // before older: that may have been an outdated answer
		return newer
	case t.older[material]:
		return older
	}
	return unknown
}

// learn says whether that was new.
func (t *target) learn(material string, s standing) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	set := &t.older
	if s == newer {
		set = &t.newer
	}
	if *set == nil {
		*set = make(map[string]bool)
	}
	if (*set)[material] || len(*set) >= maxMaterials {
		return false
	}
	(*set)[material] = true
	return true
}

// ofSource says where a material that something is under now stands. What
// cannot be told is remembered as older: wrapping anew does no harm.
func (k *KMS) ofSource(ctx context.Context, t *key, material string) (standing, error) {
	if s := t.target.recall(material); s != unknown {
		return s, nil
	}
	s, err := k.ask(ctx, t, material)
	if err != nil {
		return unknown, err
	}
	t.target.learn(material, s)
	return s, nil
}

// ofDestination says where a material that something was just wrapped under
// stands. What was older a moment ago is asked again, since that may have been
// the answer of a server that had not heard of a rotation.
func (k *KMS) ofDestination(ctx context.Context, t *key, material string) (standing, error) {
	if s := t.target.recall(material); s.onTarget() {
		return s, nil
	}
	s, err := k.ask(ctx, t, material)
	// Many hear of it at the same time.
	if s == newer && err == nil && t.target.learn(material, newer) {
		k.say("%s was rotated during the run: wrapped keys now end under its new key material %s", t.ARN, material)
	}
	return s, err
}

// ask asks KMS: the current material is newer than the bound, unless the
// dates of the rotations say otherwise. KMS is eventually consistent, so one
// DescribeKey alone might name material from before the bound; where
// ListKeyRotations is not permitted it has to do, short of material that items
// were moved away from.
func (k *KMS) ask(ctx context.Context, t *key, material string) (standing, error) {
	s, _, err := k.asking.do(ctx, t.ARN+"@"+material, func(ctx context.Context) (standing, error) {
		out, err := t.api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &t.ARN})
		if err != nil {
			return unknown, k.failed(ctx, "DescribeKey", t, t, err)
		}
		if out.KeyMetadata == nil {
			return unknown, nil
		}
		current := aws.ToString(out.KeyMetadata.CurrentKeyMaterialId)
		if current == t.target.bound {
			return older, nil
		}
		dates, err := rotationDates(ctx, t)
		if err := ctx.Err(); err != nil {
			return unknown, err
		}
		was, ok1 := dates[t.target.bound]
		is, ok2 := dates[material]
		switch {
		case err == nil && ok1 && ok2 && is.After(was):
			return newer, nil
		case err == nil && ok1 && ok2:
			return older, nil
		case current == material && t.target.recall(material) != older:
			return newer, nil
		}
		return unknown, nil
	})
	return s, err
}

// rotationDates says when each material of a key became current; the zero time
// for the first, which no rotation made.
func rotationDates(ctx context.Context, k *key) (map[string]time.Time, error) {
	dates := make(map[string]time.Time)
	in := &kms.ListKeyRotationsInput{KeyId: &k.ARN, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial}
	for range 10 { // pages of 100; more can only be an endpoint that goes in a circle
		out, err := k.api.ListKeyRotations(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, r := range out.Rotations {
			switch r.KeyMaterialState {
			case types.KeyMaterialStateCurrent, types.KeyMaterialStateNonCurrent, "":
				dates[aws.ToString(r.KeyMaterialId)] = aws.ToTime(r.RotationDate)
			}
		}
		if !out.Truncated || aws.ToString(out.NextMarker) == "" {
			break
		}
		in.Marker = out.NextMarker
	}
	return dates, nil
}

const (
	rotationPoll   = 5 * time.Second
	rotationNotice = 30 * time.Second
	rotationLimit  = 15 * time.Minute
	settlePolls    = 6
)

// adopt makes a key a target: it waits until a rotation on demand that is
// under way has ended, since what was wrapped before that would have to be
// done again, holds its material against the one that the pass began with, and
// pins it. Once per key; the error is not remembered.
func (k *KMS) adopt(ctx context.Context, t *key) (*key, error) {
	k.mu.Lock()
	known := k.targets[t.ARN]
	k.mu.Unlock()
	if known != nil {
		return known, nil
	}
	known, _, err := k.adopting.do(ctx, t.ARN, func(ctx context.Context) (*key, error) {
		k.mu.Lock()
		known := k.targets[t.ARN]
		k.mu.Unlock()
		if known != nil {
			return known, nil
		}
		n := *t
		pinned, resumed := k.cfg.Pinned[n.ARN]
		if !resumed {
			if err := k.awaitRotation(ctx, &n); err != nil {
				return nil, err
			}
		} else if pinned != n.Material {
			return nil, &MovedError{Key: n.Given, Was: pinned, Is: n.Material}
		}
		n.target = &target{bound: n.Material}
		if n.Material == "" {
			k.say("the key material of %s is not named by this service: what is under the key is taken for current", n.ARN)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.targets[n.ARN] = &n
		return &n, nil
	})
	return known, err
}

// awaitRotation returns when no rotation on demand is under way, with the
// current material in k.Material. RotateKeyOnDemand answers at once and
// KMS rotates some time later; OnDemandRotationStartDate is set meanwhile (KMS API
// Reference, GetKeyRotationStatus). Who may not ask, or asks a service that
// does not know, goes on without.
func (k *KMS) awaitRotation(ctx context.Context, t *key) error {
	began := k.cfg.Clock()
	var told time.Time
	for {
		out, err := t.api.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &t.ARN})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || out.OnDemandRotationStartDate == nil {
			break
		}
		now := k.cfg.Clock()
		if now.Sub(began) >= rotationLimit {
			return &sources.RunError{
				Err:     fmt.Errorf("the rotation of %s that was asked for at %s has not ended after waiting %s for it", t.ARN, out.OnDemandRotationStartDate.UTC().Format(time.RFC3339), rotationLimit),
				Hint:    "See aws kms get-key-rotation-status --key-id " + t.ARN + ", and run again when it has.",
				Strikes: atOnce,
			}
		}
		if told.IsZero() || now.Sub(told) >= rotationNotice {
			k.say("waiting for the rotation of %s that was asked for at %s", t.ARN, out.OnDemandRotationStartDate.UTC().Format(time.RFC3339))
			told = now
		}
		if err := k.cfg.Sleep(ctx, rotationPoll); err != nil {
			return err
		}
	}
	if told.IsZero() {
		return nil
	}
	// The end of the rotation and the new material need not be seen at the
	// same moment.
	before := t.Material
	for range settlePolls {
		out, err := t.api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &t.ARN})
		if err != nil {
			return k.failed(ctx, "DescribeKey", t, t, err)
		}
		if m := out.KeyMetadata; m != nil {
			t.Material = aws.ToString(m.CurrentKeyMaterialId)
		}
		if t.Material != before || before == "" {
			return nil
		}
		if err := k.cfg.Sleep(ctx, rotationPoll); err != nil {
			return err
		}
	}
	return nil
}
