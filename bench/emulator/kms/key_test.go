package kms_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/bench/emulator"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// The members are those that AWS was recorded to answer for a new symmetric
// key (LocalStack's snapshots, KMS test_create_key), and CurrentKeyMaterialId.
func TestCreateKey(t *testing.T) {
	f := start(t, emulator.Options{Account: "444455556666", Region: "eu-west-1"})
	out, err := f.CreateKey(f.Context(), &sdk.CreateKeyInput{Description: aws.String("test key 123")})
	must(f, out, err)
	for _, k := range []*types.KeyMetadata{out.KeyMetadata, f.Describe(*out.KeyMetadata.Arn)} {
		if !uuid.MatchString(*k.KeyId) {
			t.Errorf("key id %s", *k.KeyId)
		}
		equal(f, "Arn", *k.Arn, "arn:aws:kms:eu-west-1:444455556666:key/"+*k.KeyId)
		equal(f, "AWSAccountId", *k.AWSAccountId, "444455556666")
		equal(f, "CreationDate", *k.CreationDate, f.Clock.Now())
		equal(f, "Description", *k.Description, "test key 123")
		equal(f, "Enabled", k.Enabled, true)
		equal(f, "KeyState", k.KeyState, types.KeyStateEnabled)
		equal(f, "KeyUsage", k.KeyUsage, types.KeyUsageTypeEncryptDecrypt)
		equal(f, "KeySpec", k.KeySpec, types.KeySpecSymmetricDefault)
		//lint:ignore SA1019 it is deprecated and still on the wire
		equal(f, "CustomerMasterKeySpec", k.CustomerMasterKeySpec, types.CustomerMasterKeySpecSymmetricDefault)
		equal(f, "KeyManager", k.KeyManager, types.KeyManagerTypeCustomer)
		equal(f, "Origin", k.Origin, types.OriginTypeAwsKms)
		equal(f, "MultiRegion", *k.MultiRegion, false)
		equal(f, "MultiRegionConfiguration", k.MultiRegionConfiguration, nil)
		equal(f, "EncryptionAlgorithms", fmt.Sprint(k.EncryptionAlgorithms), "[SYMMETRIC_DEFAULT]")
		equal(f, "DeletionDate", k.DeletionDate, nil)
		if !materialID.MatchString(aws.ToString(k.CurrentKeyMaterialId)) {
			t.Errorf("CurrentKeyMaterialId %s", aws.ToString(k.CurrentKeyMaterialId))
		}
	}
}

// Recorded: LocalStack's snapshots, KMS test_create_multi_region_key; the form
// of the id is of the KMS Developer Guide, "Multi-Region keys".
func TestMultiRegionKey(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key(func(in *sdk.CreateKeyInput) { in.MultiRegion = aws.Bool(true) })
	if !regexp.MustCompile(`^mrk-[0-9a-f]{32}$`).MatchString(*k.KeyId) {
		t.Errorf("key id %s", *k.KeyId)
	}
	equal(f, "MultiRegion", *k.MultiRegion, true)
	equal(f, "MultiRegionKeyType", k.MultiRegionConfiguration.MultiRegionKeyType, types.MultiRegionKeyTypePrimary)
	equal(f, "PrimaryKey", *k.MultiRegionConfiguration.PrimaryKey.Arn, *k.Arn)
	equal(f, "Region", *k.MultiRegionConfiguration.PrimaryKey.Region, "us-east-1")
	f.open(f.seal(k.KeyId, nil), nil)
	f.Rotate(*k.KeyId)
}

// KMS API Reference, CreateKey; the first text is recorded (LocalStack's
// snapshots, KMS test_hmac_create_key_invalid_operations).
func TestCreateKeyRefuses(t *testing.T) {
	f := start(t, emulator.Options{})
	for _, c := range []struct {
		in            sdk.CreateKeyInput
		code, message string
	}{
		{sdk.CreateKeyInput{KeySpec: types.KeySpecHmac256}, "ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."},
		{sdk.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: "RANDOM"}, "ValidationException", anyMessage},
		{sdk.CreateKeyInput{KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeEncryptDecrypt}, "ValidationException", "KeyUsage ENCRYPT_DECRYPT is not compatible with KeySpec ECC_NIST_P256"},
		{sdk.CreateKeyInput{Origin: "MARS"}, "ValidationException", anyMessage},
		{sdk.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm}, "UnsupportedOperationException", anyMessage},
		{sdk.CreateKeyInput{KeySpec: types.KeySpecMlDsa44, KeyUsage: types.KeyUsageTypeSignVerify}, "UnsupportedOperationException", anyMessage},
		{sdk.CreateKeyInput{Policy: aws.String("{")}, "MalformedPolicyDocumentException", anyMessage},
		{sdk.CreateKeyInput{Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("")}, {TagKey: aws.String("a"), TagValue: aws.String("")}}}, "TagException", anyMessage},
	} {
		_, err := f.CreateKey(f.Context(), &c.in)
		f.mustFail(err, c.code, c.message)
	}
	out, err := f.ListKeys(f.Context(), &sdk.ListKeysInput{})
	equal(f, "keys", len(must(f, out, err).Keys), 0)
}

// Keys that do not exist, with recorded messages (LocalStack's snapshots, KMS
// test_get_key_does_not_exist, test_get_key_invalid_uuid,
// test_get_key_in_different_region).
func TestUnknownKeys(t *testing.T) {
	f := start(t, emulator.Options{})
	const absent = "1234abcd-12ab-34cd-56ef-1234567890ab"
	for id, message := range map[string]string{
		absent: "Key 'arn:aws:kms:us-east-1:111122223333:key/" + absent + "' does not exist",
		"arn:aws:kms:us-east-1:111122223333:key/" + absent:      "Key 'arn:aws:kms:us-east-1:111122223333:key/" + absent + "' does not exist",
		"mrk-d3b95762d3b95762d3b95762d3b95762":                  "Key 'arn:aws:kms:us-east-1:111122223333:key/mrk-d3b95762d3b95762d3b95762d3b95762' does not exist",
		"fake-key-id":                                           "Invalid keyId 'fake-key-id'",
		"134f2428cec14b25a1ae9048164dba47":                      "Invalid keyId '134f2428cec14b25a1ae9048164dba47'",
		"mrk-fake-key-id":                                       "Invalid keyId 'mrk-fake-key-id'",
		"alias/absent":                                          "Alias arn:aws:kms:us-east-1:111122223333:alias/absent is not found.",
		"arn:aws:kms:ap-southeast-1:111122223333:key/" + absent: "Invalid arn ap-southeast-1",
	} {
		_, err := f.DescribeKey(f.Context(), &sdk.DescribeKeyInput{KeyId: &id})
		f.mustFail(err, "NotFoundException", message)
		_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: &id, Plaintext: secret})
		f.mustFail(err, "NotFoundException", message)
	}
	for id, code := range map[string]string{
		"arn:aws:kms": "InvalidArnException",
		"arn:aws:s3:us-east-1:111122223333:key/x":          "InvalidArnException",
		"arn:aws:kms:us-east-1:111122223333:lemon/x":       "InvalidArnException",
		"arn:aws:kms:us-east-1:999999999999:key/" + absent: "AccessDeniedException",
	} {
		_, err := f.DescribeKey(f.Context(), &sdk.DescribeKeyInput{KeyId: &id})
		f.mustFail(err, code, anyMessage)
	}
}

// KMS API Reference, CreateAlias, UpdateAlias, DeleteAlias. The text about the
// prefix is recorded (LocalStack's snapshots, KMS test_create_alias).
func TestAliases(t *testing.T) {
	f := start(t, emulator.Options{})
	a, b := f.key(), f.key()
	create := func(name string, target *string) error {
		_, err := f.CreateAlias(f.Context(), &sdk.CreateAliasInput{AliasName: &name, TargetKeyId: target})
		return err
	}
	update := func(name string, target *string) error {
		_, err := f.UpdateAlias(f.Context(), &sdk.UpdateAliasInput{AliasName: &name, TargetKeyId: target})
		return err
	}
	f.Alias("alias/a", *a.KeyId)
	equal(f, "target", *f.Describe("alias/a").Arn, *a.Arn)
	f.mustFail(create("alias/a", b.KeyId), "AlreadyExistsException", "An alias with the name arn:aws:kms:us-east-1:111122223333:alias/a already exists")
	f.mustFail(create("a", a.KeyId), "ValidationException", `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	f.mustFail(create("alias/ä", a.KeyId), "ValidationException", anyMessage)
	f.mustFail(create("alias/aws/x", a.KeyId), "NotAuthorizedException", anyMessage)
	f.mustFail(create("alias/b", aws.String("alias/a")), "InvalidArnException", anyMessage)
	f.mustFail(create("alias/b", aws.String("1234abcd-12ab-34cd-56ef-1234567890ab")), "NotFoundException", anyMessage)

	old := f.seal(aws.String("alias/a"), nil)
	must(f, 0, update("alias/a", b.Arn))
	equal(f, "target", *f.Describe("alias/a").Arn, *b.Arn)
	equal(f, "key of the old blob", *f.open(old, nil).KeyId, *a.Arn)
	f.mustFail(update("alias/absent", a.KeyId), "NotFoundException", "Alias arn:aws:kms:us-east-1:111122223333:alias/absent is not found.")
	pair := f.key(spec(types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt))
	f.mustFail(update("alias/a", pair.KeyId), "ValidationException", anyMessage)

	// Trap: a request that names its key by an alias follows the alias, not the
	// blob.
	_, err := f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: old, SourceKeyId: aws.String("alias/a"), DestinationKeyId: b.KeyId})
	f.mustFail(err, "IncorrectKeyException", wrongKey)

	_, err = f.ScheduleKeyDeletion(f.Context(), &sdk.ScheduleKeyDeletionInput{KeyId: a.KeyId})
	must(f, 0, err)
	f.mustFail(update("alias/a", a.KeyId), "KMSInvalidStateException", *a.Arn+" is pending deletion.")

	_, err = f.DeleteAlias(f.Context(), &sdk.DeleteAliasInput{AliasName: aws.String("alias/a")})
	must(f, 0, err)
	_, err = f.DeleteAlias(f.Context(), &sdk.DeleteAliasInput{AliasName: aws.String("alias/a")})
	f.mustFail(err, "NotFoundException", anyMessage)
	_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: aws.String("alias/a"), Plaintext: secret})
	f.mustFail(err, "NotFoundException", anyMessage)
}

// KeyId (id or ARN), Limit and Marker; a page has 50 unless the request says
// otherwise (KMS API Reference, ListAliases).
func TestListAliases(t *testing.T) {
	f := start(t, emulator.Options{})
	a, b := f.key(), f.key()
	var names []string
	for i := range 60 {
		name := fmt.Sprintf("alias/%02d", i)
		names = append(names, name)
		f.Alias(name, map[bool]string{true: *a.KeyId, false: *b.KeyId}[i%3 == 0])
	}
	list := func(in *sdk.ListAliasesInput) (got []string, pages int) {
		p := sdk.NewListAliasesPaginator(f, in)
		for p.HasMorePages() {
			out, err := p.NextPage(f.Context())
			must(f, out, err)
			pages++
			for _, e := range out.Aliases {
				got = append(got, *e.AliasName)
				equal(f, "AliasArn", *e.AliasArn, "arn:aws:kms:us-east-1:111122223333:"+*e.AliasName)
				equal(f, "CreationDate", *e.CreationDate, f.Clock.Now())
				if in.KeyId != nil {
					equal(f, "TargetKeyId", *e.TargetKeyId, *a.KeyId)
				}
			}
		}
		return got, pages
	}
	got, pages := list(&sdk.ListAliasesInput{})
	equal(f, "pages", pages, 2)
	if !slices.Equal(got, names) {
		t.Errorf("listed %v", got)
	}
	got, pages = list(&sdk.ListAliasesInput{Limit: aws.Int32(7)})
	equal(f, "pages", pages, 9)
	if !slices.Equal(got, names) {
		t.Errorf("listed %v", got)
	}
	for _, id := range []*string{a.KeyId, a.Arn} {
		got, _ = list(&sdk.ListAliasesInput{KeyId: id, Limit: aws.Int32(3)})
		equal(f, "aliases of one key", len(got), 20)
	}
	_, err := f.ListAliases(f.Context(), &sdk.ListAliasesInput{Marker: aws.String("%")})
	f.mustFail(err, "InvalidMarkerException", anyMessage)
}

// KMS API Reference, ListKeys, Limit and Marker.
func TestListKeys(t *testing.T) {
	f := start(t, emulator.Options{})
	want := map[string]bool{}
	for range 25 {
		want[*f.key().KeyId] = true
	}
	p := sdk.NewListKeysPaginator(f, &sdk.ListKeysInput{Limit: aws.Int32(10)})
	pages := 0
	for ; p.HasMorePages(); pages++ {
		out, err := p.NextPage(f.Context())
		for _, k := range must(f, out, err).Keys {
			if !want[*k.KeyId] || !strings.HasSuffix(*k.KeyArn, "key/"+*k.KeyId) {
				t.Errorf("listed %s twice, or not made", *k.KeyArn)
			}
			delete(want, *k.KeyId)
		}
	}
	equal(f, "pages", pages, 3)
	equal(f, "keys left out", len(want), 0)
}

// calls are the operations that use a key on data.
func (f *fixture) calls(k, other *types.KeyMetadata, blob, otherBlob []byte) map[string]error {
	errs := map[string]error{}
	_, errs["Encrypt"] = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: secret})
	_, errs["Decrypt"] = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob})
	_, errs["Decrypt, pinned"] = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob, KeyId: k.KeyId})
	_, errs["GenerateDataKey"] = f.GenerateDataKey(f.Context(), &sdk.GenerateDataKeyInput{KeyId: k.KeyId, KeySpec: "AES_256"})
	_, errs["ReEncrypt from"] = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: other.KeyId})
	_, errs["ReEncrypt from, pinned"] = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: k.KeyId, DestinationKeyId: other.KeyId})
	_, errs["ReEncrypt to"] = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: otherBlob, SourceKeyId: other.KeyId, DestinationKeyId: k.KeyId})
	return errs
}

// KMS Developer Guide, "Key states of KMS keys": a disabled key gives
// DisabledException wherever it is used.
func TestDisabledKey(t *testing.T) {
	f := start(t, emulator.Options{})
	k, other := f.key(), f.key()
	blob, otherBlob := f.seal(k.KeyId, nil), f.seal(other.KeyId, nil)
	_, err := f.DisableKey(f.Context(), &sdk.DisableKeyInput{KeyId: k.KeyId})
	must(f, 0, err)
	m := f.Describe(*k.KeyId)
	equal(f, "KeyState", m.KeyState, types.KeyStateDisabled)
	equal(f, "Enabled", m.Enabled, false)
	for name, err := range f.calls(k, other, blob, otherBlob) {
		t.Log(name)
		f.mustFail(err, "DisabledException", *k.Arn+" is disabled.")
	}
	_, err = f.EnableKeyRotation(f.Context(), &sdk.EnableKeyRotationInput{KeyId: k.KeyId})
	f.mustFail(err, "DisabledException", anyMessage)
	_, err = f.EnableKey(f.Context(), &sdk.EnableKeyInput{KeyId: k.KeyId})
	must(f, 0, err)
	for name, err := range f.calls(k, other, blob, otherBlob) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The waiting period is 7 to 30 days, 30 by default (KMS API Reference,
// ScheduleKeyDeletion). After CancelKeyDeletion the key is disabled. AWS
// documents both DisabledException and KMSInvalidStateException for a key that
// is pending deletion.
func TestKeyPendingDeletion(t *testing.T) {
	f := start(t, emulator.Options{})
	k, other := f.key(), f.key()
	blob, otherBlob := f.seal(k.KeyId, nil), f.seal(other.KeyId, nil)
	schedule := func(days *int32) (*sdk.ScheduleKeyDeletionOutput, error) {
		return f.ScheduleKeyDeletion(f.Context(), &sdk.ScheduleKeyDeletionInput{KeyId: k.KeyId, PendingWindowInDays: days})
	}
	for _, days := range []int32{6, 31, 0, 366} {
		_, err := schedule(&days)
		f.mustFail(err, "ValidationException", anyMessage)
	}
	out, err := schedule(nil)
	must(f, out, err)
	equal(f, "KeyId", *out.KeyId, *k.Arn)
	equal(f, "KeyState", out.KeyState, types.KeyStatePendingDeletion)
	equal(f, "DeletionDate", *out.DeletionDate, f.Clock.Now().Add(30*day))
	equal(f, "DeletionDate", *f.Describe(*k.KeyId).DeletionDate, f.Clock.Now().Add(30*day))
	pending := *k.Arn + " is pending deletion."
	for name, err := range f.calls(k, other, blob, otherBlob) {
		t.Log(name)
		f.mustFail(err, "KMSInvalidStateException", pending)
	}
	_, err = schedule(nil)
	f.mustFail(err, "KMSInvalidStateException", pending)
	_, err = f.EnableKey(f.Context(), &sdk.EnableKeyInput{KeyId: k.KeyId})
	f.mustFail(err, "KMSInvalidStateException", pending)
	_, err = f.DisableKey(f.Context(), &sdk.DisableKeyInput{KeyId: k.KeyId})
	f.mustFail(err, "KMSInvalidStateException", pending)

	cancel, err := f.CancelKeyDeletion(f.Context(), &sdk.CancelKeyDeletionInput{KeyId: k.KeyId})
	equal(f, "KeyId", *must(f, cancel, err).KeyId, *k.Arn)
	m := f.Describe(*k.KeyId)
	equal(f, "KeyState", m.KeyState, types.KeyStateDisabled)
	equal(f, "DeletionDate", m.DeletionDate, nil)
	_, err = f.CancelKeyDeletion(f.Context(), &sdk.CancelKeyDeletionInput{KeyId: k.KeyId})
	f.mustFail(err, "KMSInvalidStateException", anyMessage)
	_, err = f.EnableKey(f.Context(), &sdk.EnableKeyInput{KeyId: k.KeyId})
	must(f, 0, err)
	f.open(blob, nil)

	// After the waiting period the key is gone, with its aliases.
	f.Alias("alias/k", *k.KeyId)
	_, err = schedule(aws.Int32(7))
	must(f, 0, err)
	f.Clock.Pass(7*day - 1)
	equal(f, "KeyState", f.Describe(*k.KeyId).KeyState, types.KeyStatePendingDeletion)
	f.Clock.Pass(1)
	for _, id := range []string{*k.KeyId, *k.Arn, "alias/k"} {
		_, err = f.DescribeKey(f.Context(), &sdk.DescribeKeyInput{KeyId: &id})
		f.mustFail(err, "NotFoundException", anyMessage)
		_, err = f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: &id, Plaintext: secret})
		f.mustFail(err, "NotFoundException", anyMessage)
	}
	aliases, err := f.ListAliases(f.Context(), &sdk.ListAliasesInput{})
	equal(f, "aliases", len(must(f, aliases, err).Aliases), 0)
	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob})
	f.mustFail(err, "AccessDeniedException", anyMessage)
	_, err = f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: otherBlob})
	must(f, 0, err)
}

// A key whose material is to be imported has none before (recorded:
// LocalStack's snapshots, KMS test_import_key_symmetric).
func TestExternalKey(t *testing.T) {
	f := start(t, emulator.Options{})
	k, other := f.key(func(in *sdk.CreateKeyInput) { in.Origin = types.OriginTypeExternal }), f.key()
	equal(f, "KeyState", k.KeyState, types.KeyStatePendingImport)
	equal(f, "Enabled", k.Enabled, false)
	equal(f, "CurrentKeyMaterialId", aws.ToString(k.CurrentKeyMaterialId), "")
	_, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: k.KeyId, Plaintext: secret})
	f.mustFail(err, "KMSInvalidStateException", *k.Arn+" is pending import.")
	_, err = f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{CiphertextBlob: f.seal(other.KeyId, nil), DestinationKeyId: k.KeyId})
	f.mustFail(err, "KMSInvalidStateException", *k.Arn+" is pending import.")
	_, err = f.EnableKey(f.Context(), &sdk.EnableKeyInput{KeyId: k.KeyId})
	f.mustFail(err, "KMSInvalidStateException", anyMessage)
	_, err = f.ScheduleKeyDeletion(f.Context(), &sdk.ScheduleKeyDeletionInput{KeyId: k.KeyId})
	must(f, 0, err)
	_, err = f.CancelKeyDeletion(f.Context(), &sdk.CancelKeyDeletionInput{KeyId: k.KeyId})
	must(f, 0, err)
	equal(f, "KeyState", f.Describe(*k.KeyId).KeyState, types.KeyStatePendingImport)
}

// The key is a DER SubjectPublicKeyInfo that works. Symmetric and HMAC keys
// have none (KMS API Reference, GetPublicKey).
func TestGetPublicKey(t *testing.T) {
	f := start(t, emulator.Options{})
	get := func(id *string) any {
		out, err := f.GetPublicKey(f.Context(), &sdk.GetPublicKeyInput{KeyId: id})
		equal(f, "KeyId", *must(f, out, err).KeyId, *f.Describe(*id).Arn)
		public, err := x509.ParsePKIXPublicKey(out.PublicKey)
		return must(f, public, err)
	}
	pair := f.key(spec(types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt))
	f.Alias("alias/pair", *pair.KeyId)
	public := get(aws.String("alias/pair")).(*rsa.PublicKey)
	blob, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, secret, nil)
	must(f, blob, err)
	out, err := f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob, KeyId: pair.KeyId, EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha256})
	equal(f, "plaintext", string(must(f, out, err).Plaintext), string(secret))

	for s, bits := range map[types.KeySpec]int{types.KeySpecEccNistP256: 256, types.KeySpecEccNistP384: 384, types.KeySpecEccNistP521: 521} {
		equal(f, "bits", get(f.key(spec(s, types.KeyUsageTypeSignVerify)).KeyId).(*ecdsa.PublicKey).Curve.Params().BitSize, bits)
	}
	for _, k := range []*types.KeyMetadata{f.key(), f.key(spec(types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac))} {
		_, err := f.GetPublicKey(f.Context(), &sdk.GetPublicKeyInput{KeyId: k.KeyId})
		f.mustFail(err, "UnsupportedOperationException", anyMessage)
	}
}

// KMS Developer Guide, "AWS managed keys": an alias alias/aws/SERVICE, KeyManager
// AWS, rotated every year and not otherwise, usable through the service alone.
func TestManagedKey(t *testing.T) {
	f := start(t, emulator.Options{})
	arn, err := f.service().ManagedKey("alias/aws/s3")
	again, err2 := f.service().ManagedKey("alias/aws/s3")
	equal(f, "ARN again", must(f, again, err2), must(f, arn, err))
	resolved, err := f.service().ResolveKey("alias/aws/s3")
	equal(f, "resolved", must(f, resolved, err), arn)
	k := f.Describe("alias/aws/s3")
	equal(f, "KeyManager", k.KeyManager, types.KeyManagerTypeAws)
	equal(f, "KeyRotationEnabled", f.status(k.KeyId).KeyRotationEnabled, true)

	// DescribeKey creates the key if its alias names none yet.
	ebs := f.Describe("alias/aws/ebs")
	resolved, err = f.service().ResolveKey("arn:aws:kms:us-east-1:111122223333:alias/aws/ebs")
	equal(f, "resolved", must(f, resolved, err), *ebs.Arn)

	_, blob, _, err := f.service().GenerateDataKey(arn, 32, context1)
	must(f, blob, err)
	other := f.key()
	for name, err := range f.calls(k, other, blob, f.seal(other.KeyId, nil)) {
		t.Log(name)
		f.mustFail(err, "AccessDeniedException", anyMessage)
	}
	_, err = f.RotateKeyOnDemand(f.Context(), &sdk.RotateKeyOnDemandInput{KeyId: k.KeyId})
	f.mustFail(err, "AccessDeniedException", anyMessage)
	_, err = f.DisableKey(f.Context(), &sdk.DisableKeyInput{KeyId: k.KeyId})
	f.mustFail(err, "AccessDeniedException", anyMessage)
	_, err = f.ScheduleKeyDeletion(f.Context(), &sdk.ScheduleKeyDeletionInput{KeyId: k.KeyId})
	f.mustFail(err, "AccessDeniedException", anyMessage)

	f.Clock.Pass(365 * day)
	if f.Material(*k.KeyId) == *k.CurrentKeyMaterialId {
		t.Error("a year passed and the key was not rotated")
	}
	_, _, material, err := f.service().Decrypt(blob, context1, "alias/aws/s3")
	equal(f, "material", must(f, material, err), *k.CurrentKeyMaterialId)
	for _, name := range []string{"alias/mine", "alias/aws/", "s3", "alias/aws/ä"} {
		_, err := f.service().ManagedKey(name)
		equal(f, "error", codeOf(err), "NotFoundException")
	}
}
