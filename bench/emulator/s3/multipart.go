package s3

import (
	"crypto/md5"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const minPart = 5 << 20 // of every part but the last (Guide, "Amazon S3 multipart upload limits")

// upload is a multipart upload under way, guarded by its bucket's lock.
type upload struct {
	id, key   string
	initiated time.Time
	object    *object // what the request that began the upload says about it
	algorithm string  // of the checksum
	composite bool
	replaces  uint64 // number of the write that made the key's current version when the upload began; 0: none
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

// uploadChecksum reads the algorithm and type of the checksum. CRC64NVME is
// always of the full object, and SHA sums are always composite. CRC32 and
// CRC32C are composite unless the request says otherwise (Guide, "Checking
// object integrity").
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

// addPart stores a part, in the place of an earlier one with its number.
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
