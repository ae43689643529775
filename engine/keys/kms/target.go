package kms

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources"
	"rewrap/sources/cloud/kmskey"
)

// target is what is known of the key materials of a key that wrapped keys end
// at. Every wrapped key has to end under bound, the material that was current
// when the pass began, or under newer material, which a rotation during the run
// makes.
type target struct {
	bound string // "": the service names no materials; never changes

	mu    sync.Mutex
	newer map[string]bool
	older map[string]bool
}

// maxMaterials bounds what is remembered of one key. A key has a few dozen
// materials in its life (25 rotations on demand, and a few a year by itself);
// an endpoint with more makes them up.
const maxMaterials = 256

// age is the age of a key material beside the bound of its key.
type age int

const (
	unknown age = iota
	older
	bound
	newer
)

func (a age) onTarget() bool { return a >= bound }

func (t *target) recall(material string) age {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case material == t.bound:
		return bound
	case t.newer[material]: // looked up before older, which may come from an outdated answer
		return newer
	case t.older[material]:
		return older
	}
	return unknown
}

// learn remembers the age of a material, and says whether that was news.
func (t *target) learn(material string, a age) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	set := &t.older
	if a == newer {
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

// ageOfSource returns the age of a material that a wrapped key was found under.
// A material whose age cannot be found out is remembered as older: to wrap
// again does no harm.
func (k *KMS) ageOfSource(ctx context.Context, t *key, material string) (age, error) {
	if a := t.target.recall(material); a != unknown {
		return a, nil
	}
	// The age is learned before the flight ends, so nobody asks a second time.
	a, _, err := k.targets.asking.do(ctx, "source "+t.ARN+"@"+material, func(ctx context.Context) (age, error) {
		if a := t.target.recall(material); a != unknown { // learned since, by a flight that has ended
			return a, nil
		}
		a, err := k.askAge(ctx, t, material)
		if err == nil {
			t.target.learn(material, a)
		}
		return a, err
	})
	return a, err
}

// ageOfDestination returns the age of a material that a key was just wrapped
// under. KMS is asked again about a material that was older a moment ago: the
// answer may have come from a server that had not heard of a rotation.
func (k *KMS) ageOfDestination(ctx context.Context, t *key, material string) (age, error) {
	if a := t.target.recall(material); a.onTarget() {
		return a, nil
	}
	a, err := k.askAge(ctx, t, material)
	// Many callers find that out at the same time.
	if a == newer && err == nil && t.target.learn(material, newer) {
		k.say("%s was rotated during the run: wrapped keys now end under its new key material %s", t.ARN, material)
	}
	return a, err
}

// askAge asks KMS. The current material is newer than the bound, unless the
// dates of the rotations say otherwise: KMS is eventually consistent, so one
// DescribeKey alone might name material from before the bound. Where
// ListKeyRotations is not permitted, DescribeKey has to do, but not for
// material that items were moved away from.
func (k *KMS) askAge(ctx context.Context, t *key, material string) (age, error) {
	a, _, err := k.targets.asking.do(ctx, t.ARN+"@"+material, func(ctx context.Context) (age, error) {
		m, err := kmskey.Describe(ctx, t.api, t.ARN)
		switch {
		case errors.Is(err, kmskey.ErrNoKey):
			return unknown, nil
		case err != nil:
			return unknown, k.failed(ctx, "DescribeKey", t, t, err)
		}
		current := aws.ToString(m.CurrentKeyMaterialId)
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
	return a, err
}

// rotationDates says when each material of a key became current. It is the zero
// time for the first, which no rotation made.
func rotationDates(ctx context.Context, k *key) (map[string]time.Time, error) {
	rotations, err := kmskey.Rotations(ctx, k.api, k.ARN)
	if err != nil {
		return nil, err
	}
	dates := make(map[string]time.Time)
	for _, r := range rotations {
		switch r.KeyMaterialState {
		case types.KeyMaterialStateCurrent, types.KeyMaterialStateNonCurrent, "":
			dates[aws.ToString(r.KeyMaterialId)] = aws.ToTime(r.RotationDate)
		}
	}
	return dates, nil
}

// targets are the keys that wrapped keys end at, by ARN. They are keys that
// exist, so the account's keys bound their number, and not the items.
type targets struct {
	mu       sync.Mutex
	byARN    map[string]*key
	adopting flights[string, *key]
	asking   flights[string, age]
}

func (t *targets) get(arn string) *key {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byARN[arn]
}

func (t *targets) add(k *key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byARN == nil {
		t.byARN = make(map[string]*key)
	}
	t.byARN[k.ARN] = k
}

func (t *targets) bounds() map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := make(map[string]string, len(t.byARN))
	for arn, k := range t.byARN {
		m[arn] = k.target.bound
	}
	return m
}

// adopt makes a key a target, once. It waits until a rotation on demand that is
// under way has ended, since everything that is wrapped before would have to be
// wrapped again. Then it compares the key's material with the one that the pass
// began with, and pins it. An error is not remembered.
func (k *KMS) adopt(ctx context.Context, t *key) (*key, error) {
	if known := k.targets.get(t.ARN); known != nil {
		return known, nil
	}
	adopted, _, err := k.targets.adopting.do(ctx, t.ARN, func(ctx context.Context) (*key, error) {
		if known := k.targets.get(t.ARN); known != nil {
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
		k.targets.add(&n)
		return &n, nil
	})
	return adopted, err
}

const (
	rotationNotice = 30 * time.Second
	rotationLimit  = 15 * time.Minute
	settleLooks    = 9 // in half a minute
)

var errSettled = errors.New("the key keeps its material")

// awaitRotation returns when no rotation on demand is under way, with the
// current material in t.Material. Without the permission to ask, or where the
// service lacks the call, no waiting is done.
func (k *KMS) awaitRotation(ctx context.Context, t *key) error {
	wait := kmskey.Wait{API: t.api, ARN: t.ARN, Sleep: k.cfg.Sleep}
	began := k.cfg.Clock()
	var told time.Time
	waited, err := wait.Ended(ctx, func(since time.Time) error {
		asked, now := since.UTC().Format(time.RFC3339), k.cfg.Clock()
		if now.Sub(began) >= rotationLimit {
			return &sources.RunError{
				Err:     fmt.Errorf("the rotation of %s that was asked for at %s has not ended after waiting %s for it", t.ARN, asked, rotationLimit),
				Hint:    "See aws kms get-key-rotation-status --key-id " + t.ARN + ", and run again when it has.",
				Strikes: atOnce,
			}
		}
		if told.IsZero() || now.Sub(told) >= rotationNotice {
			k.say("waiting for the rotation of %s that was asked for at %s", t.ARN, asked)
			told = now
		}
		return nil
	})
	if err != nil || !waited {
		return err
	}
	// KMS may show the new material some time after it has shown the end of
	// the rotation.
	looks := 0
	material, err := wait.Material(ctx, t.Material, func(*types.KeyMetadata) error {
		if looks++; looks == settleLooks || t.Material == "" {
			return errSettled
		}
		return nil
	})
	switch {
	case err == nil, errors.Is(err, errSettled):
		t.Material = material
		return nil
	case errors.Is(err, kmskey.ErrNoKey):
		return nil // the key was described a moment ago; that has to do
	}
	return k.failed(ctx, "DescribeKey", t, t, err)
}
