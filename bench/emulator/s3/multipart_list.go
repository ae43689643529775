package s3

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

func (c *call) listParts() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	limit, err := count(c.query.Get("max-parts"), "max-parts", 1000)
	if err != nil {
		return err
	}
	marker, err := count(c.query.Get("part-number-marker"), "part-number-marker", 0)
	if err != nil {
		return err
	}
	limit = min(limit, 1000)
	b.mu.RLock()
	u, err := c.upload(b)
	var parts []*uploadedPart
	if err == nil {
		parts = slices.SortedFunc(maps.Values(u.parts), func(a, b *uploadedPart) int { return cmp.Compare(a.number, b.number) })
	}
	b.mu.RUnlock()
	if err != nil {
		return err
	}
	parts = slices.DeleteFunc(parts, func(p *uploadedPart) bool { return p.number <= marker })
	truncated := len(parts) > limit
	parts = parts[:min(limit, len(parts))]
	var x xmlWriter
	x.root("ListPartsResult")
	x.element("Bucket", b.name)
	x.element("Key", c.key)
	x.element("UploadId", u.id)
	x.element("StorageClass", u.object.storageClass())
	x.int("PartNumberMarker", marker)
	if len(parts) > 0 {
		x.int("NextPartNumberMarker", parts[len(parts)-1].number)
	}
	x.int("MaxParts", limit)
	x.bool("IsTruncated", truncated)
	for _, p := range parts {
		x.open("Part")
		x.int("PartNumber", p.number)
		x.time("LastModified", p.modified)
		x.element("ETag", `"`+p.etag+`"`)
		x.int("Size", len(p.body))
		x.element("Checksum"+p.checksum.algorithm, p.checksum.value)
		x.close("Part")
	}
	c.ownerElement(&x)
	x.element("ChecksumAlgorithm", u.algorithm)
	x.element("ChecksumType", checksum{composite: u.composite}.kind())
	x.close("ListPartsResult")
	return c.answer(&x)
}

// listUploads lists the uploads under way, by key and id. It takes no
// delimiter and no encoding.
func (c *call) listUploads() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	limit, err := count(c.query.Get("max-uploads"), "max-uploads", 1000)
	if err != nil {
		return err
	}
	limit = min(limit, 1000)
	prefix, keyMarker, idMarker := c.query.Get("prefix"), c.query.Get("key-marker"), c.query.Get("upload-id-marker")
	// Uploads of one key are sorted by id, so that a listing finds its place
	// even if the upload at its marker is gone.
	order := func(a, b *upload) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.id, b.id)) }
	b.mu.RLock()
	all := slices.SortedFunc(maps.Values(b.uploads), order)
	b.mu.RUnlock()
	all = slices.DeleteFunc(all, func(u *upload) bool {
		passed := u.key < keyMarker || u.key == keyMarker && (idMarker == "" || u.id <= idMarker)
		return passed || !strings.HasPrefix(u.key, prefix)
	})
	truncated := len(all) > limit
	all = all[:min(limit, len(all))]
	var x xmlWriter
	x.root("ListMultipartUploadsResult")
	x.element("Bucket", b.name)
	x.element("Prefix", prefix)
	x.element("KeyMarker", keyMarker)
	x.element("UploadIdMarker", idMarker)
	if truncated && len(all) > 0 {
		x.element("NextKeyMarker", all[len(all)-1].key)
		x.element("NextUploadIdMarker", all[len(all)-1].id)
	}
	x.int("MaxUploads", limit)
	x.bool("IsTruncated", truncated)
	for _, u := range all {
		x.open("Upload")
		x.element("Key", u.key)
		x.element("UploadId", u.id)
		x.time("Initiated", u.initiated)
		x.element("StorageClass", u.object.storageClass())
		c.ownerElement(&x)
		x.close("Upload")
	}
	x.close("ListMultipartUploadsResult")
	return c.answer(&x)
}
