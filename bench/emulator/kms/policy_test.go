package kms_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/bench/emulator"
)

// KMS API Reference, GetKeyPolicy, PutKeyPolicy.
func TestPolicy(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	policy, err := f.GetKeyPolicy(f.Context(), &sdk.GetKeyPolicyInput{KeyId: k.KeyId})
	if p := *must(f, policy, err).Policy; !strings.Contains(p, "arn:aws:iam::111122223333:root") {
		t.Errorf("policy %s", p)
	}
	equal(f, "PolicyName", aws.ToString(policy.PolicyName), "default")
	mine := `{"Version":"2012-10-17","Statement":[]}`
	_, err = f.PutKeyPolicy(f.Context(), &sdk.PutKeyPolicyInput{KeyId: k.KeyId, Policy: &mine})
	must(f, 0, err)
	policy, err = f.GetKeyPolicy(f.Context(), &sdk.GetKeyPolicyInput{KeyId: k.Arn, PolicyName: aws.String("default")})
	equal(f, "Policy", *must(f, policy, err).Policy, mine)
	_, err = f.GetKeyPolicy(f.Context(), &sdk.GetKeyPolicyInput{KeyId: k.KeyId, PolicyName: aws.String("other")})
	f.mustFail(err, "NotFoundException", anyMessage)
	f.Alias("alias/a", *k.KeyId)
	_, err = f.GetKeyPolicy(f.Context(), &sdk.GetKeyPolicyInput{KeyId: aws.String("alias/a")})
	f.mustFail(err, "InvalidArnException", "Key Aliases are not supported for this operation.") // as users quote AWS
}
