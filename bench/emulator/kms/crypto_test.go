package kms_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/bench/emulator"
)

// KMS API Reference, Encrypt: KeyId is an id, ARN, alias name or alias ARN, and
// the answer names the key by ARN. Encrypt answers no material id (the member
// was taken out of the SDK's model in kms v1.40.0).
func TestEncryptNamesTheKeyByItsARN(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	f.Alias("alias/a", *k.KeyId)
	for _, id := range []string{*k.KeyId, *k.Arn, "alias/a", strings.Replace(*k.Arn, "key/"+*k.KeyId, "alias/a", 1)} {
		out, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: &id, Plaintext: secret, EncryptionContext: context1})
		must(f, out, err)
		equal(f, "KeyId for "+id, *out.KeyId, *k.Arn)
		equal(f, "algorithm", out.EncryptionAlgorithm, types.EncryptionAlgorithmSpecSymmetricDefault)
		f.open(out.CiphertextBlob, context1)
	}
}

// A symmetric blob names its key. The answer names the key by ARN, and the
// material (KMS API Reference, Decrypt).
func TestDecryptWithoutKeyID(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	out := f.open(f.seal(k.KeyId, context1), context1)
	equal(f, "KeyId", *out.KeyId, *k.Arn)
	equal(f, "KeyMaterialId", aws.ToString(out.KeyMaterialId), *k.CurrentKeyMaterialId)
	equal(f, "algorithm", out.EncryptionAlgorithm, types.EncryptionAlgorithmSpecSymmetricDefault)
}

// A wrong or missing context, a blob that was changed anywhere, and bytes that
// are no blob get the same error with an empty message (recorded: LocalStack's
// snapshots, KMS test_encrypt_decrypt_encryption_context).
func TestInvalidCiphertext(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	blob := f.seal(k.KeyId, map[string]string{"ab": "c"})
	last := bytes.Clone(blob)
	last[len(last)-1] ^= 1
	for _, c := range []struct {
		name    string
		blob    []byte
		context map[string]string
	}{
		{"wrong context", blob, map[string]string{"ab": "d"}},
		{"no context", blob, nil},
		{"the same letters, cut elsewhere", blob, map[string]string{"a": "bc"}},
		{"a name more", blob, map[string]string{"ab": "c", "x": ""}},
		{"case", blob, map[string]string{"AB": "c"}},
		{"last byte changed", last, map[string]string{"ab": "c"}},
		{"garbage", []byte("garbage"), map[string]string{"ab": "c"}},
		{"cut", blob[:len(blob)-1], map[string]string{"ab": "c"}},
		{"something behind", append(bytes.Clone(blob), 0), map[string]string{"ab": "c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := f.sub(t)
			_, err := f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: c.blob, EncryptionContext: c.context})
			f.mustFail(err, "InvalidCiphertextException", "")
			_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: c.blob, EncryptionContext: c.context, KeyId: k.KeyId})
			f.mustFail(err, "InvalidCiphertextException", "")
			_, err = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: c.blob, SourceEncryptionContext: c.context, SourceKeyId: k.KeyId, DestinationKeyId: k.KeyId})
			f.mustFail(err, "InvalidCiphertextException", "")
		})
	}
}

// A blob of another key than the one named is IncorrectKeyException (KMS API
// Reference, Decrypt and ReEncrypt, KeyId and SourceKeyId). If no key is
// named, a blob of any key is opened: that is the trap.
func TestPinnedKey(t *testing.T) {
	f := start(t, emulator.Options{})
	k, other := f.key(), f.key()
	blob := f.seal(other.KeyId, nil)
	_, err := f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob, KeyId: k.KeyId})
	f.mustFail(err, "IncorrectKeyException", wrongKey)
	_, err = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: k.KeyId, DestinationKeyId: k.KeyId})
	f.mustFail(err, "IncorrectKeyException", wrongKey)

	out, err := f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: k.KeyId})
	equal(f, "source without a pin", *must(f, out, err).SourceKeyId, *other.Arn)

	// Recorded: naming a key of another usage is the same error (LocalStack's
	// snapshots, KMS test_error_messaging_for_invalid_keys).
	mac := f.key(spec(types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac))
	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob, KeyId: mac.KeyId})
	f.mustFail(err, "IncorrectKeyException", wrongKey)
}

// The blob's header names no key material of this service: its key was
// deleted, or is in another Region or account. The message is quoted by users
// of AWS. If the request names a key, the blob is simply not of that key.
func TestBlobOfUnknownKey(t *testing.T) {
	f := start(t, emulator.Options{})
	elsewhere := start(t, emulator.Options{})
	k := f.key()
	blob := elsewhere.seal(elsewhere.key().KeyId, nil)
	_, err := f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob})
	f.mustFail(err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob, KeyId: k.KeyId})
	f.mustFail(err, "IncorrectKeyException", wrongKey)
}

// The size is AES_128, AES_256 or 1 to 1024 bytes, and is given in exactly one
// way (KMS API Reference, GenerateDataKey).
func TestGenerateDataKey(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	for _, c := range []struct {
		spec types.DataKeySpec
		n    *int32
		want int
	}{{"AES_256", nil, 32}, {"AES_128", nil, 16}, {"", aws.Int32(64), 64}, {"", aws.Int32(1024), 1024}} {
		out, err := f.GenerateDataKey(f.Context(), &sdk.GenerateDataKeyInput{KeyId: k.KeyId, KeySpec: c.spec, NumberOfBytes: c.n, EncryptionContext: context1})
		must(f, out, err)
		equal(f, "length", len(out.Plaintext), c.want)
		equal(f, "KeyId", *out.KeyId, *k.Arn)
		equal(f, "KeyMaterialId", aws.ToString(out.KeyMaterialId), *k.CurrentKeyMaterialId)
		back, err := f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionContext: context1})
		if must(f, back, err); !bytes.Equal(back.Plaintext, out.Plaintext) {
			t.Error("the blob holds another key")
		}

		sealed, err := f.GenerateDataKeyWithoutPlaintext(f.Context(), &sdk.GenerateDataKeyWithoutPlaintextInput{KeyId: k.KeyId, KeySpec: c.spec, NumberOfBytes: c.n, EncryptionContext: context1})
		must(f, sealed, err)
		equal(f, "KeyMaterialId", aws.ToString(sealed.KeyMaterialId), *k.CurrentKeyMaterialId)
		back, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: context1})
		equal(f, "length", len(must(f, back, err).Plaintext), c.want)
	}
	for _, in := range []*sdk.GenerateDataKeyInput{
		{KeyId: k.KeyId}, {KeyId: k.KeyId, KeySpec: "AES_256", NumberOfBytes: aws.Int32(32)},
		{KeyId: k.KeyId, NumberOfBytes: aws.Int32(1025)}, {KeyId: k.KeyId, KeySpec: "AES_512"},
	} {
		_, err := f.GenerateDataKey(f.Context(), in)
		f.mustFail(err, "ValidationException", anyMessage)
	}
	pair := f.key(spec(types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt))
	_, err := f.GenerateDataKey(f.Context(), &sdk.GenerateDataKeyInput{KeyId: pair.KeyId, KeySpec: "AES_256"})
	f.mustFail(err, "InvalidKeyUsageException", anyMessage)
}

// KMS API Reference, ReEncrypt: source and destination may be one key; the
// answer names both keys by ARN, both algorithms and both materials.
func TestReEncrypt(t *testing.T) {
	f := start(t, emulator.Options{})
	a, b := f.key(), f.key()
	for _, c := range []struct {
		name              string
		to                *types.KeyMetadata
		context, context2 map[string]string
	}{
		{"same key", a, context1, context1},
		{"another key", b, context1, context1},
		{"another key and context", b, context1, context2},
		{"only the context", a, nil, context2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := f.sub(t)
			blob := f.seal(a.KeyId, c.context)
			out, err := f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{
				CiphertextBlob: blob, SourceKeyId: a.KeyId, DestinationKeyId: c.to.KeyId,
				SourceEncryptionContext: c.context, DestinationEncryptionContext: c.context2,
			})
			must(f, out, err)
			equal(f, "SourceKeyId", *out.SourceKeyId, *a.Arn)
			equal(f, "KeyId", *out.KeyId, *c.to.Arn)
			equal(f, "SourceEncryptionAlgorithm", out.SourceEncryptionAlgorithm, types.EncryptionAlgorithmSpecSymmetricDefault)
			equal(f, "DestinationEncryptionAlgorithm", out.DestinationEncryptionAlgorithm, types.EncryptionAlgorithmSpecSymmetricDefault)
			equal(f, "SourceKeyMaterialId", aws.ToString(out.SourceKeyMaterialId), *a.CurrentKeyMaterialId)
			equal(f, "DestinationKeyMaterialId", aws.ToString(out.DestinationKeyMaterialId), *c.to.CurrentKeyMaterialId)
			opened := f.open(out.CiphertextBlob, c.context2)
			equal(f, "KeyId of the new blob", *opened.KeyId, *c.to.Arn)
			if bytes.Equal(out.CiphertextBlob, blob) {
				t.Error("the blob did not change")
			}
			f.open(blob, c.context) // the old one is untouched
		})
	}
	blob := f.seal(a.KeyId, context1)

	// Trap: the source's context is not used for the destination.
	out, err := f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: a.KeyId, SourceEncryptionContext: context1})
	f.open(must(f, out, err).CiphertextBlob, nil)
	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionContext: context1})
	f.mustFail(err, "InvalidCiphertextException", "")

	// Both sides take an alias, and the answer has the key's ARN.
	f.Alias("alias/from", *a.KeyId)
	f.Alias("alias/to", *b.KeyId)
	out, err = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{
		CiphertextBlob: blob, SourceKeyId: aws.String("alias/from"), DestinationKeyId: aws.String("alias/to"),
		SourceEncryptionContext: context1, DestinationEncryptionContext: context1,
	})
	equal(f, "KeyId by alias", *must(f, out, err).KeyId, *b.Arn)
	equal(f, "SourceKeyId by alias", *out.SourceKeyId, *a.Arn)
}

// KMS API Reference, ReEncrypt, Errors.
func TestReEncryptUnknownKeys(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	blob := f.seal(k.KeyId, nil)
	absent := "1234abcd-12ab-34cd-56ef-1234567890ab"
	for _, in := range []*sdk.ReEncryptInput{
		{CiphertextBlob: blob, SourceKeyId: k.KeyId, DestinationKeyId: &absent},
		{CiphertextBlob: blob, SourceKeyId: &absent, DestinationKeyId: k.KeyId},
	} {
		_, err := f.ReEncrypt(f.Context(), in)
		f.mustFail(err, "NotFoundException", "Key 'arn:aws:kms:us-east-1:111122223333:key/"+absent+"' does not exist")
	}
}

// Limits of the model: CiphertextType 1 to 6144 bytes, PlaintextType 1 to 4096,
// GrantTokenList up to 10. The first text is recorded (LocalStack's snapshots,
// KMS test_plaintext_size_for_encrypt).
func TestLimits(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	_, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: make([]byte, 4097)})
	f.mustFail(err, "ValidationException", "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096")
	_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: []byte{}})
	f.mustFail(err, "ValidationException", anyMessage)
	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: make([]byte, 6145)})
	f.mustFail(err, "ValidationException", anyMessage)
	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: make([]byte, 6144)})
	f.mustFail(err, "InvalidCiphertextException", "")
	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: []byte{}})
	f.mustFail(err, "ValidationException", anyMessage)
	_, err = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: make([]byte, 6145), DestinationKeyId: k.KeyId})
	f.mustFail(err, "ValidationException", anyMessage)
	_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: secret, GrantTokens: make([]string, 11)})
	f.mustFail(err, "ValidationException", anyMessage)
	_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: secret, EncryptionContext: map[string]string{"a": strings.Repeat("x", 8192)}})
	f.mustFail(err, "ValidationException", anyMessage)
	_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: aws.String(strings.Repeat("a", 2049)), Plaintext: secret})
	f.mustFail(err, "ValidationException", anyMessage)

	big := make([]byte, 4096)
	out, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: big})
	back, err2 := f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: must(f, out, err).CiphertextBlob})
	equal(f, "length", len(must(f, back, err2).Plaintext), len(big))
}

// A call that would succeed is answered with DryRunOperationException, and one
// that would fail with its error (KMS API Reference, DryRun). With
// IGNORE_CIPHERTEXT no blob is needed, and the source key must be named
// (ReEncrypt, DryRunModifiers).
func TestDryRun(t *testing.T) {
	f := start(t, emulator.Options{})
	k, other := f.key(), f.key()
	blob := f.seal(k.KeyId, nil)
	dry, ignore := aws.Bool(true), []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}

	_, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: secret, DryRun: dry})
	f.mustFail(err, "DryRunOperationException", wouldRun)
	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob, DryRun: dry})
	f.mustFail(err, "DryRunOperationException", wouldRun)
	_, err = f.GenerateDataKey(f.Context(), &sdk.GenerateDataKeyInput{KeyId: k.KeyId, KeySpec: "AES_256", DryRun: dry})
	f.mustFail(err, "DryRunOperationException", wouldRun)

	re := func(in sdk.ReEncryptInput) error {
		in.DryRun = dry
		_, err := f.ReEncrypt(f.Context(), &in)
		return err
	}
	f.mustFail(re(sdk.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: k.KeyId, DestinationKeyId: k.KeyId}), "DryRunOperationException", wouldRun)
	f.mustFail(re(sdk.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: other.KeyId, DestinationKeyId: k.KeyId}), "IncorrectKeyException", wrongKey)
	f.mustFail(re(sdk.ReEncryptInput{SourceKeyId: k.KeyId, DestinationKeyId: k.KeyId, DryRunModifiers: ignore}), "DryRunOperationException", wouldRun)
	f.mustFail(re(sdk.ReEncryptInput{DestinationKeyId: k.KeyId, DryRunModifiers: ignore}), "ValidationException", anyMessage)
	f.mustFail(re(sdk.ReEncryptInput{SourceKeyId: k.KeyId, DestinationKeyId: k.KeyId}), "ValidationException", anyMessage)

	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{KeyId: k.KeyId, DryRun: dry, DryRunModifiers: ignore})
	f.mustFail(err, "DryRunOperationException", wouldRun)
	// The modifier needs DryRun (ReEncrypt, DryRunModifiers).
	_, err = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: k.KeyId, DestinationKeyId: k.KeyId, DryRunModifiers: ignore})
	f.mustFail(err, "ValidationException", anyMessage)

	_, err = f.DisableKey(f.Context(), &sdk.DisableKeyInput{KeyId: k.KeyId})
	must(f, 0, err)
	f.mustFail(re(sdk.ReEncryptInput{SourceKeyId: k.KeyId, DestinationKeyId: other.KeyId, DryRunModifiers: ignore}), "DisabledException", *k.Arn+" is disabled.")
}

// A ciphertext of an asymmetric key is as long as the modulus and has no key
// id, so key and algorithm must be named. It takes no context, and the answer
// has no material id (KMS API Reference, Encrypt, Decrypt and ReEncrypt).
func TestRSA(t *testing.T) {
	f := start(t, emulator.Options{})
	pair, k := f.key(spec(types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt)), f.key()
	equal(f, "CurrentKeyMaterialId", aws.ToString(pair.CurrentKeyMaterialId), "")
	for _, c := range []struct {
		algorithm types.EncryptionAlgorithmSpec
		most      int
	}{{types.EncryptionAlgorithmSpecRsaesOaepSha1, 214}, {types.EncryptionAlgorithmSpecRsaesOaepSha256, 190}} {
		out, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: pair.KeyId, Plaintext: secret, EncryptionAlgorithm: c.algorithm})
		must(f, out, err)
		equal(f, "length", len(out.CiphertextBlob), 256)
		equal(f, "algorithm", out.EncryptionAlgorithm, c.algorithm)
		back, err := f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: out.CiphertextBlob, KeyId: pair.KeyId, EncryptionAlgorithm: c.algorithm})
		if must(f, back, err); !bytes.Equal(back.Plaintext, secret) {
			t.Error("another plaintext came out")
		}
		equal(f, "KeyMaterialId", aws.ToString(back.KeyMaterialId), "")

		// The message is recorded: LocalStack's snapshots, KMS
		// test_encrypt_validate_plaintext_size_per_key_type.
		_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: pair.KeyId, Plaintext: make([]byte, c.most), EncryptionAlgorithm: c.algorithm})
		must(f, 0, err)
		_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: pair.KeyId, Plaintext: make([]byte, c.most+1), EncryptionAlgorithm: c.algorithm})
		f.mustFail(err, "ValidationException", "Algorithm "+string(c.algorithm)+" and key spec RSA_2048 cannot encrypt data larger than "+map[int]string{214: "214", 190: "190"}[c.most]+" bytes.")

		moved, err := f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{
			CiphertextBlob: out.CiphertextBlob, SourceKeyId: pair.KeyId, SourceEncryptionAlgorithm: c.algorithm,
			DestinationKeyId: k.KeyId, DestinationEncryptionContext: context1,
		})
		must(f, moved, err)
		equal(f, "SourceKeyMaterialId", aws.ToString(moved.SourceKeyMaterialId), "")
		equal(f, "DestinationKeyMaterialId", aws.ToString(moved.DestinationKeyMaterialId), *k.CurrentKeyMaterialId)
		f.open(moved.CiphertextBlob, context1)

		back2, err := f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{
			CiphertextBlob: moved.CiphertextBlob, SourceKeyId: k.KeyId, SourceEncryptionContext: context1,
			DestinationKeyId: pair.KeyId, DestinationEncryptionAlgorithm: c.algorithm,
		})
		equal(f, "length", len(must(f, back2, err).CiphertextBlob), 256)

		_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionAlgorithm: c.algorithm})
		f.mustFail(err, "ValidationException", anyMessage)
		damaged := bytes.Clone(out.CiphertextBlob)
		damaged[9] ^= 1
		_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: damaged, KeyId: pair.KeyId, EncryptionAlgorithm: c.algorithm})
		f.mustFail(err, "InvalidCiphertextException", "")
		_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: pair.KeyId, Plaintext: secret, EncryptionAlgorithm: c.algorithm, EncryptionContext: context1})
		f.mustFail(err, "ValidationException", anyMessage)
		_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: secret, EncryptionAlgorithm: c.algorithm})
		f.mustFail(err, "InvalidKeyUsageException", "Algorithm "+string(c.algorithm)+" is incompatible with key spec SYMMETRIC_DEFAULT.")
	}
	// Without an algorithm it is SYMMETRIC_DEFAULT (Encrypt, EncryptionAlgorithm).
	_, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: pair.KeyId, Plaintext: secret})
	f.mustFail(err, "InvalidKeyUsageException", anyMessage)
}

// Recorded: LocalStack's snapshots, KMS test_error_messaging_for_invalid_keys.
func TestKeysThatCannotEncrypt(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	for _, o := range []keyOption{
		spec(types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify),
		spec(types.KeySpecRsa2048, types.KeyUsageTypeSignVerify),
		spec(types.KeySpecHmac512, types.KeyUsageTypeGenerateVerifyMac),
	} {
		other := f.key(o)
		_, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: other.KeyId, Plaintext: secret})
		f.mustFail(err, "InvalidKeyUsageException", *other.Arn+" key usage is "+string(other.KeyUsage)+" which is not valid for Encrypt.")
		_, err = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: f.seal(k.KeyId, nil), DestinationKeyId: other.KeyId})
		f.mustFail(err, "InvalidKeyUsageException", anyMessage)
	}
}

// Blobs have the layout of public blobs of KMS: see blob.go. The id bytes are
// the same in all blobs of one material, differ between materials, and are not
// the KeyMaterialId.
func TestBlobsLookLikeThoseOfKMS(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	for n, want := range map[int]int{16: 168, 32: 184, 64: 220} {
		out, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: make([]byte, n)})
		equal(f, "length", len(must(f, out, err).CiphertextBlob), want)
	}
	form := regexp.MustCompile(`(?s)^\x01\x02\x02\x00\x78(.{32})\x01.{16}\x00\x00\x00\x7e\x30\x7c\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06\xa0\x6f\x30\x6d\x02\x01\x00\x30\x68` +
		`\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\x30\x1e\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2e\x30\x11\x04\x0c.{12}\x02\x01\x10\x80\x3b.{59}$`)
	id := func(blob []byte) string {
		t.Helper()
		if !matchBytes(form, blob) {
			t.Fatalf("%x has not the form", blob)
		}
		return string(blob[5:37])
	}
	first, second := id(f.seal(k.KeyId, nil)), id(f.seal(k.KeyId, context1))
	equal(f, "id bytes of one material", second, first)
	f.Rotate(*k.KeyId)
	rotated := id(f.seal(k.KeyId, nil))
	if rotated == first {
		t.Error("the id bytes did not change with the material")
	}
	for _, m := range []string{*k.CurrentKeyMaterialId, f.Material(*k.KeyId)} {
		if h := hexOf(first); h == m {
			t.Error("the id bytes are the material id")
		}
	}
}

// KMS API Reference, GenerateRandom; the texts are recorded (LocalStack's
// snapshots, KMS test_generate_random_invalid_number_of_bytes).
func TestGenerateRandom(t *testing.T) {
	f := start(t, emulator.Options{})
	for _, n := range []int32{1, 32, 1024} {
		out, err := f.GenerateRandom(f.Context(), &sdk.GenerateRandomInput{NumberOfBytes: &n})
		equal(f, "length", len(must(f, out, err).Plaintext), int(n))
	}
	_, err := f.GenerateRandom(f.Context(), &sdk.GenerateRandomInput{})
	f.mustFail(err, "ValidationException", "NumberOfBytes is required.")
	_, err = f.GenerateRandom(f.Context(), &sdk.GenerateRandomInput{NumberOfBytes: aws.Int32(0)})
	f.mustFail(err, "ValidationException", "1 validation error detected: Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or equal to 1")
	_, err = f.GenerateRandom(f.Context(), &sdk.GenerateRandomInput{NumberOfBytes: aws.Int32(1025)})
	f.mustFail(err, "ValidationException", "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024")
}
