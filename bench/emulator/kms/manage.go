package kms

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// keyIDInput is the part that most inputs have in common: the key.
type keyIDInput struct {
	KeyID *string `json:"KeyId"`
}

func (in *keyIDInput) check(v *validation) { v.keyID("keyId", in.KeyID) }

type keyIDOutput struct {
	KeyID string `json:"KeyId"`
}

// read finds a key and returns what answer makes of it. The key does not
// change meanwhile. id must not be an alias.
func (s *Service) read(id string, answer func(*key) (any, error)) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, err := s.lookupNoAlias(id)
	if err != nil {
		return nil, err
	}
	return answer(k)
}

// change finds a customer managed key, lets do change it, and returns what do
// returns. If do fails it must have changed nothing. id must not be an alias.
func (s *Service) change(action, id string, do func(*key) (any, error)) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.lookupNoAlias(id)
	if err != nil {
		return nil, err
	}
	if err := k.changeable(action); err != nil {
		return nil, err
	}
	out, err := do(k)
	if err != nil {
		return nil, err
	}
	s.schedule(k)
	return out, nil
}

type createKeyInput struct {
	CustomerMasterKeySpec string
	Description           string
	KeySpec               string
	KeyUsage              string
	MultiRegion           bool
	Origin                string
	Policy                *string
	Tags                  []tag
}

// check does nothing: newKey has to refuse two key specs before it looks at
// anything else.
func (*createKeyInput) check(*validation) {}

// kind is the kind of key that an alias keeps to: an alias cannot be moved to
// a key of another kind.
func (s *keySpec) kind() string {
	kind, _, _ := strings.Cut(s.name, "_")
	if kind == "RSA" || kind == "ECC" {
		return "asymmetric"
	}
	return kind
}

// newKey checks a request and makes its key, which has no id yet.
func (in *createKeyInput) newKey() (*key, error) {
	if in.KeySpec != "" && in.CustomerMasterKeySpec != "" {
		return nil, invalid("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
	}
	name := in.KeySpec + in.CustomerMasterKeySpec
	if name == "" {
		name = specSymmetric
	}
	var v validation
	v.length("description", len(in.Description), 0, 8192)
	v.oneOf("keyUsage", in.KeyUsage, []string{usageEncrypt, usageSign, usageMAC, usageAgree, "ENCAPSULATE_DECAPSULATE"})
	v.oneOf("origin", in.Origin, []string{originKMS, originExternal, "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"})
	if err := v.err(); err != nil {
		return nil, err
	}
	k := &key{
		identity: identity{spec: findSpec(name), usage: in.KeyUsage, origin: in.Origin, manager: customerManaged, multiRegion: in.MultiRegion},
		state:    stateEnabled, description: in.Description, tags: in.Tags,
	}
	if k.spec == nil {
		return nil, unsupported("The key spec %s is not supported by this emulator.", name)
	}
	switch {
	case k.usage == "" && !k.spec.symmetric(): // recorded: LocalStack's snapshots, KMS test_hmac_create_key_invalid_operations
		return nil, invalid("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	case k.usage == "":
		k.usage = usageEncrypt
	case k.spec.algorithms[k.usage] == nil:
		return nil, invalid("KeyUsage %s is not compatible with KeySpec %s", k.usage, name)
	}
	switch k.origin {
	case "":
		k.origin = originKMS
	case originKMS:
	case originExternal:
		k.state = statePendingImport
	default:
		return nil, unsupported("The origin %s is not supported by this emulator.", k.origin)
	}
	if err := checkTags(k.tags); err != nil {
		return nil, err
	}
	if in.Policy != nil {
		if err := checkPolicy(*in.Policy); err != nil {
			return nil, err
		}
		k.policy = *in.Policy
	}
	return k, nil
}

type describeKeyOutput struct{ KeyMetadata keyMetadata }

func (s *Service) createKey(in *createKeyInput) (any, error) {
	k, err := in.newKey()
	if err != nil {
		return nil, err
	}
	if k.origin == originKMS {
		if k.pair, err = newPair(k.spec); err != nil {
			return nil, err
		}
	}
	if in.Policy == nil {
		k.policy = s.defaultPolicy()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.insert(k)
	return describeKeyOutput{s.metadata(k)}, nil
}

type algorithms struct {
	EncryptionAlgorithms   []string `json:",omitempty"`
	KeyAgreementAlgorithms []string `json:",omitempty"`
	MacAlgorithms          []string `json:",omitempty"`
	SigningAlgorithms      []string `json:",omitempty"`
}

func (k *key) algorithms() algorithms {
	var a algorithms
	switch names := k.spec.algorithms[k.usage]; k.usage {
	case usageEncrypt:
		a.EncryptionAlgorithms = names
	case usageAgree:
		a.KeyAgreementAlgorithms = names
	case usageMAC:
		a.MacAlgorithms = names
	case usageSign:
		a.SigningAlgorithms = names
	}
	return a
}

type multiRegionKey struct{ Arn, Region string }

type multiRegionConfiguration struct {
	MultiRegionKeyType string
	PrimaryKey         multiRegionKey
	ReplicaKeys        []multiRegionKey
}

type keyMetadata struct {
	AWSAccountID          string `json:"AWSAccountId"`
	Arn                   string
	CreationDate          timestamp
	CurrentKeyMaterialID  string `json:"CurrentKeyMaterialId,omitempty"`
	CustomerMasterKeySpec string
	DeletionDate          timestamp `json:",omitzero"`
	Description           string
	Enabled               bool
	algorithms
	KeyID                    string `json:"KeyId"`
	KeyManager               string
	KeySpec                  string
	KeyState                 string
	KeyUsage                 string
	MultiRegion              bool
	MultiRegionConfiguration *multiRegionConfiguration `json:",omitempty"`
	Origin                   string
}

func (s *Service) metadata(k *key) keyMetadata {
	m := keyMetadata{
		AWSAccountID:          s.account,
		Arn:                   k.arn,
		CreationDate:          timestamp{k.created},
		CustomerMasterKeySpec: k.spec.name,
		DeletionDate:          timestamp{k.deletion},
		Description:           k.description,
		Enabled:               k.state == stateEnabled,
		algorithms:            k.algorithms(),
		KeyID:                 k.id,
		KeyManager:            k.manager,
		KeySpec:               k.spec.name,
		KeyState:              k.state,
		KeyUsage:              k.usage,
		MultiRegion:           k.multiRegion,
		Origin:                k.origin,
	}
	if c := k.current(); c != nil {
		m.CurrentKeyMaterialID = c.id
	}
	if k.multiRegion {
		m.MultiRegionConfiguration = &multiRegionConfiguration{"PRIMARY", multiRegionKey{k.arn, s.region}, []multiRegionKey{}}
	}
	return m
}

// describeKey takes aliases too. The alias of an AWS managed key creates that
// key (KMS API Reference, DescribeKey).
func (s *Service) describeKey(in *keyIDInput) (any, error) {
	arn, err := s.ResolveKey(*in.KeyID)
	if err != nil {
		return nil, err
	}
	return s.read(arn, func(k *key) (any, error) { return describeKeyOutput{s.metadata(k)}, nil })
}

type keyEntry struct {
	KeyArn string
	KeyID  string `json:"KeyId"`
}

type listKeysOutput struct {
	Keys []keyEntry
	more
}

// listKeys lists keys by id. As on AWS, the order means nothing.
func (s *Service) listKeys(in *page) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := slices.Sorted(maps.Keys(s.keys))
	some, rest := paged(in, ids, 100, 1000, behind(ids), func(next int) string { return ids[next-1] })
	out := listKeysOutput{Keys: []keyEntry{}, more: rest}
	for _, id := range some {
		out.Keys = append(out.Keys, keyEntry{s.keys[id].arn, id})
	}
	return out, nil
}

// behind returns a function that finds the first of the sorted names behind a
// marker. The name in the marker need not exist any more.
func behind(names []string) func(after string) int {
	return func(after string) int { return sort.Search(len(names), func(i int) bool { return names[i] > after }) }
}

func (s *Service) enableKey(in *keyIDInput) (any, error) {
	return s.change("EnableKey", *in.KeyID, func(k *key) (any, error) {
		if err := k.switchable(); err != nil {
			return nil, err
		}
		k.state = stateEnabled
		// A rotation that fell due while the key was disabled takes place now,
		// and only once, however many periods have passed (KMS Developer Guide,
		// "Automatic key rotation", on disabled keys).
		if now := s.now(); !k.rotation.next.IsZero() && !k.rotation.next.After(now) {
			s.rotateAutomatically(k, now)
		}
		return nil, nil
	})
}

func (s *Service) disableKey(in *keyIDInput) (any, error) {
	return s.change("DisableKey", *in.KeyID, func(k *key) (any, error) {
		if err := k.switchable(); err != nil {
			return nil, err
		}
		k.state = stateDisabled
		return nil, nil
	})
}

// switchable tells whether the key can be enabled or disabled. It cannot
// without material, or while it is pending deletion.
func (k *key) switchable() error {
	if k.state == stateDisabled {
		return nil
	}
	return k.usable()
}

type scheduleKeyDeletionInput struct {
	keyIDInput
	PendingWindowInDays *int
}

func (in *scheduleKeyDeletionInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.between("pendingWindowInDays", in.PendingWindowInDays, 1, 365)
}

type scheduleKeyDeletionOutput struct {
	DeletionDate        timestamp
	KeyID               string `json:"KeyId"`
	KeyState            string
	PendingWindowInDays int
}

func (s *Service) scheduleKeyDeletion(in *scheduleKeyDeletionInput) (any, error) {
	window := 30
	if in.PendingWindowInDays != nil {
		window = *in.PendingWindowInDays
	}
	if window < 7 || window > 30 { // narrower than in the model: KMS API Reference, ScheduleKeyDeletion
		return nil, invalid("PendingWindowInDays must be between 7 and 30 (inclusive).")
	}
	return s.change("ScheduleKeyDeletion", *in.KeyID, func(k *key) (any, error) {
		if k.state == statePendingDeletion {
			return nil, k.usable()
		}
		k.resumeState, k.state = k.state, statePendingDeletion
		k.deletion = s.now().Add(time.Duration(window) * day)
		return scheduleKeyDeletionOutput{timestamp{k.deletion}, k.arn, k.state, window}, nil
	})
}

// cancelKeyDeletion leaves the key disabled (KMS API Reference,
// CancelKeyDeletion). A key that never had material waits for its import
// again.
func (s *Service) cancelKeyDeletion(in *keyIDInput) (any, error) {
	return s.change("CancelKeyDeletion", *in.KeyID, func(k *key) (any, error) {
		if k.state != statePendingDeletion {
			return nil, invalidState("%s is not pending deletion.", k.arn)
		}
		k.state = stateDisabled
		if k.resumeState == statePendingImport {
			k.state = statePendingImport
		}
		k.deletion = time.Time{}
		return keyIDOutput{k.arn}, nil
	})
}

type updateKeyDescriptionInput struct {
	keyIDInput
	Description *string
}

func (in *updateKeyDescriptionInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.required("description", in.Description != nil)
	if in.Description != nil {
		v.length("description", len(*in.Description), 0, 8192)
	}
}

func (s *Service) updateKeyDescription(in *updateKeyDescriptionInput) (any, error) {
	return s.change("UpdateKeyDescription", *in.KeyID, func(k *key) (any, error) {
		if k.state == statePendingDeletion {
			return nil, k.usable()
		}
		k.description = *in.Description
		return nil, nil
	})
}
