package s3

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// listing is what the list operations have in common.
type listing struct {
	prefix, delimiter string
	limit             int
	encode            bool // encoding-type=url
}

func (c *call) listing() (l listing, err error) {
	l.prefix, l.delimiter = c.query.Get("prefix"), c.query.Get("delimiter")
	if l.limit, err = count(c.query.Get("max-keys"), "max-keys", 1000); err != nil {
		return l, err
	}
	l.limit = min(l.limit, 1000)
	switch v := c.query.Get("encoding-type"); v {
	case "", "url":
		l.encode = v == "url"
	default:
		return l, invalidArgument("Invalid Encoding Method specified in Request", "encoding-type", v)
	}
	return l, nil
}

// count reads a number that is not negative. "" is the default.
func count(v, name string, byDefault int) (int, error) {
	if v == "" {
		return byDefault, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return 0, invalidArgument("Provided "+name+" not an integer or within integer range", name, v)
	}
	if n < 0 {
		return 0, invalidArgument("Argument "+name+" must be an integer between 0 and 2147483647", name, v)
	}
	return int(n), nil
}

// escape writes a key for encoding-type=url: escaped as in a form, except for
// slashes.
func (l listing) escape(s string) string {
	if !l.encode {
		return s
	}
	const hex = "0123456789ABCDEF"
	plain := func(b byte) bool {
		return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("-._*/", b) >= 0
	}
	out := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		switch b := s[i]; {
		case plain(b):
			out = append(out, b)
		case b == ' ':
			out = append(out, '+')
		default:
			out = append(out, '%', hex[b>>4], hex[b&15])
		}
	}
	return string(out)
}

// common returns the common prefix into which a key is rolled up, if there is
// one.
func (l listing) common(key string) (string, bool) {
	if l.delimiter == "" {
		return "", false
	}
	i := strings.Index(key[len(l.prefix):], l.delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(l.prefix)+i+len(l.delimiter)], true
}

// page is the part of a listing that goes into one answer.
type page struct {
	found     []listed
	prefixes  []string
	truncated bool
	last      string // the last key or common prefix of the page
}

type listed struct {
	key string
	*object
	latest bool
}

// before tells whether a key lies before the place where a listing goes on. It
// does if it is not behind after, or if after is a common prefix that was
// listed already and the key begins with it.
func (l listing) before(after string, afterPrefix bool) func(key string) bool {
	return func(key string) bool {
		return key < l.prefix || key <= after || afterPrefix && strings.HasPrefix(key, after)
	}
}

// objects collects the page of current objects behind a key. One search steps
// over a common prefix, however many keys it has.
func (b *bucket) objects(l listing, after string, afterPrefix bool) page {
	var p page
	b.mu.RLock()
	defer b.mu.RUnlock()
	if l.limit == 0 {
		return p
	}
	for {
		rolled := false
		for e := range b.entries.from(l.before(after, afterPrefix)) {
			if !strings.HasPrefix(e.key, l.prefix) {
				return p
			}
			if e.current.marker {
				continue
			}
			if len(p.found)+len(p.prefixes) == l.limit {
				p.truncated = true
				return p
			}
			if cp, ok := l.common(e.key); ok {
				p.prefixes = append(p.prefixes, cp)
				p.last, after, afterPrefix, rolled = cp, cp, true, true
				break
			}
			p.found = append(p.found, listed{e.key, e.current, true})
			p.last = e.key
		}
		if !rolled {
			return p
		}
	}
}

func (c *call) listObjectsV2() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	l, err := c.listing()
	if err != nil {
		return err
	}
	if v := c.query.Get("list-type"); v != "2" {
		return invalidArgument("Invalid List Type specified in Request", "list-type", v)
	}
	startAfter, token := c.query.Get("start-after"), c.query.Get("continuation-token")
	after, afterPrefix := startAfter, false
	if c.query.Has("continuation-token") {
		raw, err := base64.URLEncoding.DecodeString(token)
		if err != nil || len(raw) == 0 || raw[0] != tokenMark {
			return invalidArgument("The continuation token provided is incorrect", "continuation-token", token)
		}
		after = string(raw[1:])
		afterPrefix = l.endsCommon(after)
	}
	p := b.objects(l, after, afterPrefix)
	x := xmlWriter{b: make([]byte, 0, 512+400*len(p.found))}
	x.root("ListBucketResult")
	x.element("Name", b.name)
	x.element("Prefix", l.escape(l.prefix))
	x.elementIf("Delimiter", l.escape(l.delimiter))
	x.elementIf("StartAfter", l.escape(startAfter))
	x.elementIf("ContinuationToken", token)
	x.int("KeyCount", len(p.found)+len(p.prefixes))
	x.int("MaxKeys", l.limit)
	if l.encode {
		x.element("EncodingType", "url")
	}
	x.bool("IsTruncated", p.truncated)
	if p.truncated {
		x.element("NextContinuationToken", base64.URLEncoding.EncodeToString(append([]byte{tokenMark}, p.last...)))
	}
	c.contents(&x, l, p, c.query.Get("fetch-owner") == "true")
	x.close("ListBucketResult")
	return c.answer(&x)
}

// tokenMark begins every continuation token, so that a key is not accepted as
// one.
const tokenMark = 1

// endsCommon tells whether s is a common prefix of this listing and not a key.
// A key that is rolled up is never the last of a page.
func (l listing) endsCommon(s string) bool {
	if !strings.HasPrefix(s, l.prefix) {
		return false
	}
	cp, ok := l.common(s)
	return ok && cp == s
}

func (c *call) listObjects() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	l, err := c.listing()
	if err != nil {
		return err
	}
	marker := c.query.Get("marker")
	after, afterPrefix := marker, false
	// A marker inside a common prefix: the listing goes on behind that prefix
	// (recorded).
	if strings.HasPrefix(marker, l.prefix) {
		if cp, ok := l.common(marker); ok {
			after, afterPrefix = cp, true
		}
	}
	p := b.objects(l, after, afterPrefix)
	x := xmlWriter{b: make([]byte, 0, 512+400*len(p.found))}
	x.root("ListBucketResult")
	x.element("Name", b.name)
	x.element("Prefix", l.escape(l.prefix))
	x.element("Marker", l.escape(marker))
	x.elementIf("Delimiter", l.escape(l.delimiter))
	x.int("MaxKeys", l.limit)
	if l.encode {
		x.element("EncodingType", "url")
	}
	x.bool("IsTruncated", p.truncated)
	if p.truncated && l.delimiter != "" { // otherwise the last key is the marker (API, ListObjects)
		x.element("NextMarker", l.escape(p.last))
	}
	c.contents(&x, l, p, true)
	x.close("ListBucketResult")
	return c.answer(&x)
}

func (c *call) contents(x *xmlWriter, l listing, p page, owner bool) {
	for _, o := range p.found {
		x.open("Contents")
		c.listedElements(x, l, o, owner)
		x.close("Contents")
	}
	l.prefixElements(x, p.prefixes)
}

func (l listing) prefixElements(x *xmlWriter, prefixes []string) {
	for _, cp := range prefixes {
		x.open("CommonPrefixes")
		x.element("Prefix", l.escape(cp))
		x.close("CommonPrefixes")
	}
}

func (c *call) listedElements(x *xmlWriter, l listing, o listed, owner bool) {
	x.element("Key", l.escape(o.key))
	x.time("LastModified", o.lastModified())
	if !o.marker {
		x.element("ETag", o.quotedETag())
		if o.checksum.value != "" {
			x.element("ChecksumAlgorithm", o.checksum.algorithm)
			x.element("ChecksumType", o.checksum.kind())
		}
		x.int("Size", len(o.body))
		x.element("StorageClass", o.storageClass())
	}
	if owner {
		c.ownerElement(x)
	}
}

// listVersions lists the versions of every key, newest first.
func (c *call) listVersions() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	l, err := c.listing()
	if err != nil {
		return err
	}
	keyMarker, versionMarker := c.query.Get("key-marker"), c.query.Get("version-id-marker")
	if versionMarker != "" {
		if keyMarker == "" {
			return invalidArgument("A version-id marker cannot be specified without a key marker.", "version-id-marker", versionMarker)
		}
		if err := validVersion(versionMarker); err != nil {
			return err
		}
	}
	p, next := b.versions(l, keyMarker, versionMarker)
	var x xmlWriter
	x.root("ListVersionsResult")
	x.element("Name", b.name)
	x.element("Prefix", l.escape(l.prefix))
	x.element("KeyMarker", l.escape(keyMarker))
	x.element("VersionIdMarker", versionMarker)
	x.elementIf("Delimiter", l.escape(l.delimiter))
	x.int("MaxKeys", l.limit)
	if l.encode {
		x.element("EncodingType", "url")
	}
	x.bool("IsTruncated", p.truncated)
	if p.truncated {
		x.element("NextKeyMarker", l.escape(p.last))
		x.elementIf("NextVersionIdMarker", next)
	}
	for _, o := range p.found {
		name := "Version"
		if o.marker {
			name = "DeleteMarker"
		}
		x.open(name)
		x.element("VersionId", o.versionID())
		x.bool("IsLatest", o.latest)
		c.listedElements(&x, l, o, true)
		x.close(name)
	}
	l.prefixElements(&x, p.prefixes)
	x.close("ListVersionsResult")
	return c.answer(&x)
}

// versions collects the page behind a version of a key or, without a version,
// behind all versions of the key. If the version at the marker was deleted
// meanwhile, the listing goes on with the versions that were written before
// it. The null version has no number, so if it was deleted the listing goes on
// with the key's newest version.
func (b *bucket) versions(l listing, key, version string) (p page, next string) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if l.limit == 0 {
		return p, ""
	}
	full := func() bool { return len(p.found)+len(p.prefixes) == l.limit }
	// take adds the versions of e that come behind the marker. It returns false
	// when the page is full.
	take := func(e *entry, marker string) bool {
		passed := marker == "" || marker == "null" && e.version("") == nil
		gone := marker != "null" && marker != "" && e.version(marker) == nil
		for i := len(e.older); i >= 0; i-- {
			o := e.current
			if i < len(e.older) {
				o = e.older[i]
			}
			switch {
			case passed:
			case gone:
				if passed = o.seq < versionSeq(marker); !passed {
					continue
				}
			default:
				passed = o.versionID() == marker
				continue
			}
			if full() {
				p.truncated = true
				return false
			}
			p.found = append(p.found, listed{e.key, o, o == e.current})
			p.last, next = e.key, o.versionID()
		}
		return true
	}
	if version != "" && strings.HasPrefix(key, l.prefix) {
		if e := b.entries.get(key); e != nil && !take(e, version) {
			return p, next
		}
	}
	after, afterPrefix := key, l.endsCommon(key)
	for {
		rolled := false
		for e := range b.entries.from(l.before(after, afterPrefix)) {
			if !strings.HasPrefix(e.key, l.prefix) {
				return p, next
			}
			if cp, ok := l.common(e.key); ok {
				if full() {
					p.truncated = true
					return p, next
				}
				p.prefixes = append(p.prefixes, cp)
				p.last, next, after, afterPrefix, rolled = cp, "", cp, true, true
				break
			}
			if !take(e, "") {
				return p, next
			}
		}
		if !rolled {
			return p, next
		}
	}
}
