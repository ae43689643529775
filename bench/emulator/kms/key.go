package kms

import (
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"time"
)

// The words of the model for what a key is.
const (
	customerManaged = "CUSTOMER"
	awsManaged      = "AWS"

	originKMS      = "AWS_KMS"
	originExternal = "EXTERNAL"

	stateEnabled         = "Enabled"
	stateDisabled        = "Disabled"
	statePendingDeletion = "PendingDeletion"
	statePendingImport   = "PendingImport"

	usageEncrypt = "ENCRYPT_DECRYPT"
	usageSign    = "SIGN_VERIFY"
	usageMAC     = "GENERATE_VERIFY_MAC"
	usageAgree   = "KEY_AGREEMENT"

	specSymmetric      = "SYMMETRIC_DEFAULT"
	algorithmSymmetric = "SYMMETRIC_DEFAULT"
	algorithmOAEPSHA1  = "RSAES_OAEP_SHA_1"
	algorithmOAEPSHA2  = "RSAES_OAEP_SHA_256"
)

// keySpec is a kind of key. algorithms are those of each usage that it can
// have.
type keySpec struct {
	name       string
	bits       int // of RSA keys and HMAC keys
	algorithms map[string][]string
}

func (s *keySpec) symmetric() bool { return s.name == specSymmetric }

var (
	oaep    = []string{algorithmOAEPSHA1, algorithmOAEPSHA2}
	rsaSign = []string{
		"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
		"RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
	}
	keySpecs = []keySpec{
		{specSymmetric, 256, map[string][]string{usageEncrypt: {algorithmSymmetric}}},
		{"RSA_2048", 2048, map[string][]string{usageEncrypt: oaep, usageSign: rsaSign}},
		{"RSA_3072", 3072, map[string][]string{usageEncrypt: oaep, usageSign: rsaSign}},
		{"RSA_4096", 4096, map[string][]string{usageEncrypt: oaep, usageSign: rsaSign}},
		{"ECC_NIST_P256", 256, map[string][]string{usageSign: {"ECDSA_SHA_256"}, usageAgree: {"ECDH"}}},
		{"ECC_NIST_P384", 384, map[string][]string{usageSign: {"ECDSA_SHA_384"}, usageAgree: {"ECDH"}}},
		{"ECC_NIST_P521", 521, map[string][]string{usageSign: {"ECDSA_SHA_512"}, usageAgree: {"ECDH"}}},
		{"HMAC_224", 224, map[string][]string{usageMAC: {"HMAC_SHA_224"}}},
		{"HMAC_256", 256, map[string][]string{usageMAC: {"HMAC_SHA_256"}}},
		{"HMAC_384", 384, map[string][]string{usageMAC: {"HMAC_SHA_384"}}},
		{"HMAC_512", 512, map[string][]string{usageMAC: {"HMAC_SHA_512"}}},
	}
)

func findSpec(name string) *keySpec {
	for i := range keySpecs {
		if keySpecs[i].name == name {
			return &keySpecs[i]
		}
	}
	return nil
}

// key is a KMS key. Service.mu guards everything but its identity.
type key struct {
	identity
	state       string
	resumeState string // the state before ScheduleKeyDeletion
	deletion    time.Time
	description string
	policy      string
	tags        []tag
	grants      []*grant
	materials   []*material // in order of creation, of a symmetric key of origin AWS_KMS; the last is current
	rotation    rotation
}

// identity is the part of a key that never changes.
type identity struct {
	id, arn     string
	spec        *keySpec
	usage       string
	origin      string
	manager     string
	multiRegion bool
	created     time.Time
	pair        any // *rsa.PrivateKey or *ecdsa.PrivateKey of an asymmetric key
}

// material is one version of a symmetric key. It never changes.
type material struct {
	key     *key
	id      string   // KeyMaterialId
	blobID  blobID   // names the material in blobs; not related to id, as on AWS
	secret  [32]byte // the keys of blobs are derived from it
	rotated time.Time
	cause   string // AUTOMATIC, ON_DEMAND; "" for the first
}

// current is the material that encrypts; nil if the key has none.
func (k *key) current() *material {
	if len(k.materials) == 0 {
		return nil
	}
	return k.materials[len(k.materials)-1]
}

// addMaterial makes new material and makes it the current one of k. s.mu is
// held.
func (s *Service) addMaterial(k *key, rotated time.Time, cause string) {
	m := &material{key: k, rotated: rotated, cause: cause}
	var id [32]byte
	s.random(id[:])
	s.random(m.blobID[:])
	s.random(m.secret[:])
	m.id = hex.EncodeToString(id[:])
	k.materials = append(k.materials, m)
	s.materials[m.blobID] = m
}

// insert adds a key and gives it its id. s.mu is held.
func (s *Service) insert(k *key) {
	k.id = s.uuid()
	if k.multiRegion {
		k.id = "mrk-" + strings.ReplaceAll(k.id, "-", "")
	}
	k.arn = s.arn("key/" + k.id)
	k.created = s.now()
	if k.spec.symmetric() && k.origin == originKMS {
		s.addMaterial(k, time.Time{}, "")
	}
	s.keys[k.id] = k
	s.ordered = append(s.ordered, k)
}

func (s *Service) remove(k *key) {
	delete(s.keys, k.id)
	s.ordered = slices.DeleteFunc(s.ordered, func(o *key) bool { return o == k })
	for _, m := range k.materials {
		delete(s.materials, m.blobID)
	}
	for name, a := range s.aliases {
		if a.key == k {
			delete(s.aliases, name)
		}
	}
}

func (s *Service) arn(resource string) string {
	return "arn:aws:kms:" + s.region + ":" + s.account + ":" + resource
}

// lookup finds a key by its id, ARN, alias or alias ARN. s.mu is held.
func (s *Service) lookup(id string) (*key, error) {
	resource, err := s.resource(id)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(resource, "alias/") {
		if a := s.aliases[resource]; a != nil {
			return a.key, nil
		}
		return nil, notFound("Alias %s is not found.", s.arn(resource))
	}
	name := strings.TrimPrefix(resource, "key/")
	if k := s.keys[name]; k != nil {
		return k, nil
	}
	if !wellFormedKeyID(name) {
		return nil, notFound("Invalid keyId '%s'", name)
	}
	return nil, notFound("Key '%s' does not exist", s.arn("key/"+name))
}

// lookupNoAlias is lookup for operations that take no alias: all that change a
// key or show how it is set up, except DescribeKey and GetPublicKey.
func (s *Service) lookupNoAlias(id string) (*key, error) {
	resource, err := s.resource(id)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(resource, "alias/") {
		return nil, fail("InvalidArnException", "Key Aliases are not supported for this operation.")
	}
	return s.lookup(id)
}

// resource returns the "key/..." or "alias/..." of an ARN of this KMS. It
// returns everything but an ARN as it is.
func (s *Service) resource(id string) (string, error) {
	if !strings.HasPrefix(id, "arn:") {
		return id, nil
	}
	f := strings.SplitN(id, ":", 6)
	switch {
	case len(f) != 6 || f[2] != "kms" || !strings.HasPrefix(f[5], "key/") && !strings.HasPrefix(f[5], "alias/"):
		return "", fail("InvalidArnException", "Invalid arn %s", id)
	case f[3] != s.region || f[1] != "aws":
		return "", notFound("Invalid arn %s", f[3]) // recorded: the message names the Region alone
	case f[4] != s.account:
		return "", fail("AccessDeniedException", "The caller is not authorized to use %s: it does not exist in this Region, or no resource-based policy allows access.", id)
	}
	return f[5], nil
}

// wellFormedKeyID tells whether id has the form of a UUID or of a multi-Region
// key id.
func wellFormedKeyID(id string) bool {
	hexes, multi := strings.CutPrefix(id, "mrk-")
	if !multi {
		if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' {
			return false
		}
		hexes = strings.ReplaceAll(id, "-", "")
	}
	if len(hexes) != 32 {
		return false
	}
	_, err := hex.DecodeString(hexes)
	return err == nil
}

// usable tells whether the key's state allows its use (KMS Developer Guide,
// "Key states"). The documentation names two errors for PendingDeletion; AWS
// was recorded to answer this one.
func (k *key) usable() error {
	switch k.state {
	case stateDisabled:
		return fail("DisabledException", "%s is disabled.", k.arn)
	case statePendingDeletion:
		return invalidState("%s is pending deletion.", k.arn)
	case statePendingImport:
		return invalidState("%s is pending import.", k.arn)
	}
	return nil
}

// changeable refuses changes of AWS managed keys. Their policy allows the
// account only to look at them (KMS Developer Guide, "AWS managed keys").
func (k *key) changeable(action string) error {
	if k.manager == awsManaged {
		return accessDenied(action, k)
	}
	return nil
}

func accessDenied(action string, k *key) error {
	return fail("AccessDeniedException", "The caller is not authorized to perform: kms:%s on resource: %s because no resource-based policy allows the kms:%s action", action, k.arn, action)
}

// due is the time of the next rotation or deletion of k; zero if there is
// none.
func (k *key) due() time.Time {
	var t time.Time
	earlier := func(u time.Time) {
		if !u.IsZero() && (t.IsZero() || u.Before(t)) {
			t = u
		}
	}
	earlier(k.deletion)
	earlier(k.rotation.onDemandDone)
	// AWS does not rotate a key that is not enabled. A key that missed its date
	// is rotated when it is enabled (KMS Developer Guide, "Automatic key
	// rotation").
	if k.state == stateEnabled {
		earlier(k.rotation.next)
	}
	return t
}

// schedule records when k is due. s.mu is held for writing.
func (s *Service) schedule(k *key) {
	if t := k.due(); !t.IsZero() && t.UnixNano() < s.nextDue.Load() {
		s.nextDue.Store(t.UnixNano())
	}
}

// catchUp carries out the rotations and deletions that are due. Every request
// begins with it, so that none of them is seen late.
func (s *Service) catchUp() {
	if s.nextDue.Load() == math.MaxInt64 || s.now().UnixNano() < s.nextDue.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.nextDue.Store(math.MaxInt64)
	for _, k := range slices.Clone(s.ordered) {
		for t := k.due(); !t.IsZero() && !t.After(now); t = k.due() {
			switch {
			case t.Equal(k.deletion):
				s.remove(k)
				k.deletion, k.rotation = time.Time{}, rotation{}
			case t.Equal(k.rotation.onDemandDone):
				s.finishOnDemand(k)
			default:
				s.rotateAutomatically(k, t)
			}
		}
		s.schedule(k)
	}
}
