// Package kmskey reads what KMS tells about a key: its description, its state
// and its rotations. It changes nothing.
package kmskey

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// API is the part of *kms.Client that the package calls. Retries, pacing and
// deadlines are the client's.
type API interface {
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
	GetKeyRotationStatus(context.Context, *kms.GetKeyRotationStatusInput, ...func(*kms.Options)) (*kms.GetKeyRotationStatusOutput, error)
	ListKeyRotations(context.Context, *kms.ListKeyRotationsInput, ...func(*kms.Options)) (*kms.ListKeyRotationsOutput, error)
}

// ErrNoKey is an answer without what every answer of KMS has.
var ErrNoKey = errors.New("the answer holds nothing that KMS would answer")

// Describe calls DescribeKey. The error is the client's, or ErrNoKey where the
// answer does not name a key.
func Describe(ctx context.Context, api API, name string) (*types.KeyMetadata, error) {
	out, err := api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &name})
	if err != nil {
		return nil, err
	}
	if out.KeyMetadata == nil || aws.ToString(out.KeyMetadata.Arn) == "" {
		return nil, ErrNoKey
	}
	return out.KeyMetadata, nil
}

// Serves says whether a key in this state can be used (KMS Developer Guide,
// "Key states of KMS keys"). Services that speak the KMS protocol may name no
// state; their keys are taken as usable.
func Serves(s types.KeyState) bool {
	switch s {
	case types.KeyStateEnabled, types.KeyStateUpdating, "":
		return true
	}
	return false
}

// StateHint says what to do about a key that its state keeps from being used.
func StateHint(s types.KeyState, arn string) string {
	switch s {
	case types.KeyStateDisabled:
		return fmt.Sprintf("Enable it for the time of the run: aws kms enable-key --key-id %s", arn)
	case types.KeyStatePendingDeletion:
		return fmt.Sprintf("What is wrapped under it is lost once it is deleted. Cancel that and enable it: aws kms cancel-key-deletion --key-id %[1]s && aws kms enable-key --key-id %[1]s", arn)
	case types.KeyStatePendingReplicaDeletion:
		return "It is a primary key that waits for its replicas to be deleted; cancel its deletion, or use a replica in another Region."
	case types.KeyStatePendingImport:
		return fmt.Sprintf("Its key material has expired or was never imported: aws kms import-key-material --key-id %s", arn)
	case types.KeyStateUnavailable:
		return "Its custom key store is disconnected: connect it with aws kms connect-custom-key-store."
	case types.KeyStateCreating:
		return "It is still being made: try again in a few minutes."
	}
	return fmt.Sprintf("See aws kms describe-key --key-id %s", arn)
}
