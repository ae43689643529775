package kms

import (
	"crypto/rsa"
	"slices"
)

// principal is the caller: the account, through the API, or another AWS
// service on the account's behalf. Only the service may use AWS managed keys.
type principal int

const (
	account principal = iota
	awsService
)

// use is a key that may be used, with the material that was current when that
// was decided. A call can work with it without a lock.
type use struct {
	key      *key
	material *material // nil for asymmetric keys
}

// permit decides whether the key may be used now. s.mu is held.
func (k *key) permit(by principal, action string) (use, error) {
	if k.manager == awsManaged && by != awsService {
		return use{}, accessDenied(action, k)
	}
	if err := k.usable(); err != nil {
		return use{}, err
	}
	return use{k, k.current()}, nil
}

// forEncryption finds the key under which a request wants to encrypt.
func (s *Service) forEncryption(id, algorithm, operation, action string, by principal) (use, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, err := s.lookup(id)
	if err != nil {
		return use{}, err
	}
	u, err := k.permit(by, action)
	if err != nil {
		return use{}, err
	}
	if k.usage != usageEncrypt {
		return use{}, fail("InvalidKeyUsageException", "%s key usage is %s which is not valid for %s.", k.arn, k.usage, operation)
	}
	if !slices.Contains(k.spec.algorithms[usageEncrypt], algorithm) {
		return use{}, incompatible(algorithm, k)
	}
	return u, nil
}

// forDecryption finds the key that a request names for its blob. A key of
// another usage is answered like the wrong key (recorded: see incorrectKey).
func (s *Service) forDecryption(id, algorithm, action string, by principal) (use, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, err := s.lookup(id)
	if err != nil {
		return use{}, err
	}
	if k.usage != usageEncrypt {
		return use{}, incorrectKey()
	}
	u, err := k.permit(by, action)
	if err != nil {
		return use{}, err
	}
	if !slices.Contains(k.spec.algorithms[usageEncrypt], algorithm) {
		return use{}, incompatible(algorithm, k)
	}
	return u, nil
}

// unseal decrypts a blob. pin is the key that the request names. If it is nil,
// the blob names the key.
func (s *Service) unseal(b []byte, context map[string]string, pin *use, algorithm, action string, by principal) ([]byte, use, error) {
	if pin != nil && algorithm != algorithmSymmetric {
		plaintext, err := unsealRSA(pin.key.pair.(*rsa.PrivateKey), b, algorithm)
		return plaintext, *pin, err
	}
	parsed, ok := parseBlob(b)
	if !ok {
		return nil, use{}, invalidCiphertext()
	}
	u, err := s.sealedWith(parsed.id, pin, action, by)
	if err != nil {
		return nil, use{}, err
	}
	plaintext, ok := u.material.open(parsed, context)
	if !ok {
		return nil, use{}, invalidCiphertext()
	}
	return plaintext, u, nil
}

// sealedWith finds the key and the material that a blob names.
func (s *Service) sealedWith(id blobID, pin *use, action string, by principal) (use, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := s.materials[id]
	switch {
	case pin != nil && (m == nil || m.key != pin.key):
		return use{}, incorrectKey()
	case m == nil:
		// The blob is undamaged, but its key was deleted, or is in another Region
		// or account.
		return use{}, fail("AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	case pin != nil:
		return use{m.key, m}, nil // forDecryption has checked its state
	}
	u, err := m.key.permit(by, action)
	u.material = m
	return u, err
}

// seal encrypts under the key's current material, or its public key.
func (s *Service) seal(u use, plaintext []byte, context map[string]string, algorithm string) ([]byte, error) {
	if algorithm != algorithmSymmetric {
		return sealRSA(u.key, plaintext, algorithm)
	}
	var random [saltSize + nonceSize]byte
	s.random(random[:])
	return u.material.seal(plaintext, context, random[:]), nil
}

// materialID is the KeyMaterialId of answers. Only symmetric keys have one.
func (u use) materialID() string {
	if u.material == nil {
		return ""
	}
	return u.material.id
}

var encryptionAlgorithms = []string{algorithmSymmetric, algorithmOAEPSHA1, algorithmOAEPSHA2, "SM2PKE"}

// checkAlgorithm sets the default algorithm, and checks that it is one.
func checkAlgorithm(v *validation, member string, algorithm *string) {
	if *algorithm == "" {
		*algorithm = algorithmSymmetric
	}
	v.oneOf(member, *algorithm, encryptionAlgorithms)
}

// maxContext limits the names and values of an encryption context together
// (KMS Developer Guide, "Encryption context").
const maxContext = 8192

// checkContext refuses a context that is too large, and a context beside an
// asymmetric algorithm, whose ciphertexts cannot be bound to one.
func checkContext(context map[string]string, algorithm string) error {
	if len(context) > 0 && algorithm != algorithmSymmetric {
		return invalid("EncryptionContext is not supported with the algorithm %s.", algorithm)
	}
	n := 0
	for k, v := range context {
		n += len(k) + len(v)
	}
	if n > maxContext {
		return invalid("EncryptionContext cannot exceed %d bytes.", maxContext)
	}
	return nil
}

type dryRunOptions struct {
	DryRun          bool
	DryRunModifiers []string
}

const ignoreCiphertext = "IGNORE_CIPHERTEXT"

func (d *dryRunOptions) check(v *validation) {
	for _, m := range d.DryRunModifiers {
		v.oneOf("dryRunModifiers", m, []string{ignoreCiphertext})
	}
}

// blind tells whether only the permissions are to be tried, without a blob.
func (d *dryRunOptions) blind() bool {
	return d.DryRun && slices.Contains(d.DryRunModifiers, ignoreCiphertext)
}

// checkSource refuses requests that must name the key of their blob and do
// not. They must if they bring no blob, or if the key is asymmetric, because
// such ciphertexts have no key id (KMS API Reference, ReEncrypt, SourceKeyId
// and DryRunModifiers).
func (d *dryRunOptions) checkSource(blob []byte, keyID *string, algorithm, keyMember string) error {
	switch {
	case len(d.DryRunModifiers) > 0 && !d.DryRun:
		return invalid("DryRunModifiers can only be specified when DryRun is true.")
	case keyID == nil && d.blind():
		return invalid("%s is required when DryRunModifiers is %s.", keyMember, ignoreCiphertext)
	case keyID == nil && algorithm != algorithmSymmetric:
		return invalid("%s is required when the encryption algorithm is %s.", keyMember, algorithm)
	}
	return nil
}

type encryptInput struct {
	keyIDInput
	Plaintext           []byte
	EncryptionContext   map[string]string
	EncryptionAlgorithm string
	GrantTokens         []string
	DryRun              bool
}

type encryptOutput struct {
	CiphertextBlob      []byte
	EncryptionAlgorithm string
	KeyID               string `json:"KeyId"`
}

func (in *encryptInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.required("plaintext", in.Plaintext != nil)
	if in.Plaintext != nil {
		v.length("plaintext", len(in.Plaintext), 1, maxPlaintext)
	}
	checkAlgorithm(v, "encryptionAlgorithm", &in.EncryptionAlgorithm)
	checkGrantTokens(v, in.GrantTokens)
}

func (s *Service) encrypt(in *encryptInput) (any, error) {
	if err := checkContext(in.EncryptionContext, in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	u, err := s.forEncryption(*in.KeyID, in.EncryptionAlgorithm, "Encrypt", "Encrypt", account)
	if err != nil {
		return nil, err
	}
	blob, err := s.seal(u, in.Plaintext, in.EncryptionContext, in.EncryptionAlgorithm)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, dryRun()
	}
	return encryptOutput{blob, in.EncryptionAlgorithm, u.key.arn}, nil
}

type decryptInput struct {
	CiphertextBlob      []byte
	KeyID               *string `json:"KeyId"`
	EncryptionContext   map[string]string
	EncryptionAlgorithm string
	GrantTokens         []string
	Recipient           any
	dryRunOptions
}

type decryptOutput struct {
	EncryptionAlgorithm string
	KeyID               string `json:"KeyId"`
	KeyMaterialID       string `json:"KeyMaterialId,omitempty"`
	Plaintext           []byte
}

func checkBlob(v *validation, blob []byte, blind bool) {
	v.required("ciphertextBlob", blob != nil || blind)
	if blob != nil {
		v.length("ciphertextBlob", len(blob), 1, maxBlob)
	}
}

func (in *decryptInput) check(v *validation) {
	checkBlob(v, in.CiphertextBlob, in.blind())
	v.optionalKeyID("keyId", in.KeyID)
	checkAlgorithm(v, "encryptionAlgorithm", &in.EncryptionAlgorithm)
	checkGrantTokens(v, in.GrantTokens)
	in.dryRunOptions.check(v)
}

func (s *Service) decrypt(in *decryptInput) (any, error) {
	if in.Recipient != nil {
		return nil, unsupported("Recipient is not supported by this emulator.")
	}
	if err := in.checkSource(in.CiphertextBlob, in.KeyID, in.EncryptionAlgorithm, "KeyId"); err != nil {
		return nil, err
	}
	if err := checkContext(in.EncryptionContext, in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	var pin *use
	if in.KeyID != nil {
		u, err := s.forDecryption(*in.KeyID, in.EncryptionAlgorithm, "Decrypt", account)
		if err != nil {
			return nil, err
		}
		pin = &u
	}
	if in.blind() {
		return nil, dryRun()
	}
	plaintext, u, err := s.unseal(in.CiphertextBlob, in.EncryptionContext, pin, in.EncryptionAlgorithm, "Decrypt", account)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, dryRun()
	}
	return decryptOutput{in.EncryptionAlgorithm, u.key.arn, u.materialID(), plaintext}, nil
}

type reEncryptInput struct {
	CiphertextBlob                 []byte
	SourceKeyID                    *string `json:"SourceKeyId"`
	SourceEncryptionContext        map[string]string
	SourceEncryptionAlgorithm      string
	DestinationKeyID               *string `json:"DestinationKeyId"`
	DestinationEncryptionContext   map[string]string
	DestinationEncryptionAlgorithm string
	GrantTokens                    []string
	dryRunOptions
}

type reEncryptOutput struct {
	CiphertextBlob                 []byte
	DestinationEncryptionAlgorithm string
	DestinationKeyMaterialID       string `json:"DestinationKeyMaterialId,omitempty"`
	KeyID                          string `json:"KeyId"`
	SourceEncryptionAlgorithm      string
	SourceKeyID                    string `json:"SourceKeyId"`
	SourceKeyMaterialID            string `json:"SourceKeyMaterialId,omitempty"`
}

func (in *reEncryptInput) check(v *validation) {
	checkBlob(v, in.CiphertextBlob, in.blind())
	v.keyID("destinationKeyId", in.DestinationKeyID)
	v.optionalKeyID("sourceKeyId", in.SourceKeyID)
	checkAlgorithm(v, "sourceEncryptionAlgorithm", &in.SourceEncryptionAlgorithm)
	checkAlgorithm(v, "destinationEncryptionAlgorithm", &in.DestinationEncryptionAlgorithm)
	checkGrantTokens(v, in.GrantTokens)
	in.dryRunOptions.check(v)
}

// reEncrypt opens the blob with the source key and context. It seals the
// content with the destination key's current material and the destination
// context. Nothing of the source carries over to the destination.
func (s *Service) reEncrypt(in *reEncryptInput) (any, error) {
	if err := in.checkSource(in.CiphertextBlob, in.SourceKeyID, in.SourceEncryptionAlgorithm, "SourceKeyId"); err != nil {
		return nil, err
	}
	if err := checkContext(in.SourceEncryptionContext, in.SourceEncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := checkContext(in.DestinationEncryptionContext, in.DestinationEncryptionAlgorithm); err != nil {
		return nil, err
	}
	var pin *use
	if in.SourceKeyID != nil {
		u, err := s.forDecryption(*in.SourceKeyID, in.SourceEncryptionAlgorithm, "ReEncryptFrom", account)
		if err != nil {
			return nil, err
		}
		pin = &u
	}
	to, err := s.forEncryption(*in.DestinationKeyID, in.DestinationEncryptionAlgorithm, "ReEncrypt", "ReEncryptTo", account)
	if err != nil {
		return nil, err
	}
	if in.blind() {
		return nil, dryRun()
	}
	plaintext, from, err := s.unseal(in.CiphertextBlob, in.SourceEncryptionContext, pin, in.SourceEncryptionAlgorithm, "ReEncryptFrom", account)
	if err != nil {
		return nil, err
	}
	blob, err := s.seal(to, plaintext, in.DestinationEncryptionContext, in.DestinationEncryptionAlgorithm)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, dryRun()
	}
	return reEncryptOutput{
		CiphertextBlob:                 blob,
		DestinationEncryptionAlgorithm: in.DestinationEncryptionAlgorithm,
		DestinationKeyMaterialID:       to.materialID(),
		KeyID:                          to.key.arn,
		SourceEncryptionAlgorithm:      in.SourceEncryptionAlgorithm,
		SourceKeyID:                    from.key.arn,
		SourceKeyMaterialID:            from.materialID(),
	}, nil
}
