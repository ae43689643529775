// Package s3 is the source for S3 buckets: one item is the current version of
// one object.
//
// # How an object is changed
//
// S3 has no call that changes an object's metadata, so the object is written
// anew. If only metadata changes, it is copied onto itself (CopyObject with
// MetadataDirective REPLACE). If bytes of the body change, it is fetched and put
// (GetObject and PutObject), or looked at and put (HeadObject and PutObject)
// where the view already holds the whole body. Each of these resets whatever the
// request does not carry, so each carries everything that the read showed; see
// [carried].
//
// # How a concurrent writer is kept safe
//
// An ETag is a fingerprint of the content, and another writer's new metadata can
// leave it unchanged. So a copy has two conditions. The first is If-Match on the
// destination, which S3 evaluates together with the write. The second is
// x-amz-copy-source-if-unmodified-since on the source, with the Last-Modified
// that was read. Last-Modified counts whole seconds, so an object that is younger
// than two seconds by the store's own clock is put off ([sources.NotYetError]).
// The header x-amz-copy-source-if-match is never sent: if it holds, S3 copies
// even if the other condition on the source does not hold (S3 API Reference,
// CopyObject).
//
// One race remains without encryption and under SSE-S3, where new metadata does
// not change the ETag. Another writer may change metadata alone after S3 has
// looked at the condition on the source, and before S3 ends its copy. Both
// conditions hold then, and that metadata is lost. Under SSE-KMS each write gets
// a new ETag, and If-Match sees it.
//
// Conditions do not see operations that change neither ETag nor Last-Modified:
// PutObjectTagging, PutObjectAcl, PutObjectRetention and PutObjectLegalHold. S3
// copies tags at the moment of the copy. A change of the other three between the
// read and the write is lost.
//
// A canary finds out what endpoints other than AWS's honour, before the first
// write; see [Source.Begin].
package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/sources"
)

// Config says which objects of which bucket are the items.
type Config struct {
	Client *s3.Client // in the bucket's Region, see [BucketRegion]
	Bucket string
	Prefix string // of the keys; "" for all

	// Canary says that the endpoint is not AWS's own. A canary then finds out
	// what it honours, before the first write; see [Source.Begin].
	Canary bool
	// CanaryID makes the key of the canary the job's own: Prefix +
	// ".rewrap-canary-" + CanaryID. No listing yields that key.
	CanaryID string

	// Notice is called with sentences that people should read and no error
	// says; may be nil.
	Notice func(string)
}

// Source is a bucket, or what is under a prefix of it. Make one with [Open].
// Safe for concurrent use.
type Source struct {
	client *s3.Client
	c      Config
	life   sources.Life
	access access
	locks  locks

	// What the endpoint honours; nil as long as a canary is due.
	honours  atomic.Pointer[honours]
	assuming sync.Mutex // held by the call that asks for what is assumed
}

var _ sources.Source = (*Source)(nil)

// Open finds out whether the bucket exists and how it deals with permissions. It
// writes nothing. Errors are [sources.RunError]. The source has to be begun.
func Open(ctx context.Context, c Config) (*Source, error) {
	if c.Bucket == "" {
		return nil, &sources.RunError{Err: errors.New("no bucket given"), Hint: "Name one as s3://bucket/prefix"}
	}
	if c.Canary && c.CanaryID == "" {
		return nil, &sources.RunError{Err: errors.New("a canary without an id"), Hint: "Set Config.CanaryID to something unique to the job"}
	}
	s := &Source{client: c.Client, c: c}
	if _, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &c.Bucket}); err != nil {
		return nil, s.bucketError(err)
	}
	owner, err := s.openAccess(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.openLocks(ctx); err != nil {
		return nil, err
	}
	if !c.Canary {
		s.honours.Store(&honours{Copy: true, Put: true, CopyVerbatim: true, PutVerbatim: true, Lists: s.access.lists, Owner: owner})
	}
	return s, nil
}

// BucketRegion is the Region of a bucket; "" where the endpoint does not say. Any
// Region may be asked: a wrong one answers 301 and names the right one in a
// header, and so does an answer 403 (S3 API Reference, HeadBucket).
func BucketRegion(ctx context.Context, client *s3.Client, bucket string) (string, error) {
	out, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	if err == nil {
		return aws.ToString(out.BucketRegion), nil
	}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		if region := answer.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return region, nil
		}
	}
	s := &Source{client: client, c: Config{Bucket: bucket}}
	return "", s.bucketError(err)
}

// Finish implements [sources.Source]. Nothing is staged here.
func (s *Source) Finish(context.Context) error { return s.life.May(sources.Write) }

// Close implements [sources.Source]. The client is the caller's.
func (s *Source) Close() error { return s.life.Close() }

func (s *Source) name(key string) string { return "s3://" + s.c.Bucket + "/" + key }

func (s *Source) notice(format string, args ...any) {
	if s.c.Notice != nil {
		s.c.Notice(fmt.Sprintf(format, args...))
	}
}

// nonEmpty is a field of a request. An empty one is not sent.
func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// requestID is S3's own id of the request that was answered.
func requestID(m middleware.Metadata) string {
	id, _ := awsmiddleware.GetRequestIDMetadata(m)
	return id
}

// copySource is the value of the header x-amz-copy-source for an object. The SDK
// sends it as it is, so everything but unreserved characters and "/" is escaped.
// It has no version id: S3 then copies the current version, and conditions on the
// source see what a concurrent writer left there.
func copySource(bucket, key string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString(bucket)
	b.WriteByte('/')
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
