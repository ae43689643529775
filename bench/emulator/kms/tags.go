package kms

import "slices"

// Tags are kept and given back, never evaluated.
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

func tagNamed(name string) func(tag) bool { return func(t tag) bool { return t.TagKey == name } }

type tagResourceInput struct {
	keyIDInput
	Tags []tag
}

func (in *tagResourceInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.required("tags", in.Tags != nil)
}

func (s *Service) tagResource(in *tagResourceInput) (any, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return s.change("TagResource", *in.KeyID, func(k *key) (any, error) {
		if k.state == statePendingDeletion {
			return nil, k.usable()
		}
		tags := slices.Clone(k.tags)
		for _, t := range in.Tags {
			if i := slices.IndexFunc(tags, tagNamed(t.TagKey)); i >= 0 {
				tags[i] = t
			} else {
				tags = append(tags, t)
			}
		}
		if err := checkTags(tags); err != nil {
			return nil, err
		}
		k.tags = tags
		return nil, nil
	})
}

type untagResourceInput struct {
	keyIDInput
	TagKeys []string
}

func (in *untagResourceInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.required("tagKeys", in.TagKeys != nil)
}

func (s *Service) untagResource(in *untagResourceInput) (any, error) {
	return s.change("UntagResource", *in.KeyID, func(k *key) (any, error) {
		if k.state == statePendingDeletion {
			return nil, k.usable()
		}
		k.tags = slices.DeleteFunc(slices.Clone(k.tags), func(t tag) bool { return slices.Contains(in.TagKeys, t.TagKey) })
		return nil, nil
	})
}

type listResourceTagsInput struct {
	page
	keyIDInput
}

func (in *listResourceTagsInput) check(v *validation) {
	in.keyIDInput.check(v)
	in.page.check(v)
}

type listResourceTagsOutput struct {
	Tags []tag
	more
}

func (s *Service) listResourceTags(in *listResourceTagsInput) (any, error) {
	return s.read(*in.KeyID, func(k *key) (any, error) {
		behind := func(after string) int { return slices.IndexFunc(k.tags, tagNamed(after)) + 1 }
		some, rest := paged(&in.page, k.tags, 50, 50, behind, func(next int) string { return k.tags[next-1].TagKey })
		return listResourceTagsOutput{some, rest}, nil
	})
}
