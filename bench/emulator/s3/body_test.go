package s3_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/bench/emulator"
)

// Each algorithm is checked, stored and returned, and a wrong value is refused
// (Guide, "Checking object integrity").
func TestChecksums(t *testing.T) {
	w := newWorld(t)
	for _, algorithm := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
		w.Put("k", "body", func(in *s3.PutObjectInput) { in.ChecksumAlgorithm = algorithm })
		out, err := w.S3.GetObjectAttributes(w.Context(), &s3.GetObjectAttributesInput{Bucket: &w.Bucket, Key: aws.String("k"), ObjectAttributes: []types.ObjectAttributes{"Checksum", "ETag", "ObjectSize", "StorageClass"}})
		w.OK(err)
		c := out.Checksum
		value := map[types.ChecksumAlgorithm]*string{"CRC32": c.ChecksumCRC32, "CRC32C": c.ChecksumCRC32C, "CRC64NVME": c.ChecksumCRC64NVME, "SHA1": c.ChecksumSHA1, "SHA256": c.ChecksumSHA256}[algorithm]
		is(w, string(algorithm), value != nil, true)
		is(w, "type", c.ChecksumType, types.ChecksumTypeFullObject)
		is(w, "size", *out.ObjectSize, 4)
		is(w, "class", out.StorageClass, types.StorageClassStandard)
		is(w, "ETag has no quotes", strings.Contains(*out.ETag, `"`), false)

		name := "x-amz-checksum-" + strings.ToLower(string(algorithm))
		wrong, _ := base64.StdEncoding.DecodeString(*value)
		wrong[0] ^= 1
		response, body := w.raw("PUT", "/bucket/wrong", http.Header{name: {base64.StdEncoding.EncodeToString(wrong)}}, []byte("body"))
		is(w, "status", response.StatusCode, 400)
		is(w, "code", strings.Contains(body, "<Code>BadDigest</Code>"), true)
		response, body = w.raw("PUT", "/bucket/wrong", http.Header{name: {"AAAA"}}, []byte("body"))
		is(w, "malformed", response.StatusCode, 400)
		is(w, "malformed", strings.Contains(body, "<Code>InvalidRequest</Code>"), true)
	}
	digest := md5.Sum([]byte("other"))
	for _, c := range []struct {
		header http.Header
		code   string
	}{
		{http.Header{"Content-MD5": {base64.StdEncoding.EncodeToString(digest[:])}}, "BadDigest"},
		{http.Header{"Content-MD5": {"x"}}, "InvalidDigest"},
		{http.Header{"x-amz-content-sha256": {strings.Repeat("0", 64)}}, "XAmzContentSHA256Mismatch"},
		{http.Header{"x-amz-sdk-checksum-algorithm": {"CRC32"}}, "InvalidRequest"},
		{http.Header{"x-amz-checksum-crc32": {"AAAAAA=="}, "x-amz-checksum-sha1": {"x"}}, "BadDigest"},
	} {
		response, body := w.raw("PUT", "/bucket/wrong", c.header, []byte("body"))
		is(w, "status", response.StatusCode, 400)
		if !strings.Contains(body, "<Code>"+c.code+"</Code>") {
			t.Errorf("want %s: %s", c.code, body)
		}
	}
	_, err := w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("wrong")})
	w.Refused(err, 404, "NotFound")
}

// Unsigned payloads carry no digest of the body in their signature (API,
// "Signature calculations").
func TestUnsignedPayload(t *testing.T) {
	w := newWorld(t)
	_, err := w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Body: strings.NewReader("body")},
		s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	w.OK(err)
	is(w, "body", w.Get("k"), "body")
}

func crc(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return base64.StdEncoding.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// The aws-chunked encoding is removed and not stored, and the trailer is
// checked (API, "Signature calculations ... multiple chunks").
func TestChunked(t *testing.T) {
	w := newWorld(t)
	unsigned := "3\r\nbod\r\n1\r\ny\r\n0\r\nx-amz-checksum-crc32:" + crc("body") + "\r\n\r\n"
	signature := ";chunk-signature=" + strings.Repeat("0", 64)
	signed := "4" + signature + "\r\nbody\r\n0" + signature + "\r\n\r\n"
	signedTrailer := "4" + signature + "\r\nbody\r\n0" + signature + "\r\nx-amz-checksum-crc32:" + crc("body") + "\r\nx-amz-trailer-signature:0\r\n\r\n"
	for _, c := range []struct {
		kind, body, trailer, length string
		status                      int
	}{
		{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", unsigned, "x-amz-checksum-crc32", "4", 200},
		{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", signed, "", "4", 200},
		{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", signedTrailer, "x-amz-checksum-crc32", "4", 200},
		{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", strings.Replace(unsigned, "y", "x", 1), "x-amz-checksum-crc32", "4", 400},
		{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", unsigned, "x-amz-checksum-crc32", "5", 400},
		{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "4\r\nbody\r\n0\r\n\r\n", "x-amz-checksum-crc32", "4", 400},
		{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "4\r\nbod", "", "4", 400},
		{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "zz\r\nbody\r\n", "", "4", 400},
		{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "ffffffffff\r\n", "", "4", 400},
		{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "4\r\nbodyXX0\r\n\r\n", "", "4", 400},
	} {
		header := http.Header{"x-amz-content-sha256": {c.kind}, "x-amz-decoded-content-length": {c.length}, "Content-Encoding": {"gzip,aws-chunked"}}
		if c.trailer != "" {
			header["x-amz-trailer"] = []string{c.trailer}
		}
		response, body := w.raw("PUT", "/bucket/k", header, []byte(c.body))
		if response.StatusCode != c.status {
			t.Errorf("%s %q: %d %s", c.kind, c.body, response.StatusCode, body)
		}
		if c.status == 200 {
			is(w, "body", w.Get("k"), "body")
			is(w, "encoding", *w.Head("k").ContentEncoding, "gzip")
		}
	}
	// The SDK sends this form over TLS, and over the in-process client.
	_, err := w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Body: strings.NewReader("over tls"), ChecksumAlgorithm: "CRC64NVME"}, func(o *s3.Options) {
		o.BaseEndpoint, o.HTTPClient = aws.String("https://emulator"), w.Emulator.Client()
	})
	w.OK(err)
	is(w, "body", w.Get("k"), "over tls")
	h, err := w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), ChecksumMode: "ENABLED"})
	w.OK(err)
	is(w, "CRC64NVME", h.ChecksumCRC64NVME != nil, true)
}

// Unknown requests get 501 and change nothing. Above all, PUT with an unknown
// sub-resource is not PutObject (seen in other servers).
func TestUnknown(t *testing.T) {
	w := newWorld(t)
	w.Put("k", "body")
	for _, c := range []struct {
		method, path string
		header       http.Header
	}{
		{"PUT", "/bucket/k?annotation", nil},
		{"PUT", "/bucket/k?torrent=", nil},
		{"PUT", "/bucket/k?x-unheard-of=1", nil},
		{"PUT", "/bucket/k?versionId=null", nil},
		{"PUT", "/bucket/k?tagging&acl", nil},
		{"POST", "/bucket/k?restore", nil},
		{"POST", "/bucket/k?select&select-type=2", nil},
		{"PATCH", "/bucket/k", nil},
		{"POST", "/bucket", nil},
		{"PUT", "/bucket?policy", nil},
		{"PUT", "/bucket?lifecycle", nil},
		{"DELETE", "/bucket?policy", nil},
		{"DELETE", "/bucket/k?annotation", nil},
		{"GET", "/bucket/k?torrent", nil},
		{"PUT", "/bucket/k", http.Header{"x-amz-write-offset-bytes": {"4"}}},
		{"PUT", "/bucket/k", http.Header{"x-amz-server-side-encryption-customer-algorithm": {"AES256"}}},
		{"DELETE", "/bucket/k", http.Header{"x-amz-if-match-size": {"4"}}},
		{"GET", "/bucket/k", http.Header{"x-amz-unheard-of": {"1"}}},
	} {
		response, body := w.raw(c.method, c.path, c.header, []byte("<X/>"))
		if response.StatusCode != 501 || !strings.Contains(body, "<Code>NotImplemented</Code>") {
			t.Errorf("%s %s %v: %d %s", c.method, c.path, c.header, response.StatusCode, body)
		}
		is(w, c.method+" "+c.path, w.Get("k"), "body")
	}
	is(w, "counted", w.Emulator.Counters()["s3:Unknown"] >= 10, true)
	response, _ := w.raw("PUT", "/bucket/%ff", nil, nil) // not UTF-8
	is(w, "status", response.StatusCode, 400)
	_, err := w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), ExpectedBucketOwner: aws.String("999999999999")})
	w.Refused(err, 403, "AccessDenied")
}

// API, "Virtual hosting of buckets".
func TestVirtualHost(t *testing.T) {
	w := newWorld(t)
	w.Put("a/b", "body")
	for _, endpoint := range []string{"http://s3.us-east-1.amazonaws.com", "http://localhost:1"} {
		virtual := func(o *s3.Options) {
			o.UsePathStyle, o.BaseEndpoint, o.HTTPClient = false, &endpoint, w.Emulator.Client()
		}
		out, err := w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("a/b")}, virtual)
		w.OK(err)
		is(w, "body", w.ReadAll(out.Body), "body")
		_, err = w.S3.CreateBucket(w.Context(), &s3.CreateBucketInput{Bucket: aws.String("dotted.name")}, virtual)
		w.OK(err)
	}
}

// Decoding neither panics nor takes memory beyond the request's own size,
// whatever the encoding says.
func FuzzChunked(f *testing.F) {
	f.Add([]byte("4\r\nbody\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"))
	f.Add([]byte("1;chunk-signature=0\r\na\r\n0;chunk-signature=0\r\n\r\n"))
	e := emulator.New(emulator.Options{})
	send(f, e, request("PUT", "/bucket", ""))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := http.NewRequest("PUT", "http://emulator/bucket/k", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
		r.Header.Set("x-amz-decoded-content-length", fmt.Sprint(bytes.Count(body, []byte("a"))))
		response, err := e.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != 200 && response.StatusCode != 400 {
			t.Errorf("status %d", response.StatusCode)
		}
	})
}
