// Package s3 is the source for S3 buckets: one item is the current version of
// one object.
//
// # How an object is changed
//
// S3 has no call that changes an object's metadata: the object is written
// anew, by itself (CopyObject onto its own key, MetadataDirective REPLACE)
// where only metadata changes, by GetObject and PutObject where bytes of the
// body do; if the read brought all of the body already, by HeadObject and
// PutObject. All reset whatever the request does not carry, so all carry
// everything that the read showed; see [carried].
//
// # How a concurrent writer is kept safe
//
// An ETag is a fingerprint of the content: another writer's new metadata can
// leave it as it was. So a copy has two conditions: If-Match on the
// destination (evaluated together with the write) and, on the source,
// x-amz-copy-source-if-unmodified-since with the Last-Modified that was read.
// The latter has a grain of one second, which is why an object younger than
// two seconds, by the store's own clock, is put off ([sources.NotYetError]).
// Never is x-amz-copy-source-if-match sent beside it: where that one is true,
// S3 copies even if the other is false (S3 API Reference, CopyObject).
//
// One race is left under SSE-S3 and without encryption, where new metadata
// does not change the ETag: another writer's rewrite of metadata alone that
// lands while S3 is at its own copy, after it has looked at the source's
// condition, passes both, and its metadata is lost. Under SSE-KMS every write
// has an ETag of its own, and If-Match sees it.
//
// What conditions cannot see: calls that change neither ETag nor Last-Modified,
// which are PutObjectTagging, PutObjectAcl, PutObjectRetention and
// PutObjectLegalHold. Tags are copied by S3 itself at the moment of the copy;
// a change of the other three between the read and the write is lost.
//
// Endpoints that are not AWS's own are asked by a canary what they honour
// before the first write; see [Source.Begin].
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

	// Canary says that the endpoint is not AWS's own, so that what it honours
	// has to be found out before the first write; see [Source.Begin].
	Canary bool
	// CanaryID makes the canary's key the job's own:
	// Prefix + ".rewrap-canary-" + CanaryID. No listing yields that key.
	CanaryID string

	// Notice takes what people should know and no error says; may be nil.
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

	// What the endpoint honours; nil while a canary is due.
	ways     atomic.Pointer[ways]
	assuming sync.Mutex // one call asks what is assumed, for all
}

var _ sources.Source = (*Source)(nil)

// Open looks whether the bucket is there and how it deals with permissions.
// It writes nothing. Errors are [sources.RunError].
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
		s.ways.Store(&ways{Copy: true, Put: true, CopyVerbatim: true, PutVerbatim: true, Lists: s.access.lists, Owner: owner})
	}
	return s, nil
}

// BucketRegion asks in which Region the bucket is. Any Region may be asked:
// the wrong one answers 301, and names the right one in a header, as does a
// 403 (S3 API Reference, HeadBucket). "" where the endpoint does not say.
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

// nonEmpty is a field of a request, which is not sent where it is empty.
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

// copySource names an object for the header x-amz-copy-source, which the SDK
// sends as it is: everything but unreserved characters and "/" is escaped.
// Without a version id S3 copies the current version, so that conditions on
// the source look at what a concurrent writer left there.
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
