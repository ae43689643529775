// Package s3 is Amazon S3 in process, for tests and benchmarks: general
// purpose buckets, conditional writes, copies, versions, tags, ACLs, and server
// side encryption under keys of a KMS that it calls as S3 does.
//
// It keeps everything in memory and exists to be exact where a client that
// rewrites objects in place would lose something if S3 were understood wrongly:
// what a copy keeps and what it resets, which conditions are evaluated and when,
// how metadata is encoded, what fails when a key is disabled. Whatever it does
// not know (a sub-resource, a header that asks for a feature) is answered with
// 501 NotImplemented and changes nothing.
//
// Signatures are not checked and any credentials, or none, are accepted. The
// body digest of a signed request is checked.
//
// Where it knowingly differs from AWS: what was written is seen at once and by
// one account, which may do everything (no policies, no public access); bodies
// are kept in the clear; SSE-C, restores, default retention, replication,
// lifecycle, inventories, annotations and directory buckets do not exist; a
// conditional write that is overtaken always answers 412 or 404, and 409 only
// where CompleteMultipartUpload must; a repeated CompleteMultipartUpload finds
// no upload; there is no limit of requests to a prefix.
//
// Rules are cited as "API" (Amazon S3 API Reference), "Guide" (Amazon S3 User
// Guide) and "recorded" (answers of AWS recorded and published by others).
package s3

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// KeyService is what S3 asks of KMS. Its errors are *[kms.Error]; S3 hands them
// to its own caller under their code with "KMS." before it.
type KeyService interface {
	GenerateDataKey(keyID string, n int, context map[string]string) (plaintext, blob []byte, keyARN string, err error)
	Decrypt(blob []byte, context map[string]string, keyID string) (plaintext []byte, keyARN, material string, err error)
	ResolveKey(keyID string) (arn string, err error)
	ManagedKey(alias string) (arn string, err error)
}

// Options says what a [Service] is like. The zero value is useful, but knows no
// KMS: requests that need one are answered with 501.
type Options struct {
	Account string           // 12 digits, owner of every bucket; "" is 111122223333
	Region  string           // where buckets are made unless asked otherwise; "" is us-east-1
	Now     func() time.Time // nil: time.Now
	Keys    KeyService
}

// Service is one S3 endpoint with its buckets. It may be called from any number
// of goroutines. Every write takes effect at one instant, at which its
// conditions are evaluated.
type Service struct {
	account, region string
	owner           string // canonical user id
	clock           func() time.Time
	keys            KeyService

	mu      sync.RWMutex
	buckets map[string]*bucket
}

// New returns a service without buckets.
func New(o Options) *Service {
	s := &Service{account: o.Account, region: o.Region, clock: o.Now, keys: o.Keys, buckets: make(map[string]*bucket)}
	if s.account == "" {
		s.account = "111122223333"
	}
	if s.region == "" {
		s.region = "us-east-1"
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	sum := sha256.Sum256([]byte(s.account))
	s.owner = hex.EncodeToString(sum[:])
	return s
}

// ServeHTTP answers one S3 request, path style or, where the host is
// BUCKET.s3.anything, BUCKET.s3-anything or BUCKET.localhost, virtual-host style.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{
		Service: s, w: w, r: r, now: s.clock().UTC(),
		requestID: randomID(16, "0123456789ABCDEF"), hostID: randomID(44, versionAlphabet) + "=",
	}
	h := w.Header()
	set(h, "x-amz-request-id", c.requestID)
	set(h, "x-amz-id-2", c.hostID)
	set(h, "Date", c.now.Format(http.TimeFormat))
	set(h, "Server", "AmazonS3")
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

const versionAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._"

func randomID(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return string(b)
}

// set writes a header under exactly the name given: S3 answers in names such as
// x-amz-version-id and ETag, which Go would spell its own way.
func set(h http.Header, name, value string) { h[name] = []string{value} }

func setIf(h http.Header, name, value string) {
	if value != "" {
		h[name] = []string{value}
	}
}
