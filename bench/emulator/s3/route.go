package s3

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// call is one request on its way through the service.
type call struct {
	*Service
	w   http.ResponseWriter
	r   *http.Request
	now time.Time // when it came in
	target
	query             url.Values
	requestID, hostID string
}

// target is the bucket and the key that a request addresses, decoded.
type target struct{ bucket, key string }

// Operation returns the name of the S3 operation that a request asks for, as
// in the API Reference: "ListObjectsV2", "CopyObject". It is "Unknown" if the
// service answers with 501.
func Operation(r *http.Request) string {
	t, err := address(r)
	if err != nil {
		return "Unknown"
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "Unknown"
	}
	if op := lookup(r, t, query); op != nil {
		return op.name
	}
	return "Unknown"
}

// lookup finds the operation; nil if there is none. A query parameter that the
// operation does not take makes the request unknown. Otherwise a PUT with an
// unknown sub-resource would be taken for PutObject.
func lookup(r *http.Request, t target, query url.Values) *operation {
	route := r.Method + " service"
	switch {
	case t.key != "" && r.Method == http.MethodPut && r.Header.Get("x-amz-copy-source") != "":
		route = r.Method + " copy"
	case t.key != "":
		route = r.Method + " object"
	case t.bucket != "":
		route = r.Method + " bucket"
	}
	chosen := ""
	for name := range query {
		if selectors[name] {
			if chosen != "" {
				return nil
			}
			chosen = name
			route += "?" + name
		}
	}
	op := operations[route]
	if op == nil {
		return nil
	}
	for name := range query {
		if name != chosen && !slices.Contains(op.params, name) && !slices.Contains(commonParams, name) {
			return nil
		}
	}
	return op
}

// address finds bucket and key. It reads the path as it was escaped, because
// keys may have "//", "." and ".." segments and escaped slashes.
func address(r *http.Request) (t target, err error) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/")
	bucket, key := hostBucket(r.Host), path
	if bucket == "" {
		bucket, key, _ = strings.Cut(path, "/")
	}
	if t.bucket, err = url.PathUnescape(bucket); err != nil {
		return t, err
	}
	t.key, err = url.PathUnescape(key)
	return t, err
}

func hostBucket(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	for _, mark := range []string{".s3.", ".s3-"} {
		if i := strings.Index(host, mark); i > 0 {
			return host[:i]
		}
	}
	if b, ok := strings.CutSuffix(host, ".localhost"); ok && b != "s3" {
		return b
	}
	return ""
}

// serve routes the request and does what all operations have in common.
func (c *call) serve() error {
	var err error
	if c.target, err = address(c.r); err != nil || !utf8.ValidString(c.key) {
		return fault(400, "InvalidURI", "Couldn't parse the specified URI.")
	}
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return fault(400, "InvalidURI", "Couldn't parse the specified URI.")
	}
	op := lookup(c.r, c.target, c.query)
	if op == nil {
		return fault(501, "NotImplemented", "This combination of method, sub-resource and parameters is not implemented.")
	}
	for name := range c.r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") && !takes(op.headers, lower) && !slices.Contains(commonHeaders, lower) {
			return notImplemented(lower)
		}
	}
	if len(c.key) > 1024 {
		return fault(400, "KeyTooLongError", "Your key is too long").field("Size", itoa(len(c.key))).field("MaxSizeAllowed", "1024")
	}
	if want := c.r.Header.Get("x-amz-expected-bucket-owner"); want != "" && want != c.account {
		return fault(403, "AccessDenied", "Access Denied")
	}
	return op.run(c)
}

func takes(headers []string, name string) bool {
	for _, h := range headers {
		if h == name || strings.HasSuffix(h, "*") && strings.HasPrefix(name, h[:len(h)-1]) {
			return true
		}
	}
	return false
}

// find returns a bucket. A bucket that was made in another Region than the
// service's is reached by requests that are signed for that Region, or not
// signed at all.
func (c *call) find(name string) (*bucket, error) {
	c.mu.RLock()
	b := c.buckets[name]
	c.mu.RUnlock()
	if b == nil {
		return nil, fault(404, "NoSuchBucket", "The specified bucket does not exist").field("BucketName", name)
	}
	if signed := signingRegion(c.r); b.region != c.region && signed != "" && signed != b.region {
		return nil, fault(301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.").
			field("Endpoint", name+".s3."+b.region+".amazonaws.com").field("Bucket", name).header("x-amz-bucket-region", b.region)
	}
	return b, nil
}

// signingRegion is the Region of the credential scope; "" if the request is
// not signed.
func signingRegion(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	credential, _, _ = strings.Cut(credential, ",")
	if scope := strings.Split(credential, "/"); len(scope) >= 5 {
		return scope[len(scope)-3]
	}
	return ""
}
