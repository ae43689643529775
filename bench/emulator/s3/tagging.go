package s3

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// checkTags checks the limits of a tag set: 10 tags, different keys of 1 to
// 128 characters, values of up to 256 (Guide, "Categorizing your objects using
// tags").
func checkTags(tags []pair) ([]pair, error) {
	if len(tags) > 10 {
		return nil, fault(400, "BadRequest", "Object tags cannot be greater than 10")
	}
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		switch n := utf8.RuneCountInString(t.name); {
		case n < 1 || n > 128 || strings.HasPrefix(t.name, "aws:"):
			return nil, fault(400, "InvalidTag", "The TagKey you have provided is invalid").field("TagKey", t.name)
		case utf8.RuneCountInString(t.value) > 256:
			return nil, fault(400, "InvalidTag", "The TagValue you have provided is invalid").field("TagKey", t.name).field("TagValue", t.value)
		case seen[t.name]:
			return nil, fault(400, "InvalidTag", "Cannot provide multiple Tags with the same key").field("TagKey", t.name)
		}
		seen[t.name] = true
	}
	slices.SortFunc(tags, compareNames)
	return tags, nil
}

// headerTags reads x-amz-tagging, which has the form of a URL's query.
func headerTags(h http.Header) ([]pair, error) {
	v := h.Get("x-amz-tagging")
	if v == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(v)
	if err != nil {
		return nil, invalidArgument("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.", "x-amz-tagging", v)
	}
	var tags []pair
	for name, values := range q {
		for _, value := range values {
			tags = append(tags, pair{name, value})
		}
	}
	return checkTags(tags)
}

func (c *call) getTagging() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	o, err := b.lookup(c.key, c.query.Get("versionId"))
	if err != nil {
		return err
	}
	b.describeVersion(c.w.Header(), o)
	var x xmlWriter
	x.root("Tagging")
	x.open("TagSet")
	for _, t := range o.tags {
		x.open("Tag")
		x.element("Key", t.name)
		x.element("Value", t.value)
		x.close("Tag")
	}
	x.close("TagSet")
	x.close("Tagging")
	return c.answer(&x)
}

func (c *call) putTagging() error {
	var doc struct {
		XMLName xml.Name                      `xml:"Tagging"`
		Tag     []struct{ Key, Value string } `xml:"TagSet>Tag"`
	}
	if err := c.document(&doc); err != nil {
		return err
	}
	var tags []pair
	for _, t := range doc.Tag {
		tags = append(tags, pair{t.Key, t.Value})
	}
	tags, err := checkTags(tags)
	if err != nil {
		return err
	}
	return c.setTags(tags, http.StatusOK)
}

func (c *call) deleteTagging() error { return c.setTags(nil, http.StatusNoContent) }

// setTags changes neither Last-Modified nor ETag: both are about the content
// (API, Object; general experience with tagging).
func (c *call) setTags(tags []pair, status int) error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	o, err := b.replace(c.key, c.query.Get("versionId"), func(o *object) (*object, error) {
		return o.with(func(o *object) { o.tags = tags }), nil
	})
	if err != nil {
		return err
	}
	b.describeVersion(c.w.Header(), o)
	c.w.WriteHeader(status)
	return nil
}
