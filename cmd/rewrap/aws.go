package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/engine/keys"
	"rewrap/sources"
	"rewrap/sources/cloud/pace"
	s3source "rewrap/sources/s3"
)

// cloud is AWS, or an endpoint that takes its place, as one job calls it: one
// pacer, one retry layer and one set of counters for each of the two services.
type cloud struct {
	conns        int // connections kept open to each service
	cfg          aws.Config
	kms, store   *pace.Pacer
	storeTraffic traffic

	// notice takes what people should know while requests are retried; may be
	// nil. To be set before anything is called.
	notice func(string)

	mu  sync.Mutex
	kcs map[string]*kms.Client // by Region
	s3  *s3.Client
}

// newCloud makes the pacers and counters of a job. It has to be configured
// before anything is called.
func newCloud(j *job) *cloud {
	return &cloud{conns: j.workers * 4, kms: pace.New(j.kms.perSecond), store: pace.New(j.store.perSecond), kcs: make(map[string]*kms.Client)}
}

// openCloud makes one and configures it.
func openCloud(ctx context.Context, j *job) (*cloud, error) {
	c := newCloud(j)
	return c, c.configure(ctx)
}

// configure reads the usual configuration: environment, profiles, SSO, roles.
func (c *cloud) configure(ctx context.Context) error {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 2*c.conns, c.conns
	})
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(client),
		config.WithLogger(logging.Nop{}), // what matters comes back as an error
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) {
			o.ExpiryWindow, o.ExpiryWindowJitterFrac = 5*time.Minute, 0.5
		}))
	if err != nil {
		return fmt.Errorf("the AWS configuration cannot be read: %w", err)
	}
	if cfg.Region == "" {
		return errors.New("no AWS Region is set: set AWS_REGION, or a region in the profile")
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("no usable AWS credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in: %w", err)
	}
	cfg.Credentials = provider{cfg.Credentials}
	cfg.RetryMaxAttempts = 0 // the retryer below decides
	c.cfg = cfg
	return nil
}

// provider makes every failure to get credentials the same error, for both
// services.
type provider struct{ aws.CredentialsProvider }

func (p provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := p.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", sources.ErrCredentials, err)
	}
	return creds, err
}

// keyService is what moves wrapped keys in a Region; "" is the configured one.
func (c *cloud) keyService(region string) keys.API { return counted{c.keyClient(region)} }

func (c *cloud) keyClient(region string) *kms.Client {
	if region == "" {
		region = c.cfg.Region
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kcs[region] == nil {
		r := c.retryer("KMS in "+region, c.kms)
		c.kcs[region] = kms.NewFromConfig(c.cfg, func(o *kms.Options) {
			o.Region = region
			o.Retryer = r
			o.APIOptions = append(o.APIOptions, r.watch)
			o.HTTPClient = deadline{o.HTTPClient, time.Minute, time.Minute}
		})
	}
	return c.kcs[region]
}

// openBucket makes the S3 client of the bucket's Region.
func (c *cloud) openBucket(ctx context.Context, bucket string) error {
	client := func(region string) *s3.Client {
		r := c.retryer("S3", c.store)
		return s3.NewFromConfig(c.cfg, func(o *s3.Options) {
			o.Region = region
			o.Retryer = r
			o.APIOptions = append(o.APIOptions, r.watch)
			o.HTTPClient = counting{deadline{o.HTTPClient, 15 * time.Minute, time.Minute}, &c.storeTraffic}
			o.UsePathStyle = o.BaseEndpoint != nil
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		})
	}
	c.s3 = client(c.cfg.Region)
	region, err := s3source.BucketRegion(ctx, c.s3, bucket)
	if err != nil {
		return err
	}
	if region != "" && region != c.cfg.Region && c.endpoint() == "" {
		c.s3 = client(region)
	}
	return nil
}

// endpoint is the endpoint that was configured in place of AWS's own for S3;
// "" if none was, or if it is AWS's by another name (a VPC endpoint).
func (c *cloud) endpoint() string {
	if c.s3 == nil {
		return ""
	}
	base := c.s3.Options().BaseEndpoint
	if base == nil {
		return ""
	}
	u, err := url.Parse(*base)
	if err != nil {
		return *base
	}
	for _, domain := range []string{".amazonaws.com", ".amazonaws.com.cn"} {
		if strings.HasSuffix(u.Hostname(), domain) {
			return ""
		}
	}
	return u.Scheme + "://" + u.Host
}

// retryer is the one layer in which requests are retried, and the place where
// they wait for their turn: the SDK asks it for a token before each attempt
// and tells it how the attempt ended.
//
// Throttled requests are retried for as long as the service answers any, since
// a throttle is nobody's failure and the pacer has slowed down (see [spell]);
// other passing errors until a call has met eight of them. The SDK's own retry
// budget, one bucket that all workers share, is not used: with many workers
// under throttling it turns throttles into failures.
type retryer struct {
	p *pace.Pacer
	s *spell
}

const transientAttempts = 8

func (c *cloud) retryer(service string, p *pace.Pacer) retryer {
	return retryer{p, &spell{service: service, now: time.Now, notice: func(msg string) {
		if c.notice != nil {
			c.notice(msg)
		}
	}}}
}

var (
	retryables = retry.IsErrorRetryables(retry.DefaultRetryables)
	throttles  = retry.IsErrorThrottles(retry.DefaultThrottles)
)

func throttled(err error) bool {
	if err == nil || errors.Is(err, sources.ErrCredentials) { // another service's answer
		return false
	}
	// A HEAD answer has no body and so no code: its status has to do.
	var res *smithyhttp.ResponseError
	if errors.As(err, &res) && (res.HTTPStatusCode() == http.StatusTooManyRequests || res.HTTPStatusCode() == http.StatusServiceUnavailable) {
		return true
	}
	return throttles.IsErrorThrottle(err) == aws.TrueTernary && !usedUp(err)
}

// usedUp knows the code that the SDK counts among the throttles and that KMS
// has for quotas that no waiting refills: 25 rotations of a key on demand, so
// many aliases of a key (KMS API Reference, LimitExceededException).
func usedUp(err error) bool {
	var e smithy.APIError
	return errors.As(err, &e) && e.ErrorCode() == "LimitExceededException"
}

func (r retryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if err := r.p.Wait(ctx); err != nil {
		return nil, err
	}
	return func(err error) error {
		r.p.Done(throttled(err))
		r.s.heard(err)
		return nil
	}, nil
}

func (r retryer) IsErrorRetryable(err error) bool {
	return throttled(err) || retryables.IsErrorRetryable(err) == aws.TrueTernary && !usedUp(err)
}

func (r retryer) MaxAttempts() int { return 0 }

func (r retryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	base, limit := 50*time.Millisecond, 10*time.Second
	if throttled(err) {
		base = 200 * time.Millisecond
	}
	backoff := min(base<<min(attempt, 10), limit)
	return time.Duration(rand.Int64N(int64(backoff))), nil
}

// GetRetryToken decides whether there is another attempt: it alone is told
// both the call and the error.
func (r retryer) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		c = new(call)
	}
	switch {
	case throttled(err):
		c.gaveUp = r.s.over(err)
	default:
		if c.transient++; c.transient >= transientAttempts {
			c.gaveUp = fmt.Errorf("tried %d times: %w", c.transient, err)
		}
	}
	return func(err error) error { r.s.heard(err); return nil }, c.gaveUp
}

// call is what the retryer remembers between the attempts of one call.
type call struct {
	transient int   // attempts that ended in a passing error other than a throttle
	gaveUp    error // why there was no other attempt
}

type callKey struct{}

// watch gives a call its memory, and makes the reason to give up the call's
// error: the SDK would join it to the last attempt's.
func (r retryer) watch(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("rewrap.Call", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		c := new(call)
		out, meta, err := next.HandleInitialize(context.WithValue(ctx, callKey{}, c), in)
		if err != nil && c.gaveUp != nil {
			err = c.gaveUp
		}
		return out, meta, err
	}), middleware.Before)
}

func (r retryer) GetInitialToken() func(error) error { return func(error) error { return nil } }

// spell is a time in which a service answers nothing but throttles. It begins
// with the first of them and ends with any other answer to anybody's request,
// so a service that is not called for a while is not taken for one that does
// not answer. People are told of a long one; a very long one is an outage.
// Safe for concurrent use.
type spell struct {
	service string
	notice  func(string)
	now     func() time.Time

	mu    sync.Mutex
	since time.Time // zero: none is going on
	told  bool
}

const (
	spellNotice = 30 * time.Second
	spellLimit  = 5 * time.Minute
)

// heard takes in how an attempt ended.
func (s *spell) heard(err error) {
	var answer *smithyhttp.ResponseError
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case throttled(err):
		now := s.now()
		if s.since.IsZero() {
			s.since = now
		}
		if !s.told && now.Sub(s.since) >= spellNotice {
			s.told = true
			s.notice(fmt.Sprintf("%s has throttled every request for %v; waiting for it up to %v", s.service, now.Sub(s.since).Round(time.Second), spellLimit))
		}
	case err == nil, errors.As(err, &answer) && !errors.Is(err, sources.ErrCredentials):
		s.since, s.told = time.Time{}, false
	}
}

// over is the error that ends a call which was throttled with err; nil while
// it is worth waiting.
func (s *spell) over(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() || s.now().Sub(s.since) < spellLimit {
		return nil
	}
	return fmt.Errorf("%w: %s throttled for %v without one answer: %w", sources.ErrThrottled, s.service, s.now().Sub(s.since).Round(time.Second), err)
}

// deadline bounds the time in which nothing happens in one attempt: nothing in
// the SDK or in net/http does, and a server that falls silent would hold a
// worker for ever. How long the whole takes is not bounded; bodies may be
// large.
type deadline struct {
	aws.HTTPClient
	headers time.Duration // from the start, or the last read of the request's body, to the answer's headers
	body    time.Duration // one read of the answer's body; of a PUT as long as headers, since S3 begins its answer to a copy before the end of it
}

var errNoAnswer = errors.New("no answer in time")

func (d deadline) Do(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	quiet := &idle{limit: d.headers, timer: time.AfterFunc(d.headers, func() { cancel(errNoAnswer) })}
	req = req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &sentBody{req.Body, quiet}
	}
	res, err := d.HTTPClient.Do(req)
	quiet.end()
	if err != nil {
		if context.Cause(ctx) == errNoAnswer {
			err = &timeoutError{d.headers}
		}
		cancel(nil)
		return nil, err
	}
	limit := d.body
	if req.Method == http.MethodPut {
		limit = d.headers
	}
	res.Body = &answerBody{ReadCloser: res.Body, ctx: ctx, cancel: cancel, timer: quiet.timer, limit: limit}
	return res, nil
}

// idle runs until the answer's headers are there. The transport may go on
// reading the request's body after that, which does not count any more.
type idle struct {
	limit time.Duration
	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func (i *idle) reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.over {
		i.timer.Reset(i.limit)
	}
}

func (i *idle) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = true
	i.timer.Stop()
}

type sentBody struct {
	io.ReadCloser
	idle *idle
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.idle.reset()
	return n, err
}

// answerBody bounds each read, not the time between reads, which is the
// caller's.
type answerBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func (b *answerBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.limit)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errNoAnswer {
		err = &timeoutError{b.limit}
	}
	return n, err
}

func (b *answerBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// timeoutError is what the SDK takes for a connection that timed out, and
// retries.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string   { return fmt.Sprintf("%v: nothing for %v", errNoAnswer, e.after) }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }

// traffic counts the bodies that were sent and received.
type traffic struct{ in, out atomic.Int64 }

type counting struct {
	aws.HTTPClient
	t *traffic
}

func (c counting) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &countingBody{req.Body, &c.t.out}
	}
	res, err := c.HTTPClient.Do(req)
	if err == nil {
		res.Body = &countingBody{res.Body, &c.t.in}
	}
	return res, err
}

type countingBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
