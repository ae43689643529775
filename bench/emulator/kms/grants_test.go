package kms_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/bench/emulator"
)

// KMS API Reference, CreateGrant, ListGrants, RevokeGrant.
func TestGrants(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	grantee := "arn:aws:iam::111122223333:role/rewrap"
	ids := map[string]bool{}
	for range 3 {
		out, err := f.CreateGrant(f.Context(), &sdk.CreateGrantInput{
			KeyId: k.KeyId, GranteePrincipal: &grantee, Operations: []types.GrantOperation{"ReEncryptFrom", "ReEncryptTo"},
			Constraints: &types.GrantConstraints{EncryptionContextSubset: context1},
		})
		if must(f, out, err); !materialID.MatchString(*out.GrantId) || *out.GrantToken == "" {
			t.Errorf("grant %s", *out.GrantId)
		}
		ids[*out.GrantId] = true
	}
	_, err := f.CreateGrant(f.Context(), &sdk.CreateGrantInput{KeyId: k.KeyId, GranteePrincipal: &grantee, Operations: []types.GrantOperation{"Fly"}})
	f.mustFail(err, "ValidationException", anyMessage)
	p := sdk.NewListGrantsPaginator(f, &sdk.ListGrantsInput{KeyId: k.KeyId, Limit: aws.Int32(2)})
	var last string
	for p.HasMorePages() {
		out, err := p.NextPage(f.Context())
		for _, g := range must(f, out, err).Grants {
			equal(f, "GranteePrincipal", *g.GranteePrincipal, grantee)
			equal(f, "KeyId", *g.KeyId, *k.Arn)
			equal(f, "Constraints", g.Constraints.EncryptionContextSubset["tenant"], "a")
			last = *g.GrantId
			delete(ids, last)
		}
	}
	equal(f, "grants left out", len(ids), 0)
	_, err = f.RevokeGrant(f.Context(), &sdk.RevokeGrantInput{KeyId: k.KeyId, GrantId: &last})
	must(f, 0, err)
	list, err := f.ListGrants(f.Context(), &sdk.ListGrantsInput{KeyId: k.KeyId})
	equal(f, "grants", len(must(f, list, err).Grants), 2)
	_, err = f.RevokeGrant(f.Context(), &sdk.RevokeGrantInput{KeyId: k.KeyId, GrantId: &last})
	f.mustFail(err, "NotFoundException", anyMessage)
}
