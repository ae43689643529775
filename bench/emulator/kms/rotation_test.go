package kms_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/bench/emulator"
)

func (f *fixture) status(id *string) *sdk.GetKeyRotationStatusOutput {
	f.Helper()
	out, err := f.GetKeyRotationStatus(f.Context(), &sdk.GetKeyRotationStatusInput{KeyId: id})
	return must(f, out, err)
}

func (f *fixture) enableRotation(id *string, days *int32) {
	f.Helper()
	_, err := f.EnableKeyRotation(f.Context(), &sdk.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: days})
	must(f, 0, err)
}

func (f *fixture) rotations(id *string, include types.IncludeKeyMaterial) []types.RotationsListEntry {
	f.Helper()
	out, err := f.ListKeyRotations(f.Context(), &sdk.ListKeyRotationsInput{KeyId: id, IncludeKeyMaterial: include})
	return must(f, out, err).Rotations
}

// The period is 90 to 2560 days, 365 by default (KMS API Reference,
// EnableKeyRotation). GetKeyRotationStatus answers the period and the next
// date.
func TestAutomaticRotationStatus(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	if s := f.status(k.KeyId); s.KeyRotationEnabled || s.RotationPeriodInDays != nil || s.NextRotationDate != nil {
		t.Errorf("a new key rotates: %+v", s)
	}
	f.enableRotation(k.KeyId, aws.Int32(180))
	s := f.status(k.Arn)
	equal(f, "KeyRotationEnabled", s.KeyRotationEnabled, true)
	equal(f, "RotationPeriodInDays", aws.ToInt32(s.RotationPeriodInDays), 180)
	equal(f, "NextRotationDate", *s.NextRotationDate, f.Clock.Now().Add(180*day))
	f.enableRotation(k.KeyId, nil)
	equal(f, "period not said", aws.ToInt32(f.status(k.KeyId).RotationPeriodInDays), 365)
	for _, days := range []int32{89, 2561} {
		_, err := f.EnableKeyRotation(f.Context(), &sdk.EnableKeyRotationInput{KeyId: k.KeyId, RotationPeriodInDays: &days})
		f.mustFail(err, "ValidationException", anyMessage)
	}
	_, err := f.DisableKeyRotation(f.Context(), &sdk.DisableKeyRotationInput{KeyId: k.KeyId})
	must(f, 0, err)
	equal(f, "KeyRotationEnabled", f.status(k.KeyId).KeyRotationEnabled, false)
	f.Clock.Pass(1000 * day)
	equal(f, "material", f.Material(*k.KeyId), *k.CurrentKeyMaterialId)
}

// A key rotates at its date and every period after it (KMS Developer Guide,
// "Automatic key rotation"). Only the clock has to move.
func TestAutomaticRotationHappens(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	blob := f.seal(k.KeyId, nil)
	begin := f.Clock.Now()
	f.enableRotation(k.KeyId, aws.Int32(90))
	f.Clock.Pass(90*day - time.Nanosecond)
	equal(f, "material before the date", f.Material(*k.KeyId), *k.CurrentKeyMaterialId)
	f.Clock.Pass(time.Nanosecond)
	if f.Material(*k.KeyId) == *k.CurrentKeyMaterialId {
		t.Fatal("the date passed and the material is the old one")
	}
	f.Clock.Pass(181 * day) // two more dates
	list := f.rotations(k.KeyId, "")
	equal(f, "rotations", len(list), 3)
	for i, r := range list {
		equal(f, "RotationType", r.RotationType, types.RotationTypeAutomatic)
		equal(f, "RotationDate", *r.RotationDate, begin.Add(time.Duration(i+1)*90*day))
	}
	equal(f, "NextRotationDate", *f.status(k.KeyId).NextRotationDate, begin.Add(360*day))
	equal(f, "material of the old blob", *f.open(blob, nil).KeyMaterialId, *k.CurrentKeyMaterialId)
}

// A disabled key is not rotated (KMS Developer Guide, "Automatic key
// rotation"). If it missed its date it is rotated when it is enabled. A key
// that is pending deletion is shown as not rotating, and rotates again after
// CancelKeyDeletion (KMS API Reference, GetKeyRotationStatus).
func TestAutomaticRotationOfKeysThatAreNotEnabled(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	f.enableRotation(k.KeyId, aws.Int32(90))
	_, err := f.DisableKey(f.Context(), &sdk.DisableKeyInput{KeyId: k.KeyId})
	must(f, 0, err)
	f.Clock.Pass(300 * day)
	equal(f, "material while disabled", f.Material(*k.KeyId), *k.CurrentKeyMaterialId)
	equal(f, "KeyRotationEnabled while disabled", f.status(k.KeyId).KeyRotationEnabled, true)
	_, err = f.EnableKey(f.Context(), &sdk.EnableKeyInput{KeyId: k.KeyId})
	must(f, 0, err)
	list := f.rotations(k.KeyId, "")
	equal(f, "rotations made up for", len(list), 1)
	equal(f, "RotationDate", *list[0].RotationDate, f.Clock.Now())
	equal(f, "NextRotationDate", *f.status(k.KeyId).NextRotationDate, f.Clock.Now().Add(90*day))

	_, err = f.ScheduleKeyDeletion(f.Context(), &sdk.ScheduleKeyDeletionInput{KeyId: k.KeyId})
	must(f, 0, err)
	equal(f, "KeyRotationEnabled while pending deletion", f.status(k.KeyId).KeyRotationEnabled, false)
	_, err = f.CancelKeyDeletion(f.Context(), &sdk.CancelKeyDeletionInput{KeyId: k.KeyId})
	must(f, 0, err)
	equal(f, "KeyRotationEnabled after", f.status(k.KeyId).KeyRotationEnabled, true)
}

// Old ciphertexts still open, under the material that sealed them. A ReEncrypt
// onto the same key moves them. Each answer names the material (KMS API
// Reference, RotateKeyOnDemand and ListKeyRotations).
func TestRotationOnDemand(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	old := f.seal(k.KeyId, context1)
	f.Clock.Pass(time.Hour)
	out, err := f.RotateKeyOnDemand(f.Context(), &sdk.RotateKeyOnDemandInput{KeyId: k.KeyId})
	equal(f, "KeyId", *must(f, out, err).KeyId, *k.KeyId)
	first, second := *k.CurrentKeyMaterialId, f.Material(*k.KeyId)
	if first == second || !matchString(materialID, first) || !matchString(materialID, second) {
		t.Fatalf("materials %s and %s", first, second)
	}

	equal(f, "material of the old blob", *f.open(old, context1).KeyMaterialId, first)
	equal(f, "material of a new blob", *f.open(f.seal(k.KeyId, nil), nil).KeyMaterialId, second)
	moved, err := f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{
		CiphertextBlob: old, SourceKeyId: k.KeyId, DestinationKeyId: k.KeyId,
		SourceEncryptionContext: context1, DestinationEncryptionContext: context1,
	})
	must(f, moved, err)
	equal(f, "SourceKeyMaterialId", *moved.SourceKeyMaterialId, first)
	equal(f, "DestinationKeyMaterialId", *moved.DestinationKeyMaterialId, second)
	equal(f, "material of the moved blob", *f.open(moved.CiphertextBlob, context1).KeyMaterialId, second)
	data, err := f.GenerateDataKey(f.Context(), &sdk.GenerateDataKeyInput{KeyId: k.KeyId, KeySpec: "AES_256"})
	equal(f, "material of a data key", *must(f, data, err).KeyMaterialId, second)

	list := f.rotations(k.KeyId, types.IncludeKeyMaterialRotationsOnly)
	equal(f, "rotations", len(list), 1)
	equal(f, "KeyMaterialId", *list[0].KeyMaterialId, second)
	equal(f, "KeyId", *list[0].KeyId, *k.KeyId)
	equal(f, "RotationType", list[0].RotationType, types.RotationTypeOnDemand)
	equal(f, "RotationDate", *list[0].RotationDate, f.Clock.Now())
	list = f.rotations(k.Arn, types.IncludeKeyMaterialAllKeyMaterial)
	equal(f, "materials", len(list), 2)
	equal(f, "first material", *list[0].KeyMaterialId, first)
	equal(f, "state of the first", list[0].KeyMaterialState, types.KeyMaterialStateNonCurrent)
	equal(f, "date of the first", list[0].RotationDate, nil)
	equal(f, "type of the first", list[0].RotationType, "")
	equal(f, "second material", *list[1].KeyMaterialId, second)
	equal(f, "state of the second", list[1].KeyMaterialState, types.KeyMaterialStateCurrent)
}

// RotateKeyOnDemand is asynchronous. Until it is done
// OnDemandRotationStartDate is set and the old material encrypts; a repeated
// call succeeds without a second rotation (recorded).
func TestRotationOnDemandTakesTime(t *testing.T) {
	f := start(t, emulator.Options{RotationDelay: 100 * time.Second})
	k := f.key()
	began := f.Clock.Now()
	f.Rotate(*k.KeyId)
	f.Clock.Pass(99 * time.Second)
	f.Rotate(*k.KeyId)
	equal(f, "OnDemandRotationStartDate", *f.status(k.KeyId).OnDemandRotationStartDate, began)
	equal(f, "current material meanwhile", f.Material(*k.KeyId), *k.CurrentKeyMaterialId)
	equal(f, "material of a blob meanwhile", *f.open(f.seal(k.KeyId, nil), nil).KeyMaterialId, *k.CurrentKeyMaterialId)
	equal(f, "rotations meanwhile", len(f.rotations(k.KeyId, "")), 0)

	// The first request after that time sees the rotation, whatever its
	// operation.
	f.Clock.Pass(time.Minute)
	if got := *f.open(f.seal(k.KeyId, nil), nil).KeyMaterialId; got == *k.CurrentKeyMaterialId {
		t.Error("the old material still seals")
	}
	equal(f, "OnDemandRotationStartDate", f.status(k.KeyId).OnDemandRotationStartDate, nil)
	f.Clock.Pass(time.Hour)
	list := f.rotations(k.KeyId, "")
	equal(f, "rotations", len(list), 1)
	equal(f, "RotationDate", *list[0].RotationDate, began.Add(100*time.Second))
}

// A key is rotated on demand at most 25 times. Rotations on demand do not move
// the automatic ones. Within 20 minutes of one the answer is ConflictException
// (KMS API Reference, RotateKeyOnDemand). An alias is refused (recorded:
// InvalidArnException).
func TestRotationOnDemandLimits(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	f.enableRotation(k.KeyId, aws.Int32(90))
	next := *f.status(k.KeyId).NextRotationDate
	rotate := func(id *string) error {
		_, err := f.RotateKeyOnDemand(f.Context(), &sdk.RotateKeyOnDemandInput{KeyId: id})
		return err
	}
	for range 25 {
		f.Rotate(*k.KeyId)
	}
	equal(f, "NextRotationDate", *f.status(k.KeyId).NextRotationDate, next)
	f.mustFail(rotate(k.KeyId), "LimitExceededException", anyMessage)
	seen := map[string]bool{}
	for _, r := range f.rotations(k.KeyId, types.IncludeKeyMaterialAllKeyMaterial) {
		seen[*r.KeyMaterialId] = true
	}
	equal(f, "different materials", len(seen), 26)

	other := f.key()
	f.enableRotation(other.KeyId, aws.Int32(90))
	f.Clock.Pass(90*day - 20*time.Minute + time.Second)
	f.mustFail(rotate(other.KeyId), "ConflictException", anyMessage)
	f.Clock.Pass(20 * time.Minute)
	f.Rotate(*other.KeyId)

	f.Alias("alias/a", *k.KeyId)
	f.mustFail(rotate(aws.String("alias/a")), "InvalidArnException", "Key Aliases are not supported for this operation.")
	f.mustFail(rotate(aws.String("arn:aws:kms:us-east-1:111122223333:alias/a")), "InvalidArnException", anyMessage)
	_, err := f.DisableKey(f.Context(), &sdk.DisableKeyInput{KeyId: other.KeyId})
	must(f, 0, err)
	f.mustFail(rotate(other.KeyId), "DisabledException", anyMessage)
}

// Only symmetric encryption keys rotate, and those with imported material not
// automatically (KMS Developer Guide, "Rotate keys"). All operations about
// rotation answer with UnsupportedOperationException for other keys.
func TestRotationOfOtherKinds(t *testing.T) {
	f := start(t, emulator.Options{})
	for _, o := range []keyOption{
		spec(types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt),
		spec(types.KeySpecEccNistP384, types.KeyUsageTypeSignVerify),
		spec(types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac),
	} {
		id := f.key(o).KeyId
		_, err := f.GetKeyRotationStatus(f.Context(), &sdk.GetKeyRotationStatusInput{KeyId: id})
		f.mustFail(err, "UnsupportedOperationException", anyMessage)
		_, err = f.RotateKeyOnDemand(f.Context(), &sdk.RotateKeyOnDemandInput{KeyId: id})
		f.mustFail(err, "UnsupportedOperationException", anyMessage)
		_, err = f.EnableKeyRotation(f.Context(), &sdk.EnableKeyRotationInput{KeyId: id})
		f.mustFail(err, "UnsupportedOperationException", anyMessage)
		_, err = f.DisableKeyRotation(f.Context(), &sdk.DisableKeyRotationInput{KeyId: id})
		f.mustFail(err, "UnsupportedOperationException", anyMessage)
		_, err = f.ListKeyRotations(f.Context(), &sdk.ListKeyRotationsInput{KeyId: id})
		f.mustFail(err, "UnsupportedOperationException", anyMessage)
	}
	external := f.key(func(in *sdk.CreateKeyInput) { in.Origin = types.OriginTypeExternal })
	_, err := f.EnableKeyRotation(f.Context(), &sdk.EnableKeyRotationInput{KeyId: external.KeyId})
	f.mustFail(err, "UnsupportedOperationException", *external.Arn+" origin is EXTERNAL which is not valid for this operation.")
	equal(f, "KeyRotationEnabled", f.status(external.KeyId).KeyRotationEnabled, false)
	_, err = f.RotateKeyOnDemand(f.Context(), &sdk.RotateKeyOnDemandInput{KeyId: external.KeyId})
	f.mustFail(err, "KMSInvalidStateException", *external.Arn+" is pending import.")
}

// KMS API Reference, ListKeyRotations, Limit and Marker.
func TestListKeyRotationsPages(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	for range 10 {
		f.Rotate(*k.KeyId)
	}
	var got []string
	pages := sdk.NewListKeyRotationsPaginator(f, &sdk.ListKeyRotationsInput{KeyId: k.KeyId, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial, Limit: aws.Int32(4)})
	for n := 0; pages.HasMorePages(); n++ {
		out, err := pages.NextPage(f.Context())
		must(f, out, err)
		equal(f, "Truncated", out.Truncated, n < 2)
		for _, r := range out.Rotations {
			got = append(got, *r.KeyMaterialId)
		}
	}
	equal(f, "materials", len(got), 11)
	equal(f, "first", got[0], *k.CurrentKeyMaterialId)
	equal(f, "last", got[10], f.Material(*k.KeyId))
	_, err := f.ListKeyRotations(f.Context(), &sdk.ListKeyRotationsInput{KeyId: k.KeyId, Marker: aws.String("?")})
	f.mustFail(err, "InvalidMarkerException", anyMessage)
	_, err = f.ListKeyRotations(f.Context(), &sdk.ListKeyRotationsInput{KeyId: k.KeyId, Limit: aws.Int32(1001)})
	f.mustFail(err, "ValidationException", anyMessage)
}
