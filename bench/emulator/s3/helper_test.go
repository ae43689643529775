package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/bench/emulator"
)

// world is an emulator behind a real HTTP server, with the SDK's own clients, a
// clock that stands still unless it is moved, and one bucket.
type world struct {
	*testing.T
	ctx    context.Context
	e      *emulator.Emulator
	url    string
	s3     *s3.Client
	kms    *kms.Client
	bucket string

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, ctx: t.Context(), bucket: "bucket-a", now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	w.e = emulator.New(emulator.Options{Now: w.clock})
	server := httptest.NewServer(w.e)
	t.Cleanup(server.Close)
	w.url = server.URL
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any"}, nil
	})
	once := retry.AddWithMaxAttempts(retry.NewStandard(), 1)
	w.s3 = s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &w.url, UsePathStyle: true, Credentials: credentials, Retryer: once, HTTPClient: server.Client()})
	w.kms = kms.New(kms.Options{Region: "us-east-1", BaseEndpoint: &w.url, Credentials: credentials, Retryer: once, HTTPClient: server.Client()})
	_, err := w.s3.CreateBucket(w.ctx, &s3.CreateBucketInput{Bucket: &w.bucket})
	w.ok(err)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func is[T comparable](w *world, what string, got, want T) {
	w.Helper()
	if got != want {
		w.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// fails wants an error with this code and this status. HEAD has no body to
// carry a code, so there the SDK makes one from the status.
func (w *world) fails(err error, status int, code string) {
	w.Helper()
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		w.Fatalf("got error %v, want %d %s", err, status, code)
	}
	if response.HTTPStatusCode() != status || api.ErrorCode() != code {
		w.Errorf("got %d %s (%s), want %d %s", response.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage(), status, code)
	}
}

// put stores an object as plainly as the SDK does.
func (w *world) put(key, body string) *s3.PutObjectOutput {
	w.Helper()
	return w.putWith(key, body, nil)
}

func (w *world) putWith(key, body string, more func(*s3.PutObjectInput)) *s3.PutObjectOutput {
	w.Helper()
	in := &s3.PutObjectInput{Bucket: &w.bucket, Key: &key, Body: strings.NewReader(body)}
	if more != nil {
		more(in)
	}
	out, err := w.s3.PutObject(w.ctx, in)
	w.ok(err)
	return out
}

func (w *world) head(key string) *s3.HeadObjectOutput {
	w.Helper()
	out, err := w.s3.HeadObject(w.ctx, &s3.HeadObjectInput{Bucket: &w.bucket, Key: &key})
	w.ok(err)
	return out
}

func (w *world) body(key string) string {
	w.Helper()
	out, err := w.s3.GetObject(w.ctx, &s3.GetObjectInput{Bucket: &w.bucket, Key: &key})
	w.ok(err)
	return w.read(out.Body)
}

func (w *world) read(r io.ReadCloser) string {
	w.Helper()
	defer r.Close()
	b, err := io.ReadAll(r)
	w.ok(err)
	return string(b)
}

// copyOnto copies an object onto itself.
func (w *world) copyOnto(key string, more func(*s3.CopyObjectInput)) (*s3.CopyObjectOutput, error) {
	w.Helper()
	in := &s3.CopyObjectInput{Bucket: &w.bucket, Key: &key, CopySource: aws.String(w.bucket + "/" + key)}
	if more != nil {
		more(in)
	}
	return w.s3.CopyObject(w.ctx, in)
}

// newKey makes a symmetric KMS key and returns its ARN.
func (w *world) newKey() string {
	w.Helper()
	out, err := w.kms.CreateKey(w.ctx, &kms.CreateKeyInput{})
	w.ok(err)
	return *out.KeyMetadata.Arn
}

// raw sends a request that no SDK would.
func (w *world) raw(method, path string, header http.Header, body []byte) (*http.Response, string) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.ctx, method, w.url+path, bytes.NewReader(body))
	w.ok(err)
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	w.ok(err)
	return response, w.read(response.Body)
}

// rawHead returns the answer to a HEAD as it comes over the wire.
func (w *world) rawHead(path string) string {
	w.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	w.ok(err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "HEAD %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
	w.ok(err)
	return w.read(conn)
}

// escapeSource escapes a key for x-amz-copy-source, slashes kept.
func escapeSource(key string) string { return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/") }

func unescapeListed(w *world, key string) string {
	w.Helper()
	plain, err := url.QueryUnescape(key)
	w.ok(err)
	return plain
}
