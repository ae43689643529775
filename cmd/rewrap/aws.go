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
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/engine/keys"
	"rewrap/engine/pace"
	s3source "rewrap/sources/s3"
)

// cloud is AWS, or an endpoint that takes its place, as one job calls it: one
// pacer, one retry layer and one set of counters for each of the two services.
type cloud struct {
	cfg          aws.Config
	kms, store   *pace.Pacer
	storeTraffic traffic

	mu  sync.Mutex
	kcs map[string]*kms.Client // by Region
	s3  *s3.Client
}

// openCloud reads the usual configuration: environment, profiles, SSO, roles.
func openCloud(ctx context.Context, j *job) (*cloud, error) {
	conns := j.workers * 4
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 2*conns, conns
	})
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(client),
		config.WithLogger(logging.Nop{}), // what matters comes back as an error
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) {
			o.ExpiryWindow, o.ExpiryWindowJitterFrac = 5*time.Minute, 0.5
		}))
	if err != nil {
		return nil, fmt.Errorf("the AWS configuration cannot be read: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("no AWS Region is set: set AWS_REGION, or a region in the profile")
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("no usable AWS credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in: %w", err)
	}
	cfg.RetryMaxAttempts = 0 // the retryer below decides
	return &cloud{cfg: cfg, kms: pace.New(j.kms.perSecond), store: pace.New(j.store.perSecond), kcs: make(map[string]*kms.Client)}, nil
}

// keyService is the KMS client of a Region; "" is the configured one.
func (c *cloud) keyService(region string) keys.API {
	if region == "" {
		region = c.cfg.Region
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kcs[region] == nil {
		c.kcs[region] = kms.NewFromConfig(c.cfg, func(o *kms.Options) {
			o.Region = region
			o.Retryer = retryer{c.kms}
			o.HTTPClient = deadline{o.HTTPClient, time.Minute}
		})
	}
	return c.kcs[region]
}

// openBucket makes the S3 client of the bucket's Region.
func (c *cloud) openBucket(ctx context.Context, bucket string) error {
	make := func(region string) *s3.Client {
		return s3.NewFromConfig(c.cfg, func(o *s3.Options) {
			o.Region = region
			o.Retryer = retryer{c.store}
			o.HTTPClient = counting{deadline{o.HTTPClient, 15 * time.Minute}, &c.storeTraffic}
			o.UsePathStyle = o.BaseEndpoint != nil
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		})
	}
	c.s3 = make(c.cfg.Region)
	region, err := s3source.BucketRegion(ctx, c.s3, bucket)
	if err != nil {
		return err
	}
	if region != "" && region != c.cfg.Region && c.endpoint() == "" {
		c.s3 = make(region)
	}
	return nil
}

// endpoint is the endpoint that was configured in place of AWS's own for S3;
// "" if none was, or if it is AWS's by another name (a VPC endpoint).
func (c *cloud) endpoint() string {
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
// Throttled requests are retried without end, since a throttle is nobody's
// failure and the pacer has slowed down; other passing errors eight times. The
// SDK's own retry budget, one bucket that all workers share, is not used: with
// many workers under throttling it turns throttles into failures.
type retryer struct{ p *pace.Pacer }

const transientAttempts = 8

var (
	retryables = retry.IsErrorRetryables(retry.DefaultRetryables)
	throttles  = retry.IsErrorThrottles(retry.DefaultThrottles)
)

func throttled(err error) bool {
	if err == nil {
		return false
	}
	// A HEAD answer has no body and so no code: its status has to do.
	var res *smithyhttp.ResponseError
	if errors.As(err, &res) && (res.HTTPStatusCode() == http.StatusTooManyRequests || res.HTTPStatusCode() == http.StatusServiceUnavailable) {
		return true
	}
	return throttles.IsErrorThrottle(err) == aws.TrueTernary
}

func (r retryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if err := r.p.Wait(ctx); err != nil {
		return nil, err
	}
	return func(err error) error {
		r.p.Done(throttled(err))
		return nil
	}, nil
}

func (r retryer) IsErrorRetryable(err error) bool {
	return throttled(err) || retryables.IsErrorRetryable(err) == aws.TrueTernary
}

func (r retryer) MaxAttempts() int { return 0 }

func (r retryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	base, limit := 50*time.Millisecond, 10*time.Second
	if throttled(err) {
		base = 200 * time.Millisecond
	} else if attempt >= transientAttempts {
		return 0, fmt.Errorf("tried %d times: %w", attempt, err)
	}
	backoff := min(base<<min(attempt, 10), limit)
	return time.Duration(rand.Int64N(int64(backoff))), nil
}

func (r retryer) GetRetryToken(context.Context, error) (func(error) error, error) {
	return func(error) error { return nil }, nil
}

func (r retryer) GetInitialToken() func(error) error { return func(error) error { return nil } }

// deadline bounds one attempt up to its answer's headers: nothing in the SDK
// or in net/http does, and a server that never answers would hold a worker for
// ever. The reading of a body is not bounded; it may be large.
type deadline struct {
	aws.HTTPClient
	limit time.Duration
}

var errNoAnswer = errors.New("no answer in time")

func (d deadline) Do(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(d.limit, func() { cancel(errNoAnswer) })
	res, err := d.HTTPClient.Do(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		cancel(nil)
		if context.Cause(ctx) == errNoAnswer {
			return nil, &timeoutError{d.limit}
		}
		return nil, err
	}
	res.Body = &onClose{res.Body, func() { cancel(nil) }}
	return res, nil
}

// timeoutError is what the SDK takes for a connection that timed out, and
// retries.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string   { return fmt.Sprintf("%v after %v", errNoAnswer, e.after) }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }

type onClose struct {
	io.ReadCloser
	then func()
}

func (c *onClose) Close() error {
	defer c.then()
	return c.ReadCloser.Close()
}

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
