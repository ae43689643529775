package keyadmin

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources/cloud/arn"
	"rewrap/sources/cloud/awserr"
	"rewrap/sources/cloud/kmskey"
)

// readRotation fills in k.Rotation. It names the key by its ARN, since
// GetKeyRotationStatus refuses aliases.
func (a *Admin) readRotation(ctx context.Context, k *Key) error {
	out, err := a.Client(arn.Region(k.ARN)).GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &k.ARN})
	if err != nil {
		if meaning, _ := awserr.KMS(err); meaning == awserr.Unsupported && k.Kind == KindImported {
			k.Rotation = &Rotation{} // a key without automatic rotation may be answered this way
			return nil
		}
		return callFailed(ctx, "GetKeyRotationStatus", k.ARN, err)
	}
	k.Rotation = &Rotation{
		Enabled:    out.KeyRotationEnabled,
		PeriodDays: int(aws.ToInt32(out.RotationPeriodInDays)),
		Next:       aws.ToTime(out.NextRotationDate),
		Pending:    aws.ToTime(out.OnDemandRotationStartDate),
	}
	return nil
}

// readMaterials fills in k.Materials and k.OnDemand, after readRotation. A
// rotation on demand that is under way counts as used: it cannot be called back,
// and KMS does not list it before it is complete.
func (a *Admin) readMaterials(ctx context.Context, k *Key) error {
	rotations, err := kmskey.Rotations(ctx, a.Client(arn.Region(k.ARN)), k.ARN)
	if err != nil {
		return callFailed(ctx, "ListKeyRotations", k.ARN, err)
	}
	materials, used := []Material{}, 0
	for _, r := range rotations {
		if r.RotationType == types.RotationTypeOnDemand {
			used++
		}
		materials = append(materials, Material{
			ID: aws.ToString(r.KeyMaterialId), State: string(r.KeyMaterialState), Type: string(r.RotationType),
			Date: aws.ToTime(r.RotationDate), ImportState: string(r.ImportState), ValidTo: aws.ToTime(r.ValidTo),
		})
	}
	slices.SortStableFunc(materials, newestFirst)
	k.Materials = materials
	if k.Rotation != nil && !k.Rotation.Pending.IsZero() {
		used++
	}
	if k.Kind != KindAWSManaged {
		k.OnDemand = &OnDemand{used, MaxOnDemand}
	}
	return nil
}

// newestFirst orders key materials. A material that waits for its rotation is
// newer than the current one. The first material, which has no date, is the
// oldest.
func newestFirst(a, b Material) int {
	rank := func(m Material) int {
		switch types.KeyMaterialState(m.State) {
		case types.KeyMaterialStatePendingMultiRegionImportAndRotation, types.KeyMaterialStatePendingRotation:
			return 0
		case types.KeyMaterialStateCurrent:
			return 1
		}
		return 2
	}
	if r := rank(a) - rank(b); r != 0 {
		return r
	}
	return b.Date.Compare(a.Date)
}
