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
	_, err := w.S3.PutBucketVersioning(w.Context(), &s3.PutBucketVersioningInput{Bucket: &w.Bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: status}})
	w.OK(err)
}

// versions lists all versions in pages of n, as "key:id" in the order of the
// listing. "!" marks a delete marker and "*" the latest version.
func (w *world) versions(n int32) []string {
	w.Helper()
	var all []string
	in := &s3.ListObjectVersionsInput{Bucket: &w.Bucket, MaxKeys: &n}
	for {
		out, err := w.S3.ListObjectVersions(w.Context(), in)
		w.OK(err)
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

// Guide, "Retaining multiple versions of objects with S3
// Versioning"; API, ListObjectVersions.
func TestVersions(t *testing.T) {
	w := newWorld(t)
	if w.Put("k", "null").VersionId != nil {
		t.Error("a version id before there is versioning")
	}
	w.versioning("Enabled")
	status, err := w.S3.GetBucketVersioning(w.Context(), &s3.GetBucketVersioningInput{Bucket: &w.Bucket})
	w.OK(err)
	is(w, "status", status.Status, types.BucketVersioningStatusEnabled)
	one, two := *w.Put("k", "one").VersionId, *w.Put("k", "two").VersionId
	other := *w.Put("j", "other").VersionId
	want := []string{"j:" + other + "*", "k:" + two + "*", "k:" + one, "k:null"}
	for n := range int32(5) {
		is(w, fmt.Sprint("in pages of ", n+1), strings.Join(w.versions(n+1), " "), strings.Join(want, " "))
	}
	get := func(version string) (string, error) {
		out, err := w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), VersionId: &version})
		if err != nil {
			return "", err
		}
		is(w, "version of the answer", *out.VersionId, version)
		return w.ReadAll(out.Body), nil
	}
	for version, body := range map[string]string{"null": "null", one: "one", two: "two"} {
		got, err := get(version)
		w.OK(err)
		is(w, "body of a version", got, body)
	}
	_, err = get(other)
	w.Refused(err, 404, "NoSuchVersion")
	_, err = get("nonsense")
	w.Refused(err, 400, "InvalidArgument")

	// An older version copied onto the key is a new version, even if the request
	// changes nothing else.
	copied, err := w.S3.CopyObject(w.Context(), &s3.CopyObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), CopySource: aws.String("bucket/k?versionId=" + one)})
	w.OK(err)
	is(w, "source", *copied.CopySourceVersionId, one)
	is(w, "body", w.Get("k"), "one")
	is(w, "new version", *w.Head("k").VersionId, *copied.VersionId)

	// A delete marker.
	deleted, err := w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.OK(err)
	is(w, "marker", aws.ToBool(deleted.DeleteMarker), true)
	_, err = w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.Refused(err, 404, "NotFound")
	var response *smithyhttp.ResponseError
	errors.As(err, &response)
	is(w, "header", response.Response.Header.Get("x-amz-delete-marker"), "true")
	is(w, "marker is listed", w.versions(100)[5], "k:"+*deleted.VersionId+"!*")
	w.lists("objects below a marker", s3.ListObjectsV2Input{}, "j")
	_, err = w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), VersionId: deleted.VersionId})
	w.Refused(err, 405, "MethodNotAllowed")
	// A current delete marker is "no such key" to If-Match, and absent to
	// If-None-Match (Guide, conditional writes).
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), IfMatch: aws.String("x")})
	w.Refused(err, 404, "NoSuchKey")

	// Deleting the marker for good brings the version below it back.
	_, err = w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), VersionId: deleted.VersionId})
	w.OK(err)
	is(w, "current again", w.Get("k"), "one")
	for _, version := range []string{*copied.VersionId, one, two} {
		_, err = w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), VersionId: &version})
		w.OK(err)
	}
	is(w, "null version", w.Get("k"), "null")
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), IfNoneMatch: aws.String("*")})
	w.Refused(err, 412, "PreconditionFailed")
}

// Writes become the null version and replace only that one (Guide, "Working
// with objects in a versioning-suspended bucket").
func TestVersioningSuspended(t *testing.T) {
	w := newWorld(t)
	w.versioning("Enabled")
	one := *w.Put("k", "one").VersionId
	w.versioning("Suspended")
	is(w, "version", *w.Put("k", "two").VersionId, "null")
	w.Put("k", "three")
	is(w, "versions", strings.Join(w.versions(10), " "), "k:null* k:"+one)
	deleted, err := w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.OK(err)
	is(w, "marker", *deleted.VersionId, "null")
	is(w, "versions", strings.Join(w.versions(10), " "), "k:"+one+" k:null!*")
	w.versioning("Enabled")
	w.Put("k", "four")
	is(w, "versions", len(w.versions(10)), 3)
}

// A listing goes on behind its marker even if the version there was deleted.
func TestVersionMarkerGone(t *testing.T) {
	w := newWorld(t)
	w.versioning("Enabled")
	var ids []string
	for i := range 4 {
		ids = append(ids, *w.Put("k", fmt.Sprint(i)).VersionId)
	}
	out, err := w.S3.ListObjectVersions(w.Context(), &s3.ListObjectVersionsInput{Bucket: &w.Bucket, MaxKeys: aws.Int32(2)})
	w.OK(err)
	_, err = w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), VersionId: out.NextVersionIdMarker})
	w.OK(err)
	out, err = w.S3.ListObjectVersions(w.Context(), &s3.ListObjectVersionsInput{Bucket: &w.Bucket, KeyMarker: out.NextKeyMarker, VersionIdMarker: out.NextVersionIdMarker})
	w.OK(err)
	is(w, "rest", len(out.Versions), 2)
	is(w, "next", *out.Versions[0].VersionId, ids[1])
}

// API, DeleteObject and DeleteObjects; Guide, "How to perform
// conditional deletes".
func TestDelete(t *testing.T) {
	w := newWorld(t)
	etag := w.Put("k", "v").ETag
	_, err := w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), IfMatch: aws.String("wrong")})
	w.Refused(err, 412, "PreconditionFailed")
	is(w, "body", w.Get("k"), "v")
	_, err = w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), IfMatch: etag})
	w.OK(err)
	_, err = w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), IfMatch: etag})
	w.Refused(err, 404, "NoSuchKey")
	_, err = w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
	w.OK(err) // deleting what does not exist succeeds
	w.Put("a", "")
	w.Put("b & c", "")
	w.Put("stays", "")
	out, err := w.S3.DeleteObjects(w.Context(), &s3.DeleteObjectsInput{Bucket: &w.Bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("a")}, {Key: aws.String("b & c")}, {Key: aws.String("none")}, {Key: aws.String("stays"), ETag: aws.String("wrong")},
	}}})
	w.OK(err)
	is(w, "deleted", len(out.Deleted), 3)
	is(w, "failed", *out.Errors[0].Code, "PreconditionFailed")
	w.lists("left", s3.ListObjectsV2Input{}, "stays")
}

// Guide, "Locking objects with Object Lock".
func TestObjectLock(t *testing.T) {
	w := newWorld(t)
	w.Bucket = "bucket-locked"
	_, err := w.S3.CreateBucket(w.Context(), &s3.CreateBucketInput{Bucket: &w.Bucket, ObjectLockEnabledForBucket: aws.Bool(true)})
	w.OK(err)
	until := w.Clock.Now().Add(time.Hour)
	version := w.Put("k", "v", func(in *s3.PutObjectInput) {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate = "GOVERNANCE", &until
	}).VersionId
	h := w.Head("k")
	is(w, "mode", h.ObjectLockMode, types.ObjectLockModeGovernance)
	is(w, "until", *h.ObjectLockRetainUntilDate, until)
	remove := func(bypass bool) error {
		_, err := w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), VersionId: version, BypassGovernanceRetention: &bypass})
		return err
	}
	w.Refused(remove(false), 403, "AccessDenied")
	// A copy onto it is a new version without a lock (API, CopyObject; Guide,
	// Object Lock).
	_, err = w.copyOnto("k", func(in *s3.CopyObjectInput) { in.MetadataDirective = "REPLACE" })
	w.OK(err)
	is(w, "lock after a copy", w.Head("k").ObjectLockMode, "")
	w.Refused(remove(false), 403, "AccessDenied")
	w.OK(remove(true))
	held := w.Put("k", "v", func(in *s3.PutObjectInput) { in.ObjectLockLegalHoldStatus = "ON" }).VersionId
	is(w, "legal hold", w.Head("k").ObjectLockLegalHoldStatus, types.ObjectLockLegalHoldStatusOn)
	version = held
	w.Refused(remove(true), 403, "AccessDenied")
	w.Bucket = "bucket"
	_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), ObjectLockLegalHoldStatus: "ON"})
	w.Refused(err, 400, "InvalidRequest")
}
