package s3

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

func itoa(n int) string     { return strconv.Itoa(n) }
func lower(s string) string { return strings.ToLower(s) }
func opaqueETag() string    { return randomID(32, "0123456789abcdef") }

func (c *call) putObject() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	when, err := writeCondition(c.r.Header)
	if err != nil {
		return err
	}
	p, err := c.payload()
	if err != nil {
		return err
	}
	o, err := c.newObject(b)
	if err != nil {
		return err
	}
	if o.tags, err = headerTags(c.r.Header); err != nil {
		return err
	}
	o.system = systemMetadata(c.r.Header)
	if o.user, err = userMetadata(c.r.Header); err != nil {
		return err
	}
	if err := when.early(b, c.key); err != nil {
		return err
	}
	if o.sse, err = c.encryptFor(b); err != nil {
		return err
	}
	o.body, o.checksum = p.data, p.checksum
	if o.checksum.algorithm == "" {
		o.checksum = whole("", p.data)
	}
	o.etag = contentETag(o.sse, p.md5[:])
	if err := c.commit(b, o, when); err != nil {
		return err
	}
	h := c.w.Header()
	set(h, "ETag", o.quotedETag())
	o.checksum.describe(h)
	c.wrote(b, o)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// newObject makes an object with the settings that a write asks for, except
// for the encryption.
func (c *call) newObject(b *bucket) (*object, error) {
	h := c.r.Header
	o := new(object)
	o.redirect = h.Get("x-amz-website-redirect-location")
	var err error
	if o.class, err = storageClass(h); err != nil {
		return nil, err
	}
	if o.acl, err = c.headerACL(b); err != nil {
		return nil, err
	}
	if o.lock, err = c.headerLock(b); err != nil {
		return nil, err
	}
	return o, nil
}

// contentETag is the MD5 of the content. Under KMS keys it is opaque, and new
// at every write (API, Object: ETag).
func contentETag(e *encryption, md5 []byte) string {
	if e.algorithm == sseS3 {
		return hex.EncodeToString(md5)
	}
	return opaqueETag()
}

// wrote sets the headers that every write answers with.
func (c *call) wrote(b *bucket, o *object) {
	h := c.w.Header()
	o.sse.describe(h)
	if v := c.r.Header.Get("x-amz-server-side-encryption-context"); v != "" && o.sse.context != nil {
		sent, _ := json.Marshal(o.sse.context)
		set(h, "x-amz-server-side-encryption-context", base64.StdEncoding.EncodeToString(sent))
	}
	b.describeVersion(h, o)
}
