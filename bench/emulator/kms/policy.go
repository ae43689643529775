package kms

import (
	"encoding/json"
	"fmt"
)

// Key policies are kept and given back, never evaluated.

func (s *Service) defaultPolicy() string {
	return fmt.Sprintf(`{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::%s:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`, s.account)
}

func (s *Service) managedPolicy(service string) string {
	return fmt.Sprintf(`{
  "Version" : "2012-10-17",
  "Id" : "auto-%[1]s-2",
  "Statement" : [ {
    "Sid" : "Allow use by the service on behalf of principals of the account",
    "Effect" : "Allow",
    "Principal" : { "AWS" : "*" },
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : { "StringEquals" : { "kms:CallerAccount" : "%[2]s", "kms:ViaService" : "%[1]s.%[3]s.amazonaws.com" } }
  }, {
    "Sid" : "Allow the account to look at the key",
    "Effect" : "Allow",
    "Principal" : { "AWS" : "arn:aws:iam::%[2]s:root" },
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*" ],
    "Resource" : "*"
  } ]
}`, service, s.account, s.region)
}

// policyName is the only name that a key policy can have (KMS API Reference,
// PutKeyPolicy).
const policyName = "default"

func checkPolicy(policy string) error {
	var v validation
	v.length("policy", len(policy), 1, 131072)
	if err := v.err(); err != nil {
		return err
	}
	var document map[string]any
	if json.Unmarshal([]byte(policy), &document) != nil || document["Statement"] == nil {
		return fail("MalformedPolicyDocumentException", "The policy is not a JSON document with statements.")
	}
	return nil
}

type getKeyPolicyInput struct {
	keyIDInput
	PolicyName *string
}

func (in *getKeyPolicyInput) check(v *validation) {
	in.keyIDInput.check(v)
	if in.PolicyName != nil {
		v.length("policyName", len(*in.PolicyName), 1, 128)
	}
}

type getKeyPolicyOutput struct{ Policy, PolicyName string }

func (s *Service) getKeyPolicy(in *getKeyPolicyInput) (any, error) {
	return s.read(*in.KeyID, func(k *key) (any, error) {
		if in.PolicyName != nil && *in.PolicyName != policyName {
			return nil, notFound("No such policy exists")
		}
		return getKeyPolicyOutput{k.policy, policyName}, nil
	})
}

type putKeyPolicyInput struct {
	getKeyPolicyInput
	Policy *string
}

func (in *putKeyPolicyInput) check(v *validation) {
	in.getKeyPolicyInput.check(v)
	v.required("policy", in.Policy != nil)
}

func (s *Service) putKeyPolicy(in *putKeyPolicyInput) (any, error) {
	if in.PolicyName != nil && *in.PolicyName != policyName {
		return nil, invalid("PolicyName must be %s.", policyName)
	}
	if err := checkPolicy(*in.Policy); err != nil {
		return nil, err
	}
	return s.change("PutKeyPolicy", *in.KeyID, func(k *key) (any, error) {
		k.policy = *in.Policy
		return nil, nil
	})
}

type listKeyPoliciesOutput struct {
	PolicyNames []string
	more
}

func (s *Service) listKeyPolicies(in *keyIDInput) (any, error) {
	return s.read(*in.KeyID, func(*key) (any, error) {
		return listKeyPoliciesOutput{PolicyNames: []string{policyName}}, nil
	})
}
