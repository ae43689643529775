package kms

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// grant is a grant as ListGrants shows it. Grants are kept and given back,
// never evaluated. A grant does not change.
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
	keyIDInput
	GranteePrincipal  *string
	RetiringPrincipal string
	Operations        []string
	Constraints       json.RawMessage
	GrantTokens       []string
	Name              string
	DryRun            bool
}

func (in *createGrantInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.required("granteePrincipal", in.GranteePrincipal != nil)
	v.required("operations", in.Operations != nil)
	for _, o := range in.Operations {
		v.oneOf("operations", o, grantOperations)
	}
	checkGrantTokens(v, in.GrantTokens)
}

type createGrantOutput struct {
	GrantID    string `json:"GrantId"`
	GrantToken string
}

// createGrant answers the grant that exists already if a name is used again
// with the same parameters (KMS API Reference, CreateGrant, Name).
func (s *Service) createGrant(in *createGrantInput) (any, error) {
	return s.change("CreateGrant", *in.KeyID, func(k *key) (any, error) {
		if err := k.usable(); err != nil {
			return nil, err
		}
		if in.DryRun {
			return nil, dryRun()
		}
		var random [32 + 96]byte
		s.random(random[:])
		token := base64.RawURLEncoding.EncodeToString(random[32:])
		g := &grant{
			KeyID: k.arn, GrantID: hex.EncodeToString(random[:32]), Name: in.Name, CreationDate: timestamp{s.now().Truncate(time.Second)},
			GranteePrincipal: *in.GranteePrincipal, RetiringPrincipal: in.RetiringPrincipal,
			IssuingAccount: "arn:aws:iam::" + s.account + ":root", Operations: in.Operations, Constraints: in.Constraints,
		}
		if i := slices.IndexFunc(k.grants, g.repeats); i >= 0 {
			return createGrantOutput{k.grants[i].GrantID, token}, nil
		}
		k.grants = append(k.grants, g)
		return createGrantOutput{g.GrantID, token}, nil
	})
}

func (g *grant) repeats(o *grant) bool {
	return g.Name != "" && g.Name == o.Name && g.GranteePrincipal == o.GranteePrincipal && g.RetiringPrincipal == o.RetiringPrincipal &&
		slices.Equal(g.Operations, o.Operations) && string(g.Constraints) == string(o.Constraints)
}

type listGrantsInput struct {
	page
	keyIDInput
	GrantID          string `json:"GrantId"`
	GranteePrincipal string
}

func (in *listGrantsInput) check(v *validation) {
	in.keyIDInput.check(v)
	in.page.check(v)
}

type listGrantsOutput struct {
	Grants []*grant
	more
}

func (s *Service) listGrants(in *listGrantsInput) (any, error) {
	return s.read(*in.KeyID, func(k *key) (any, error) {
		var all []*grant
		for _, g := range k.grants {
			if (in.GrantID == "" || g.GrantID == in.GrantID) && (in.GranteePrincipal == "" || g.GranteePrincipal == in.GranteePrincipal) {
				all = append(all, g)
			}
		}
		behind := func(after string) int {
			return slices.IndexFunc(all, func(g *grant) bool { return g.GrantID == after }) + 1
		}
		some, rest := paged(&in.page, all, 50, 100, behind, func(next int) string { return all[next-1].GrantID })
		return listGrantsOutput{some, rest}, nil
	})
}

type revokeGrantInput struct {
	keyIDInput
	GrantID *string `json:"GrantId"`
	DryRun  bool
}

func (in *revokeGrantInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.required("grantId", in.GrantID != nil)
}

func (s *Service) revokeGrant(in *revokeGrantInput) (any, error) {
	return s.change("RevokeGrant", *in.KeyID, func(k *key) (any, error) {
		i := slices.IndexFunc(k.grants, func(g *grant) bool { return g.GrantID == *in.GrantID })
		if i < 0 {
			return nil, notFound("Grant ID %s not found", *in.GrantID)
		}
		if in.DryRun {
			return nil, dryRun()
		}
		k.grants = slices.Delete(slices.Clone(k.grants), i, i+1)
		return nil, nil
	})
}

func checkGrantTokens(v *validation, tokens []string) {
	v.length("grantTokens", len(tokens), 0, 10)
	for _, t := range tokens {
		v.length("grantTokens", len(t), 1, 8192)
	}
}
