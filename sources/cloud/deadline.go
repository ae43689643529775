package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// deadline bounds the time in which nothing happens in one attempt. Neither
// the SDK nor net/http does that, so a server that falls silent would hold a
// worker for ever. The time of the whole attempt is not bounded: bodies may be
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

// idle runs until the answer's headers have come. The transport may go on
// reading the request's body after that. Such reads do not count any more.
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

// answerBody bounds each read. The time between reads is the caller's own.
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

// timeoutError looks to the SDK like a connection that timed out, so the SDK
// retries it.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string   { return fmt.Sprintf("%v: nothing for %v", errNoAnswer, e.after) }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }
