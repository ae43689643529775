package s3

import (
	"net/http"
	"strconv"
	"time"
)

// object is one version of a key, or a delete marker. It does not change once
// it is in a bucket: a change of tags, ACL, lock or key puts an altered copy
// in its place. So a reader that holds an object needs no lock.
type object struct {
	version  string // "" is the null version
	seq      uint64 // grows with every write to the bucket
	marker   bool
	modified int64 // seconds since 1970: Last-Modified has no finer grain
	etag     string
	body     []byte // shared with copies
	checksum checksum
	parts    []part // of a multipart upload, else nil
	labels
	settings
}

// labels are what a copy takes over unless its request replaces it.
type labels struct {
	system []pair // content headers, in the order of contentHeaders
	user   []pair // user metadata by name, decoded
	tags   []pair
}

// settings come from the request that wrote the object. No copy takes them
// over.
type settings struct {
	class    string // "" is STANDARD
	redirect string
	sse      *encryption
	acl      *acl // nil: private
	lock     *lock
}

// part is what an object keeps of each part after a multipart upload is
// complete.
type part struct {
	number   int
	size     int64
	checksum checksum
}

func (o *object) lastModified() time.Time { return time.Unix(o.modified, 0).UTC() }

func (o *object) quotedETag() string { return `"` + o.etag + `"` }

func (o *object) storageClass() string {
	if o.class == "" {
		return "STANDARD"
	}
	return o.class
}

// archived tells whether the object must be restored before it can be read. No
// operation here restores one.
func (o *object) archived() bool { return o.class == "GLACIER" || o.class == "DEEP_ARCHIVE" }

// versionID is the id as the API shows it.
func (o *object) versionID() string {
	if o.version == "" {
		return "null"
	}
	return o.version
}

// describe writes the headers that HEAD and GET have in common.
func (o *object) describe(h http.Header, b *bucket, checksums bool) {
	set(h, "Last-Modified", o.lastModified().Format(http.TimeFormat))
	set(h, "ETag", o.quotedETag())
	set(h, "Accept-Ranges", "bytes")
	for _, p := range o.system {
		set(h, p.name, p.value)
	}
	missing := 0
	for _, p := range o.user {
		if !printable(p.value) {
			missing++
			continue
		}
		set(h, metaPrefix+p.name, encodeMeta(p.value))
	}
	if missing > 0 {
		set(h, "x-amz-missing-meta", strconv.Itoa(missing))
	}
	setIf(h, "x-amz-storage-class", o.class)
	setIf(h, "x-amz-website-redirect-location", o.redirect)
	if len(o.tags) > 0 {
		set(h, "x-amz-tagging-count", strconv.Itoa(len(o.tags)))
	}
	o.lock.describe(h)
	o.sse.describe(h)
	b.describeVersion(h, o)
	if checksums && o.checksum.value != "" {
		o.checksum.describe(h)
	}
}

func (s checksum) describe(h http.Header) {
	set(h, s.header(), s.value)
	set(h, "x-amz-checksum-type", s.kind())
}

// overrideHeaders answers the response- parameters of a GET (API, GetObject).
func overrideHeaders(h http.Header, query map[string][]string) {
	for _, name := range contentHeaders {
		if v := query["response-"+lower(name)]; len(v) > 0 {
			set(h, name, v[0])
		}
	}
}

// with returns a copy of o to which change was applied.
func (o *object) with(change func(*object)) *object {
	altered := *o
	change(&altered)
	return &altered
}
