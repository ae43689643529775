package s3_test

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestBuckets(t *testing.T) {
	w := newWorld(t)

	// API, CreateBucket: an owner may repeat it in us-east-1 only, elsewhere
	// the answer is 409 BucketAlreadyOwnedByYou.
	t.Run("CreateBucket", func(t *testing.T) {
		_, err := w.S3.CreateBucket(w.Context(), &s3.CreateBucketInput{Bucket: &w.Bucket})
		w.OK(err)
		west := &s3.CreateBucketInput{Bucket: aws.String("bucket-west"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "us-west-2"}}
		_, err = w.S3.CreateBucket(w.Context(), west)
		w.OK(err)
		_, err = w.S3.CreateBucket(w.Context(), west)
		w.Refused(err, 409, "BucketAlreadyOwnedByYou")
		_, err = w.S3.CreateBucket(w.Context(), &s3.CreateBucketInput{Bucket: aws.String("Not_A_Name")})
		w.Refused(err, 400, "InvalidBucketName")
	})

	// API, GetBucketLocation: the constraint of us-east-1 is empty.
	t.Run("GetBucketLocation", func(t *testing.T) {
		out, err := w.S3.GetBucketLocation(w.Context(), &s3.GetBucketLocationInput{Bucket: &w.Bucket})
		w.OK(err)
		is(w, "constraint", out.LocationConstraint, "")
	})

	// API, HeadBucket: the answer names the bucket's Region, also where the
	// request was sent to another one and is redirected.
	t.Run("HeadBucket", func(t *testing.T) {
		out, err := w.S3.HeadBucket(w.Context(), &s3.HeadBucketInput{Bucket: &w.Bucket})
		w.OK(err)
		is(w, "Region", *out.BucketRegion, "us-east-1")
		_, err = w.S3.HeadBucket(w.Context(), &s3.HeadBucketInput{Bucket: aws.String("bucket-none")})
		w.Refused(err, 404, "NotFound")
		_, err = w.S3.ListObjectsV2(w.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket-west")})
		w.Refused(err, 301, "PermanentRedirect")
		header := http.Header{"Authorization": {"AWS4-HMAC-SHA256 Credential=any/20261120/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"}}
		response, _ := w.raw("HEAD", "/bucket-west", header, nil)
		is(w, "status", response.StatusCode, 301)
		is(w, "Region", response.Header.Get("x-amz-bucket-region"), "us-west-2")
		inRegion, err := w.S3.HeadBucket(w.Context(), &s3.HeadBucketInput{Bucket: aws.String("bucket-west")}, func(o *s3.Options) { o.Region = "us-west-2" })
		w.OK(err)
		is(w, "Region", *inRegion.BucketRegion, "us-west-2")
	})

	// API, ListBuckets and DeleteBucket: a bucket that is not empty stays.
	t.Run("ListBuckets DeleteBucket", func(t *testing.T) {
		out, err := w.S3.ListBuckets(w.Context(), &s3.ListBucketsInput{})
		w.OK(err)
		is(w, "buckets", len(out.Buckets), 2)
		is(w, "first", *out.Buckets[0].Name, "bucket")
		w.Put("x", "")
		_, err = w.S3.DeleteBucket(w.Context(), &s3.DeleteBucketInput{Bucket: &w.Bucket})
		w.Refused(err, 409, "BucketNotEmpty")
		_, err = w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("x")})
		w.OK(err)
		_, err = w.S3.DeleteBucket(w.Context(), &s3.DeleteBucketInput{Bucket: &w.Bucket})
		w.OK(err)
		_, err = w.S3.ListObjectsV2(w.Context(), &s3.ListObjectsV2Input{Bucket: &w.Bucket})
		w.Refused(err, 404, "NoSuchBucket")
	})
}

// The SDK sends a CRC32 by default (SDK, RequestChecksumCalculation). S3
// stores it, and returns it in checksum mode (API, HeadObject). The ETag of
// plain content is its MD5 (API, Object: ETag).
func TestPutGet(t *testing.T) {
	w := newWorld(t)
	body := strings.Repeat("0123456789", 1000)
	digest := md5.Sum([]byte(body))
	out := w.Put("k", body)
	is(w, "ETag", *out.ETag, `"`+hex.EncodeToString(digest[:])+`"`)
	is(w, "body", w.Get("k"), body)
	is(w, "encryption", out.ServerSideEncryption, "AES256") // Guide: every object, since January 2023
	h, err := w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), ChecksumMode: "ENABLED"})
	w.OK(err)
	is(w, "length", *h.ContentLength, 10000)
	is(w, "type", *h.ContentType, "application/octet-stream") // what the SDK sends
	is(w, "CRC32", aws.ToString(h.ChecksumCRC32), aws.ToString(out.ChecksumCRC32))
	is(w, "checksum type", h.ChecksumType, "FULL_OBJECT")
	is(w, "Last-Modified", *h.LastModified, w.Clock.Now())
	is(w, "checksum without checksum mode", w.Head("k").ChecksumCRC32 == nil, true)

	// Without a Content-Type the object gets binary/octet-stream (recorded).
	// Without a checksum S3 computes CRC64NVME (Guide, "Checking object
	// integrity"); the published check value of "123456789" is
	// 0xae8b14860a799888.
	response, _ := w.raw("PUT", "/bucket/plain", nil, []byte("123456789"))
	is(w, "status", response.StatusCode, 200)
	is(w, "CRC64NVME", response.Header.Get("x-amz-checksum-crc64nvme"), base64.StdEncoding.EncodeToString([]byte{0xae, 0x8b, 0x14, 0x86, 0x0a, 0x79, 0x98, 0x88}))
	is(w, "type", *w.Head("plain").ContentType, "binary/octet-stream")

	// API, Common Response Headers: every answer has a request id and a date.
	is(w, "request id", len(response.Header.Get("x-amz-request-id")), 16)
	is(w, "date", response.Header.Get("Date"), w.Clock.Now().Format(http.TimeFormat))
	_, err = w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("none")})
	w.Refused(err, 404, "NoSuchKey")
}

// A key is any UTF-8 of up to 1,024 bytes, and never a path (Guide, "Naming
// Amazon S3 objects").
func TestOddKeys(t *testing.T) {
	w := newWorld(t)
	keys := []string{
		"a b", "a+b", "a%20b", "a?b=c&d", "a#b", "line\nfeed", "tab\tbell\x07", "//", "/leading", "trailing/", "a//b",
		".", "..", "a/./b", "a/../b", "../up", "ünïcödé", "日本語/鍵", "emoji-🔑", `quote"'<&>`, "back\\slash", "a;b", "~*!()", "%", "%zz",
		strings.Repeat("k", 1024), strings.Repeat("é", 512), "\x7f", "_emulator/counters",
	}
	for _, key := range keys {
		w.Put(key, "body of "+key)
		_, err := w.copyOnto(escapeSource(key), func(in *s3.CopyObjectInput) {
			in.Key, in.MetadataDirective, in.Metadata = &key, "REPLACE", map[string]string{"copied": "yes"}
		})
		w.OK(err)
		is(w, "body", w.Get(key), "body of "+key)
		is(w, "metadata", w.Head(key).Metadata["copied"], "yes")
	}
	// With encoding-type=url keys are listed escaped as in a form, except for
	// slashes.
	p := s3.NewListObjectsV2Paginator(w.S3, &s3.ListObjectsV2Input{Bucket: &w.Bucket, EncodingType: "url"})
	found := make(map[string]bool)
	last := ""
	for p.HasMorePages() {
		out, err := p.NextPage(w.Context())
		w.OK(err)
		for _, o := range out.Contents {
			key := unescapeListed(w, *o.Key)
			if key <= last {
				t.Errorf("%q is listed after %q", key, last)
			}
			found[key], last = true, key
		}
	}
	for _, key := range keys {
		if !found[key] {
			t.Errorf("%q is not listed", key)
		}
		_, err := w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: &key})
		w.OK(err)
		_, err = w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: &key})
		w.Refused(err, 404, "NotFound")
	}
	is(w, "keys", len(found), len(keys))
	_, err := w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String(strings.Repeat("k", 1025))})
	w.Refused(err, 400, "KeyTooLongError")
}

// Recorded: the example of the API's documentation, "test_file(3).png", is
// listed as "test_file%283%29.png", and a space as "+".
func TestListEncoding(t *testing.T) {
	w := newWorld(t)
	w.Put("test_file(3).png", "")
	w.Put("a b/c", "")
	out, err := w.S3.ListObjectsV2(w.Context(), &s3.ListObjectsV2Input{Bucket: &w.Bucket, EncodingType: "url"})
	w.OK(err)
	is(w, "first", *out.Contents[0].Key, "a+b/c")
	is(w, "second", *out.Contents[1].Key, "test_file%283%29.png")
}

func TestEncryption(t *testing.T) {
	w := newWorld(t)
	arn := w.Key("")
	under := func(in *s3.PutObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &arn
		in.Metadata = map[string]string{"Mixed-Case": "v"}
		in.Tagging = aws.String("a=1&b=two%20words")
		in.ContentType, in.CacheControl, in.ContentLanguage = aws.String("text/x"), aws.String("no-store"), aws.String("de")
		in.ContentEncoding, in.ContentDisposition = aws.String("identity"), aws.String(`attachment; filename="x"`)
		in.WebsiteRedirectLocation = aws.String("/elsewhere")
	}
	// API, PutObject and HeadObject.
	put := w.Put("k", "body", under)
	h := w.Head("k")
	is(w, "algorithm", h.ServerSideEncryption, "aws:kms")
	is(w, "key", *h.SSEKMSKeyId, arn)
	is(w, "metadata", h.Metadata["mixed-case"], "v")
	is(w, "type", *h.ContentType, "text/x")
	is(w, "cache", *h.CacheControl, "no-store")
	is(w, "language", *h.ContentLanguage, "de")
	is(w, "encoding", *h.ContentEncoding, "identity")
	is(w, "disposition", *h.ContentDisposition, `attachment; filename="x"`)
	is(w, "redirect", *h.WebsiteRedirectLocation, "/elsewhere")
	is(w, "tags", aws.ToInt32(h.TagCount), 2)
	tags, err := w.S3.GetObjectTagging(w.Context(), &s3.GetObjectTaggingInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.OK(err)
	is(w, "tag", *tags.TagSet[1].Value, "two words")
	// API, Object: the ETag under KMS keys is not the MD5 of the content.
	digest := md5.Sum([]byte("body"))
	is(w, "ETag is the MD5", strings.Trim(*put.ETag, `"`) == hex.EncodeToString(digest[:]), false)
	is(w, "body", w.Get("k"), "body")

	// Seen on the wire and in other servers: metadata names go out in lower case.
	response := w.rawHead("/bucket/k")
	if !strings.Contains(response, "\r\nx-amz-meta-mixed-case: v\r\n") || !strings.Contains(response, "\r\nETag: ") {
		t.Errorf("names on the wire:\n%s", response)
	}

	// Recorded: KMS.NotFoundException, 400.
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("none"), ServerSideEncryption: "aws:kms", SSEKMSKeyId: aws.String("00000000-0000-0000-0000-000000000000")})
	w.Refused(err, 400, "KMS.NotFoundException")
	_, err = w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("none")})
	w.Refused(err, 404, "NotFound")

	// API, PutObject: context and bucket key; the context is in the answer
	// to the PUT only.
	out := w.Put("bk", "body", func(in *s3.PutObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId, in.BucketKeyEnabled = "aws:kms", &arn, aws.Bool(true)
		in.SSEKMSEncryptionContext = aws.String(base64.StdEncoding.EncodeToString([]byte(`{"who":"me"}`)))
	})
	context, _ := base64.StdEncoding.DecodeString(aws.ToString(out.SSEKMSEncryptionContext))
	is(w, "context", string(context), `{"aws:s3:arn":"arn:aws:s3:::bucket","who":"me"}`)
	is(w, "bucket key", aws.ToBool(w.Head("bk").BucketKeyEnabled), true)
	is(w, "body", w.Get("bk"), "body")

	// Guide, "Using server-side encryption with AWS KMS keys": aws:kms without
	// a key is the managed key of S3; an alias is resolved.
	managed := w.Put("managed", "", func(in *s3.PutObjectInput) { in.ServerSideEncryption = "aws:kms" })
	is(w, "managed key", *managed.SSEKMSKeyId, *w.Describe("alias/aws/s3").Arn)
}

// S3 answers with the code of KMS behind "KMS.". Reads of the body fail too;
// HEAD needs no key (Guide, SSE-KMS; API, HeadObject, permissions; recorded).
func TestDisabledKey(t *testing.T) {
	w := newWorld(t)
	arn := w.Key("")
	put := w.Put("k", "body", func(in *s3.PutObjectInput) { in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &arn })
	w.Disable(arn)
	_, err := w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.Refused(err, 400, "KMS.DisabledException")
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), ServerSideEncryption: "aws:kms", SSEKMSKeyId: &arn})
	w.Refused(err, 400, "KMS.DisabledException")
	_, err = w.copyOnto("k", func(in *s3.CopyObjectInput) { in.ServerSideEncryption = "AES256" })
	w.Refused(err, 400, "KMS.DisabledException")
	is(w, "ETag after refusals", *w.Head("k").ETag, *put.ETag)

	// A write whose condition does not hold makes no call to KMS.
	_, err = w.KMS.EnableKey(w.Context(), &kms.EnableKeyInput{KeyId: &arn})
	w.OK(err)
	w.Emulator.ResetCounters()
	_, err = w.copyOnto("k", func(in *s3.CopyObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId, in.IfMatch = "aws:kms", &arn, aws.String("wrong")
	})
	w.Refused(err, 412, "PreconditionFailed")
	is(w, "data keys", w.Emulator.Counters()["s3:kms:GenerateDataKey"], 0)
}

// The default applies to writes that ask for no encryption (API,
// PutBucketEncryption). Its key is not looked up when it is set (recorded).
// Without a setting it is SSE-S3 (Guide, January 2023).
func TestBucketEncryption(t *testing.T) {
	w := newWorld(t)
	arn := w.Key("")
	get := func() types.ServerSideEncryptionRule {
		out, err := w.S3.GetBucketEncryption(w.Context(), &s3.GetBucketEncryptionInput{Bucket: &w.Bucket})
		w.OK(err)
		return out.ServerSideEncryptionConfiguration.Rules[0]
	}
	set := func(key string) {
		_, err := w.S3.PutBucketEncryption(w.Context(), &s3.PutBucketEncryptionInput{Bucket: &w.Bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
			Rules: []types.ServerSideEncryptionRule{{BucketKeyEnabled: aws.Bool(true), ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: &key}}},
		}})
		w.OK(err)
	}
	is(w, "first default", get().ApplyServerSideEncryptionByDefault.SSEAlgorithm, "AES256")
	set("no-such-key")
	_, err := w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.Refused(err, 400, "KMS.NotFoundException")
	set(arn)
	is(w, "key", *get().ApplyServerSideEncryptionByDefault.KMSMasterKeyID, arn)
	out := w.Put("k", "v")
	is(w, "key", aws.ToString(out.SSEKMSKeyId), arn)
	is(w, "bucket key", aws.ToBool(out.BucketKeyEnabled), true)
	out = w.Put("k", "v", func(in *s3.PutObjectInput) { in.ServerSideEncryption = "AES256" })
	is(w, "asked otherwise", out.SSEKMSKeyId == nil, true)
	// aws:kms without a key does not mean the default's key. Without the
	// bucket-key header the default's setting applies (API, CopyObject;
	// recorded).
	copied, err := w.copyOnto("k", func(in *s3.CopyObjectInput) { in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &arn })
	w.OK(err)
	is(w, "inherited bucket key", aws.ToBool(copied.BucketKeyEnabled), true)
	out = w.Put("k", "v", func(in *s3.PutObjectInput) { in.ServerSideEncryption = "aws:kms" })
	is(w, "default's key used", *out.SSEKMSKeyId == arn, false)
	_, err = w.S3.DeleteBucketEncryption(w.Context(), &s3.DeleteBucketEncryptionInput{Bucket: &w.Bucket})
	w.OK(err)
	is(w, "default again", get().ApplyServerSideEncryptionByDefault.SSEAlgorithm, "AES256")
}

// With bucket keys S3 keeps the data key for a while. Meanwhile it makes no
// call to KMS, and does not notice a disabled key (Guide, bucket keys;
// recorded).
func TestBucketKeyCache(t *testing.T) {
	w := newWorld(t)
	arn := w.Key("")
	under := func(in *s3.PutObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId, in.BucketKeyEnabled = "aws:kms", &arn, aws.Bool(true)
	}
	for _, key := range []string{"a", "b", "c"} {
		w.Put(key, key, under)
		is(w, "body", w.Get(key), key)
	}
	c := w.Emulator.Counters()
	is(w, "data keys", c["s3:kms:GenerateDataKey"], 1)
	is(w, "decrypts", c["s3:kms:Decrypt"], 0)
	_, err := w.KMS.DisableKey(w.Context(), &kms.DisableKeyInput{KeyId: &arn})
	w.OK(err)
	is(w, "body", w.Get("a"), "a")
	w.Clock.Pass(time.Hour)
	_, err = w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("a")})
	w.Refused(err, 400, "KMS.DisabledException")
}

// STANDARD is not shown (API, HeadObject, x-amz-storage-class), and archived
// classes cannot be read (Guide, "Working with archived objects").
func TestStorageClass(t *testing.T) {
	w := newWorld(t)
	w.Put("ia", "", func(in *s3.PutObjectInput) { in.StorageClass = "STANDARD_IA" })
	is(w, "class", w.Head("ia").StorageClass, "STANDARD_IA")
	w.Put("std", "", func(in *s3.PutObjectInput) { in.StorageClass = "STANDARD" })
	is(w, "class", w.Head("std").StorageClass, "")
	_, err := w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), StorageClass: "WARM"})
	w.Refused(err, 400, "InvalidStorageClass")
	w.Put("cold", "", func(in *s3.PutObjectInput) { in.StorageClass = "GLACIER" })
	_, err = w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("cold")})
	w.Refused(err, 403, "InvalidObjectState")
	_, err = w.copyOnto("cold", func(in *s3.CopyObjectInput) { in.StorageClass = "STANDARD" })
	w.Refused(err, 403, "ObjectNotInActiveTierError")
}

// API, GetObject: Range is RFC 9110's, one range at a time.
func TestRange(t *testing.T) {
	w := newWorld(t)
	w.Put("k", "0123456789")
	w.Put("empty", "")
	for _, c := range []struct{ header, body, contentRange string }{
		{"bytes=0-0", "0", "bytes 0-0/10"},
		{"bytes=2-4", "234", "bytes 2-4/10"},
		{"bytes=7-", "789", "bytes 7-9/10"},
		{"bytes=-3", "789", "bytes 7-9/10"},
		{"bytes=-30", "0123456789", "bytes 0-9/10"},
		{"bytes=5-99", "56789", "bytes 5-9/10"},
		{"bytes=0-9", "0123456789", "bytes 0-9/10"},
		{"bytes=4-2", "0123456789", ""}, // not a valid range: ignored
		{"lines=1-2", "0123456789", ""},
	} {
		out, err := w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Range: &c.header})
		w.OK(err)
		is(w, c.header, w.ReadAll(out.Body), c.body)
		is(w, c.header+" Content-Range", aws.ToString(out.ContentRange), c.contentRange)
		h, err := w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Range: &c.header})
		w.OK(err)
		is(w, c.header+" HEAD length", *h.ContentLength, int64(len(c.body)))
	}
	for _, c := range []struct{ key, header string }{{"k", "bytes=10-"}, {"k", "bytes=-0"}, {"k", "bytes=10-20"}, {"empty", "bytes=0-0"}, {"empty", "bytes=-1"}} {
		_, err := w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: &c.key, Range: &c.header})
		w.Refused(err, 416, "InvalidRange")
	}
	is(w, "empty", w.Get("empty"), "")
}

// If-Match answers 412 and If-None-Match 304, and If-Match takes precedence
// over If-Unmodified-Since (API, GetObject).
func TestReadConditions(t *testing.T) {
	w := newWorld(t)
	etag := w.Put("k", "v").ETag
	past, future := aws.Time(w.Clock.Now().Add(-time.Hour)), aws.Time(w.Clock.Now().Add(time.Hour))
	for _, c := range []struct {
		in     s3.GetObjectInput
		status int
		code   string
	}{
		{s3.GetObjectInput{IfMatch: aws.String(`"wrong"`)}, 412, "PreconditionFailed"},
		{s3.GetObjectInput{IfMatch: etag}, 200, ""},
		{s3.GetObjectInput{IfMatch: aws.String(`"wrong", ` + *etag)}, 200, ""},
		{s3.GetObjectInput{IfMatch: aws.String("*")}, 200, ""},
		{s3.GetObjectInput{IfNoneMatch: etag}, 304, "NotModified"},
		{s3.GetObjectInput{IfNoneMatch: aws.String(`"wrong"`)}, 200, ""},
		{s3.GetObjectInput{IfUnmodifiedSince: past}, 412, "PreconditionFailed"},
		{s3.GetObjectInput{IfUnmodifiedSince: aws.Time(w.Clock.Now())}, 200, ""},
		{s3.GetObjectInput{IfModifiedSince: past}, 200, ""},
		{s3.GetObjectInput{IfModifiedSince: future}, 304, "NotModified"},
		{s3.GetObjectInput{IfMatch: etag, IfUnmodifiedSince: past}, 200, ""},
		{s3.GetObjectInput{IfNoneMatch: aws.String(`"wrong"`), IfModifiedSince: future}, 200, ""},
	} {
		c.in.Bucket, c.in.Key = &w.Bucket, aws.String("k")
		out, err := w.S3.GetObject(w.Context(), &c.in)
		if c.status == 200 {
			w.OK(err)
			is(w, "body", w.ReadAll(out.Body), "v")
		} else {
			w.Refused(err, c.status, c.code)
		}
		_, err = w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("k"),
			IfMatch: c.in.IfMatch, IfNoneMatch: c.in.IfNoneMatch, IfModifiedSince: c.in.IfModifiedSince, IfUnmodifiedSince: c.in.IfUnmodifiedSince})
		if c.status == 200 {
			w.OK(err)
		} else {
			w.Refused(err, c.status, strings.ReplaceAll(http.StatusText(c.status), " ", "")) // made of the status by the SDK
		}
	}
}
