package s3

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const minPart = 5 << 20 // of all parts but the last (Guide, "Amazon S3 multipart upload limits")

// upload is a multipart upload under way, guarded by its bucket's lock.
type upload struct {
	id, key   string
	initiated time.Time
	object    *object // all that is known of the object from the beginning
	algorithm string  // of the checksum
	composite bool
	replaces  uint64 // the write that made the key's current version at the beginning; 0: none
	parts     map[int]*uploadedPart
}

type uploadedPart struct {
	number   int
	body     []byte
	md5      [md5.Size]byte
	etag     string
	checksum checksum
	modified time.Time
}

func noSuchUpload(id string) *apiError {
	return fault(404, "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.").field("UploadId", id)
}

// upload finds the upload that the request names. The caller holds b's lock.
func (c *call) upload(b *bucket) (*upload, error) {
	id := c.query.Get("uploadId")
	u := b.uploads[id]
	if u == nil || u.key != c.key {
		return nil, noSuchUpload(id)
	}
	return u, nil
}

// currentSeq is the number of the write that made a key's current version.
func (b *bucket) currentSeq(key string) uint64 {
	if e := b.entries.get(key); e != nil {
		return e.current.seq
	}
	return 0
}

func (c *call) createUpload() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	h := c.r.Header
	u := &upload{id: randomID(64, versionAlphabet), key: c.key, initiated: c.now, parts: make(map[int]*uploadedPart)}
	if u.object, err = c.newObject(b); err != nil {
		return err
	}
	o := u.object
	o.system = systemMetadata(h)
	if o.user, err = userMetadata(h); err != nil {
		return err
	}
	if o.tags, err = headerTags(h); err != nil {
		return err
	}
	if u.algorithm, u.composite, err = uploadChecksum(h); err != nil {
		return err
	}
	if o.sse, err = c.encryptFor(b); err != nil {
		return err
	}
	b.mu.Lock()
	if b.uploads == nil {
		b.uploads = make(map[string]*upload)
	}
	b.uploads[u.id] = u
	u.replaces = b.currentSeq(c.key)
	b.mu.Unlock()
	o.sse.describe(c.w.Header())
	if h.Get("x-amz-checksum-algorithm") != "" {
		set(c.w.Header(), "x-amz-checksum-algorithm", u.algorithm)
		set(c.w.Header(), "x-amz-checksum-type", checksum{composite: u.composite}.kind())
	}
	var x xmlWriter
	x.root("InitiateMultipartUploadResult")
	x.element("Bucket", b.name)
	x.element("Key", c.key)
	x.element("UploadId", u.id)
	x.close("InitiateMultipartUploadResult")
	return c.answer(&x)
}

// uploadChecksum reads algorithm and type. CRC64NVME is always of the full
// object, SHA sums always composite, and CRC32 and CRC32C composite unless asked
// otherwise (Guide, "Checking object integrity").
func uploadChecksum(h http.Header) (algorithm string, composite bool, err error) {
	algorithm, kind := strings.ToUpper(h.Get("x-amz-checksum-algorithm")), strings.ToUpper(h.Get("x-amz-checksum-type"))
	if algorithm == "" {
		algorithm = "CRC64NVME"
	}
	if _, known := sum(algorithm, nil); !known {
		return "", false, notImplemented("x-amz-checksum-algorithm")
	}
	switch kind {
	case "":
		composite = algorithm != "CRC64NVME"
	case "COMPOSITE", "FULL_OBJECT":
		composite = kind == "COMPOSITE"
	default:
		return "", false, invalidRequest("Value for x-amz-checksum-type header is invalid.")
	}
	if composite && algorithm == "CRC64NVME" || !composite && strings.HasPrefix(algorithm, "SHA") {
		return "", false, invalidRequest(fmt.Sprintf("The %s checksum type cannot be used with the %s checksum algorithm.", kind, lower(algorithm)))
	}
	return algorithm, composite, nil
}

func (c *call) partNumber() (int, error) {
	v := c.query.Get("partNumber")
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxParts {
		return 0, invalidArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", v)
	}
	return n, nil
}

func (c *call) uploadPart() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	p, err := c.payload()
	if err != nil {
		return err
	}
	part, err := c.addPart(b, p.data, p.checksum)
	if err != nil {
		return err
	}
	h := c.w.Header()
	set(h, "ETag", `"`+part.etag+`"`)
	set(h, part.checksum.header(), part.checksum.value)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// addPart puts a part in its place, over any that was there before.
func (c *call) addPart(b *bucket, body []byte, sent checksum) (*uploadedPart, error) {
	n, err := c.partNumber()
	if err != nil {
		return nil, err
	}
	b.mu.RLock()
	u, err := c.upload(b)
	b.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	if sent.algorithm != "" && sent.algorithm != u.algorithm {
		return nil, invalidRequest("Checksum Type mismatch occurred, expected checksum Type: " + lower(u.algorithm) + ", actual checksum Type: " + lower(sent.algorithm))
	}
	p := &uploadedPart{number: n, body: body, md5: md5.Sum(body), checksum: whole(u.algorithm, body), modified: c.now}
	p.etag = contentETag(u.object.sse, p.md5[:])
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := c.upload(b); err != nil { // completed or aborted meanwhile
		return nil, err
	}
	u.parts[n] = p
	return p, nil
}

func (c *call) uploadPartCopy() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	from, version, err := copySource(c.r.Header)
	if err != nil {
		return err
	}
	fromBucket, err := c.find(from.bucket)
	if err != nil {
		return err
	}
	source, err := fromBucket.lookup(from.key, version)
	if err != nil {
		return err
	}
	if failed := readCondition(c.r.Header, "x-amz-copy-source-", source); failed != "" {
		return preconditionFailed("x-amz-copy-source-" + failed)
	}
	if source.archived() {
		return fault(403, "ObjectNotInActiveTierError", "The source object of the COPY action is not in the active tier and is only stored in Amazon S3 Glacier.")
	}
	body := source.body
	if v := c.r.Header.Get("x-amz-copy-source-range"); v != "" {
		// Only bytes=first-last, both given (API, UploadPartCopy).
		first, last, ok := parseRange(v, len(body))
		if !ok || strings.HasPrefix(v, "bytes=-") || strings.HasSuffix(v, "-") {
			return invalidArgument("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy", "x-amz-copy-source-range", v)
		}
		if wanted, _ := strconv.Atoi(v[strings.LastIndex(v, "-")+1:]); wanted >= len(body) {
			return invalidArgument("Range specified is not valid for source object of size: "+itoa(len(body)), "x-amz-copy-source-range", v)
		}
		body = body[first : last+1]
	}
	if err := c.unwrap(fromBucket, source); err != nil {
		return err
	}
	part, err := c.addPart(b, body, checksum{})
	if err != nil {
		return err
	}
	fromBucket.mu.RLock()
	if fromBucket.versioning != "" {
		set(c.w.Header(), "x-amz-copy-source-version-id", source.versionID())
	}
	fromBucket.mu.RUnlock()
	var x xmlWriter
	x.root("CopyPartResult")
	x.time("LastModified", part.modified)
	x.element("ETag", `"`+part.etag+`"`)
	x.element("Checksum"+part.checksum.algorithm, part.checksum.value)
	x.close("CopyPartResult")
	return c.answer(&x)
}

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
	// The checksum headers speak of the object, not of this request's body.
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
	// The date of an object uploaded in parts is that of the upload's beginning
	// (Guide, "Working with object metadata").
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
// conflict, for good, even if the tag is the same again (recorded).
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

// assemble makes the object of those of the parts that are listed.
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

func (c *call) abortUpload() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	b.mu.Lock()
	u, err := c.upload(b)
	if err == nil {
		delete(b.uploads, u.id)
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

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

// listUploads lists the uploads under way by key and start. Delimiter and
// encoding are not taken.
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
	// Uploads of one key go by their ids, so that a marker that is gone still
	// has its place.
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
