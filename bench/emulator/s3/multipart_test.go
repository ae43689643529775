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

// multipart is an upload by the SDK, with the smallest parts that are allowed.
type multipart struct {
	*world
	key   string
	id    *string
	parts []types.CompletedPart
}

func (w *world) begin(key string, more func(*s3.CreateMultipartUploadInput)) *multipart {
	w.Helper()
	in := &s3.CreateMultipartUploadInput{Bucket: &w.Bucket, Key: &key}
	if more != nil {
		more(in)
	}
	out, err := w.S3.CreateMultipartUpload(w.Context(), in)
	w.OK(err)
	return &multipart{world: w, key: key, id: out.UploadId}
}

func (m *multipart) part(number int32, body []byte) *s3.UploadPartOutput {
	m.Helper()
	out, err := m.S3.UploadPart(m.Context(), &s3.UploadPartInput{Bucket: &m.Bucket, Key: &m.key, UploadId: m.id, PartNumber: &number, Body: bytes.NewReader(body)})
	m.OK(err)
	m.parts = append(m.parts, types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	return out
}

func (m *multipart) complete(more func(*s3.CompleteMultipartUploadInput)) (*s3.CompleteMultipartUploadOutput, error) {
	in := &s3.CompleteMultipartUploadInput{Bucket: &m.Bucket, Key: &m.key, UploadId: m.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: m.parts}}
	if more != nil {
		more(in)
	}
	return m.S3.CompleteMultipartUpload(m.Context(), in)
}

var big = bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16) // 5 MiB

// CreateMultipartUpload to CompleteMultipartUpload (API), and the kinds of
// checksum (Guide, multipart upload and checksums).
func TestMultipart(t *testing.T) {
	w := newWorld(t)
	arn := w.Key("")
	m := w.begin("k", func(in *s3.CreateMultipartUploadInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &arn
		in.Metadata, in.ContentType, in.Tagging, in.ChecksumAlgorithm = map[string]string{"a": "1"}, aws.String("text/x"), aws.String("t=1"), "CRC32"
	})
	began := w.Clock.Now()
	w.Clock.Pass(time.Hour)
	m.part(1, big)
	m.part(2, []byte("tail"))
	listed, err := w.S3.ListParts(w.Context(), &s3.ListPartsInput{Bucket: &w.Bucket, Key: aws.String("k"), UploadId: m.id, MaxParts: aws.Int32(1)})
	w.OK(err)
	is(w, "listed", len(listed.Parts), 1)
	is(w, "truncated", *listed.IsTruncated, true)
	uploads, err := w.S3.ListMultipartUploads(w.Context(), &s3.ListMultipartUploadsInput{Bucket: &w.Bucket})
	w.OK(err)
	is(w, "uploads", *uploads.Uploads[0].UploadId, *m.id)
	_, err = w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.Refused(err, 404, "NotFound")
	out, err := m.complete(nil)
	w.OK(err)
	is(w, "ETag", strings.HasSuffix(*out.ETag, `-2"`), true)
	is(w, "checksum", strings.HasSuffix(aws.ToString(out.ChecksumCRC32), "-2"), true)
	is(w, "type", out.ChecksumType, types.ChecksumTypeComposite)
	h := w.Head("k")
	is(w, "size", *h.ContentLength, int64(len(big)+4))
	is(w, "Last-Modified", *h.LastModified, began)
	is(w, "metadata", h.Metadata["a"], "1")
	is(w, "content type", *h.ContentType, "text/x")
	is(w, "tags", *h.TagCount, 1)
	is(w, "key", *h.SSEKMSKeyId, arn)
	is(w, "body", w.Get("k") == string(big)+"tail", true)
	part, err := w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), PartNumber: aws.Int32(1)})
	w.OK(err)
	is(w, "parts", *part.PartsCount, 2)
	is(w, "size", *part.ContentLength, int64(len(big)))
	attributes, err := w.S3.GetObjectAttributes(w.Context(), &s3.GetObjectAttributesInput{Bucket: &w.Bucket, Key: aws.String("k"), ObjectAttributes: []types.ObjectAttributes{"ObjectParts"}})
	w.OK(err)
	is(w, "parts", *attributes.ObjectParts.TotalPartsCount, 2)
	is(w, "size", *attributes.ObjectParts.Parts[1].Size, 4)
	// A copy has no parts, and one checksum of the whole (API, CopyObject;
	// recorded).
	copied, err := w.copyOnto("k", func(in *s3.CopyObjectInput) { in.ServerSideEncryption = "AES256" })
	w.OK(err)
	is(w, "ETag of the copy", strings.Contains(*copied.CopyObjectResult.ETag, "-"), false)
	is(w, "checksum of the copy", copied.CopyObjectResult.ChecksumType, types.ChecksumTypeFullObject)
	_, err = m.complete(nil)
	w.Refused(err, 404, "NoSuchUpload")
}

// API, UploadPartCopy.
func TestUploadPartCopy(t *testing.T) {
	w := newWorld(t)
	arn := w.Key("")
	source := w.Put("source", string(big)+"tail")
	m := w.begin("k", func(in *s3.CreateMultipartUploadInput) { in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &arn })
	copyPart := func(number int32, span string, match *string) error {
		in := &s3.UploadPartCopyInput{Bucket: &w.Bucket, Key: aws.String("k"), UploadId: m.id, PartNumber: &number, CopySource: aws.String("bucket/source"), CopySourceIfMatch: match}
		if span != "" {
			in.CopySourceRange = &span
		}
		out, err := w.S3.UploadPartCopy(w.Context(), in)
		if err == nil {
			m.parts = append(m.parts, types.CompletedPart{PartNumber: &number, ETag: out.CopyPartResult.ETag})
		}
		return err
	}
	w.Refused(copyPart(1, "", aws.String("wrong")), 412, "PreconditionFailed")
	for _, span := range []string{"bytes=0-", "bytes=-4", "0-4", "bytes=0-99999999"} {
		w.Refused(copyPart(1, span, nil), 400, "InvalidArgument")
	}
	w.OK(copyPart(1, "bytes=0-5242879", source.ETag))
	w.OK(copyPart(2, "bytes=5242881-5242883", source.ETag))
	_, err := m.complete(nil)
	w.OK(err)
	is(w, "body", w.Get("k") == string(big)+"ail", true)
	is(w, "key", *w.Head("k").SSEKMSKeyId, arn)
}

// With If-Match any write since the upload began is a conflict that stays,
// even one of the same content (Guide, conditional writes; recorded).
func TestCompleteConditions(t *testing.T) {
	w := newWorld(t)
	etag := w.Put("k", "old").ETag
	begun := func() *multipart { m := w.begin("k", nil); m.part(1, []byte("new")); return m }
	with := func(match *string) func(*s3.CompleteMultipartUploadInput) {
		return func(in *s3.CompleteMultipartUploadInput) { in.IfMatch = match }
	}
	m := begun()
	_, err := m.complete(with(aws.String(`"wrong"`)))
	w.Refused(err, 412, "PreconditionFailed")
	is(w, "body", w.Get("k"), "old")
	_, err = w.S3.PutObjectTagging(w.Context(), &s3.PutObjectTaggingInput{Bucket: &w.Bucket, Key: aws.String("k"), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}}})
	w.OK(err) // tags are no write to the object
	_, err = m.complete(with(etag))
	w.OK(err)
	is(w, "body", w.Get("k"), "new")

	etag = w.Put("k", "old").ETag
	m = begun()
	w.Put("k", "old")
	for range 2 {
		_, err = m.complete(with(etag))
		w.Refused(err, 409, "ConditionalRequestConflict")
	}
	_, err = m.complete(func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") })
	w.Refused(err, 412, "PreconditionFailed")
	_, err = w.S3.AbortMultipartUpload(w.Context(), &s3.AbortMultipartUploadInput{Bucket: &w.Bucket, Key: aws.String("k"), UploadId: m.id})
	w.OK(err)
	_, err = m.complete(nil)
	w.Refused(err, 404, "NoSuchUpload")
	m = begun()
	_, err = w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.OK(err)
	_, err = m.complete(with(etag))
	w.Refused(err, 404, "NoSuchKey")
}

// API, CompleteMultipartUpload, errors; Guide, multipart upload and checksums.
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
		w.Refused(err, c.status, c.code)
	}
	m.parts = good[:1]
	_, err := m.complete(func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(5) })
	w.OK(err)
	is(w, "body", w.Get("k"), "small")
	_, err = w.S3.CreateMultipartUpload(w.Context(), &s3.CreateMultipartUploadInput{Bucket: &w.Bucket, Key: aws.String("k"), ChecksumAlgorithm: "SHA256", ChecksumType: "FULL_OBJECT"})
	w.Refused(err, 400, "InvalidRequest")
}

// API, UpdateObjectEncryption.
func TestUpdateObjectEncryption(t *testing.T) {
	w := newWorld(t)
	first, second := w.Key(""), w.Key("")
	w.Put("k", "body", func(in *s3.PutObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId, in.StorageClass, in.Metadata = "aws:kms", &first, "STANDARD_IA", map[string]string{"a": "1"}
	})
	before := w.Head("k")
	update := func(key, arn string) error {
		_, err := w.S3.UpdateObjectEncryption(w.Context(), &s3.UpdateObjectEncryptionInput{Bucket: &w.Bucket, Key: &key,
			ObjectEncryption: &types.ObjectEncryptionMemberSSEKMS{Value: types.SSEKMSEncryption{KMSKeyArn: &arn}}})
		return err
	}
	w.Clock.Pass(time.Hour)
	w.OK(update("k", second))
	after := w.Head("k")
	is(w, "key", *after.SSEKMSKeyId, second)
	is(w, "body", w.Get("k"), "body")
	is(w, "ETag", *after.ETag, *before.ETag)
	is(w, "Last-Modified", *after.LastModified, *before.LastModified)
	is(w, "class", after.StorageClass, before.StorageClass)
	is(w, "metadata", after.Metadata["a"], "1")
	w.Put("plain", "body") // SSE-S3 can be moved too
	w.OK(update("plain", second))
	is(w, "algorithm", w.Head("plain").ServerSideEncryption, types.ServerSideEncryptionAwsKms)
	w.Refused(update("none", second), 404, "NoSuchKey")
	w.Refused(update("k", "alias/x"), 400, "InvalidRequest")
	w.Refused(update("k", strings.Replace(second, "key/", "key/0", 1)), 400, "KMS.NotFoundException")
	w.Put("dsse", "body", func(in *s3.PutObjectInput) { in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms:dsse", &first })
	w.Refused(update("dsse", second), 400, "InvalidRequest")
	is(w, "key after refusals", *w.Head("k").SSEKMSKeyId, second)

	w.Bucket = "bucket-locked"
	_, err := w.S3.CreateBucket(w.Context(), &s3.CreateBucketInput{Bucket: &w.Bucket, ObjectLockEnabledForBucket: aws.Bool(true)})
	w.OK(err)
	w.Put("k", "body", func(in *s3.PutObjectInput) { in.ObjectLockLegalHoldStatus = "ON" })
	w.Refused(update("k", second), 403, "AccessDenied")
	hold := func(status types.ObjectLockLegalHoldStatus) {
		_, err := w.S3.PutObjectLegalHold(w.Context(), &s3.PutObjectLegalHoldInput{Bucket: &w.Bucket, Key: aws.String("k"), LegalHold: &types.ObjectLockLegalHold{Status: status}})
		w.OK(err)
		out, err := w.S3.GetObjectLegalHold(w.Context(), &s3.GetObjectLegalHoldInput{Bucket: &w.Bucket, Key: aws.String("k")})
		w.OK(err)
		is(w, "hold", out.LegalHold.Status, status)
	}
	hold("OFF")
	w.OK(update("k", second))
	is(w, "one version still", len(w.versions(10)), 1)
	hold("ON")
}

// A retention that is in force is not weakened (Guide, "Locking objects with
// Object Lock").
func TestRetention(t *testing.T) {
	w := newWorld(t)
	w.Bucket = "bucket-locked"
	_, err := w.S3.CreateBucket(w.Context(), &s3.CreateBucketInput{Bucket: &w.Bucket, ObjectLockEnabledForBucket: aws.Bool(true)})
	w.OK(err)
	lock, err := w.S3.GetObjectLockConfiguration(w.Context(), &s3.GetObjectLockConfigurationInput{Bucket: &w.Bucket})
	w.OK(err)
	is(w, "enabled", lock.ObjectLockConfiguration.ObjectLockEnabled, types.ObjectLockEnabledEnabled)
	w.Put("k", "v")
	retain := func(mode types.ObjectLockRetentionMode, d time.Duration, bypass bool) error {
		_, err := w.S3.PutObjectRetention(w.Context(), &s3.PutObjectRetentionInput{Bucket: &w.Bucket, Key: aws.String("k"), BypassGovernanceRetention: &bypass,
			Retention: &types.ObjectLockRetention{Mode: mode, RetainUntilDate: aws.Time(w.Clock.Now().Add(d))}})
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
	out, err := w.S3.GetObjectRetention(w.Context(), &s3.GetObjectRetentionInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.OK(err)
	is(w, "mode", out.Retention.Mode, types.ObjectLockRetentionModeCompliance)
	w.Clock.Pass(3 * time.Hour)
	is(w, "over", code(retain("GOVERNANCE", time.Hour, false)), "")
}
