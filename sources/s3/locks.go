package s3

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// locks keeps locked objects locked. HeadObject shows retention and legal hold
// only to callers who may read them (S3 API Reference, HeadObject). To any other
// caller a locked object looks like an unlocked one, and a write would lose the
// lock. So in a bucket with Object Lock the first plan asks for both by their own
// operations, which fail without the permission. The other plans wait for that.
type locks struct {
	bucket bool        // the bucket has Object Lock
	err    error       // why this could not be found out; plans are refused with it
	proven atomic.Bool // the caller may read retentions and holds
	asking sync.Mutex  // held by the plan that asks
}

func (s *Source) openLocks(ctx context.Context) error {
	out, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.c.Bucket})
	switch {
	case err == nil:
		s.locks.bucket = out.ObjectLockConfiguration != nil && out.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled
	case awserr.Code(err) == "ObjectLockConfigurationNotFoundError", unknownOperation(err):
	case denied(err):
		s.locks.err = &sources.RunError{
			Where: whereWrite,
			Err:   fmt.Errorf("reading whether bucket %s has Object Lock: %w", s.c.Bucket, awserr.Plain(err)),
			Hint:  "Allow s3:GetBucketObjectLockConfiguration on arn:aws:s3:::" + s.c.Bucket,
		}
	case s.c.Canary && status(err) >= 400 && status(err) < 500 && runCode(awserr.Code(err)) == nil:
		// The endpoint does not know Object Lock.
	default:
		return s.bucketError(err)
	}
	return nil
}

// checkLocks makes sure that the caller would have been shown a lock.
func (s *Source) checkLocks(ctx context.Context, key string) error {
	if s.locks.err != nil || !s.locks.bucket || s.locks.proven.Load() {
		return s.locks.err
	}
	s.locks.asking.Lock() // held for two requests, which end with their caller's context
	defer s.locks.asking.Unlock()
	if s.locks.proven.Load() {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading the locks of %s: %w", s.name(key), err)
	}
	ctx = sources.Once(ctx)
	const none = "NoSuchObjectLockConfiguration"
	if _, err := s.client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &s.c.Bucket, Key: &key}); err != nil && awserr.Code(err) != none {
		return s.objectError(whereWrite, "reading the retention of", key, "s3:GetObjectRetention", err)
	}
	if _, err := s.client.GetObjectLegalHold(ctx, &s3.GetObjectLegalHoldInput{Bucket: &s.c.Bucket, Key: &key}); err != nil && awserr.Code(err) != none {
		return s.objectError(whereWrite, "reading the legal hold of", key, "s3:GetObjectLegalHold", err)
	}
	s.locks.proven.Store(true)
	return nil
}

// dropExpiredRetention removes a retention that has ended from the headers to
// send: S3 still shows it, and refuses to set it.
func dropExpiredRetention(h map[string]string, date string) {
	until, err := time.Parse(time.RFC3339, h["X-Amz-Object-Lock-Retain-Until-Date"])
	if err != nil {
		return
	}
	if now, err := http.ParseTime(date); err == nil && !until.After(now) {
		delete(h, "X-Amz-Object-Lock-Mode")
		delete(h, "X-Amz-Object-Lock-Retain-Until-Date")
	}
}
