package keyadmin

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources/cloud/kmskey"
)

// Kind is what decides how a key gets new key material, if ever.
type Kind string

const (
	KindSymmetric   Kind = "symmetric"    // SYMMETRIC_DEFAULT, material made by KMS
	KindImported    Kind = "imported"     // SYMMETRIC_DEFAULT, material imported (origin EXTERNAL)
	KindCustomStore Kind = "custom_store" // in a CloudHSM or external key store
	KindAsymmetric  Kind = "asymmetric"   // RSA, ECC, ML-DSA, ...
	KindHMAC        Kind = "hmac"
	KindAWSManaged  Kind = "aws_managed" // alias/aws/...
)

// Rule says how keys of the kind get new key material, and what to do where
// they do not. From the KMS API Reference, EnableKeyRotation and
// RotateKeyOnDemand, which name the kinds that can and cannot be rotated.
func (k Kind) Rule() string {
	switch k {
	case KindSymmetric:
		return "rotates by itself every 90 to 2560 days once that is on, and on demand, 25 times in its life"
	case KindImported:
		return "no automatic rotation; on demand after new material was imported, 25 times in its life; if any material expires the whole key is unusable"
	case KindCustomStore:
		return "no rotation; make a new key and move to it"
	case KindAsymmetric, KindHMAC:
		return "no rotation; make a new key in its place"
	case KindAWSManaged:
		return "AWS rotates it every year; only the AWS service that it belongs to can use it, so you cannot re-wrap its data keys"
	}
	return ""
}

// MultiRegionRule goes with the rule of the kind (KMS API Reference,
// EnableKeyRotation and RotateKeyOnDemand, on multi-Region keys).
const MultiRegionRule = "rotation is set and started on the primary key, and its replicas follow"

// hasVersions reports whether keys of the kind can have more than one key
// material. KMS refuses to be asked about the rotation of others.
func (k Kind) hasVersions() bool {
	return k == KindSymmetric || k == KindImported || k == KindAWSManaged
}

// kindOf looks at the manager first, since only AWS decides about its keys. A
// custom key store comes before the spec, since its keys are symmetric too.
func kindOf(m *types.KeyMetadata) Kind {
	switch {
	case m.KeyManager == types.KeyManagerTypeAws:
		return KindAWSManaged
	case m.Origin == types.OriginTypeAwsCloudhsm || m.Origin == types.OriginTypeExternalKeyStore || aws.ToString(m.CustomKeyStoreId) != "":
		return KindCustomStore
	case strings.HasPrefix(string(m.KeySpec), "HMAC_"):
		return KindHMAC
	case m.KeySpec != types.KeySpecSymmetricDefault && m.KeySpec != "":
		return KindAsymmetric
	case m.Origin == types.OriginTypeExternal:
		return KindImported
	}
	return KindSymmetric
}

// MaxOnDemand is how often a key can be rotated on demand in its life. It
// cannot be raised (KMS API Reference, RotateKeyOnDemand).
const MaxOnDemand = 25

// Key is what KMS tells about one key. Of a key that could not be read at all
// only Given and Error are there, and ARN if it was listed.
type Key struct {
	Given string `json:"given,omitempty"` // as the caller named it; "" if it was listed
	ARN   string `json:"arn,omitempty"`
	Kind  Kind   `json:"kind,omitempty"`
	Rule  string `json:"rule,omitempty"`
	Description
	MultiRegion *MultiRegion `json:"multi_region,omitempty"` // nil: of one Region
	Dates
	Versions
	Aliases []string `json:"aliases"`

	Unread []string `json:"unread,omitempty"` // the parts that could not be read, and why
	Error  string   `json:"error,omitempty"`  // why nothing could be read of it
}

// Description is what a key is, in the words of KMS.
type Description struct {
	Manager  string `json:"manager,omitempty"` // CUSTOMER, AWS
	Spec     string `json:"spec,omitempty"`
	Usage    string `json:"usage,omitempty"`
	State    string `json:"state,omitempty"`
	Origin   string `json:"origin,omitempty"` // AWS_KMS, EXTERNAL, AWS_CLOUDHSM, EXTERNAL_KEY_STORE
	KeyStore string `json:"custom_key_store,omitempty"`
}

// Dates are the beginning and the end of a key.
type Dates struct {
	Created  time.Time `json:"created,omitzero"`
	Deletion time.Time `json:"deletion,omitzero"` // when KMS will delete the key
	ValidTo  time.Time `json:"valid_to,omitzero"` // when the first of its imported materials expires, and the key with it
}

// Versions are the key materials of a key and how it gets new ones.
type Versions struct {
	Rotation        *Rotation  `json:"rotation,omitempty"`  // nil: its kind does not rotate, or it could not be read
	OnDemand        *OnDemand  `json:"on_demand,omitempty"` // nil likewise
	CurrentMaterial string     `json:"current_material,omitempty"`
	Materials       []Material `json:"materials"` // the newest first
}

// Rotation is the automatic rotation of a key, and its rotation on demand that
// is under way. All dates are by the clock of KMS.
type Rotation struct {
	Enabled    bool      `json:"enabled"`
	PeriodDays int       `json:"period_days,omitempty"`
	Next       time.Time `json:"next,omitzero"`
	Pending    time.Time `json:"on_demand_pending_since,omitzero"` // zero: none is under way
}

// OnDemand is how many of a key's rotations on demand are used up, the one
// that is under way included.
type OnDemand struct {
	Used  int `json:"used"`
	Limit int `json:"limit"`
}

// Material is one version of a key. The first one came with no rotation and has
// neither date nor type (KMS API Reference, RotationsListEntry).
type Material struct {
	ID          string    `json:"id"`
	State       string    `json:"state"`          // CURRENT, NON_CURRENT, PENDING_ROTATION, PENDING_MULTI_REGION_IMPORT_AND_ROTATION
	Type        string    `json:"type,omitempty"` // AUTOMATIC, ON_DEMAND
	Date        time.Time `json:"date,omitzero"`  // when the rotation to it was complete
	ImportState string    `json:"import_state,omitempty"`
	ValidTo     time.Time `json:"valid_to,omitzero"`
}

// MultiRegion is a key's place among the keys of other Regions that share its
// id and its key material.
type MultiRegion struct {
	Type     string   `json:"type"` // PRIMARY, REPLICA
	Primary  string   `json:"primary"`
	Replicas []string `json:"replicas"`
}

// Replica reports whether k is a replica of a multi-Region key. It rotates with
// its primary key (KMS API Reference, EnableKeyRotation, RotateKeyOnDemand).
func (k *Key) Replica() bool {
	return k.MultiRegion != nil && k.MultiRegion.Type == string(types.MultiRegionKeyTypeReplica)
}

// OwesRotation reports whether k could rotate by itself: it is customer
// managed and symmetric, with material made by KMS. A disabled key counts, since
// its rotation is as it was once it is enabled again. A key that waits for its
// deletion does not count.
func (k *Key) OwesRotation() bool {
	switch types.KeyState(k.State) {
	case types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion:
		return false
	}
	return k.Kind == KindSymmetric
}

// Symmetric reports whether k is of the type of key that rewrap moves from and
// to.
func (k *Key) Symmetric() bool {
	return k.Spec == string(types.KeySpecSymmetricDefault) || k.Spec == ""
}

func (k *Key) serves() bool { return kmskey.Serves(types.KeyState(k.State)) }
