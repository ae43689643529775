package s3

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// bucket is a general purpose bucket. Every write takes effect at one instant,
// under the bucket's lock. The lock is never held during a call to KMS.
type bucket struct {
	name, region string
	created      time.Time
	locking      bool // Object Lock is enabled; it cannot be disabled
	keys         keyCache

	mu         sync.RWMutex
	entries    index
	writes     uint64
	versioning string // "", "Enabled" or "Suspended"
	ownership  string // "" if the controls were deleted
	encryption defaultEncryption
	uploads    map[string]*upload
}

// lookup finds a version of a key. Without a version id it finds the current
// one.
func (b *bucket) lookup(key, version string) (*object, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.lookupLocked(key, version)
}

func (b *bucket) lookupLocked(key, version string) (*object, error) {
	e := b.entries.get(key)
	if version == "" {
		switch {
		case e == nil:
			return nil, noSuchKey(key)
		case e.current.marker:
			return nil, noSuchKey(key).header("x-amz-delete-marker", "true").header("x-amz-version-id", e.current.versionID())
		}
		return e.current, nil
	}
	if err := validVersion(version); err != nil {
		return nil, err
	}
	if e != nil {
		if o := e.version(plainVersion(version)); o != nil {
			if o.marker {
				return nil, fault(405, "MethodNotAllowed", "The specified method is not allowed against this resource.").
					field("ResourceType", "DeleteMarker").header("Allow", "DELETE").header("x-amz-delete-marker", "true").
					header("x-amz-version-id", o.versionID()).header("Last-Modified", o.lastModified().Format(http.TimeFormat))
			}
			return o, nil
		}
	}
	return nil, fault(404, "NoSuchVersion", "The specified version does not exist.").field("Key", key).field("VersionId", version)
}

// newVersion returns a version id. It is opaque, but ends in the number of the
// write, so that a listing finds its place even if the version at its marker
// was deleted.
func newVersion(seq uint64) string {
	return randomID(20, versionAlphabet) + fmt.Sprintf("%012x", seq)
}

// versionSeq is the number in a version id; 0 if newVersion did not make the
// id.
func versionSeq(id string) uint64 {
	if len(id) != 32 {
		return 0
	}
	seq, _ := strconv.ParseUint(id[20:], 16, 64)
	return seq
}

// plainVersion turns a version id of the API into that of an object.
func plainVersion(id string) string {
	if id == "null" {
		return ""
	}
	return id
}

func validVersion(id string) error {
	if id == "null" || len(id) == 32 && strings.Trim(id, versionAlphabet) == "" {
		return nil
	}
	return invalidArgument("Invalid version id specified", "versionId", id)
}

// commit makes o the current version of the request's key if the condition
// holds at that moment. It sets Last-Modified too, so that the versions of a
// key never go back in time.
func (c *call) commit(b *bucket, o *object, when condition) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := when.holds(b, c.key); err != nil {
		return err
	}
	o.modified = c.clock().Unix()
	b.install(c.key, o)
	return nil
}

// install makes o current. In a bucket that never had versions it takes the
// place of what was there; with versioning enabled it goes on top; with
// versioning suspended it is the null version and takes the place of that one
// only (Guide, "Adding objects to versioning-suspended buckets").
func (b *bucket) install(key string, o *object) {
	e := b.entries.get(key)
	b.writes++
	o.seq = b.writes
	if b.versioning == "Enabled" {
		o.version = newVersion(o.seq)
	}
	if e == nil {
		b.entries.add(&entry{key: strings.Clone(key), current: o})
		return
	}
	if o.version == "" {
		e.older = slices.DeleteFunc(e.older, func(v *object) bool { return v.version == "" })
	}
	if e.current.version != o.version {
		e.older = append(e.older, e.current)
	}
	e.current = o
}

// replace puts an altered copy of a version in its place. It is for changes
// that make no new version: tags, ACL, lock, key.
func (b *bucket) replace(key, version string, change func(*object) (*object, error)) (*object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, err := b.lookupLocked(key, version)
	if err != nil {
		return nil, err
	}
	altered, err := change(o)
	if err != nil {
		return nil, err
	}
	e := b.entries.get(key)
	if e.current == o {
		e.current = altered
	} else {
		e.older[slices.Index(e.older, o)] = altered
	}
	return altered, nil
}

// describeVersion writes the version id of o, if the bucket has or had
// versions.
func (b *bucket) describeVersion(h http.Header, o *object) {
	b.mu.RLock()
	versioned := b.versioning != ""
	b.mu.RUnlock()
	if versioned {
		set(h, "x-amz-version-id", o.versionID())
	}
}

// bucketName has 3 to 63 lower case letters, digits, dots and hyphens, and
// begins and ends with a letter or digit (Guide, "Bucket naming rules").
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (c *call) createBucket() error {
	if !bucketName.MatchString(c.bucket) {
		return fault(400, "InvalidBucketName", "The specified bucket is not valid.").field("BucketName", c.bucket)
	}
	var doc struct{ LocationConstraint string }
	if c.r.ContentLength != 0 {
		if err := c.document(&doc); err != nil {
			return err
		}
	}
	ownership := c.r.Header.Get("x-amz-object-ownership")
	if ownership == "" {
		ownership = ownerEnforced // of new buckets since April 2023 (Guide, "Controlling ownership of objects")
	}
	if !validOwnership(ownership) {
		return invalidArgument("Invalid x-amz-object-ownership header: "+ownership, "x-amz-object-ownership", ownership)
	}
	if a := c.r.Header.Get("x-amz-acl"); a != "" && a != "private" {
		return notImplemented("x-amz-acl")
	}
	b := &bucket{name: c.bucket, region: c.region, created: c.now, ownership: ownership, encryption: defaultEncryption{algorithm: sseS3}}
	if doc.LocationConstraint != "" {
		b.region = doc.LocationConstraint
	}
	if strings.EqualFold(c.r.Header.Get("x-amz-bucket-object-lock-enabled"), "true") {
		b.locking, b.versioning = true, "Enabled"
	}
	c.mu.Lock()
	old := c.buckets[c.bucket]
	if old == nil {
		c.buckets[c.bucket] = b
	}
	c.mu.Unlock()
	// Only us-east-1 lets an owner make a bucket again (API, CreateBucket).
	if old != nil && (old.region != "us-east-1" || b.region != "us-east-1") {
		return fault(409, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.").field("BucketName", c.bucket)
	}
	set(c.w.Header(), "Location", "/"+c.bucket)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) deleteBucket() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A request that found the bucket before this moment writes to a bucket that
	// is gone, like any request that is overtaken.
	b.mu.RLock()
	empty := len(b.entries.byKey) == 0 && len(b.uploads) == 0
	b.mu.RUnlock()
	if !empty {
		return fault(409, "BucketNotEmpty", "The bucket you tried to delete is not empty").field("BucketName", c.bucket)
	}
	delete(c.buckets, c.bucket)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) headBucket() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	h := c.w.Header()
	set(h, "x-amz-bucket-region", b.region)
	set(h, "x-amz-access-point-alias", "false")
	set(h, "Content-Type", "application/xml")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) listBuckets() error {
	prefix, after, region := c.query.Get("prefix"), c.query.Get("continuation-token"), c.query.Get("bucket-region")
	limit, err := count(c.query.Get("max-buckets"), "max-buckets", 10000)
	if err != nil {
		return err
	}
	var found []*bucket
	c.mu.RLock()
	for name, b := range c.buckets {
		if name > after && strings.HasPrefix(name, prefix) && (region == "" || region == b.region) {
			found = append(found, b)
		}
	}
	c.mu.RUnlock()
	slices.SortFunc(found, func(a, b *bucket) int { return strings.Compare(a.name, b.name) })
	next := ""
	if len(found) > limit && limit > 0 {
		found, next = found[:limit], found[limit-1].name
	}
	var x xmlWriter
	x.root("ListAllMyBucketsResult")
	c.ownerElement(&x)
	x.open("Buckets")
	for _, b := range found {
		x.open("Bucket")
		x.element("Name", b.name)
		x.time("CreationDate", b.created)
		x.element("BucketRegion", b.region)
		x.close("Bucket")
	}
	x.close("Buckets")
	x.elementIf("ContinuationToken", next)
	x.elementIf("Prefix", prefix)
	x.close("ListAllMyBucketsResult")
	return c.answer(&x)
}

const isoTime = "2006-01-02T15:04:05.000Z"

func (c *call) ownerElement(x *xmlWriter) {
	x.open("Owner")
	x.element("ID", c.owner)
	x.close("Owner")
}

// getBucketLocation answers us-east-1 with an empty constraint (API,
// GetBucketLocation).
func (c *call) getBucketLocation() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	var x xmlWriter
	x.root("LocationConstraint")
	if b.region != "us-east-1" {
		x.text(b.region)
	}
	x.close("LocationConstraint")
	return c.answer(&x)
}

func (c *call) getBucketVersioning() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	b.mu.RLock()
	status := b.versioning
	b.mu.RUnlock()
	var x xmlWriter
	x.root("VersioningConfiguration")
	x.elementIf("Status", status)
	x.close("VersioningConfiguration")
	return c.answer(&x)
}

func (c *call) putBucketVersioning() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	var doc struct{ Status, MfaDelete string }
	if err := c.document(&doc); err != nil {
		return err
	}
	if doc.MfaDelete == "Enabled" {
		return notImplemented("x-amz-mfa")
	}
	if doc.Status != "Enabled" && doc.Status != "Suspended" {
		return fault(400, "IllegalVersioningConfigurationException", "The Versioning element must be specified")
	}
	if b.locking && doc.Status == "Suspended" {
		return fault(409, "InvalidBucketState", "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.")
	}
	b.mu.Lock()
	b.versioning = doc.Status
	b.mu.Unlock()
	c.w.WriteHeader(http.StatusOK)
	return nil
}
