package s3

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

const (
	maxObject = 5 << 30 // of one CopyObject or PutObject (S3 User Guide, "Uploading objects")
	maxMeta   = 2 << 10 // of user-defined metadata, names and values (S3 User Guide, "Working with object metadata")

	// minAge is the age that an object must have when it is read, so that every
	// later write gets another Last-Modified: one second, since Last-Modified has
	// no fractions, and one more, since Date and Last-Modified may come from two
	// machines.
	minAge = 2 * time.Second
	// maxAhead is by how much Last-Modified may be ahead of the store's clock.
	// If it is further ahead, later writes may not show in it.
	maxAhead = time.Minute
)

// carried are the headers that a write resets unless they are sent again.
// Answers and requests use the same names, so the values are sent as they came,
// byte for byte (S3 API Reference, HeadObject and CopyObject).
var carried = []string{
	"Content-Type",
	"Cache-Control",
	"Content-Disposition",
	"Content-Encoding",
	"Content-Language",
	"Expires",
	"X-Amz-Storage-Class",
	"X-Amz-Server-Side-Encryption",
	"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id",
	"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled",
	"X-Amz-Website-Redirect-Location",
	"X-Amz-Object-Lock-Mode",
	"X-Amz-Object-Lock-Retain-Until-Date",
	"X-Amz-Object-Lock-Legal-Hold",
	"X-Amz-Object-Lock-Event-Hold",
	"X-Amz-Object-Lock-Event-Hold-Duration-Days",
	"X-Amz-Object-Lock-Event-Hold-Duration-Years",
}

func (o object) carried() map[string]string {
	h := make(map[string]string)
	for _, name := range carried {
		if values, ok := o.header[name]; ok {
			h[name] = values[0]
		}
	}
	// A missing header means false in an answer, and "as the bucket" in a request.
	const bucketKey = "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled"
	if _, ok := h[bucketKey]; !ok && h["X-Amz-Server-Side-Encryption"] == "aws:kms" {
		h[bucketKey] = "false"
	}
	dropExpiredRetention(h, o.header.Get("Date"))
	return h
}

// planned is what Apply needs of a plan.
type planned struct {
	object  object
	request request
}

// Plan implements [sources.Source]. After the wait of a [sources.NotYetError] the
// object has to be read again: its age at the read is what counts. Plan makes no
// request if only metadata changes and the bucket has no ACLs.
func (s *Source) Plan(ctx context.Context, v sources.View, e sources.Edit) (sources.Plan, error) {
	if err := s.life.May(sources.Look); err != nil {
		return sources.Plan{}, fmt.Errorf("planning %s: %w", s.name(v.ID), err)
	}
	o, ok := v.State.(object)
	if !ok {
		return sources.Plan{}, fmt.Errorf("planning %s: the view was not read from S3", s.name(v.ID))
	}
	switch {
	case e.Empty():
		return sources.Plan{}, fmt.Errorf("planning %s: the edit changes nothing", s.name(v.ID))
	case e.Store != nil:
		return sources.Plan{}, &sources.SkipError{Reason: "store-key", Detail: s.name(v.ID) + ": rewrap does not change the key that S3 encrypts the object with"}
	case e.Body != nil:
		return sources.Plan{}, &sources.SkipError{Reason: "whole-body", Detail: s.name(v.ID) + ": rewrap changes parts of an object's body and does not replace the whole"}
	}
	honoured, err := s.honoured(ctx, v.ID)
	if err != nil {
		return sources.Plan{}, fmt.Errorf("planning %s: %w", s.name(v.ID), err)
	}
	size, err := sources.SplicedSize(o.size, e.Splices)
	if err != nil {
		return sources.Plan{}, fmt.Errorf("planning %s: %w", s.name(v.ID), err)
	}
	meta, err := editMeta(v.Meta, e.Meta)
	if err != nil {
		return sources.Plan{}, fmt.Errorf("planning %s: %w", s.name(v.ID), err)
	}
	if err := s.refuse(o, v.ID, max(size, o.size), meta); err != nil {
		return sources.Plan{}, err
	}
	way, err := honoured.choose(v.ID, meta, len(e.Splices) > 0)
	if err != nil {
		return sources.Plan{}, err
	}
	if err := oldEnough(o, s.name(v.ID)); err != nil {
		return sources.Plan{}, err
	}

	if err := s.checkLocks(ctx, v.ID); err != nil {
		return sources.Plan{}, err
	}
	r := request{key: v.ID, ifMatch: o.etag(), meta: meta, headers: o.carried()}
	if r.grants, err = s.grants(ctx, v.ID, honoured); err != nil {
		return sources.Plan{}, err
	}
	switch way {
	case WayCopy:
		modified, err := o.modified()
		if err != nil {
			return sources.Plan{}, fmt.Errorf("planning %s: last modified: %w", s.name(v.ID), err)
		}
		r.unmodifiedSince = &modified
	case WayPut:
		if r.tagging, err = s.tagging(ctx, v.ID); err != nil {
			return sources.Plan{}, err
		}
		if err := s.checkAnnotations(ctx, v.ID); err != nil {
			return sources.Plan{}, err
		}
	}
	unconditional := way == WayPut && !o.etagPerWrite()
	if way == WayPut && int64(len(v.Head)) == o.size {
		way = WayPutRead
	}
	return sources.Plan{
		View: v, Edit: e, Way: way, State: planned{object: o, request: r},
		Cost: costOf(way, o.size, size), Undo: undoOf(v, e, o),
		Unconditional: unconditional, Assumed: honoured.Assumed,
	}, nil
}

// undoOf is the inverse of an edit. If the view holds too little of the body for
// that, it is the version that the write replaces and S3 keeps. A version "null"
// is not relied on: while versioning is suspended, the next write deletes it (S3
// User Guide, "Adding objects to versioning-suspended buckets").
func undoOf(v sources.View, e sources.Edit, o object) sources.Undo {
	u := sources.UndoOf(v, e)
	if version := o.header.Get("X-Amz-Version-Id"); u.None != "" && version != "" && version != "null" {
		u = sources.Undo{Version: version}
	}
	return u
}

// refuse refuses objects that could not be written, or only with a loss. size is
// the larger of the sizes before and after the edit.
func (s *Source) refuse(o object, key string, size int64, meta map[string]string) error {
	name := s.name(key)
	unsupported := func(reason, format string, args ...any) error {
		return &sources.SkipError{Reason: reason, Detail: name + " " + fmt.Sprintf(format, args...)}
	}
	switch class := o.header.Get("X-Amz-Storage-Class"); {
	case o.header.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") != "":
		return unsupported("sse-c", "is encrypted with a customer-provided key (SSE-C), which rewrap is not given; its owner has to re-wrap it")
	case o.header.Get("X-Amz-Archive-Status") != "",
		(class == "GLACIER" || class == "DEEP_ARCHIVE") && !strings.Contains(o.header.Get("X-Amz-Restore"), `ongoing-request="false"`):
		return archivedError(name)
	case size > maxObject:
		return unsupported("too-large", "is bigger than the 5 GiB that S3 copies or takes in one request")
	}
	if n := o.header.Get("X-Amz-Missing-Meta"); n != "" && n != "0" {
		return unsupported("missing-metadata", "has %s metadata entries that S3 cannot show in headers, and that writing it would lose", n)
	}
	if n := metaSize(meta); n > maxMeta {
		return unsupported("metadata-too-large", "would have %d bytes of user metadata, and S3 allows %d; remove some entries", n, maxMeta)
	}
	return nil
}

func archivedError(name string) error {
	return &sources.SkipError{Reason: "archived", Detail: name + " is archived; restore it (RestoreObject) and run again"}
}

// oldEnough puts off an object that was read so soon after its last write that
// the next write might get the same Last-Modified.
func oldEnough(o object, name string) error {
	modified, err := o.modified()
	if err != nil {
		return fmt.Errorf("planning %s: last modified: %w", name, err)
	}
	now, err := http.ParseTime(o.header.Get("Date"))
	if err != nil {
		return &sources.SkipError{Reason: "no-date",
			Detail: name + ": the endpoint's answers have no Date, so it cannot be told whether Last-Modified would show another writer's change"}
	}
	age := now.Sub(modified)
	switch {
	case age < -maxAhead:
		return &sources.SkipError{Reason: "last-modified-ahead",
			Detail: fmt.Sprintf("%s: its Last-Modified is %v ahead of the store's clock, so it would not show another writer's change", name, -age)}
	case age < minAge:
		return &sources.NotYetError{Wait: minAge - age,
			Detail: fmt.Sprintf("%s was written %v before it was read; S3's Last-Modified tells writes apart from %v on", name, age, minAge)}
	}
	return nil
}

// etagPerWrite says that each write gives the object a new ETag, so that If-Match
// sees every change. Without SSE-KMS the ETag is that of the content, and If-Match
// does not see a change of metadata (S3 API Reference, "Object", ETag).
func (o object) etagPerWrite() bool {
	return strings.HasPrefix(o.header.Get("X-Amz-Server-Side-Encryption"), "aws:kms")
}

// editMeta is the metadata after the edit, as header values.
func editMeta(have, edit map[string][]byte) (map[string]string, error) {
	meta := make(map[string]string, len(have))
	for name, value := range have {
		meta[name] = string(value)
	}
	for name, value := range edit {
		if value == nil {
			delete(meta, name)
			continue
		}
		if !validMetaName(name) {
			return nil, fmt.Errorf("metadata name %q cannot stand in a header", name)
		}
		if !validMetaValue(string(value)) {
			return nil, fmt.Errorf("the new value of metadata %q cannot stand in a header as it is", name)
		}
		meta[name] = string(value)
	}
	return meta, nil
}

// validMetaName accepts tokens (RFC 9110, section 5.6.2) in lower case, in which
// S3 stores names.
func validMetaName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return name != ""
}

// validMetaValue accepts field values (RFC 9110, section 5.5) without spaces at
// the ends, which recipients trim.
func validMetaValue(value string) bool {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return strings.Trim(value, " \t") == value
}

// metaSize is the size of metadata as S3 counts it: the bytes of names and of
// decoded values (RFC 2047). The result may be too low and is never too high; in
// doubt S3 refuses the write (MetadataTooLarge).
func metaSize(meta map[string]string) int {
	n := 0
	var d mime.WordDecoder
	for name, value := range meta {
		if decoded, err := d.DecodeHeader(value); err == nil && len(decoded) < len(value) {
			value = decoded
		}
		n += len(name) + len(value)
	}
	return n
}

// tagging is the object's tags as PutObject takes them; nil for none. They are
// always asked for, because the number of tags in other answers is missing both
// for objects without tags and for callers who may not read tags.
func (s *Source) tagging(ctx context.Context, key string) (*string, error) {
	out, err := s.client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &s.c.Bucket, Key: &key})
	if unknownOperation(err) || awserr.Code(err) == "NoSuchTagSet" {
		return nil, nil
	}
	if err != nil {
		return nil, s.objectError(whereWrite, "reading the tags of", key, "s3:GetObjectTagging", err)
	}
	tags := make(url.Values, len(out.TagSet))
	for _, t := range out.TagSet {
		tags.Set(aws.ToString(t.Key), aws.ToString(t.Value))
	}
	return nonEmpty(tags.Encode()), nil
}
