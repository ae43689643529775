package s3

import (
	"encoding/xml"
	"errors"
	"net/http"
	"strings"
)

func (c *call) deleteObject() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	bypass := strings.EqualFold(c.r.Header.Get("x-amz-bypass-governance-retention"), "true")
	gone, err := c.remove(b, c.key, c.query.Get("versionId"), c.r.Header.Get("If-Match"), bypass)
	if err != nil {
		return err
	}
	h := c.w.Header()
	setIf(h, "x-amz-version-id", gone.version)
	if gone.marker {
		set(h, "x-amz-delete-marker", "true")
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// removed is the result of a delete: the version that was removed, or the
// delete marker that was added.
type removed struct {
	version string // "" if the bucket has no versions
	marker  bool
}

// remove deletes a key, or one version of it for good. Where the bucket has
// versions, deleting the key adds a delete marker. Deleting something that
// does not exist succeeds, unless a condition requires it (Guide, "How to
// perform conditional deletes").
func (c *call) remove(b *bucket, key, version, ifMatch string, bypass bool) (removed, error) {
	if version != "" {
		if err := validVersion(version); err != nil {
			return removed{}, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries.get(key)
	if ifMatch != "" {
		switch {
		case e == nil || e.current.marker:
			return removed{}, noSuchKey(key)
		case !anyETag(ifMatch, e.current.etag):
			return removed{}, preconditionFailed("If-Match")
		}
	}
	if version == "" {
		if b.versioning == "" {
			if e != nil {
				b.entries.remove(e)
			}
			return removed{}, nil
		}
		marker := &object{marker: true, modified: c.clock().Unix()}
		b.install(key, marker)
		return removed{marker.versionID(), true}, nil
	}
	gone := removed{version: version}
	if e == nil {
		return gone, nil
	}
	o := e.version(plainVersion(version))
	if o == nil {
		return gone, nil
	}
	if o.lock.holds(c.now, bypass) {
		return removed{}, fault(403, "AccessDenied", "Access Denied because object protected by object lock.")
	}
	gone.marker = o.marker
	if !e.drop(o) {
		b.entries.remove(e)
	}
	return gone, nil
}

func (c *call) deleteObjects() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	var doc struct {
		XMLName xml.Name `xml:"Delete"`
		Quiet   bool
		Object  []struct {
			Key, ETag        string
			Version          string `xml:"VersionId"`
			LastModifiedTime *string
			Size             *string
		}
	}
	if err := needDigest(c.r.Header); err != nil {
		return err
	}
	if err := c.document(&doc); err != nil {
		return err
	}
	if len(doc.Object) == 0 || len(doc.Object) > 1000 {
		return malformedXML()
	}
	bypass := strings.EqualFold(c.r.Header.Get("x-amz-bypass-governance-retention"), "true")
	var x xmlWriter
	x.root("DeleteResult")
	for _, d := range doc.Object {
		var gone removed
		if d.LastModifiedTime != nil || d.Size != nil {
			err = notImplemented("LastModifiedTime,Size") // conditions of directory buckets
		} else {
			gone, err = c.remove(b, d.Key, d.Version, d.ETag, bypass)
		}
		if err != nil {
			var e *apiError
			if !errors.As(err, &e) {
				return err
			}
			x.open("Error")
			x.element("Key", d.Key)
			x.elementIf("VersionId", d.Version)
			x.element("Code", e.code)
			x.element("Message", e.message)
			x.close("Error")
			continue
		}
		if doc.Quiet {
			continue
		}
		x.open("Deleted")
		x.element("Key", d.Key)
		x.elementIf("VersionId", d.Version)
		if gone.marker {
			x.bool("DeleteMarker", true)
			x.element("DeleteMarkerVersionId", gone.version)
		}
		x.close("Deleted")
	}
	x.close("DeleteResult")
	return c.answer(&x)
}
