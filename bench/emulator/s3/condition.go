package s3

import (
	"net/http"
	"strings"
	"time"
)

// condition is what a write requires of the current version of its key (Guide,
// "How to prevent object overwrites with conditional writes"). The zero value
// requires nothing.
type condition struct {
	ifMatch, ifNoneMatch string

	// fresh, if set, must hold too at the moment of the write. If it does not,
	// the write returns errStale and its caller starts again.
	fresh func(*bucket) bool
}

// writeCondition reads the conditions of PutObject, CopyObject and
// CompleteMultipartUpload. These operations take no time conditions, and only
// the entity tags that the API names. Everything else is answered with 501
// (recorded).
func writeCondition(h http.Header) (condition, error) {
	w := condition{ifMatch: h.Get("If-Match"), ifNoneMatch: h.Get("If-None-Match")}
	switch {
	case w.ifMatch != "" && w.ifNoneMatch != "":
		return w, notImplemented("If-Match,If-None-Match").field("additionalMessage", "Multiple conditional request headers present in the request")
	case w.ifMatch == "*":
		return w, notImplemented("If-Match").field("additionalMessage", "We don't accept the provided value of If-Match header for this API")
	case w.ifNoneMatch != "" && w.ifNoneMatch != "*":
		return w, notImplemented("If-None-Match").field("additionalMessage", "We don't accept the provided value of If-None-Match header for this API")
	}
	return w, nil
}

// holds evaluates the condition. The caller holds the bucket's lock.
func (w condition) holds(b *bucket, key string) error {
	if w.ifMatch != "" {
		e := b.entries.get(key)
		if e == nil || e.current.marker {
			return noSuchKey(key)
		}
		if !sameETag(w.ifMatch, e.current.etag) {
			return preconditionFailed("If-Match")
		}
	}
	if w.ifNoneMatch != "" {
		if e := b.entries.get(key); e != nil && !e.current.marker {
			return preconditionFailed("If-None-Match")
		}
	}
	if w.fresh != nil && !w.fresh(b) {
		return errStale
	}
	return nil
}

// early evaluates the condition before work begins that may be in vain. The
// decision is made by holds, at the moment of the write.
func (w condition) early(b *bucket, key string) error {
	w.fresh = nil
	b.mu.RLock()
	defer b.mu.RUnlock()
	return w.holds(b, key)
}

// sameETag compares a tag from a header, with or without quotes, with an
// object's.
func sameETag(header, etag string) bool {
	return strings.Trim(strings.TrimSpace(header), `"`) == etag
}

// anyETag compares a header that may have several tags, or be "*", with an
// object's tag.
func anyETag(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if strings.TrimSpace(tag) == "*" || sameETag(tag, etag) {
			return true
		}
	}
	return false
}

// readCondition evaluates the four conditions of a read. Their header names
// begin with prefix. It returns the name of the condition that failed; "" if
// none did. Tags take precedence over times: If-Unmodified-Since is not
// evaluated if If-Match holds, and If-Modified-Since is not evaluated beside
// If-None-Match (API, GetObject and CopyObject; RFC 9110, section 13.2.2).
func readCondition(h http.Header, prefix string, o *object) (failed string) {
	if v := h.Get(prefix + "If-Match"); v != "" {
		if !anyETag(v, o.etag) {
			return "If-Match"
		}
	} else if since, ok := headerTime(h, prefix+"If-Unmodified-Since"); ok && o.modified > since.Unix() {
		return "If-Unmodified-Since"
	}
	if v := h.Get(prefix + "If-None-Match"); v != "" {
		if anyETag(v, o.etag) {
			return "If-None-Match"
		}
	} else if since, ok := headerTime(h, prefix+"If-Modified-Since"); ok && o.modified <= since.Unix() {
		return "If-Modified-Since"
	}
	return ""
}

func headerTime(h http.Header, name string) (time.Time, bool) {
	v := h.Get(name)
	if v == "" {
		return time.Time{}, false
	}
	t, err := http.ParseTime(v)
	return t, err == nil
}
