package s3

import (
	"encoding/xml"
	"net/http"
	"regexp"
)

// keyARN is the form in which UpdateObjectEncryption takes its key: neither an
// id nor an alias (API, SSEKMSEncryption).
var keyARN = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$`)

// updateEncryption implements UpdateObjectEncryption (API). The data key of an
// object is put under another KMS key. Nothing else changes: neither ETag nor
// Last-Modified nor version. The operation takes no condition: it changes the
// version that is current when it takes effect. Whether AWS keeps an
// encryption context that was given at the write is not documented; here it is
// not kept.
func (c *call) updateEncryption() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	var doc struct {
		XMLName xml.Name `xml:"ObjectEncryption"`
		KMS     *struct {
			KMSKeyArn        string
			BucketKeyEnabled bool
		} `xml:"SSE-KMS"`
	}
	if err := needDigest(c.r.Header); err != nil {
		return err
	}
	if err := c.document(&doc); err != nil {
		return err
	}
	if doc.KMS == nil {
		return malformedXML()
	}
	if !keyARN.MatchString(doc.KMS.KMSKeyArn) {
		return invalidRequest("The KMS key must be given as the ARN of a key.")
	}
	version := c.query.Get("versionId")
	o, err := b.lookup(c.key, version)
	if err != nil {
		return err
	}
	if err := c.mayUpdate(o); err != nil {
		return err
	}
	if c.keys == nil {
		return notImplemented("encryption")
	}
	if err := c.unwrap(b, o); err != nil {
		return err
	}
	e := &encryption{algorithm: sseKMS, bucketKey: doc.KMS.BucketKeyEnabled}
	if err := c.wrap(b, e, doc.KMS.KMSKeyArn, nil); err != nil {
		return err
	}
	o, err = b.replace(c.key, version, func(o *object) (*object, error) {
		if err := c.mayUpdate(o); err != nil {
			return nil, err
		}
		return o.with(func(o *object) { o.sse = e }), nil
	})
	if err != nil {
		return err
	}
	b.describeVersion(c.w.Header(), o)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) mayUpdate(o *object) error {
	switch {
	case o.lock.holds(c.now, false):
		return fault(403, "AccessDenied", "Access Denied because object protected by object lock.")
	case o.sse.algorithm != sseS3 && o.sse.algorithm != sseKMS:
		return invalidRequest("The object's encryption type is not supported by this operation.")
	}
	return nil
}
