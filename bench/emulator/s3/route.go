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

// target is what a request addresses, both parts decoded.
type target struct{ bucket, key string }

// operation is one entry of the S3 API: what it is called, what it takes, what
// it does. Query parameters and x-amz- headers that an operation does not take
// are not ignored but refused: they may ask for something that matters.
type operation struct {
	name    string
	params  []string
	headers []string
	run     func(*call) error
}

var (
	conditionHeaders = []string{"x-amz-checksum-mode"}
	encryptHeaders   = []string{
		"x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
		"x-amz-server-side-encryption-context", "x-amz-server-side-encryption-bucket-key-enabled",
	}
	aclHeaders = []string{
		"x-amz-acl", "x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write-acp",
	}
	writeHeaders = slices.Concat(encryptHeaders, aclHeaders, []string{
		"x-amz-meta-*", "x-amz-storage-class", "x-amz-tagging", "x-amz-website-redirect-location",
		"x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold",
	})
	copySourceHeaders = []string{
		"x-amz-copy-source", "x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match",
		"x-amz-copy-source-if-modified-since", "x-amz-copy-source-if-unmodified-since",
		"x-amz-source-expected-bucket-owner",
	}
	responseParams = []string{
		"response-content-type", "response-content-language", "response-expires",
		"response-cache-control", "response-content-disposition", "response-content-encoding",
	}
	bypassHeader = []string{"x-amz-bypass-governance-retention"}

	// Headers that any request may carry: they say how it is signed, sent and
	// paid for, or are checked for all operations alike.
	commonHeaders = []string{
		"x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-user-agent", "x-amz-target",
		"x-amz-expected-bucket-owner", "x-amz-request-payer", "x-amz-decoded-content-length", "x-amz-trailer",
		"x-amz-sdk-checksum-algorithm", "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme",
		"x-amz-checksum-sha1", "x-amz-checksum-sha256",
	}
	commonParams = []string{
		"x-id", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
		"X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Content-Sha256",
	}
)

// selectors are the query parameters that choose an operation.
var selectors = map[string]bool{
	"acl": true, "attributes": true, "delete": true, "encryption": true, "legal-hold": true, "list-type": true,
	"location": true, "object-lock": true, "ownershipControls": true, "retention": true, "tagging": true,
	"uploadId": true, "uploads": true, "versioning": true, "versions": true,
}

// operations by method, level (service, bucket, object, or "copy" for an object
// request with a copy source) and selector. Filled in init, since handlers refer
// back to it.
var operations map[string]*operation

func register(route, name string, run func(*call) error, params []string, headers ...[]string) {
	operations[route] = &operation{name: name, params: params, headers: slices.Concat(headers...), run: run}
}

func init() {
	operations = make(map[string]*operation)
	version := []string{"versionId"}

	register("GET service", "ListBuckets", (*call).listBuckets, []string{"prefix", "max-buckets", "continuation-token", "bucket-region"})

	register("PUT bucket", "CreateBucket", (*call).createBucket, nil,
		[]string{"x-amz-object-ownership", "x-amz-bucket-object-lock-enabled", "x-amz-acl"})
	register("HEAD bucket", "HeadBucket", (*call).headBucket, nil)
	register("DELETE bucket", "DeleteBucket", (*call).deleteBucket, nil)
	register("GET bucket?location", "GetBucketLocation", (*call).getBucketLocation, nil)
	register("GET bucket?versioning", "GetBucketVersioning", (*call).getBucketVersioning, nil)
	register("PUT bucket?versioning", "PutBucketVersioning", (*call).putBucketVersioning, nil)
	register("GET bucket?encryption", "GetBucketEncryption", (*call).getBucketEncryption, nil)
	register("PUT bucket?encryption", "PutBucketEncryption", (*call).putBucketEncryption, nil)
	register("DELETE bucket?encryption", "DeleteBucketEncryption", (*call).deleteBucketEncryption, nil)
	register("GET bucket?ownershipControls", "GetBucketOwnershipControls", (*call).getOwnership, nil)
	register("PUT bucket?ownershipControls", "PutBucketOwnershipControls", (*call).putOwnership, nil)
	register("DELETE bucket?ownershipControls", "DeleteBucketOwnershipControls", (*call).deleteOwnership, nil)

	list := []string{"prefix", "delimiter", "max-keys", "encoding-type"}
	optional := []string{"x-amz-optional-object-attributes"}
	register("GET bucket", "ListObjects", (*call).listObjects, slices.Concat(list, []string{"marker"}), optional)
	register("GET bucket?list-type", "ListObjectsV2", (*call).listObjectsV2,
		slices.Concat(list, []string{"continuation-token", "start-after", "fetch-owner"}), optional)
	register("GET bucket?versions", "ListObjectVersions", (*call).listVersions,
		slices.Concat(list, []string{"key-marker", "version-id-marker"}), optional)
	register("POST bucket?delete", "DeleteObjects", (*call).deleteObjects, nil, bypassHeader)

	register("PUT object", "PutObject", (*call).putObject, nil, writeHeaders)
	register("PUT copy", "CopyObject", (*call).copyObject, nil, writeHeaders, copySourceHeaders,
		[]string{"x-amz-metadata-directive", "x-amz-tagging-directive", "x-amz-checksum-algorithm"})
	register("GET object", "GetObject", (*call).getObject, slices.Concat(version, responseParams, []string{"partNumber"}), conditionHeaders)
	register("HEAD object", "HeadObject", (*call).getObject, slices.Concat(version, responseParams, []string{"partNumber"}), conditionHeaders)
	register("DELETE object", "DeleteObject", (*call).deleteObject, version, bypassHeader)
	register("GET object?attributes", "GetObjectAttributes", (*call).getAttributes, version,
		[]string{"x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker"})
	register("GET object?tagging", "GetObjectTagging", (*call).getTagging, version)
	register("PUT object?tagging", "PutObjectTagging", (*call).putTagging, version)
	register("DELETE object?tagging", "DeleteObjectTagging", (*call).deleteTagging, version)
	register("GET object?acl", "GetObjectAcl", (*call).getACL, version)
	register("PUT object?encryption", "UpdateObjectEncryption", (*call).updateEncryption, version)
	register("GET bucket?object-lock", "GetObjectLockConfiguration", (*call).getBucketLock, nil)
	register("GET object?legal-hold", "GetObjectLegalHold", (*call).getLegalHold, version)
	register("PUT object?legal-hold", "PutObjectLegalHold", (*call).putLegalHold, version)
	register("GET object?retention", "GetObjectRetention", (*call).getRetention, version)
	register("PUT object?retention", "PutObjectRetention", (*call).putRetention, version, bypassHeader)
	register("PUT object?acl", "PutObjectAcl", (*call).putACL, version, aclHeaders)

	part := []string{"partNumber"}
	register("POST object?uploads", "CreateMultipartUpload", (*call).createUpload, nil, writeHeaders,
		[]string{"x-amz-checksum-algorithm", "x-amz-checksum-type"})
	register("PUT object?uploadId", "UploadPart", (*call).uploadPart, part)
	register("PUT copy?uploadId", "UploadPartCopy", (*call).uploadPartCopy, part, copySourceHeaders, []string{"x-amz-copy-source-range"})
	register("POST object?uploadId", "CompleteMultipartUpload", (*call).completeUpload, nil,
		[]string{"x-amz-checksum-type", "x-amz-mp-object-size"})
	register("DELETE object?uploadId", "AbortMultipartUpload", (*call).abortUpload, nil)
	register("GET object?uploadId", "ListParts", (*call).listParts, []string{"max-parts", "part-number-marker"})
	register("GET bucket?uploads", "ListMultipartUploads", (*call).listUploads,
		[]string{"prefix", "max-uploads", "key-marker", "upload-id-marker"})
}

// Operation names the S3 operation that a request asks for, in the words of the
// API Reference ("ListObjectsV2", "CopyObject"); "Unknown" for what the service
// answers with 501.
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

// lookup finds the operation; nil where there is none. A parameter that no
// operation of that kind takes makes the request unknown: PUT with a sub-resource
// that is not known must never be taken for PutObject.
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

// address finds bucket and key. The path is taken as it was escaped: keys may
// hold "//", "." and ".." segments and escaped slashes.
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

// find returns the bucket that the request addresses. A bucket that was made in
// another Region than the service's own is reached only by requests signed for
// that Region, as far as they are signed at all.
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

// signingRegion is the Region of the credential scope, "" where unsigned.
func signingRegion(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	credential, _, _ = strings.Cut(credential, ",")
	if scope := strings.Split(credential, "/"); len(scope) >= 5 {
		return scope[len(scope)-3]
	}
	return ""
}
