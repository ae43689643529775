package kms

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Policies, grants and tags: kept and given back, never evaluated.

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

// The only name that a key policy has (KMS API Reference, PutKeyPolicy).
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

type keyPolicyInput struct {
	KeyID      *string `json:"KeyId"`
	PolicyName *string
	Policy     *string
}

func (in *keyPolicyInput) checkName(v *validation) {
	v.keyID("keyId", in.KeyID)
	if in.PolicyName != nil {
		v.length("policyName", len(*in.PolicyName), 1, 128)
	}
}

type keyPolicyOutput struct{ Policy, PolicyName string }

func (s *Service) getKeyPolicy(in *keyPolicyInput) (any, error) {
	var v validation
	in.checkName(&v)
	if err := v.err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, err := s.lookupNoAlias(*in.KeyID)
	if err != nil {
		return nil, err
	}
	if in.PolicyName != nil && *in.PolicyName != policyName {
		return nil, notFound("No such policy exists")
	}
	return keyPolicyOutput{k.policy, policyName}, nil
}

func (s *Service) putKeyPolicy(in *keyPolicyInput) (any, error) {
	var v validation
	in.checkName(&v)
	v.required("policy", in.Policy != nil)
	if err := v.err(); err != nil {
		return nil, err
	}
	if in.PolicyName != nil && *in.PolicyName != policyName {
		return nil, invalid("PolicyName must be %s.", policyName)
	}
	if err := checkPolicy(*in.Policy); err != nil {
		return nil, err
	}
	return s.change("PutKeyPolicy", *in.KeyID, func(k *key) error {
		k.policy = *in.Policy
		return nil
	})
}

type listKeyPoliciesOutput struct {
	PolicyNames []string
	more
}

func (s *Service) listKeyPolicies(in *keyIDInput) (any, error) {
	if err := in.valid(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, err := s.lookupNoAlias(*in.KeyID); err != nil {
		return nil, err
	}
	return listKeyPoliciesOutput{PolicyNames: []string{policyName}}, nil
}

// grant is a grant as ListGrants shows it.
type grant struct {
	KeyID             string `json:"KeyId"` // the ARN
	GrantID           string `json:"GrantId"`
	Name              string `json:",omitempty"`
	CreationDate      timestamp
	GranteePrincipal  string
	RetiringPrincipal string `json:",omitempty"`
	IssuingAccount    string
	Operations        []string
	Constraints       json.RawMessage `json:",omitempty"`
}

var grantOperations = []string{
	"CreateGrant", "Decrypt", "DescribeKey", "DeriveSharedSecret", "Encrypt", "GenerateDataKey",
	"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext",
	"GenerateMac", "GetPublicKey", "ReEncryptFrom", "ReEncryptTo", "RetireGrant", "Sign", "Verify", "VerifyMac",
}

type createGrantInput struct {
	KeyID             *string `json:"KeyId"`
	GranteePrincipal  *string
	RetiringPrincipal string
	Operations        []string
	Constraints       json.RawMessage
	GrantTokens       []string
	Name              string
	DryRun            bool
}

type createGrantOutput struct {
	GrantID    string `json:"GrantId"`
	GrantToken string
}

// createGrant answers the grant that is there already if a name is used again
// with the same parameters (KMS API Reference, CreateGrant, Name).
func (s *Service) createGrant(in *createGrantInput) (any, error) {
	var v validation
	v.keyID("keyId", in.KeyID)
	v.required("granteePrincipal", in.GranteePrincipal != nil)
	v.required("operations", in.Operations != nil)
	for _, o := range in.Operations {
		v.oneOf("operations", o, grantOperations)
	}
	checkGrantTokens(&v, in.GrantTokens)
	if err := v.err(); err != nil {
		return nil, err
	}
	var out createGrantOutput
	_, err := s.change("CreateGrant", *in.KeyID, func(k *key) error {
		if err := k.usable(); err != nil {
			return err
		}
		if in.DryRun {
			return dryRun()
		}
		var random [32 + 96]byte
		s.random(random[:])
		out.GrantToken = base64.RawURLEncoding.EncodeToString(random[32:])
		g := &grant{
			KeyID: k.arn, GrantID: hex.EncodeToString(random[:32]), Name: in.Name, CreationDate: timestamp{s.now().Truncate(time.Second)},
			GranteePrincipal: *in.GranteePrincipal, RetiringPrincipal: in.RetiringPrincipal,
			IssuingAccount: "arn:aws:iam::" + s.account + ":root", Operations: in.Operations, Constraints: in.Constraints,
		}
		if i := slices.IndexFunc(k.grants, g.repeats); i >= 0 {
			out.GrantID = k.grants[i].GrantID
			return nil
		}
		k.grants = append(k.grants, g)
		out.GrantID = g.GrantID
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (g *grant) repeats(o *grant) bool {
	return g.Name != "" && g.Name == o.Name && g.GranteePrincipal == o.GranteePrincipal && g.RetiringPrincipal == o.RetiringPrincipal &&
		slices.Equal(g.Operations, o.Operations) && string(g.Constraints) == string(o.Constraints)
}

type listGrantsInput struct {
	page
	KeyID            *string `json:"KeyId"`
	GrantID          string  `json:"GrantId"`
	GranteePrincipal string
}

type listGrantsOutput struct {
	Grants []*grant
	more
}

func (s *Service) listGrants(in *listGrantsInput) (any, error) {
	var v validation
	v.keyID("keyId", in.KeyID)
	in.page.check(&v)
	if err := v.err(); err != nil {
		return nil, err
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, err := s.lookupNoAlias(*in.KeyID)
	if err != nil {
		return nil, err
	}
	all := k.grants
	if after != "" {
		all = all[slices.IndexFunc(all, func(g *grant) bool { return g.GrantID == after })+1:]
	}
	out := listGrantsOutput{Grants: []*grant{}}
	for _, g := range all {
		if in.GrantID != "" && g.GrantID != in.GrantID || in.GranteePrincipal != "" && g.GranteePrincipal != in.GranteePrincipal {
			continue
		}
		if n := len(out.Grants); n == in.limit(50, 100) {
			out.more = truncated(out.Grants[n-1].GrantID)
			break
		}
		out.Grants = append(out.Grants, g)
	}
	return out, nil
}

type revokeGrantInput struct {
	KeyID   *string `json:"KeyId"`
	GrantID *string `json:"GrantId"`
	DryRun  bool
}

func (s *Service) revokeGrant(in *revokeGrantInput) (any, error) {
	var v validation
	v.keyID("keyId", in.KeyID)
	v.required("grantId", in.GrantID != nil)
	if err := v.err(); err != nil {
		return nil, err
	}
	return s.change("RevokeGrant", *in.KeyID, func(k *key) error {
		i := slices.IndexFunc(k.grants, func(g *grant) bool { return g.GrantID == *in.GrantID })
		if i < 0 {
			return notFound("Grant ID %s not found", *in.GrantID)
		}
		if in.DryRun {
			return dryRun()
		}
		k.grants = slices.Delete(slices.Clone(k.grants), i, i+1)
		return nil
	})
}

type tag struct{ TagKey, TagValue string }

const maxTags = 50

func checkTags(tags []tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		switch {
		case t.TagKey == "" || len(t.TagKey) > 128 || len(t.TagValue) > 256:
			return fail("TagException", "Tag keys have 1 to 128 characters and values up to 256.")
		case seen[t.TagKey]:
			return fail("TagException", "Duplicate tag keys")
		}
		seen[t.TagKey] = true
	}
	if len(tags) > maxTags {
		return fail("LimitExceededException", "A key has at most %d tags.", maxTags)
	}
	return nil
}

type tagResourceInput struct {
	KeyID *string `json:"KeyId"`
	Tags  []tag
}

func (s *Service) tagResource(in *tagResourceInput) (any, error) {
	var v validation
	v.keyID("keyId", in.KeyID)
	v.required("tags", in.Tags != nil)
	if err := v.err(); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return s.change("TagResource", *in.KeyID, func(k *key) error {
		if k.state == statePendingDeletion {
			return k.usable()
		}
		tags := slices.Clone(k.tags)
		for _, t := range in.Tags {
			if i := slices.IndexFunc(tags, func(o tag) bool { return o.TagKey == t.TagKey }); i >= 0 {
				tags[i] = t
			} else {
				tags = append(tags, t)
			}
		}
		if err := checkTags(tags); err != nil {
			return err
		}
		k.tags = tags
		return nil
	})
}

type untagResourceInput struct {
	KeyID   *string `json:"KeyId"`
	TagKeys []string
}

func (s *Service) untagResource(in *untagResourceInput) (any, error) {
	var v validation
	v.keyID("keyId", in.KeyID)
	v.required("tagKeys", in.TagKeys != nil)
	if err := v.err(); err != nil {
		return nil, err
	}
	return s.change("UntagResource", *in.KeyID, func(k *key) error {
		if k.state == statePendingDeletion {
			return k.usable()
		}
		k.tags = slices.DeleteFunc(slices.Clone(k.tags), func(t tag) bool { return slices.Contains(in.TagKeys, t.TagKey) })
		return nil
	})
}

type listResourceTagsInput struct {
	page
	KeyID *string `json:"KeyId"`
}

type listResourceTagsOutput struct {
	Tags []tag
	more
}

func (s *Service) listResourceTags(in *listResourceTagsInput) (any, error) {
	var v validation
	v.keyID("keyId", in.KeyID)
	in.page.check(&v)
	if err := v.err(); err != nil {
		return nil, err
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, err := s.lookupNoAlias(*in.KeyID)
	if err != nil {
		return nil, err
	}
	tags := k.tags
	if after != "" {
		tags = tags[slices.IndexFunc(tags, func(t tag) bool { return t.TagKey == after })+1:]
	}
	out := listResourceTagsOutput{Tags: []tag{}}
	if n := in.limit(50, 50); len(tags) > n {
		tags = tags[:n]
		out.more = truncated(tags[n-1].TagKey)
	}
	out.Tags = append(out.Tags, tags...)
	return out, nil
}
