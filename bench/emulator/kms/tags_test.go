package kms_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/bench/emulator"
)

// KMS API Reference, TagResource, ListResourceTags, UpdateKeyDescription.
func TestTagsAndDescription(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	tags := []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("1")}, {TagKey: aws.String("b"), TagValue: aws.String("2")}}
	_, err := f.TagResource(f.Context(), &sdk.TagResourceInput{KeyId: k.KeyId, Tags: tags})
	must(f, 0, err)
	_, err = f.TagResource(f.Context(), &sdk.TagResourceInput{KeyId: k.KeyId, Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("3")}}})
	must(f, 0, err)
	_, err = f.UntagResource(f.Context(), &sdk.UntagResourceInput{KeyId: k.KeyId, TagKeys: []string{"b"}})
	must(f, 0, err)
	got, err := f.ListResourceTags(f.Context(), &sdk.ListResourceTagsInput{KeyId: k.KeyId})
	equal(f, "tags", len(must(f, got, err).Tags), 1)
	equal(f, "value", *got.Tags[0].TagValue, "3")

	_, err = f.UpdateKeyDescription(f.Context(), &sdk.UpdateKeyDescriptionInput{KeyId: k.KeyId, Description: aws.String("new")})
	must(f, 0, err)
	equal(f, "Description", *f.Describe(*k.KeyId).Description, "new")
}
