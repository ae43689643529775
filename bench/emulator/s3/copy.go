package s3

import (
	"crypto/md5"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// maxCopy is the largest object that one CopyObject copies (API, CopyObject).
const maxCopy = 5 << 30

// errStale says that the source changed after it was read and before the copy
// was written.
var errStale = errors.New("the copy source changed meanwhile")

// copyObject copies an object, most often onto itself. The conditions on the
// source and on the destination are evaluated separately. If the source is in
// the same bucket and changes before the copy is written, the copy is made
// again from the new source. So the whole operation takes effect at one
// instant.
func (c *call) copyObject() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	when, err := writeCondition(c.r.Header)
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
	for {
		source, err := fromBucket.lookup(from.key, version)
		if err != nil {
			return err
		}
		if failed := readCondition(c.r.Header, "x-amz-copy-source-", source); failed != "" {
			return preconditionFailed("x-amz-copy-source-" + failed)
		}
		when.fresh = nil
		if fromBucket == b {
			when.fresh = func(b *bucket) bool {
				now, err := b.lookupLocked(from.key, version)
				return err == nil && now == source
			}
		}
		o, err := c.makeCopy(b, fromBucket, from, source, when)
		if errors.Is(err, errStale) {
			continue
		}
		if err != nil {
			return err
		}
		h := c.w.Header()
		fromBucket.mu.RLock()
		if fromBucket.versioning != "" {
			set(h, "x-amz-copy-source-version-id", source.versionID())
		}
		fromBucket.mu.RUnlock()
		c.wrote(b, o)
		var x xmlWriter
		x.root("CopyObjectResult")
		x.time("LastModified", o.lastModified())
		x.element("ETag", o.quotedETag())
		o.checksum.elements(&x)
		x.close("CopyObjectResult")
		return c.answer(&x)
	}
}

// makeCopy makes the copy of source and writes it. By default a copy keeps the
// content, the content headers, the user metadata and the tags. It never keeps
// the storage class, the ACL, the encryption with its context, the website
// redirect and the object lock (API, CopyObject; recorded).
func (c *call) makeCopy(b, fromBucket *bucket, from target, source *object, when condition) (*object, error) {
	h := c.r.Header
	replaceMeta, err := directive(h, "x-amz-metadata-directive")
	if err != nil {
		return nil, err
	}
	replaceTags, err := directive(h, "x-amz-tagging-directive")
	if err != nil {
		return nil, err
	}
	if source.archived() {
		return nil, fault(403, "ObjectNotInActiveTierError", "The source object of the COPY action is not in the active tier and is only stored in Amazon S3 Glacier.")
	}
	if len(source.body) > maxCopy {
		return nil, invalidRequest("The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
	}
	if fromBucket == b && from.key == c.key && !replaceMeta && !c.changesItself(b, source) {
		return nil, invalidRequest("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	o, err := c.newObject(b)
	if err != nil {
		return nil, err
	}
	o.body, o.labels = source.body, source.labels
	if replaceMeta {
		o.system = systemMetadata(h)
		if o.user, err = userMetadata(h); err != nil {
			return nil, err
		}
	}
	if replaceTags {
		if o.tags, err = headerTags(h); err != nil {
			return nil, err
		}
	}
	algorithm := strings.ToUpper(h.Get("x-amz-checksum-algorithm"))
	if _, known := sum(algorithm, nil); algorithm != "" && !known {
		return nil, notImplemented("x-amz-checksum-algorithm")
	}
	if algorithm == "" {
		algorithm = source.checksum.algorithm
	}
	if algorithm == source.checksum.algorithm && !source.checksum.composite {
		o.checksum = source.checksum
	} else {
		o.checksum = whole(algorithm, o.body)
	}
	if err := when.early(b, c.key); err != nil {
		return nil, err
	}
	if err := c.unwrap(fromBucket, source); err != nil {
		return nil, err
	}
	if o.sse, err = c.encryptFor(b); err != nil {
		return nil, err
	}
	// If the ETag is the MD5 of the body, the body need not be read again.
	if o.sse.algorithm == sseS3 && source.sse.algorithm == sseS3 && len(source.parts) == 0 {
		o.etag = source.etag
	} else {
		digest := md5.Sum(o.body)
		o.etag = contentETag(o.sse, digest[:])
	}
	return o, c.commit(b, o, when)
}

// changesItself tells whether a copy of the current version onto itself, with
// its metadata kept, asks for a change that S3 accepts. An ACL, tags or a
// checksum alone are not accepted. An encryption header is, whatever its
// value. So is a default encryption that was set on the bucket, because the
// copy is encrypted with it (recorded).
func (c *call) changesItself(b *bucket, source *object) bool {
	h := c.r.Header
	b.mu.RLock()
	current, err := b.lookupLocked(c.key, "")
	explicit := b.encryption.explicit
	b.mu.RUnlock()
	if err != nil || current != source {
		return true // an older version becomes the current one
	}
	return explicit ||
		h.Get("x-amz-server-side-encryption") != "" ||
		h.Get("x-amz-storage-class") != "" ||
		h.Get("x-amz-website-redirect-location") != ""
}

// directive reads a header that is COPY or REPLACE. COPY is the default.
func directive(h http.Header, name string) (replace bool, err error) {
	switch v := h.Get(name); v {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	default:
		return false, invalidArgument("Unknown directive.", name, v)
	}
}

// copySource reads x-amz-copy-source: bucket/key, escaped as in a form ("+" is
// a space; recorded). A leading slash and ?versionId= are optional.
func copySource(h http.Header) (t target, version string, err error) {
	raw := h.Get("x-amz-copy-source")
	bad := invalidArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey", "x-amz-copy-source", raw)
	path, query, _ := strings.Cut(raw, "?")
	path, err = url.QueryUnescape(path)
	if err != nil {
		return t, "", bad
	}
	t.bucket, t.key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if t.bucket == "" || t.key == "" {
		return t, "", bad
	}
	if strings.HasPrefix(t.bucket, "arn:") {
		return t, "", notImplemented("x-amz-copy-source")
	}
	if query != "" {
		q, err := url.ParseQuery(query)
		if err != nil || !q.Has("versionId") || len(q) != 1 {
			return t, "", bad
		}
		version = q.Get("versionId")
	}
	return t, version, nil
}
