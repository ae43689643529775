// Package emulatortest is the world that tests run in: the emulator of S3 and
// KMS on a loopback port, a clock that the test moves, the SDK's clients, a
// hook that can be changed at any time, and helpers that make keys and
// objects.
//
//	w := emulatortest.New(t, emulator.Options{})
//	a, b := w.Key("alias/a"), w.Key("alias/b")
//	w.Fill(a, 100)
//	w.Hook(emulatortest.Fails("kms:ReEncrypt", 400, "AccessDeniedException"))
//
// The clients do not retry. The helpers of keys and objects end the test with
// Fatal if they fail, so only the goroutine of the test may call them. Many
// goroutines may use everything else at once.
package emulatortest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/bench/emulator"
)

// All worlds have these in common.
const (
	Bucket = "bucket"    // exists in every world
	Region = "us-east-1" // unless the options name another
	ID     = "test"      // the access key id with which the clients sign
	Secret = "test"      // and its secret
)

// World is S3 and KMS for one test. [New] and [At] set the exported fields. A
// test may change Bucket and the clients.
type World struct {
	testing.TB
	Emulator *emulator.Emulator // nil in a world that At made
	URL      string             // the endpoint of both services
	Region   string
	Bucket   string // of Put, Get, Head, Fill and Check; the constant unless the test changes it
	S3       *s3.Client
	KMS      *kms.Client
	HTTP     *http.Client // for requests that the SDK would not make
	Clock    *Clock

	shared *shared
}

// shared is the part of a world that its copies for subtests share.
type shared struct {
	test    testing.TB // at its end every Region ends
	options emulator.Options
	hook    atomic.Pointer[Hook]

	mu     sync.Mutex
	asked  map[string]int64  // by operation: the counter at the last call of Calls
	abroad map[string]*World // by Region
}

// New starts a world that ends with the test. The options are the emulator's.
// Without Now the clock stands still; with time.Now it runs. Clock.Pass moves
// both. Hook is the world's first hook.
func New(t testing.TB, o emulator.Options) *World {
	t.Helper()
	return start(t, o, &Clock{base: o.Now})
}

func start(t testing.TB, o emulator.Options, clock *Clock) *World {
	t.Helper()
	w := &World{TB: t, Region: o.Region, Bucket: Bucket, Clock: clock, shared: &shared{test: t, options: o}}
	if w.Region == "" {
		w.Region = Region
	}
	w.Hook(o.Hook)
	o.Now, o.Hook = w.Clock.Now, w.serve
	w.Emulator = emulator.New(o)
	server := httptest.NewServer(w.Emulator)
	t.Cleanup(server.Close)
	w.Through(nil, server.URL)
	w.makeBucket(S3Client(w.URL, w.Region, w.Emulator.Backdoor())) // meets no hook and is not counted
	return w
}

// At is a world at an endpoint that this package does not serve. It has
// clients and a bucket, but no Emulator, and its Clock moves nothing.
func At(t testing.TB, url string) *World {
	t.Helper()
	w := &World{TB: t, Region: Region, Bucket: Bucket, Clock: &Clock{base: time.Now}, shared: &shared{}}
	w.Through(nil, url)
	w.makeBucket(w.S3)
	return w
}

func (w *World) makeBucket(c *s3.Client) {
	w.Helper()
	_, err := c.CreateBucket(w.Context(), &s3.CreateBucketInput{Bucket: &w.Bucket})
	w.OK(err)
}

// In returns the world's other Region: an emulator of its own with the same
// options and the same clock. The first call starts it.
func (w *World) In(region string) *World {
	w.Helper()
	if region == w.Region {
		return w
	}
	s := w.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abroad[region] == nil {
		if s.abroad == nil {
			s.abroad = make(map[string]*World)
		}
		o := s.options
		o.Region = region
		s.abroad[region] = start(s.test, o, w.Clock)
	}
	return s.abroad[region].For(w.TB)
}

// For returns the same world for a subtest: failures are those of t.
func (w *World) For(t testing.TB) *World {
	same := *w
	same.TB = t
	return &same
}

// Through replaces the clients with ones that send their requests through h to
// this URL. If h is nil, each client has connections of its own.
func (w *World) Through(h *http.Client, url string) {
	w.S3, w.KMS = S3Client(url, w.Region, h), KMSClient(url, w.Region, h)
	if h == nil {
		h = http.DefaultClient
	}
	w.URL, w.HTTP = url, h
}

// S3Client returns the SDK's client of an endpoint. If h is nil, it has
// connections of its own.
func S3Client(url, region string, h *http.Client) *s3.Client {
	o := s3.Options{Region: region, BaseEndpoint: &url, UsePathStyle: true, Credentials: anybody, Retryer: aws.NopRetryer{}}
	if h != nil { // the SDK would call a nil *http.Client
		o.HTTPClient = h
	}
	return s3.New(o)
}

// KMSClient returns the SDK's client of an endpoint. If h is nil, it has
// connections of its own.
func KMSClient(url, region string, h *http.Client) *kms.Client {
	o := kms.Options{Region: region, BaseEndpoint: &url, Credentials: anybody, Retryer: aws.NopRetryer{}}
	if h != nil {
		o.HTTPClient = h
	}
	return kms.New(o)
}

var anybody = credentials.NewStaticCredentialsProvider(ID, Secret, "")

// OK ends the test if err is not nil.
func (w *World) OK(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Code returns the error code of a service's answer; "" for any other error.
// An answer to HEAD has no body with a code, so the SDK makes one from the
// status.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// Refused checks that err is a service's answer with this status and code, and
// returns its message. Any other kind of error ends the test.
func (w *World) Refused(err error, status int, code string) (message string) {
	w.Helper()
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		w.Fatalf("got error %v, want %d %s", err, status, code)
	}
	if response.HTTPStatusCode() != status || api.ErrorCode() != code {
		w.Errorf("got %d %s (%s), want %d %s", response.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage(), status, code)
	}
	return api.ErrorMessage()
}

// Calls returns the number of requests of an operation ("kms:ReEncrypt") since
// the last call of Calls for it, or since Forget.
func (w *World) Calls(op string) int {
	n := w.Emulator.Counters()[op]
	s := w.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	since := n - s.asked[op]
	if s.asked == nil {
		s.asked = make(map[string]int64)
	}
	s.asked[op] = n
	return int(since)
}

// Forget makes Calls count from now on, for every operation.
func (w *World) Forget() {
	n := w.Emulator.Counters()
	w.shared.mu.Lock()
	defer w.shared.mu.Unlock()
	w.shared.asked = n
}

// Clock is the world's time.
type Clock struct {
	base  func() time.Time // nil: it stands still
	ahead atomic.Int64     // of base, in nanoseconds
}

var begin = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Now is the time of the emulator.
func (c *Clock) Now() time.Time {
	now := begin
	if c.base != nil {
		now = c.base()
	}
	return now.Add(time.Duration(c.ahead.Load()))
}

// Pass moves the clock on.
func (c *Clock) Pass(d time.Duration) { c.ahead.Add(int64(d)) }

// Sleep moves the clock on by d and returns at once. It is for code that is
// told how to sleep. It fails if ctx has ended.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	c.Pass(d)
	return ctx.Err()
}
