// Package s3 is Amazon S3 in process, for tests and benchmarks: general
// purpose buckets, conditional writes, copies, versions, tags, ACLs, Object
// Lock, and server-side encryption with a KMS that it calls as S3 does.
//
// It keeps everything in memory. It is exact where a client that rewrites
// objects in place could lose something: what a copy keeps and what it resets,
// which conditions are evaluated and when, how metadata is encoded, and what
// fails when a key is disabled. Sub-resources and headers that it does not
// know are answered with 501 NotImplemented and change nothing.
//
// Signatures are not checked, and any credentials, or none, are accepted. The
// body digest of a signed request is checked.
//
// It differs from AWS on purpose:
//
//   - Writes are visible at once. There is one account, which may do
//     everything. There are no policies and no public access.
//   - Bodies are kept in the clear.
//   - SSE-C, restores, default retention, replication, lifecycle, inventories,
//     annotations and directory buckets do not exist.
//   - A conditional write that is overtaken by another is answered with 412 or
//     404, and with 409 only where CompleteMultipartUpload must.
//   - A repeated CompleteMultipartUpload finds no upload.
//   - The rate of requests to a prefix is not limited.
//
// Comments cite the sources of rules as "API" (Amazon S3 API Reference),
// "Guide" (Amazon S3 User Guide) and "recorded" (answers of AWS that others
// recorded and published).
package s3

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// KeyService is what S3 needs of KMS. Its errors are *[kms.Error]. S3 passes
// their code on to its own caller, with "KMS." before it.
type KeyService interface {
	GenerateDataKey(keyID string, n int, context map[string]string) (plaintext, blob []byte, keyARN string, err error)
	Decrypt(blob []byte, context map[string]string, keyID string) (plaintext []byte, keyARN, material string, err error)
	ResolveKey(keyID string) (arn string, err error)
	ManagedKey(alias string) (arn string, err error)
}

// Options configure a [Service]. The zero value is useful but has no KMS:
// requests that need one are answered with 501.
type Options struct {
	Account string           // 12 digits, owner of every bucket; "" is 111122223333
	Region  string           // where buckets are made unless asked otherwise; "" is us-east-1
	Now     func() time.Time // nil: time.Now
	Keys    KeyService
}

// Service is one S3 endpoint with its buckets. Many goroutines may call it at
// once. Every write takes effect at one instant, and its conditions are
// evaluated at that instant.
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

// ServeHTTP answers one S3 request. The bucket is the first part of the path
// or, if the host is BUCKET.s3.anything, BUCKET.s3-anything or
// BUCKET.localhost, of the host.
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

// set writes a header under exactly this name. S3 answers with names such as
// x-amz-version-id and ETag, which Go would spell in its own way.
func set(h http.Header, name, value string) { h[name] = []string{value} }

func setIf(h http.Header, name, value string) {
	if value != "" {
		h[name] = []string{value}
	}
}
