package kms

import (
	"encoding/base64"
	"strconv"
	"time"
)

const (
	defaultRotationPeriod = 365 // days
	day                   = 24 * time.Hour

	// maxOnDemand is how often a key may be rotated on demand in its life
	// (KMS API Reference, RotateKeyOnDemand; not adjustable).
	maxOnDemand = 25

	// conflictWindow is how close an automatic rotation must be to keep one
	// on demand from starting (KMS API Reference, RotateKeyOnDemand,
	// ConflictException).
	conflictWindow = 20 * time.Minute

	causeAutomatic = "AUTOMATIC"
	causeOnDemand  = "ON_DEMAND"
)

// rotation is what a key knows of its rotations, apart from the materials
// that came of them.
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

// rotatable refuses kinds of keys that cannot be rotated (KMS Developer Guide,
// "Rotate keys": only symmetric encryption keys; automatically only those
// whose material KMS made).
func (k *key) rotatable() error {
	if !k.spec.symmetric() {
		return unsupported("%s key spec is %s which is not valid for this operation.", k.arn, k.spec.name)
	}
	return nil
}

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
	KeyID                *string `json:"KeyId"`
	RotationPeriodInDays *int
}

func (s *Service) enableKeyRotation(in *enableKeyRotationInput) (any, error) {
	var v validation
	v.keyID("keyId", in.KeyID)
	v.between("rotationPeriodInDays", in.RotationPeriodInDays, 90, 2560)
	if err := v.err(); err != nil {
		return nil, err
	}
	return s.change("EnableKeyRotation", *in.KeyID, func(k *key) error {
		if err := k.rotatableAutomatically(); err != nil {
			return err
		}
		if err := k.usable(); err != nil {
			return err
		}
		k.rotation.period = defaultRotationPeriod
		if in.RotationPeriodInDays != nil {
			k.rotation.period = *in.RotationPeriodInDays
		}
		k.rotation.next = s.now().Add(k.rotation.days())
		return nil
	})
}

func (s *Service) disableKeyRotation(in *keyIDInput) (any, error) {
	if err := in.valid(); err != nil {
		return nil, err
	}
	return s.change("DisableKeyRotation", *in.KeyID, func(k *key) error {
		if err := k.rotatableAutomatically(); err != nil {
			return err
		}
		if err := k.usable(); err != nil {
			return err
		}
		k.rotation.period, k.rotation.next = 0, time.Time{}
		return nil
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
	if err := in.valid(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, err := s.lookupNoAlias(*in.KeyID)
	if err != nil {
		return nil, err
	}
	if err := k.rotatable(); err != nil {
		return nil, err
	}
	out := rotationStatus{KeyID: k.id, OnDemandRotationStartDate: timestamp{k.rotation.onDemandStart}}
	// A key that is going to be deleted reads as not rotating, and goes on as
	// before if the deletion is cancelled (KMS API Reference,
	// GetKeyRotationStatus).
	if k.state != statePendingDeletion && !k.rotation.next.IsZero() {
		out.KeyRotationEnabled = true
		out.RotationPeriodInDays = k.rotation.period
		out.NextRotationDate = timestamp{k.rotation.next}
	}
	return out, nil
}

func (s *Service) rotateKeyOnDemand(in *keyIDInput) (any, error) {
	if err := in.valid(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.lookupNoAlias(*in.KeyID)
	if err != nil {
		return nil, err
	}
	if err := k.changeable("RotateKeyOnDemand"); err != nil {
		return nil, err
	}
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
		return out, nil // recorded: succeeds, and does not rotate a second time
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
	s.schedule(k)
	return out, nil
}

type listKeyRotationsInput struct {
	page
	KeyID              *string `json:"KeyId"`
	IncludeKeyMaterial string
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
// first came of no rotation: it is listed on request, and without a date.
func (s *Service) listKeyRotations(in *listKeyRotationsInput) (any, error) {
	var v validation
	v.keyID("keyId", in.KeyID)
	v.oneOf("includeKeyMaterial", in.IncludeKeyMaterial, []string{allKeyMaterial, "ROTATIONS_ONLY"})
	in.check(&v)
	if err := v.err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, err := s.lookupNoAlias(*in.KeyID)
	if err != nil {
		return nil, err
	}
	if err := k.rotatable(); err != nil {
		return nil, err
	}
	materials := k.materials
	if in.IncludeKeyMaterial != allKeyMaterial && len(materials) > 0 {
		materials = materials[1:]
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	from, _ := strconv.Atoi(after)
	from = min(max(from, 0), len(materials))
	until := min(from+in.limit(100, 1000), len(materials))
	out := listKeyRotationsOutput{Rotations: []rotationEntry{}}
	for _, m := range materials[from:until] {
		e := rotationEntry{
			KeyID: k.id, KeyMaterialID: m.id, KeyMaterialState: "NON_CURRENT",
			RotationDate: timestamp{m.rotated}, RotationType: m.cause,
		}
		if m == k.current() {
			e.KeyMaterialState = "CURRENT"
		}
		out.Rotations = append(out.Rotations, e)
	}
	if until < len(materials) {
		out.more = truncated(strconv.Itoa(until))
	}
	return out, nil
}

// page is what the members of listing operations have in common. A marker is
// the name of the last entry that was listed, in base64.
type page struct {
	Limit  *int
	Marker *string
}

func (p *page) check(v *validation) {
	v.between("limit", p.Limit, 1, 1000)
	if p.Marker != nil {
		v.length("marker", len(*p.Marker), 1, 1024)
	}
}

// limit is how many entries a page has: standard if nothing is asked for, and
// never more than most.
func (p *page) limit(standard, most int) int {
	if p.Limit == nil {
		return standard
	}
	return min(*p.Limit, most)
}

func (p *page) after() (string, error) {
	if p.Marker == nil {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(*p.Marker)
	if err != nil || len(b) == 0 {
		return "", fail("InvalidMarkerException", "Could not deserialize marker '%s'", *p.Marker)
	}
	return string(b), nil
}

type more struct {
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

func truncated(last string) more {
	return more{NextMarker: base64.StdEncoding.EncodeToString([]byte(last)), Truncated: true}
}
