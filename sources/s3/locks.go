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

// locks guards what Object Lock keeps. An answer shows an object's retention
// and legal hold only to callers who may read them (S3 API Reference,
// HeadObject), so to one who may not, locked objects look like any other, and
// a write would leave the lock behind. In a bucket with Object Lock the first
// plan therefore asks for both by their own calls, and the others wait for it.
type locks struct {
	bucket bool // the bucket has Object Lock
	err    error
	proven atomic.Bool // the caller may read retentions and holds
	asking sync.Mutex  // one call proves it for all
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
		// Some other way of saying that there is no such thing here.
	default:
		return s.bucketError(err)
	}
	return nil
}

// checkLocks makes sure that the object's answer was not silent about a lock.
func (s *Source) checkLocks(ctx context.Context, key string) error {
	if s.locks.err != nil || !s.locks.bucket || s.locks.proven.Load() {
		return s.locks.err
	}
	s.locks.asking.Lock() // for two requests, which end with the caller's context
	defer s.locks.asking.Unlock()
	if s.locks.proven.Load() {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading the locks of %s: %w", s.name(key), err)
	}
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

// dropExpiredRetention takes a retention that is over out of what is carried:
// S3 goes on showing it, and refuses to set it.
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
