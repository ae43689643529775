package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"maps"
	"net/http"
)

// completion is the list of parts that CompleteMultipartUpload sends.
type completion struct {
	XMLName xml.Name `xml:"CompleteMultipartUpload"`
	Part    []struct {
		PartNumber                                                                     int
		ETag                                                                           string
		ChecksumCRC32, ChecksumCRC32C, ChecksumCRC64NVME, ChecksumSHA1, ChecksumSHA256 string
	}
}

func (c *call) completeUpload() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	when, err := writeCondition(c.r.Header)
	if err != nil {
		return err
	}
	// Checksum headers are about the object here, not about the request's body.
	wanted := make(http.Header)
	for _, algorithm := range algorithms {
		name := "X-Amz-Checksum-" + http.CanonicalHeaderKey(lower(algorithm))
		if v := c.r.Header.Get(name); v != "" {
			wanted.Set(name, v)
			c.r.Header.Del(name)
		}
	}
	var doc completion
	if err := c.document(&doc); err != nil {
		return err
	}
	b.mu.RLock()
	u, err := c.upload(b)
	var parts map[int]*uploadedPart
	if err == nil {
		parts = maps.Clone(u.parts)
	}
	b.mu.RUnlock()
	if err != nil {
		return err
	}
	o, err := u.assemble(doc, parts)
	if err != nil {
		return err
	}
	// The date of an object that was uploaded in parts is the date at which the
	// upload began (Guide, "Working with object metadata").
	o.modified = u.initiated.Unix()
	if v := wanted.Get(o.checksum.header()); v != "" && v != o.checksum.value {
		return fault(400, "BadDigest", "The "+lower(o.checksum.algorithm)+" you specified did not match the calculated checksum.")
	}
	if v := c.r.Header.Get("x-amz-mp-object-size"); v != "" && v != itoa(len(o.body)) {
		return invalidRequest("The provided 'x-amz-mp-object-size' header does not match what was computed.")
	}
	if err := c.unwrap(b, o); err != nil {
		return err
	}
	b.mu.Lock()
	err = c.finish(b, u, o, when)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	c.wrote(b, o)
	var x xmlWriter
	x.root("CompleteMultipartUploadResult")
	x.element("Location", "http://"+c.r.Host+"/"+b.name+"/"+c.key)
	x.element("Bucket", b.name)
	x.element("Key", c.key)
	x.element("ETag", o.quotedETag())
	o.checksum.elements(&x)
	x.close("CompleteMultipartUploadResult")
	return c.answer(&x)
}

// finish makes the object current and ends the upload. With If-Match it is
// stricter than other writes: any write to the key since the upload began is a
// conflict, even if the ETag is the same again (recorded).
func (c *call) finish(b *bucket, u *upload, o *object, when condition) error {
	if _, err := c.upload(b); err != nil { // completed or aborted meanwhile
		return err
	}
	if now := b.currentSeq(c.key); when.ifMatch != "" && now != 0 && now != u.replaces {
		return fault(409, "ConditionalRequestConflict", "The conditional request cannot succeed due to a conflicting operation against this resource.").
			field("Condition", "If-Match").field("Key", c.key)
	}
	if err := when.holds(b, c.key); err != nil {
		return err
	}
	b.install(c.key, o)
	delete(b.uploads, u.id)
	return nil
}

// assemble makes the object from the parts that doc names.
func (u *upload) assemble(doc completion, parts map[int]*uploadedPart) (*object, error) {
	if len(doc.Part) == 0 {
		return nil, malformedXML()
	}
	o := u.object.with(func(*object) {})
	var digests, sums []byte
	var body bytes.Buffer
	for i, named := range doc.Part[1:] {
		if named.PartNumber <= doc.Part[i].PartNumber {
			return nil, fault(400, "InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number.")
		}
	}
	for i, named := range doc.Part {
		p := parts[named.PartNumber]
		sent := map[string]string{"CRC32": named.ChecksumCRC32, "CRC32C": named.ChecksumCRC32C, "CRC64NVME": named.ChecksumCRC64NVME, "SHA1": named.ChecksumSHA1, "SHA256": named.ChecksumSHA256}[u.algorithm]
		if p == nil || !sameETag(named.ETag, p.etag) || sent != "" && sent != p.checksum.value {
			return nil, fault(400, "InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.").
				field("UploadId", u.id).field("PartNumber", itoa(named.PartNumber))
		}
		if i < len(doc.Part)-1 && len(p.body) < minPart {
			return nil, fault(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size").
				field("ProposedSize", itoa(len(p.body))).field("MinSizeAllowed", itoa(minPart)).field("PartNumber", itoa(p.number))
		}
		if u.composite && named.PartNumber != i+1 {
			return nil, fault(500, "InternalError", "We encountered an internal error. Please try again.") // S3 User Guide, multipart upload and checksums
		}
		kept := part{number: p.number, size: int64(len(p.body))}
		if u.composite {
			kept.checksum = p.checksum
		}
		o.parts = append(o.parts, kept)
		digests = append(digests, p.md5[:]...)
		raw, _ := base64.StdEncoding.DecodeString(p.checksum.value)
		sums = append(sums, raw...)
		body.Write(p.body)
	}
	o.body = body.Bytes()
	suffix := "-" + itoa(len(o.parts))
	if u.composite {
		o.checksum = whole(u.algorithm, sums)
		o.checksum.value, o.checksum.composite = o.checksum.value+suffix, true
	} else {
		o.checksum = whole(u.algorithm, o.body)
	}
	tag := md5.Sum(digests)
	o.etag = hex.EncodeToString(tag[:]) + suffix
	if o.sse.algorithm != sseS3 {
		o.etag = opaqueETag() + suffix
	}
	return o, nil
}
