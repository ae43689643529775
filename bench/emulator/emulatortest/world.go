// Package emulatortest is the world that tests run in: the emulator of S3 and
// KMS on a loopback port, a clock that the test moves, the SDK's own clients,
// a hook that may be changed at any time, and helpers that make keys and
// objects.
//
//	w := emulatortest.New(t, emulator.Options{})
//	a, b := w.Key("alias/a"), w.Key("alias/b")
//	w.Fill(a, 100)
//	w.Hook(emulatortest.Fails("kms:ReEncrypt", 400, "AccessDeniedException"))
//
// Helpers end the test with Fatal where they cannot do what was asked, so they
// must be called from the goroutine of the test. The clients retry nothing.
// Everything else may be used from many goroutines at once.
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

// What worlds have in common.
const (
	Bucket = "bucket"    // exists in every world
	Region = "us-east-1" // unless the options name another
	ID     = "test"      // the access key id with which the clients sign
	Secret = "test"      // and its secret
)

// World is S3 and KMS for one test. The exported fields are set by [New] and
// [At]; a test may put clients of its own in their place.
type World struct {
	testing.TB
	Emulator *emulator.Emulator // nil in a world that At made
	URL      string             // the endpoint of both services
	Region   string
	Bucket   string // where Put, Get, Head, Fill and Check work; [Bucket]
	S3       *s3.Client
	KMS      *kms.Client
	HTTP     *http.Client // for requests that the SDK would not make
	Clock    *Clock

	shared *shared
}

// shared is what a world has in common with its copies for subtests.
type shared struct {
	options emulator.Options
	hook    atomic.Pointer[Hook]

	mu     sync.Mutex
	asked  map[string]int64  // by operation: the counter when Calls was last asked
	abroad map[string]*World // by Region
}

// New starts a world that ends with the test. The options are the emulator's:
// where Now is nil the clock stands still, with time.Now it runs; either way
// Clock.Pass moves it. A Hook in the options is the first one.
func New(t testing.TB, o emulator.Options) *World {
	t.Helper()
	return start(t, o, &Clock{base: o.Now})
}

func start(t testing.TB, o emulator.Options, clock *Clock) *World {
	t.Helper()
	w := &World{TB: t, Region: o.Region, Bucket: Bucket, Clock: clock, shared: &shared{options: o}}
	if w.Region == "" {
		w.Region = Region
	}
	w.Hook(o.Hook)
	o.Now, o.Hook = w.Clock.Now, w.serve
	w.Emulator = emulator.New(o)
	server := httptest.NewServer(w.Emulator)
	t.Cleanup(server.Close)
	w.Through(nil, server.URL)
	w.makeBucket(S3Client(w.URL, w.Region, w.Emulator.Backdoor())) // no hook, no counter
	return w
}

// At is a world behind an endpoint that somebody else serves: it has clients
// and a bucket, but no emulator, and its clock moves nothing.
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

// In is the world's other Region: an emulator of its own, with the same options
// and the same clock. It starts when it is first asked for.
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
		s.abroad[region] = start(w.TB, o, w.Clock)
	}
	return s.abroad[region]
}

// For is the same world for a subtest: what goes wrong is said of t.
func (w *World) For(t testing.TB) *World {
	same := *w
	same.TB = t
	return &same
}

// Through replaces the clients: from now on they reach the services by h, under
// this URL. With nil each has connections of its own.
func (w *World) Through(h *http.Client, url string) {
	w.S3, w.KMS = S3Client(url, w.Region, h), KMSClient(url, w.Region, h)
	if h == nil {
		h = http.DefaultClient
	}
	w.URL, w.HTTP = url, h
}

// S3Client is the SDK's client of an endpoint. With nil it has connections of
// its own.
func S3Client(url, region string, h *http.Client) *s3.Client {
	o := s3.Options{Region: region, BaseEndpoint: &url, UsePathStyle: true, Credentials: anybody, Retryer: aws.NopRetryer{}}
	if h != nil { // a nil *http.Client in the interface would be called
		o.HTTPClient = h
	}
	return s3.New(o)
}

// KMSClient is the SDK's client of an endpoint. With nil it has connections of
// its own.
func KMSClient(url, region string, h *http.Client) *kms.Client {
	o := kms.Options{Region: region, BaseEndpoint: &url, Credentials: anybody, Retryer: aws.NopRetryer{}}
	if h != nil {
		o.HTTPClient = h
	}
	return kms.New(o)
}

var anybody = credentials.NewStaticCredentialsProvider(ID, Secret, "")

// OK ends the test if there is an error.
func (w *World) OK(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Code returns the error code in a service's answer; "" if the error is none of
// a service. HEAD has no body to carry a code: there the SDK makes one of the
// status.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// Refused wants a service's answer with this status and error code, and returns
// its message. An error of any other kind ends the test.
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

// Calls returns how many requests of an operation ("kms:ReEncrypt") came in
// since Calls was last asked about it, or since Forget.
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

// Forget lets Calls begin anew for every operation.
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

// Now is the time at which the emulator answers.
func (c *Clock) Now() time.Time {
	now := begin
	if c.base != nil {
		now = c.base()
	}
	return now.Add(time.Duration(c.ahead.Load()))
}

// Pass moves the clock on.
func (c *Clock) Pass(d time.Duration) { c.ahead.Add(int64(d)) }

// Sleep lets the time pass without waiting for it, for code that is given its
// way to sleep. It fails if the context has ended.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	c.Pass(d)
	return ctx.Err()
}
