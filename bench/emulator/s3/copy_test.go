package s3_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// full stores an object that has one of everything a copy may keep or lose.
func full(w *world, key, arn string) *s3.HeadObjectOutput {
	w.Put(key, "body", func(in *s3.PutObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId, in.StorageClass = "aws:kms", &arn, "STANDARD_IA"
		in.Metadata = map[string]string{"one": "1", "empty": ""}
		in.Tagging = aws.String("t=1")
		in.ContentType, in.CacheControl, in.ContentLanguage = aws.String("text/x"), aws.String("no-store"), aws.String("de")
		in.ContentEncoding, in.ContentDisposition = aws.String("identity"), aws.String("inline")
		in.Expires = aws.Time(w.Clock.Now())
		in.WebsiteRedirectLocation = aws.String("/elsewhere")
	})
	return w.Head(key)
}

// A copy onto itself keeps some of the object and resets the rest (API,
// CopyObject; recorded).
func TestCopyKeeps(t *testing.T) {
	w := newWorld(t)
	first, second := w.Key(""), w.Key("")
	before := full(w, "k", first)
	w.Clock.Pass(time.Minute)
	// Without REPLACE the metadata of the request is ignored (recorded).
	out, err := w.copyOnto("k", func(in *s3.CopyObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &second
		in.Metadata, in.ContentType = map[string]string{"one": "2"}, aws.String("ignored")
	})
	w.OK(err)
	after := w.Head("k")
	is(w, "key", *after.SSEKMSKeyId, second)
	is(w, "metadata", after.Metadata["one"], "1")
	_, kept := after.Metadata["empty"]
	is(w, "empty metadata", kept, true)
	is(w, "type", *after.ContentType, "text/x")
	is(w, "cache", *after.CacheControl, "no-store")
	is(w, "language", *after.ContentLanguage, "de")
	is(w, "encoding", *after.ContentEncoding, "identity")
	is(w, "disposition", *after.ContentDisposition, "inline")
	is(w, "expires", *after.ExpiresString, *before.ExpiresString)
	is(w, "tags", aws.ToInt32(after.TagCount), 1)
	is(w, "Last-Modified", *after.LastModified, w.Clock.Now())
	is(w, "answer's Last-Modified", *out.CopyObjectResult.LastModified, w.Clock.Now())
	is(w, "answer's ETag", *out.CopyObjectResult.ETag, *after.ETag)
	is(w, "ETag is new", *after.ETag == *before.ETag, false)
	is(w, "body", w.Get("k"), "body")
	is(w, "storage class is reset", after.StorageClass, "")
	is(w, "redirect is reset", after.WebsiteRedirectLocation == nil, true)

	// Recorded: without encryption headers the copy is under the bucket's default.
	_, err = w.copyOnto("k", func(in *s3.CopyObjectInput) { in.StorageClass = "STANDARD_IA" })
	w.OK(err)
	is(w, "encryption is reset", w.Head("k").ServerSideEncryption, "AES256")
	is(w, "class is kept when sent", w.Head("k").StorageClass, "STANDARD_IA")
}

// With REPLACE everything that is not sent is gone, and a missing Content-Type
// becomes binary/octet-stream. Tags have a directive of their own (recorded).
func TestCopyReplace(t *testing.T) {
	w := newWorld(t)
	first, second := w.Key(""), w.Key("")
	full(w, "k", first)
	_, err := w.copyOnto("k", func(in *s3.CopyObjectInput) {
		in.MetadataDirective, in.Metadata = "REPLACE", map[string]string{"two": "2"}
		in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &second
	})
	w.OK(err)
	h := w.Head("k")
	is(w, "key", *h.SSEKMSKeyId, second)
	is(w, "metadata", h.Metadata["two"], "2")
	is(w, "metadata count", len(h.Metadata), 1)
	is(w, "type", *h.ContentType, "binary/octet-stream")
	is(w, "cache", h.CacheControl == nil, true)
	is(w, "expires", h.ExpiresString == nil, true)
	is(w, "tags follow", aws.ToInt32(h.TagCount), 1)
	_, err = w.copyOnto("k", func(in *s3.CopyObjectInput) {
		in.MetadataDirective, in.TaggingDirective, in.Tagging = "REPLACE", "REPLACE", aws.String("a=1&b=2")
	})
	w.OK(err)
	is(w, "tags replaced", aws.ToInt32(w.Head("k").TagCount), 2)
	is(w, "metadata gone", len(w.Head("k").Metadata), 0)
}

// A copy onto itself that changes nothing is refused. Tags, an ACL or a
// checksum alone change nothing; an encryption header or a storage class does
// (recorded).
func TestCopyNoChange(t *testing.T) {
	w := newWorld(t)
	w.Put("k", "v")
	for name, c := range map[string]struct {
		more    func(*s3.CopyObjectInput)
		refused bool
	}{
		"nothing":    {func(in *s3.CopyObjectInput) {}, true},
		"metadata":   {func(in *s3.CopyObjectInput) { in.Metadata = map[string]string{"a": "b"} }, true},
		"tags":       {func(in *s3.CopyObjectInput) { in.TaggingDirective, in.Tagging = "REPLACE", aws.String("a=b") }, true},
		"acl":        {func(in *s3.CopyObjectInput) { in.ACL = "bucket-owner-full-control" }, true},
		"checksum":   {func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = "SHA256" }, true},
		"encryption": {func(in *s3.CopyObjectInput) { in.ServerSideEncryption = "AES256" }, false},
		"class":      {func(in *s3.CopyObjectInput) { in.StorageClass = "STANDARD" }, false},
		"redirect":   {func(in *s3.CopyObjectInput) { in.WebsiteRedirectLocation = aws.String("/x") }, false},
		"replace":    {func(in *s3.CopyObjectInput) { in.MetadataDirective = "REPLACE" }, false},
	} {
		_, err := w.copyOnto("k", c.more)
		if !c.refused {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		w.Refused(err, 400, "InvalidRequest")
		if want := "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."; !strings.Contains(err.Error(), want) {
			t.Errorf("%s: message %v", name, err)
		}
	}
}

// If-Match on the source takes precedence over If-Unmodified-Since (Guide,
// conditional writes; recorded).
func TestCopySourceConditions(t *testing.T) {
	w := newWorld(t)
	etag := w.Put("k", "v").ETag
	stamp := w.Clock.Now()
	past, same, future := aws.Time(stamp.Add(-time.Second)), aws.Time(stamp), aws.Time(stamp.Add(time.Hour))
	wrong := aws.String(`"wrong"`)
	for _, c := range []struct {
		name   string
		in     s3.CopyObjectInput
		failed string
	}{
		{"match wrong", s3.CopyObjectInput{CopySourceIfMatch: wrong}, "If-Match"},
		{"match", s3.CopyObjectInput{CopySourceIfMatch: etag}, ""},
		{"none-match same", s3.CopyObjectInput{CopySourceIfNoneMatch: etag}, "If-None-Match"},
		{"none-match other", s3.CopyObjectInput{CopySourceIfNoneMatch: wrong}, ""},
		{"unmodified since before", s3.CopyObjectInput{CopySourceIfUnmodifiedSince: past}, "If-Unmodified-Since"},
		{"unmodified since that second", s3.CopyObjectInput{CopySourceIfUnmodifiedSince: same}, ""},
		{"modified since before", s3.CopyObjectInput{CopySourceIfModifiedSince: past}, ""},
		{"modified since after", s3.CopyObjectInput{CopySourceIfModifiedSince: future}, "If-Modified-Since"},
		{"match wins", s3.CopyObjectInput{CopySourceIfMatch: etag, CopySourceIfUnmodifiedSince: past}, ""},
		{"none-match decides", s3.CopyObjectInput{CopySourceIfNoneMatch: etag, CopySourceIfModifiedSince: past}, "If-None-Match"},
	} {
		c.in.Bucket, c.in.Key, c.in.CopySource = &w.Bucket, aws.String("copy"), aws.String("bucket/k")
		_, err := w.S3.CopyObject(w.Context(), &c.in)
		if c.failed == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		w.Refused(err, 412, "PreconditionFailed")
	}
	// The error document names the condition that failed (recorded).
	_, body := w.raw("PUT", "/bucket/copy", map[string][]string{"x-amz-copy-source": {"/bucket/k"}, "x-amz-copy-source-if-match": {"wrong"}}, nil)
	if !strings.Contains(body, "<Condition>x-amz-copy-source-If-Match</Condition>") {
		t.Errorf("document: %s", body)
	}
}

// Conditions on the version that a write replaces (Guide, conditional writes;
// recorded).
func TestWriteConditions(t *testing.T) {
	w := newWorld(t)
	wrong := aws.String(`"wrong"`)
	type in struct{ match, none *string }
	for _, c := range []struct {
		name   string
		exists bool
		in     func(etag *string) in
		status int
		code   string
	}{
		{"match wrong", true, func(*string) in { return in{wrong, nil} }, 412, "PreconditionFailed"},
		{"match", true, func(etag *string) in { return in{etag, nil} }, 0, ""},
		{"match unquoted", true, func(etag *string) in { return in{aws.String(strings.Trim(*etag, `"`)), nil} }, 0, ""},
		{"match, absent", false, func(*string) in { return in{wrong, nil} }, 404, "NoSuchKey"},
		{"none-match, exists", true, func(*string) in { return in{nil, aws.String("*")} }, 412, "PreconditionFailed"},
		{"none-match, absent", false, func(*string) in { return in{nil, aws.String("*")} }, 0, ""},
		{"match any", true, func(*string) in { return in{aws.String("*"), nil} }, 501, "NotImplemented"},
		{"none-match a tag", true, func(etag *string) in { return in{nil, etag} }, 501, "NotImplemented"},
		{"both", true, func(etag *string) in { return in{etag, aws.String("*")} }, 501, "NotImplemented"},
	} {
		for _, way := range []string{"put", "copy"} {
			source := w.Put("source", "new").ETag
			_, err := w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
			w.OK(err)
			etag := source
			if c.exists {
				etag = w.Put("k", "old").ETag
			}
			condition := c.in(etag)
			if way == "put" {
				_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Body: strings.NewReader("new"), IfMatch: condition.match, IfNoneMatch: condition.none})
			} else {
				_, err = w.S3.CopyObject(w.Context(), &s3.CopyObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), CopySource: aws.String("bucket/source"), IfMatch: condition.match, IfNoneMatch: condition.none})
			}
			if c.status == 0 {
				if err != nil {
					t.Errorf("%s, %s: %v", way, c.name, err)
				}
				is(w, c.name, w.Get("k"), "new")
				continue
			}
			w.Refused(err, c.status, c.code)
			if c.exists {
				is(w, "unchanged", w.Get("k"), "old")
			}
		}
	}
	// In place, conditions on source and destination together (Guide,
	// conditional writes; recorded).
	etag := w.Put("k", "v").ETag
	_, err := w.copyOnto("k", func(in *s3.CopyObjectInput) {
		in.MetadataDirective, in.IfMatch, in.CopySourceIfUnmodifiedSince = "REPLACE", etag, aws.Time(w.Clock.Now())
	})
	w.OK(err)
	_, body := w.raw("PUT", "/bucket/k", map[string][]string{"If-Match": {"wrong"}}, nil)
	if !strings.Contains(body, "<Condition>If-Match</Condition>") {
		t.Errorf("document: %s", body)
	}
}

// The forms of a copy source (API, CopyObject; recorded: "+" is a space).
func TestCopySource(t *testing.T) {
	w := newWorld(t)
	w.Put("a b+c/ü?", "v")
	for _, source := range []string{
		"bucket/a%20b%2Bc/%C3%BC%3F", "/bucket/a%20b%2Bc/%C3%BC%3F", "bucket/a+b%2Bc/%C3%BC%3F", url.QueryEscape("bucket/a b+c/ü?"),
	} {
		_, err := w.S3.CopyObject(w.Context(), &s3.CopyObjectInput{Bucket: &w.Bucket, Key: aws.String("to"), CopySource: &source})
		w.OK(err)
	}
	for source, code := range map[string]string{
		"bucket/none": "NoSuchKey", "bucket-none/k": "NoSuchBucket", "bucket": "InvalidArgument", "bucket/k?x=y": "InvalidArgument",
		"bucket/%zz": "InvalidArgument", "bucket/a%20b%2Bc/%C3%BC%3F?versionId=bad": "InvalidArgument",
		"bucket/a%20b%2Bc/%C3%BC%3F?versionId=" + strings.Repeat("x", 32): "NoSuchVersion",
	} {
		_, err := w.S3.CopyObject(w.Context(), &s3.CopyObjectInput{Bucket: &w.Bucket, Key: aws.String("to"), CopySource: &source})
		status := 404
		if code == "InvalidArgument" {
			status = 400
		}
		w.Refused(err, status, code)
	}
}

// A copy keeps the checksum algorithm of its source unless the request names
// another; it is CRC64NVME if the source had none. With SSE-S3 the ETag is the
// MD5 (API, CopyObject; recorded).
func TestCopyChecksum(t *testing.T) {
	w := newWorld(t)
	etag := w.Put("k", "body", func(in *s3.PutObjectInput) { in.ChecksumAlgorithm = "SHA256" }).ETag
	out, err := w.copyOnto("k", func(in *s3.CopyObjectInput) { in.MetadataDirective = "REPLACE" })
	w.OK(err)
	is(w, "SHA256 kept", out.CopyObjectResult.ChecksumSHA256 != nil, true)
	is(w, "ETag", *out.CopyObjectResult.ETag, *etag)
	out, err = w.copyOnto("k", func(in *s3.CopyObjectInput) { in.MetadataDirective, in.ChecksumAlgorithm = "REPLACE", "CRC32C" })
	w.OK(err)
	is(w, "CRC32C", out.CopyObjectResult.ChecksumCRC32C != nil, true)
	is(w, "type", out.CopyObjectResult.ChecksumType, "FULL_OBJECT")
}

// Metadata is decoded, kept and sent back (Guide, object metadata; recorded).
func TestMetadata(t *testing.T) {
	w := newWorld(t)
	header := func(name, value string) map[string][]string { return map[string][]string{name: {value}} }
	word := func(text string) string {
		return "=?UTF-8?B?" + base64.StdEncoding.EncodeToString([]byte(text)) + "?="
	}
	for _, c := range []struct{ name, sent, back string }{
		{"ASCII", "plain", "plain"},
		{"empty", "", ""},
		// Raw bytes are Latin-1: UTF-8 comes back encoded twice.
		{"raw UTF-8", "日本", word("æ\u0097¥æ\u009c¬")},
		{"mostly ASCII", "Müller and more", "=?UTF-8?Q?M=C3=83=C2=BCller_and_more?="},
		{"encoded word", word("日本"), word("日本")},
		{"encoded ASCII is stored decoded", "=?UTF-8?Q?abc?=", "abc"},
		{"not an encoded word", "=?nonsense", "=?nonsense"},
	} {
		response, _ := w.raw("PUT", "/bucket/k", header("x-amz-meta-v", c.sent), nil)
		is(w, c.name, response.StatusCode, 200)
		first := w.Head("k").Metadata["v"]
		is(w, c.name, first, c.back)
		// Sent again as it came, it stands for the same text.
		_, err := w.copyOnto("k", func(in *s3.CopyObjectInput) {
			in.MetadataDirective, in.Metadata = "REPLACE", map[string]string{"v": first}
		})
		w.OK(err)
		is(w, c.name+", round trip", w.Head("k").Metadata["v"], first)
	}

	// A long value needs several encoded words, and comes back the same.
	long := strings.Repeat("ключ ", 30)
	w.raw("PUT", "/bucket/k", header("x-amz-meta-v", word(long)), nil)
	first := w.Head("k").Metadata["v"]
	is(w, "several words", strings.Count(first, "=?") > 1, true)
	_, err := w.copyOnto("k", func(in *s3.CopyObjectInput) {
		in.MetadataDirective, in.Metadata = "REPLACE", map[string]string{"v": first}
	})
	w.OK(err)
	is(w, "several words, round trip", w.Head("k").Metadata["v"], first)

	// Values that no header can carry are counted (API, HeadObject,
	// x-amz-missing-meta).
	w.raw("PUT", "/bucket/k", map[string][]string{"x-amz-meta-v": {word("a\x01b")}, "x-amz-meta-w": {"fine"}}, nil)
	h := w.Head("k")
	is(w, "missing", aws.ToInt32(h.MissingMeta), 1)
	is(w, "the others", len(h.Metadata), 1)

	// The values of a header that comes twice are joined (Guide, object
	// metadata; recorded).
	w.raw("PUT", "/bucket/k", map[string][]string{"x-amz-meta-v": {"a", "b"}}, nil)
	is(w, "twice", w.Head("k").Metadata["v"], "a,b")

	// The limit is 2 KB, names and values in UTF-8 (Guide, object metadata).
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("m"), Metadata: map[string]string{"ab": strings.Repeat("x", 2046)}})
	w.OK(err)
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("m"), Metadata: map[string]string{"ab": strings.Repeat("x", 2047)}})
	w.Refused(err, 400, "MetadataTooLarge")

	// Expires is kept as it was sent (Guide, object metadata; recorded).
	w.raw("PUT", "/bucket/k", header("Expires", "0"), nil)
	is(w, "Expires", *w.Head("k").ExpiresString, "0")
}

// New buckets enforce their owner and take no ACL (Guide, "Controlling
// ownership of objects"). Where ACLs exist, a copy resets them to private (API,
// CopyObject).
func TestACL(t *testing.T) {
	w := newWorld(t)
	ownership, err := w.S3.GetBucketOwnershipControls(w.Context(), &s3.GetBucketOwnershipControlsInput{Bucket: &w.Bucket})
	w.OK(err)
	is(w, "default", ownership.OwnershipControls.Rules[0].ObjectOwnership, types.ObjectOwnershipBucketOwnerEnforced)
	w.Put("k", "body")
	get := func() *s3.GetObjectAclOutput {
		out, err := w.S3.GetObjectAcl(w.Context(), &s3.GetObjectAclInput{Bucket: &w.Bucket, Key: aws.String("k")})
		w.OK(err)
		return out
	}
	is(w, "grants", len(get().Grants), 1)
	_, err = w.S3.PutObjectAcl(w.Context(), &s3.PutObjectAclInput{Bucket: &w.Bucket, Key: aws.String("k"), ACL: "public-read"})
	w.Refused(err, 400, "AccessControlListNotSupported")
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), ACL: "public-read"})
	w.Refused(err, 400, "AccessControlListNotSupported")

	_, err = w.S3.PutBucketOwnershipControls(w.Context(), &s3.PutBucketOwnershipControlsInput{Bucket: &w.Bucket, OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: "ObjectWriter"}}}})
	w.OK(err)
	before := w.Head("k")
	w.Clock.Pass(time.Minute)
	_, err = w.S3.PutObjectAcl(w.Context(), &s3.PutObjectAclInput{Bucket: &w.Bucket, Key: aws.String("k"), ACL: "public-read"})
	w.OK(err)
	acl := get()
	is(w, "grants", len(acl.Grants), 2)
	is(w, "group", *acl.Grants[1].Grantee.URI, "http://acs.amazonaws.com/groups/global/AllUsers")
	is(w, "body", w.Get("k"), "body")
	is(w, "Last-Modified", *w.Head("k").LastModified, *before.LastModified)

	// An ACL that was read can be put back as a document, or sent as headers.
	_, err = w.S3.PutObjectAcl(w.Context(), &s3.PutObjectAclInput{Bucket: &w.Bucket, Key: aws.String("k"), AccessControlPolicy: &types.AccessControlPolicy{Owner: acl.Owner, Grants: acl.Grants}})
	w.OK(err)
	is(w, "grants put back", len(get().Grants), 2)
	_, err = w.copyOnto("k", func(in *s3.CopyObjectInput) { in.MetadataDirective = "REPLACE" })
	w.OK(err)
	is(w, "grants after a copy", len(get().Grants), 1)
	_, err = w.copyOnto("k", func(in *s3.CopyObjectInput) {
		in.MetadataDirective, in.GrantFullControl = "REPLACE", aws.String(`id="`+*acl.Owner.ID+`"`)
		in.GrantRead = aws.String(`uri="http://acs.amazonaws.com/groups/global/AllUsers"`)
	})
	w.OK(err)
	is(w, "grants sent", len(get().Grants), 2)

	_, err = w.S3.DeleteBucketOwnershipControls(w.Context(), &s3.DeleteBucketOwnershipControlsInput{Bucket: &w.Bucket})
	w.OK(err)
	_, err = w.S3.GetBucketOwnershipControls(w.Context(), &s3.GetBucketOwnershipControlsInput{Bucket: &w.Bucket})
	w.Refused(err, 404, "OwnershipControlsNotFoundError")
}

// PutObjectTagging (API) changes neither ETag nor Last-Modified. That is
// general experience; nobody recorded it.
func TestTagging(t *testing.T) {
	w := newWorld(t)
	before := w.Put("k", "body")
	stamp := w.Clock.Now()
	w.Clock.Pass(time.Minute)
	_, err := w.S3.PutObjectTagging(w.Context(), &s3.PutObjectTaggingInput{Bucket: &w.Bucket, Key: aws.String("k"), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("<1>")}}}})
	w.OK(err)
	out, err := w.S3.GetObjectTagging(w.Context(), &s3.GetObjectTaggingInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.OK(err)
	is(w, "value", *out.TagSet[0].Value, "<1>")
	is(w, "ETag", *w.Head("k").ETag, *before.ETag)
	is(w, "Last-Modified", *w.Head("k").LastModified, stamp)
	is(w, "body", w.Get("k"), "body")
	_, err = w.S3.DeleteObjectTagging(w.Context(), &s3.DeleteObjectTaggingInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.OK(err)
	is(w, "count", w.Head("k").TagCount == nil, true)
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Tagging: aws.String("a=1&a=2")})
	w.Refused(err, 400, "InvalidTag")
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Tagging: aws.String("a&b&c&d&e&f&g&h&i&j&k")})
	w.Refused(err, 400, "BadRequest")
}
