package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// object is what the answer to a HEAD or a GET says of an object. The headers
// are kept as they came, since most are sent back unchanged and typed fields
// might lose something.
type object struct {
	header http.Header
	size   int64 // of the whole body
}

const metaPrefix = "X-Amz-Meta-"

func newObject(m middleware.Metadata) (object, error) {
	answer, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response)
	if !ok {
		return object{}, fmt.Errorf("the client hands on no HTTP answer")
	}
	o := object{header: answer.Header, size: answer.ContentLength}
	if r := answer.Header.Get("Content-Range"); r != "" {
		var err error
		if o.size, err = strconv.ParseInt(r[strings.LastIndexByte(r, '/')+1:], 10, 64); err != nil {
			return object{}, fmt.Errorf("content range %q without the whole size", r)
		}
	}
	switch {
	case o.size < 0:
		return object{}, fmt.Errorf("the answer does not say how big the object is")
	case o.etag() == "" || o.header.Get("Last-Modified") == "":
		return object{}, fmt.Errorf("the answer has no ETag or no Last-Modified")
	}
	for name, values := range o.header {
		// Two headers of one name cannot be sent back as they were. S3 joins
		// them into one.
		if len(values) > 1 && strings.HasPrefix(name, metaPrefix) {
			return object{}, fmt.Errorf("metadata %q comes twice", strings.ToLower(name[len(metaPrefix):]))
		}
	}
	return o, nil
}

func (o object) etag() string { return o.header.Get("Etag") }

// rev names the revision. The ETag alone does not show a change of metadata,
// and Last-Modified alone does not show a change within the same second.
func (o object) rev() string {
	return revision(o.etag(), o.header.Get("Last-Modified"), o.header.Get("X-Amz-Version-Id"))
}

func revision(etag, modified, version string) string {
	rev := etag + " " + modified
	if version != "" {
		rev += " " + version
	}
	return rev
}

func (o object) meta() map[string][]byte {
	m := make(map[string][]byte)
	for name, values := range o.header {
		if len(name) > len(metaPrefix) && strings.HasPrefix(name, metaPrefix) {
			m[strings.ToLower(name[len(metaPrefix):])] = []byte(values[0])
		}
	}
	return m
}

func (o object) modified() (time.Time, error) {
	return http.ParseTime(o.header.Get("Last-Modified"))
}

// Read implements [sources.Source]: one HEAD, or one GET of the first bytes,
// which brings metadata and revision in the same answer.
//
// Objects that cannot be read (archived, or encrypted with a customer's key) are
// refused with [sources.SkipError].
func (s *Source) Read(ctx context.Context, r sources.Ref, w sources.Want) (sources.View, error) {
	if err := s.life.May(sources.Look); err != nil {
		return sources.View{}, fmt.Errorf("reading %s: %w", s.name(r.ID), err)
	}
	o, head, err := s.read(ctx, r.ID, w.Head)
	if err != nil {
		return sources.View{}, err
	}
	return sources.View{Ref: r, Rev: o.rev(), Size: o.size, Head: head, Meta: o.meta(), State: o}, nil
}

func (s *Source) read(ctx context.Context, key string, n int64) (object, []byte, error) {
	if n <= 0 {
		o, err := s.head(ctx, key)
		return o, nil, err
	}
	o, head, err := s.get(ctx, key, n)
	if status(err) != http.StatusRequestedRangeNotSatisfiable {
		return o, head, err
	}
	// No range fits an empty body. Another writer may have filled it when the
	// HEAD looks; then the range is tried again.
	if o, err = s.head(ctx, key); err == nil && o.size > 0 {
		o, head, err = s.get(ctx, key, n)
	}
	return o, head, err
}

func (s *Source) head(ctx context.Context, key string) (object, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.c.Bucket, Key: &key})
	if status(err) == http.StatusBadRequest {
		// The answer to a HEAD has no body, so 400 may mean an expired token as
		// well as an object under SSE-C. The answer to a GET tells which.
		o, _, err := s.get(ctx, key, 1)
		return o, err
	}
	if err != nil {
		return object{}, s.readError(key, err)
	}
	o, err := newObject(out.ResultMetadata)
	if err != nil {
		return object{}, fmt.Errorf("reading %s: %w", s.name(key), err)
	}
	return o, nil
}

func (s *Source) get(ctx context.Context, key string, n int64) (object, []byte, error) {
	rng := "bytes=0-" + strconv.FormatInt(n-1, 10)
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.c.Bucket, Key: &key, Range: &rng}, withoutChecksumLog)
	if err != nil {
		return object{}, nil, s.readError(key, err)
	}
	defer out.Body.Close()
	o, err := newObject(out.ResultMetadata)
	if err != nil {
		return object{}, nil, fmt.Errorf("reading %s: %w", s.name(key), err)
	}
	head := make([]byte, min(n, o.size))
	if _, err := io.ReadFull(out.Body, head); err != nil {
		return object{}, nil, s.readError(key, fmt.Errorf("the first %d bytes: %w", len(head), err))
	}
	return o, head, nil
}

func (s *Source) readError(key string, err error) error {
	switch awserr.Code(err) {
	case "InvalidObjectState":
		return archivedError(s.name(key))
	case "InvalidRequest":
		return &sources.SkipError{Reason: "sse-c", Detail: s.name(key) +
			" cannot be read without parameters that only its owner has: it is most likely encrypted with a customer-provided key (SSE-C), which rewrap is not given"}
	}
	return s.objectError(whereRead, "reading", key, "s3:GetObject", err)
}

// withoutChecksumLog keeps the SDK from logging that the checksum of a part of a
// body cannot be checked.
func withoutChecksumLog(o *s3.Options) { o.DisableLogOutputChecksumValidationSkipped = true }
