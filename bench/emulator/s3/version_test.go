package s3_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func (w *world) versioning(status types.BucketVersioningStatus) {
	w.Helper()
	_, err := w.s3.PutBucketVersioning(w.ctx, &s3.PutBucketVersioningInput{Bucket: &w.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: status}})
	w.ok(err)
}

// versions lists all versions in pages of n as "key:id" in the order of the
// listing, with "!" for a delete marker and "*" for the latest.
func (w *world) versions(n int32) []string {
	w.Helper()
	var all []string
	in := &s3.ListObjectVersionsInput{Bucket: &w.bucket, MaxKeys: &n}
	for {
		out, err := w.s3.ListObjectVersions(w.ctx, in)
		w.ok(err)
		if len(out.Versions)+len(out.DeleteMarkers) > int(n) {
			w.Errorf("page of %d", len(out.Versions)+len(out.DeleteMarkers))
		}
		for _, v := range out.Versions {
			all = append(all, *v.Key+":"+*v.VersionId+star(v.IsLatest))
		}
		for _, m := range out.DeleteMarkers {
			all = append(all, *m.Key+":"+*m.VersionId+"!"+star(m.IsLatest))
		}
		if !*out.IsTruncated {
			return all
		}
		in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
	}
}

func star(latest *bool) string {
	if *latest {
		return "*"
	}
	return ""
}

// s45 to s49d. Guide, "Retaining multiple versions of objects with S3
// Versioning"; API, ListObjectVersions.
func TestVersions(t *testing.T) {
	w := newWorld(t)
	if w.put("k", "null").VersionId != nil {
		t.Error("a version id before there is versioning")
	}
	w.versioning("Enabled") // s45
	status, err := w.s3.GetBucketVersioning(w.ctx, &s3.GetBucketVersioningInput{Bucket: &w.bucket})
	w.ok(err)
	is(w, "s45 status", status.Status, types.BucketVersioningStatusEnabled)
	one, two := *w.put("k", "one").VersionId, *w.put("k", "two").VersionId
	other := *w.put("j", "other").VersionId
	want := []string{"j:" + other + "*", "k:" + two + "*", "k:" + one, "k:null"}
	for n := range int32(5) {
		is(w, fmt.Sprint("s46 s46b in pages of ", n+1), strings.Join(w.versions(n+1), " "), strings.Join(want, " "))
	}
	get := func(version string) (string, error) {
		out, err := w.s3.GetObject(w.ctx, &s3.GetObjectInput{Bucket: &w.bucket, Key: aws.String("k"), VersionId: &version})
		if err != nil {
			return "", err
		}
		is(w, "version of the answer", *out.VersionId, version)
		return w.read(out.Body), nil
	}
	for version, body := range map[string]string{"null": "null", one: "one", two: "two"} {
		got, err := get(version)
		w.ok(err)
		is(w, "s47", got, body)
	}
	_, err = get(other)
	w.fails(err, 404, "NoSuchVersion")
	_, err = get("nonsense")
	w.fails(err, 400, "InvalidArgument")

	// s48. An older version copied onto the key is a new version, and no empty
	// change even with nothing else asked for.
	copied, err := w.s3.CopyObject(w.ctx, &s3.CopyObjectInput{Bucket: &w.bucket, Key: aws.String("k"), CopySource: aws.String("bucket-a/k?versionId=" + one)})
	w.ok(err)
	is(w, "s48 source", *copied.CopySourceVersionId, one)
	is(w, "s48 body", w.body("k"), "one")
	is(w, "s48 new version", *w.head("k").VersionId, *copied.VersionId)

	// s49, s49b, s49c.
	deleted, err := w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k")})
	w.ok(err)
	is(w, "s49 marker", aws.ToBool(deleted.DeleteMarker), true)
	_, err = w.s3.HeadObject(w.ctx, &s3.HeadObjectInput{Bucket: &w.bucket, Key: aws.String("k")})
	w.fails(err, 404, "NotFound")
	var response *smithyhttp.ResponseError
	errors.As(err, &response)
	is(w, "s49b header", response.Response.Header.Get("x-amz-delete-marker"), "true")
	is(w, "s49c marker is listed", w.versions(100)[5], "k:"+*deleted.VersionId+"!*")
	w.lists("objects below a marker", s3.ListObjectsV2Input{}, "j")
	_, err = w.s3.GetObject(w.ctx, &s3.GetObjectInput{Bucket: &w.bucket, Key: aws.String("k"), VersionId: deleted.VersionId})
	w.fails(err, 405, "MethodNotAllowed")
	// B3: a current delete marker is "no such key" to If-Match, and absent to If-None-Match.
	_, err = w.s3.PutObject(w.ctx, &s3.PutObjectInput{Bucket: &w.bucket, Key: aws.String("k"), IfMatch: aws.String("x")})
	w.fails(err, 404, "NoSuchKey")

	// s49d. The marker deleted for good brings the version below it back.
	_, err = w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k"), VersionId: deleted.VersionId})
	w.ok(err)
	is(w, "s49d current again", w.body("k"), "one")
	for _, version := range []string{*copied.VersionId, one, two} {
		_, err = w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k"), VersionId: &version})
		w.ok(err)
	}
	is(w, "s49d null version", w.body("k"), "null")
	_, err = w.s3.PutObject(w.ctx, &s3.PutObjectInput{Bucket: &w.bucket, Key: aws.String("k"), IfNoneMatch: aws.String("*")})
	w.fails(err, 412, "PreconditionFailed")
}

// Guide, "Working with objects in a versioning-suspended bucket": writes are the
// null version and take the place of that one only.
func TestVersioningSuspended(t *testing.T) {
	w := newWorld(t)
	w.versioning("Enabled")
	one := *w.put("k", "one").VersionId
	w.versioning("Suspended")
	is(w, "version", *w.put("k", "two").VersionId, "null")
	w.put("k", "three")
	is(w, "versions", strings.Join(w.versions(10), " "), "k:null* k:"+one)
	deleted, err := w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k")})
	w.ok(err)
	is(w, "marker", *deleted.VersionId, "null")
	is(w, "versions", strings.Join(w.versions(10), " "), "k:"+one+" k:null!*")
	w.versioning("Enabled")
	w.put("k", "four")
	is(w, "versions", len(w.versions(10)), 3)
}

// A listing goes on behind its marker though the version there was deleted.
func TestVersionMarkerGone(t *testing.T) {
	w := newWorld(t)
	w.versioning("Enabled")
	var ids []string
	for i := range 4 {
		ids = append(ids, *w.put("k", fmt.Sprint(i)).VersionId)
	}
	out, err := w.s3.ListObjectVersions(w.ctx, &s3.ListObjectVersionsInput{Bucket: &w.bucket, MaxKeys: aws.Int32(2)})
	w.ok(err)
	_, err = w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k"), VersionId: out.NextVersionIdMarker})
	w.ok(err)
	out, err = w.s3.ListObjectVersions(w.ctx, &s3.ListObjectVersionsInput{Bucket: &w.bucket, KeyMarker: out.NextKeyMarker, VersionIdMarker: out.NextVersionIdMarker})
	w.ok(err)
	is(w, "rest", len(out.Versions), 2)
	is(w, "next", *out.Versions[0].VersionId, ids[1])
}

// s70, s71, s72. API, DeleteObject and DeleteObjects; Guide, "How to perform
// conditional deletes".
func TestDelete(t *testing.T) {
	w := newWorld(t)
	etag := w.put("k", "v").ETag
	_, err := w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k"), IfMatch: aws.String("wrong")})
	w.fails(err, 412, "PreconditionFailed")
	is(w, "s72 body", w.body("k"), "v")
	_, err = w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k"), IfMatch: etag})
	w.ok(err)
	_, err = w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k"), IfMatch: etag})
	w.fails(err, 404, "NoSuchKey")
	_, err = w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k")})
	w.ok(err) // s70: what is not there is deleted
	w.put("a", "")
	w.put("b & c", "")
	w.put("stays", "")
	out, err := w.s3.DeleteObjects(w.ctx, &s3.DeleteObjectsInput{Bucket: &w.bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("a")}, {Key: aws.String("b & c")}, {Key: aws.String("none")}, {Key: aws.String("stays"), ETag: aws.String("wrong")},
	}}})
	w.ok(err)
	is(w, "s71 deleted", len(out.Deleted), 3)
	is(w, "s71 failed", *out.Errors[0].Code, "PreconditionFailed")
	w.lists("left", s3.ListObjectsV2Input{}, "stays")
}

// s50, s50b, s50c. Guide, "Locking objects with Object Lock".
func TestObjectLock(t *testing.T) {
	w := newWorld(t)
	w.bucket = "bucket-locked"
	_, err := w.s3.CreateBucket(w.ctx, &s3.CreateBucketInput{Bucket: &w.bucket, ObjectLockEnabledForBucket: aws.Bool(true)})
	w.ok(err)
	until := w.clock().Add(time.Hour)
	version := w.putWith("k", "v", func(in *s3.PutObjectInput) {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate = "GOVERNANCE", &until
	}).VersionId
	h := w.head("k")
	is(w, "s50 mode", h.ObjectLockMode, types.ObjectLockModeGovernance)
	is(w, "s50 until", *h.ObjectLockRetainUntilDate, until)
	remove := func(bypass bool) error {
		_, err := w.s3.DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String("k"), VersionId: version, BypassGovernanceRetention: &bypass})
		return err
	}
	w.fails(remove(false), 403, "AccessDenied") // s50b
	// S3 API Reference, CopyObject, and S3 User Guide, Object Lock: a copy onto it is a new version without a lock.
	_, err = w.copyOnto("k", func(in *s3.CopyObjectInput) { in.MetadataDirective = "REPLACE" })
	w.ok(err)
	is(w, "lock after a copy", w.head("k").ObjectLockMode, "")
	w.fails(remove(false), 403, "AccessDenied")
	w.ok(remove(true))
	held := w.putWith("k", "v", func(in *s3.PutObjectInput) { in.ObjectLockLegalHoldStatus = "ON" }).VersionId
	is(w, "s50c", w.head("k").ObjectLockLegalHoldStatus, types.ObjectLockLegalHoldStatusOn)
	version = held
	w.fails(remove(true), 403, "AccessDenied")
	w.bucket = "bucket-a"
	_, err = w.s3.PutObject(w.ctx, &s3.PutObjectInput{Bucket: &w.bucket, Key: aws.String("k"), ObjectLockLegalHoldStatus: "ON"})
	w.fails(err, 400, "InvalidRequest")
}
