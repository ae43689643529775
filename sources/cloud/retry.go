package cloud

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/sources"
	"rewrap/sources/cloud/pace"
)

// retryer is the one layer in which requests are retried, and the place where
// they wait for their turn. The SDK asks it for a token before each attempt
// and tells it how the attempt ended.
//
// A throttled request is retried for as long as the service answers any
// request (see [spell]): the pacer has slowed down, and a throttle is never an
// item's failure. Other passing errors are retried until one call has met
// eight of them. The SDK's own retry budget is not used. All workers share it,
// and under throttling it turns throttles into failures.
type retryer struct {
	p *pace.Pacer
	s *spell
}

// transientAttempts is how many passing errors end a call.
const transientAttempts = 8

func (c *Cloud) retryer(service string, p *pace.Pacer) retryer {
	return retryer{p, &spell{service: service, now: time.Now, notice: func(msg string) {
		if c.conf.Notice != nil {
			c.conf.Notice(msg)
		}
	}}}
}

var (
	retryables = retry.IsErrorRetryables(retry.DefaultRetryables)
	throttles  = retry.IsErrorThrottles(retry.DefaultThrottles)
)

// throttled says that the service asked for fewer requests.
func throttled(err error) bool {
	if err == nil || errors.Is(err, sources.ErrCredentials) { // the answer of another service
		return false
	}
	// The answer to a HEAD request has no body and so no code. Its status
	// decides.
	var res *smithyhttp.ResponseError
	if errors.As(err, &res) && (res.HTTPStatusCode() == http.StatusTooManyRequests || res.HTTPStatusCode() == http.StatusServiceUnavailable) {
		return true
	}
	return throttles.IsErrorThrottle(err) == aws.TrueTernary && !usedUp(err)
}

// usedUp recognises a code that the SDK counts among the throttles. KMS uses
// it for quotas that no waiting refills: 25 rotations of a key on demand, the
// number of aliases of a key (KMS API Reference, LimitExceededException).
func usedUp(err error) bool {
	var e smithy.APIError
	return errors.As(err, &e) && e.ErrorCode() == "LimitExceededException"
}

// GetAttemptToken implements [aws.RetryerV2].
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

// IsErrorRetryable implements [aws.Retryer].
func (r retryer) IsErrorRetryable(err error) bool {
	return throttled(err) || retryables.IsErrorRetryable(err) == aws.TrueTernary && !usedUp(err)
}

// MaxAttempts implements [aws.Retryer]: GetRetryToken bounds the attempts.
func (r retryer) MaxAttempts() int { return 0 }

// RetryDelay implements [aws.Retryer].
func (r retryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	base, limit := 50*time.Millisecond, 10*time.Second
	if throttled(err) {
		base = 200 * time.Millisecond
	}
	backoff := min(base<<min(attempt, 10), limit)
	return time.Duration(rand.Int64N(int64(backoff))), nil
}

// GetRetryToken implements [aws.Retryer]. It decides whether there is another
// attempt, since it alone is told both the call and the error.
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

// GetInitialToken implements [aws.Retryer].
func (r retryer) GetInitialToken() func(error) error { return func(error) error { return nil } }

// call is what the retryer remembers between the attempts of one call.
type call struct {
	transient int   // attempts that ended in a passing error other than a throttle
	gaveUp    error // why there was no other attempt
}

type callKey struct{}

// watch gives each call its memory, and makes the reason for giving up the
// error of the call. The SDK would join it to the error of the last attempt.
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
