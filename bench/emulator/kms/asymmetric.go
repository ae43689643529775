package kms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // for RSAES_OAEP_SHA_1
	_ "crypto/sha256"
	"crypto/x509"
	"strings"
)

// newPair makes the key pair of an asymmetric key spec; nil for others.
func newPair(spec *keySpec) (any, error) {
	switch {
	case strings.HasPrefix(spec.name, "RSA_"):
		return rsa.GenerateKey(rand.Reader, spec.bits)
	case spec.name == "ECC_NIST_P256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case spec.name == "ECC_NIST_P384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case spec.name == "ECC_NIST_P521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	}
	return nil, nil
}

func oaepHash(algorithm string) crypto.Hash {
	if algorithm == algorithmOAEPSHA1 {
		return crypto.SHA1
	}
	return crypto.SHA256
}

// sealRSA encrypts under the public key. The message about too long a
// plaintext was recorded (LocalStack's snapshots, KMS
// test_encrypt_validate_plaintext_size_per_key_type).
func sealRSA(k *key, plaintext []byte, algorithm string) ([]byte, error) {
	public, hash := &k.pair.(*rsa.PrivateKey).PublicKey, oaepHash(algorithm)
	if most := public.Size() - 2*hash.Size() - 2; len(plaintext) > most {
		return nil, invalid("Algorithm %s and key spec %s cannot encrypt data larger than %d bytes.", algorithm, k.spec.name, most)
	}
	return rsa.EncryptOAEP(hash.New(), rand.Reader, public, plaintext, nil)
}

func unsealRSA(private *rsa.PrivateKey, blob []byte, algorithm string) ([]byte, error) {
	plaintext, err := rsa.DecryptOAEP(oaepHash(algorithm).New(), nil, private, blob, nil)
	if err != nil {
		return nil, invalidCiphertext()
	}
	return plaintext, nil
}

type getPublicKeyOutput struct {
	KeyID                 string `json:"KeyId"`
	PublicKey             []byte // DER SubjectPublicKeyInfo
	CustomerMasterKeySpec string
	KeySpec               string
	KeyUsage              string
	algorithms
}

func (s *Service) getPublicKey(in *keyIDInput) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, err := s.lookup(*in.KeyID)
	if err != nil {
		return nil, err
	}
	pair, ok := k.pair.(interface{ Public() crypto.PublicKey })
	if !ok {
		return nil, unsupported("%s key spec is %s which is not valid for this operation.", k.arn, k.spec.name)
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(pair.Public())
	if err != nil {
		return nil, err
	}
	return getPublicKeyOutput{k.arn, der, k.spec.name, k.spec.name, k.usage, k.algorithms()}, nil
}
