package s3_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// multipart is an upload by the SDK, as small as parts can be.
type multipart struct {
	*world
	key   string
	id    *string
	parts []types.CompletedPart
}

func (w *world) begin(key string, more func(*s3.CreateMultipartUploadInput)) *multipart {
	w.Helper()
	in := &s3.CreateMultipartUploadInput{Bucket: &w.bucket, Key: &key}
	if more != nil {
		more(in)
	}
	out, err := w.s3.CreateMultipartUpload(w.ctx, in)
	w.ok(err)
	return &multipart{world: w, key: key, id: out.UploadId}
}

func (m *multipart) part(number int32, body []byte) *s3.UploadPartOutput {
	m.Helper()
	out, err := m.s3.UploadPart(m.ctx, &s3.UploadPartInput{Bucket: &m.bucket, Key: &m.key, UploadId: m.id, PartNumber: &number, Body: bytes.NewReader(body)})
	m.ok(err)
	m.parts = append(m.parts, types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	return out
}

func (m *multipart) complete(more func(*s3.CompleteMultipartUploadInput)) (*s3.CompleteMultipartUploadOutput, error) {
	in := &s3.CompleteMultipartUploadInput{Bucket: &m.bucket, Key: &m.key, UploadId: m.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: m.parts}}
	if more != nil {
		more(in)
	}
	return m.s3.CompleteMultipartUpload(m.ctx, in)
}

var big = bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16) // 5 MiB

// s30, s31 to s31e. API, CreateMultipartUpload to CompleteMultipartUpload;
// S3 User Guide, multipart upload and checksums for the kinds of checksum.
func TestMultipart(t *testing.T) {
	w := newWorld(t)
	arn := w.newKey()
	m := w.begin("k", func(in *s3.CreateMultipartUploadInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &arn
		in.Metadata, in.ContentType, in.Tagging, in.ChecksumAlgorithm = map[string]string{"a": "1"}, aws.String("text/x"), aws.String("t=1"), "CRC32"
	})
	began := w.clock()
	w.pass(time.Hour)
	m.part(1, big)
	m.part(2, []byte("tail"))
	listed, err := w.s3.ListParts(w.ctx, &s3.ListPartsInput{Bucket: &w.bucket, Key: aws.String("k"), UploadId: m.id, MaxParts: aws.Int32(1)})
	w.ok(err)
	is(w, "listed", len(listed.Parts), 1)
	is(w, "truncated", *listed.IsTruncated, true)
	uploads, err := w.s3.ListMultipartUploads(w.ctx, &s3.ListMultipartUploadsInput{Bucket: &w.bucket})
	w.ok(err)
	is(w, "uploads", *uploads.Uploads[0].UploadId, *m.id)
	_, err = w.s3.HeadObject(w.ctx, &s3.HeadObjectInput{Bucket: &w.bucket, Key: aws.String("k")})
	w.fails(err, 404, "NotFound")
	out, err := m.complete(nil)
	w.ok(err)
	is(w, "s31b ETag", strings.HasSuffix(*out.ETag, `-2"`), true)
	is(w, "checksum", strings.HasSuffix(aws.ToString(out.ChecksumCRC32), "-2"), true)
	is(w, "type", out.ChecksumType, types.ChecksumTypeComposite)
	h := w.head("k")
	is(w, "s31b size", *h.ContentLength, int64(len(big)+4))
	is(w, "Last-Modified", *h.LastModified, began)
	is(w, "s31b metadata", h.Metadata["a"], "1")
	is(w, "content type", *h.ContentType, "text/x")
	is(w, "tags", *h.TagCount, 1)
	is(w, "s31c key", *h.SSEKMSKeyId, arn)
	is(w, "body", w.body("k") == string(big)+"tail", true)
	part, err := w.s3.HeadObject(w.ctx, &s3.HeadObjectInput{Bucket: &w.bucket, Key: aws.String("k"), PartNumber: aws.Int32(1)})
	w.ok(err)
	is(w, "s31d parts", *part.PartsCount, 2)
	is(w, "s31d size", *part.ContentLength, int64(len(big)))
	attributes, err := w.s3.GetObjectAttributes(w.ctx, &s3.GetObjectAttributesInput{Bucket: &w.bucket, Key: aws.String("k"), ObjectAttributes: []types.ObjectAttributes{"ObjectParts"}})
	w.ok(err)
	is(w, "s31e parts", *attributes.ObjectParts.TotalPartsCount, 2)
	is(w, "s31e size", *attributes.ObjectParts.Parts[1].Size, 4)
	// S3 API Reference, CopyObject, and recorded answers: a copy has no parts, and one checksum over all of it.
	copied, err := w.copyOnto("k", func(in *s3.CopyObjectInput) { in.ServerSideEncryption = "AES256" })
	w.ok(err)
	is(w, "ETag of the copy", strings.Contains(*copied.CopyObjectResult.ETag, "-"), false)
	is(w, "checksum of the copy", copied.CopyObjectResult.ChecksumType, types.ChecksumTypeFullObject)
	_, err = m.complete(nil)
	w.fails(err, 404, "NoSuchUpload")
}

// s32, s32b, s32c. API, UploadPartCopy.
func TestUploadPartCopy(t *testing.T) {
	w := newWorld(t)
	arn := w.newKey()
	source := w.put("source", string(big)+"tail")
	m := w.begin("k", func(in *s3.CreateMultipartUploadInput) { in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &arn })
	copyPart := func(number int32, span string, match *string) error {
		in := &s3.UploadPartCopyInput{Bucket: &w.bucket, Key: aws.String("k"), UploadId: m.id, PartNumber: &number, CopySource: aws.String("bucket-a/source"), CopySourceIfMatch: match}
		if span != "" {
			in.CopySourceRange = &span
		}
		out, err := w.s3.UploadPartCopy(w.ctx, in)
		if err == nil {
			m.parts = append(m.parts, types.CompletedPart{PartNumber: &number, ETag: out.CopyPartResult.ETag})
		}
		return err
	}
	w.fails(copyPart(1, "", aws.String("wrong")), 412, "PreconditionFailed")
	for _, span := range []string{"bytes=0-", "bytes=-4", "0-4", "bytes=0-99999999"} {
		w.fails(copyPart(1, span, nil), 400, "InvalidArgument")
	}
	w.ok(copyPart(1, "bytes=0-5242879", source.ETag))
	w.ok(copyPart(2, "bytes=5242881-5242883", source.ETag))
	_, err := m.complete(nil)
	w.ok(err)
	is(w, "s32 body", w.body("k") == string(big)+"ail", true)
	is(w, "s32c key", *w.head("k").SSEKMSKeyId, arn)
}

// s33, s33b, and S3 User Guide, conditional writes, and recorded answers: with If-Match any write since the upload began is a
// conflict that stays, even one of the same content.
func TestCompleteConditions(t *testing.T) {
	w := newWorld(t)
	etag := w.put("k", "old").ETag
	begun := func() *multipart { m := w.begin("k", nil); m.part(1, []byte("new")); return m }
	with := func(match *string) func(*s3.CompleteMultipartUploadInput) {
		return func(in *s3.CompleteMultipartUploadInput) { in.IfMatch = match }
	}
	m := begun()
	_, err := m.complete(with(aws.String(`"wrong"`)))
	w.fails(err, 412, "PreconditionFailed")
	is(w, "s33 body", w.body("k"), "old")
	_, err = w.s3.PutObjectTagging(w.ctx, &s3.PutObjectTaggingInput{Bucket: &w.bucket, Key: aws.String("k"), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}}})
	w.ok(err) // tags are no write to the object
	_, err = m.complete(with(etag))
	w.ok(err)
	is(w, "body", w.body("k"), "new")

	etag = w.put("k", "old").ETag
	m = begun()
	w.put("k", "old")
	for range 2 {
		_, err = m.complete(with(etag))
		w.fails(err, 409, "ConditionalRequestConflict")
	}
	_, err = m.complete(func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") })
	w.fails(err, 412, "PreconditionFailed")
	_, err = w.s3.AbortMultipartUpload(w.ctx, &s3.AbortMultipartUploadInput{Bucket: &w.bucket, Key: aws.String("k"), UploadId: m.id})
	w.ok(err)
	_, err = m.complete(nil)
	w.fails(err, 404, "NoSuchUpload")
	m = begun()
	_, err = w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k")})
	w.ok(err)
	_, err = m.complete(with(etag))
	w.fails(err, 404, "NoSuchKey")
}

// API, CompleteMultipartUpload, errors; S3 User Guide, multipart upload and checksums.
func TestCompleteErrors(t *testing.T) {
	w := newWorld(t)
	m := w.begin("k", func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = "CRC32" })
	m.part(1, []byte("small"))
	m.part(2, []byte("tail"))
	good := m.parts
	for _, c := range []struct {
		code   string
		status int
		parts  []types.CompletedPart
		more   func(*s3.CompleteMultipartUploadInput)
	}{
		{"EntityTooSmall", 400, good, nil},
		{"InvalidPartOrder", 400, []types.CompletedPart{good[1], good[0]}, nil},
		{"InvalidPart", 400, []types.CompletedPart{{PartNumber: aws.Int32(7), ETag: good[0].ETag}}, nil},
		{"InvalidPart", 400, []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: good[1].ETag}}, nil},
		{"InvalidPart", 400, []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: good[0].ETag, ChecksumCRC32: good[1].ChecksumCRC32}}, nil},
		{"InternalError", 500, good[1:], nil}, // composite sums need the parts from 1 on
		{"InvalidRequest", 400, good[:1], func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(4) }},
	} {
		m.parts = c.parts
		_, err := m.complete(c.more)
		w.fails(err, c.status, c.code)
	}
	m.parts = good[:1]
	_, err := m.complete(func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(5) })
	w.ok(err)
	is(w, "body", w.body("k"), "small")
	_, err = w.s3.CreateMultipartUpload(w.ctx, &s3.CreateMultipartUploadInput{Bucket: &w.bucket, Key: aws.String("k"), ChecksumAlgorithm: "SHA256", ChecksumType: "FULL_OBJECT"})
	w.fails(err, 400, "InvalidRequest")
}

// s60, s60b and S3 API Reference, UpdateObjectEncryption.
func TestUpdateObjectEncryption(t *testing.T) {
	w := newWorld(t)
	first, second := w.newKey(), w.newKey()
	w.putWith("k", "body", func(in *s3.PutObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId, in.StorageClass, in.Metadata = "aws:kms", &first, "STANDARD_IA", map[string]string{"a": "1"}
	})
	before := w.head("k")
	update := func(key, arn string) error {
		_, err := w.s3.UpdateObjectEncryption(w.ctx, &s3.UpdateObjectEncryptionInput{Bucket: &w.bucket, Key: &key,
			ObjectEncryption: &types.ObjectEncryptionMemberSSEKMS{Value: types.SSEKMSEncryption{KMSKeyArn: &arn}}})
		return err
	}
	w.pass(time.Hour)
	w.ok(update("k", second))
	after := w.head("k")
	is(w, "s60 key", *after.SSEKMSKeyId, second)
	is(w, "s60b body", w.body("k"), "body")
	is(w, "s60b ETag", *after.ETag, *before.ETag)
	is(w, "s60b Last-Modified", *after.LastModified, *before.LastModified)
	is(w, "class", after.StorageClass, before.StorageClass)
	is(w, "metadata", after.Metadata["a"], "1")
	w.put("plain", "body") // SSE-S3 can be moved too
	w.ok(update("plain", second))
	is(w, "algorithm", w.head("plain").ServerSideEncryption, types.ServerSideEncryptionAwsKms)
	w.fails(update("none", second), 404, "NoSuchKey")
	w.fails(update("k", "alias/x"), 400, "InvalidRequest")
	w.fails(update("k", strings.Replace(second, "key/", "key/0", 1)), 400, "KMS.NotFoundException")
	w.putWith("dsse", "body", func(in *s3.PutObjectInput) { in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms:dsse", &first })
	w.fails(update("dsse", second), 400, "InvalidRequest")
	is(w, "key after refusals", *w.head("k").SSEKMSKeyId, second)

	w.bucket = "bucket-locked"
	_, err := w.s3.CreateBucket(w.ctx, &s3.CreateBucketInput{Bucket: &w.bucket, ObjectLockEnabledForBucket: aws.Bool(true)})
	w.ok(err)
	w.putWith("k", "body", func(in *s3.PutObjectInput) { in.ObjectLockLegalHoldStatus = "ON" })
	w.fails(update("k", second), 403, "AccessDenied")
	hold := func(status types.ObjectLockLegalHoldStatus) {
		_, err := w.s3.PutObjectLegalHold(w.ctx, &s3.PutObjectLegalHoldInput{Bucket: &w.bucket, Key: aws.String("k"), LegalHold: &types.ObjectLockLegalHold{Status: status}})
		w.ok(err)
		out, err := w.s3.GetObjectLegalHold(w.ctx, &s3.GetObjectLegalHoldInput{Bucket: &w.bucket, Key: aws.String("k")})
		w.ok(err)
		is(w, "s50c hold", out.LegalHold.Status, status)
	}
	hold("OFF")
	w.ok(update("k", second))
	is(w, "one version still", len(w.versions(10)), 1)
	hold("ON")
}

// Guide, "Locking objects with Object Lock": what is in force is not weakened.
func TestRetention(t *testing.T) {
	w := newWorld(t)
	w.bucket = "bucket-locked"
	_, err := w.s3.CreateBucket(w.ctx, &s3.CreateBucketInput{Bucket: &w.bucket, ObjectLockEnabledForBucket: aws.Bool(true)})
	w.ok(err)
	lock, err := w.s3.GetObjectLockConfiguration(w.ctx, &s3.GetObjectLockConfigurationInput{Bucket: &w.bucket})
	w.ok(err)
	is(w, "enabled", lock.ObjectLockConfiguration.ObjectLockEnabled, types.ObjectLockEnabledEnabled)
	w.put("k", "v")
	retain := func(mode types.ObjectLockRetentionMode, d time.Duration, bypass bool) error {
		_, err := w.s3.PutObjectRetention(w.ctx, &s3.PutObjectRetentionInput{Bucket: &w.bucket, Key: aws.String("k"), BypassGovernanceRetention: &bypass,
			Retention: &types.ObjectLockRetention{Mode: mode, RetainUntilDate: aws.Time(w.clock().Add(d))}})
		return err
	}
	code := func(err error) string {
		var api smithy.APIError
		if errors.As(err, &api) {
			return api.ErrorCode()
		}
		return ""
	}
	is(w, "set", code(retain("GOVERNANCE", 2*time.Hour, false)), "")
	is(w, "longer", code(retain("GOVERNANCE", 3*time.Hour, false)), "")
	is(w, "shorter", code(retain("GOVERNANCE", time.Hour, false)), "AccessDenied")
	is(w, "shorter, bypassed", code(retain("GOVERNANCE", time.Hour, true)), "")
	is(w, "compliance", code(retain("COMPLIANCE", 2*time.Hour, false)), "")
	is(w, "shorter, bypassed", code(retain("COMPLIANCE", time.Hour, true)), "AccessDenied")
	is(w, "weaker, bypassed", code(retain("GOVERNANCE", 4*time.Hour, true)), "AccessDenied")
	out, err := w.s3.GetObjectRetention(w.ctx, &s3.GetObjectRetentionInput{Bucket: &w.bucket, Key: aws.String("k")})
	w.ok(err)
	is(w, "mode", out.Retention.Mode, types.ObjectLockRetentionModeCompliance)
	w.pass(3 * time.Hour)
	is(w, "over", code(retain("GOVERNANCE", time.Hour, false)), "")
}
