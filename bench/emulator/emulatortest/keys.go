package emulatortest

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Key makes a symmetric key and returns its ARN. The key gets the alias unless
// it is "".
func (w *World) Key(alias string) (arn string) {
	w.Helper()
	return w.KeyOf(alias, kms.CreateKeyInput{})
}

// KeyOf makes a key of any kind and returns its ARN. The key gets the alias
// unless it is "".
func (w *World) KeyOf(alias string, in kms.CreateKeyInput) (arn string) {
	w.Helper()
	out, err := w.KMS.CreateKey(w.Context(), &in)
	w.OK(err)
	arn = aws.ToString(out.KeyMetadata.Arn)
	if alias != "" {
		w.Alias(alias, arn)
	}
	return arn
}

// Alias gives a key one more alias.
func (w *World) Alias(alias, key string) {
	w.Helper()
	_, err := w.KMS.CreateAlias(w.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &key})
	w.OK(err)
}

// Describe returns the metadata of a key. Here and below, key is a key id, ARN
// or alias.
func (w *World) Describe(key string) *types.KeyMetadata {
	w.Helper()
	out, err := w.KMS.DescribeKey(w.Context(), &kms.DescribeKeyInput{KeyId: &key})
	w.OK(err)
	return out.KeyMetadata
}

// Material returns the id of a key's current key material.
func (w *World) Material(key string) string {
	w.Helper()
	return aws.ToString(w.Describe(key).CurrentKeyMaterialId)
}

// Rotate rotates a key and returns the id of its current key material. That is
// the new material unless the options have a RotationDelay.
func (w *World) Rotate(key string) (material string) {
	w.Helper()
	_, err := w.KMS.RotateKeyOnDemand(w.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key})
	w.OK(err)
	return w.Material(key)
}

// Disable disables a key.
func (w *World) Disable(key string) {
	w.Helper()
	_, err := w.KMS.DisableKey(w.Context(), &kms.DisableKeyInput{KeyId: &key})
	w.OK(err)
}

// Seal encrypts a secret under a key.
func (w *World) Seal(key, secret string, context map[string]string) (blob []byte) {
	w.Helper()
	out, err := w.KMS.Encrypt(w.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte(secret), EncryptionContext: context})
	w.OK(err)
	return out.CiphertextBlob
}

// Open decrypts a blob, and returns its content and the id of the key
// material. The blob must be under the key unless that is "".
func (w *World) Open(key string, blob []byte, context map[string]string) (secret, material string) {
	w.Helper()
	in := &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context}
	if key != "" {
		in.KeyId = &key
	}
	out, err := w.KMS.Decrypt(w.Context(), in)
	w.OK(err)
	return string(out.Plaintext), aws.ToString(out.KeyMaterialId)
}
