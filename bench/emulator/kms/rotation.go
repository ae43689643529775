package kms

import (
	"strconv"
	"time"
)

const (
	defaultRotationPeriod = 365 // days
	day                   = 24 * time.Hour

	// maxOnDemand is the number of times that a key can be rotated on demand
	// (KMS API Reference, RotateKeyOnDemand). The limit cannot be raised.
	maxOnDemand = 25

	// conflictWindow is the time before an automatic rotation in which one on
	// demand is refused (KMS API Reference, RotateKeyOnDemand,
	// ConflictException).
	conflictWindow = 20 * time.Minute

	causeAutomatic = "AUTOMATIC"
	causeOnDemand  = "ON_DEMAND"
)

// rotation is the state of a key's rotations, apart from its materials.
type rotation struct {
	period int       // days
	next   time.Time // of the automatic rotation; zero: it is off

	onDemandStart time.Time // zero: none in progress
	onDemandDone  time.Time // when the one in progress takes effect
	onDemandUsed  int
}

func (r *rotation) days() time.Duration { return time.Duration(r.period) * day }

func (s *Service) finishOnDemand(k *key) {
	s.addMaterial(k, k.rotation.onDemandDone, causeOnDemand)
	k.rotation.onDemandStart, k.rotation.onDemandDone = time.Time{}, time.Time{}
}

func (s *Service) rotateAutomatically(k *key, at time.Time) {
	s.addMaterial(k, at, causeAutomatic)
	k.rotation.next = at.Add(k.rotation.days())
}

// rotatable refuses keys that cannot be rotated on demand: all but symmetric
// encryption keys (KMS Developer Guide, "Rotate keys").
func (k *key) rotatable() error {
	if !k.spec.symmetric() {
		return unsupported("%s key spec is %s which is not valid for this operation.", k.arn, k.spec.name)
	}
	return nil
}

// rotatableAutomatically refuses keys whose material was imported as well.
func (k *key) rotatableAutomatically() error {
	if err := k.rotatable(); err != nil {
		return err
	}
	if k.origin != originKMS {
		return unsupported("%s origin is %s which is not valid for this operation.", k.arn, k.origin)
	}
	return nil
}

type enableKeyRotationInput struct {
	keyIDInput
	RotationPeriodInDays *int
}

func (in *enableKeyRotationInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.between("rotationPeriodInDays", in.RotationPeriodInDays, 90, 2560)
}

func (s *Service) enableKeyRotation(in *enableKeyRotationInput) (any, error) {
	return s.change("EnableKeyRotation", *in.KeyID, func(k *key) (any, error) {
		if err := k.rotatableAutomatically(); err != nil {
			return nil, err
		}
		if err := k.usable(); err != nil {
			return nil, err
		}
		k.rotation.period = defaultRotationPeriod
		if in.RotationPeriodInDays != nil {
			k.rotation.period = *in.RotationPeriodInDays
		}
		k.rotation.next = s.now().Add(k.rotation.days())
		return nil, nil
	})
}

func (s *Service) disableKeyRotation(in *keyIDInput) (any, error) {
	return s.change("DisableKeyRotation", *in.KeyID, func(k *key) (any, error) {
		if err := k.rotatableAutomatically(); err != nil {
			return nil, err
		}
		if err := k.usable(); err != nil {
			return nil, err
		}
		k.rotation.period, k.rotation.next = 0, time.Time{}
		return nil, nil
	})
}

type rotationStatus struct {
	KeyID                     string `json:"KeyId"`
	KeyRotationEnabled        bool
	RotationPeriodInDays      int       `json:",omitzero"`
	NextRotationDate          timestamp `json:",omitzero"`
	OnDemandRotationStartDate timestamp `json:",omitzero"`
}

func (s *Service) getKeyRotationStatus(in *keyIDInput) (any, error) {
	return s.read(*in.KeyID, func(k *key) (any, error) {
		if err := k.rotatable(); err != nil {
			return nil, err
		}
		out := rotationStatus{KeyID: k.id, OnDemandRotationStartDate: timestamp{k.rotation.onDemandStart}}
		// A key that is pending deletion is shown as not rotating. It rotates
		// again if the deletion is cancelled (KMS API Reference,
		// GetKeyRotationStatus).
		if k.state != statePendingDeletion && !k.rotation.next.IsZero() {
			out.KeyRotationEnabled = true
			out.RotationPeriodInDays = k.rotation.period
			out.NextRotationDate = timestamp{k.rotation.next}
		}
		return out, nil
	})
}

func (s *Service) rotateKeyOnDemand(in *keyIDInput) (any, error) {
	return s.change("RotateKeyOnDemand", *in.KeyID, func(k *key) (any, error) {
		if err := k.rotatable(); err != nil {
			return nil, err
		}
		if err := k.usable(); err != nil {
			return nil, err
		}
		out := keyIDOutput{k.id}
		r, now := &k.rotation, s.now()
		switch {
		case !r.onDemandStart.IsZero():
			return out, nil // recorded: the call succeeds and rotates nothing
		case !r.next.IsZero() && r.next.Sub(now) < conflictWindow:
			return nil, fail("ConflictException", "%s is about to be rotated automatically. Try again after %s.", k.arn, r.next.UTC().Format(time.RFC3339))
		case r.onDemandUsed >= maxOnDemand:
			return nil, fail("LimitExceededException", "%s has been rotated on demand %d times, the most a key can be.", k.arn, maxOnDemand)
		}
		r.onDemandUsed++
		r.onDemandStart, r.onDemandDone = now, now.Add(s.rotationDelay)
		if s.rotationDelay <= 0 {
			s.finishOnDemand(k)
		}
		return out, nil
	})
}

type listKeyRotationsInput struct {
	page
	keyIDInput
	IncludeKeyMaterial string
}

func (in *listKeyRotationsInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.oneOf("includeKeyMaterial", in.IncludeKeyMaterial, []string{allKeyMaterial, "ROTATIONS_ONLY"})
	in.checkSizes(v)
}

type rotationEntry struct {
	KeyID            string    `json:"KeyId"`
	KeyMaterialID    string    `json:"KeyMaterialId"`
	KeyMaterialState string    `json:",omitempty"`
	RotationDate     timestamp `json:",omitzero"`
	RotationType     string    `json:",omitempty"`
}

type listKeyRotationsOutput struct {
	Rotations []rotationEntry
	more
}

const allKeyMaterial = "ALL_KEY_MATERIAL"

// listKeyRotations lists the materials from the first to the current one. The
// first did not come from a rotation: it is listed on request, and without a
// date.
func (s *Service) listKeyRotations(in *listKeyRotationsInput) (any, error) {
	return s.read(*in.KeyID, func(k *key) (any, error) {
		if err := k.rotatable(); err != nil {
			return nil, err
		}
		if err := in.readMarker(); err != nil { // not in check: an unknown key counts before a bad marker
			return nil, err
		}
		var all []rotationEntry
		for i, m := range k.materials {
			if i == 0 && in.IncludeKeyMaterial != allKeyMaterial {
				continue
			}
			e := rotationEntry{
				KeyID: k.id, KeyMaterialID: m.id, KeyMaterialState: "NON_CURRENT",
				RotationDate: timestamp{m.rotated}, RotationType: m.cause,
			}
			if m == k.current() {
				e.KeyMaterialState = "CURRENT"
			}
			all = append(all, e)
		}
		numbered := func(after string) int {
			n, _ := strconv.Atoi(after)
			return min(max(n, 0), len(all))
		}
		some, rest := paged(&in.page, all, 100, 1000, numbered, strconv.Itoa)
		return listKeyRotationsOutput{some, rest}, nil
	})
}
