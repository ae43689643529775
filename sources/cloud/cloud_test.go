package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	kmskeys "rewrap/engine/keys/kms"
	"rewrap/sources"
	"rewrap/sources/cloud/pace"
	s3source "rewrap/sources/s3"
)

// cloudAt is a cloud at the endpoint of a test.
func cloudAt(url string, p aws.CredentialsProvider, notice func(string)) *Cloud {
	c := New(Config{Connections: 4, Notice: notice})
	c.aws = aws.Config{Region: "us-east-1", BaseEndpoint: &url, Credentials: p}
	return c
}

func answered(status int, code string) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
		Err:      &smithy.GenericAPIError{Code: code},
	}
}

// TestThrottledForEver: an endpoint that answers nothing but throttles ends
// the run, at once and not after so many items, and people are told before.
func TestThrottledForEver(t *testing.T) {
	for name, status := range map[string]int{"SlowDown": 503, "ThrottlingException": 400} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if status == 503 {
				w.WriteHeader(status)
				return
			}
			w.Header().Set("X-Amzn-Errortype", name)
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"__type":%q}`, name)
		}))
		defer srv.Close()
		var notices []string
		c := cloudAt(srv.URL, credentials.NewStaticCredentialsProvider("a", "b", ""), func(msg string) { notices = append(notices, msg) })
		var now time.Time
		clock := func() time.Time { now = now.Add(time.Minute); return now }
		var err error
		if status == 503 {
			r := c.retryer("S3", c.store)
			r.s.now = clock
			client := s3.NewFromConfig(c.aws, func(o *s3.Options) {
				o.Retryer, o.APIOptions, o.UsePathStyle = r, append(o.APIOptions, r.watch), true
			})
			_, err = s3source.Open(t.Context(), s3source.Config{Client: client, Bucket: "bucket"})
		} else {
			r := c.retryer("KMS", c.kms)
			r.s.now = clock
			client := kms.NewFromConfig(c.aws, func(o *kms.Options) { o.Retryer, o.APIOptions = r, append(o.APIOptions, r.watch) })
			_, err = kmskeys.Open(t.Context(), kmskeys.Config{Client: func(string) kmskeys.API { return client }, To: "alias/a"})
		}
		var run *sources.RunError
		if !errors.As(err, &run) || run.Strikes > 1 || !errors.Is(err, sources.ErrThrottled) || !strings.Contains(err.Error(), "without one answer") {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", name, err)
		}
		if len(notices) != 1 || !strings.Contains(notices[0], "throttled") {
			t.Errorf("%s: notices %q", name, notices)
		}
	}
}

// TestSpell: the time that counts is that of nothing but throttles.
func TestSpell(t *testing.T) {
	throttle := answered(400, "ThrottlingException")
	for name, test := range map[string]struct {
		between error
		after   time.Duration
		over    bool
	}{
		"nothing":              {throttle, spellLimit, true},
		"not yet":              {throttle, spellLimit - time.Second, false},
		"a success":            {nil, spellLimit, false},
		"an error":             {answered(404, "NoSuchKey"), spellLimit, false},
		"no connection":        {&net.OpError{Op: "dial", Err: errors.New("refused")}, spellLimit, true},
		"the credentials' own": {fmt.Errorf("%w: %w", sources.ErrCredentials, answered(503, "SlowDown")), spellLimit, true},
	} {
		var now time.Time
		notices := 0
		s := &spell{service: "KMS", now: func() time.Time { return now }, notice: func(string) { notices++ }}
		now = now.Add(time.Hour) // of idleness, which does not count
		if s.heard(throttle); s.over(throttle) != nil {
			t.Errorf("%s: over at the first throttle", name)
		}
		s.heard(test.between)
		now = now.Add(test.after)
		s.heard(throttle)
		if err := s.over(throttle); (err != nil) != test.over || test.over && !errors.Is(err, sources.ErrThrottled) {
			t.Errorf("%s: %v", name, err)
		}
		if told := notices > 0; told != (test.over || name == "not yet") {
			t.Errorf("%s: %d notices", name, notices)
		}
	}
	if throttled(fmt.Errorf("%w: %w", sources.ErrCredentials, answered(503, "SlowDown"))) {
		t.Error("another service's throttle is taken for this one's")
	}
}

// TestTransient: throttles do not use up the attempts that other passing
// errors have, and each call has its own.
func TestTransient(t *testing.T) {
	r := New(Config{}).retryer("S3", pace.New(0))
	passing := answered(500, "InternalError")
	ask := func(ctx context.Context, n int, err error) error {
		for range n - 1 {
			if _, e := r.GetRetryToken(ctx, err); e != nil {
				t.Fatal(e)
			}
		}
		_, e := r.GetRetryToken(ctx, err)
		return e
	}
	stack := middleware.NewStack("test", smithyhttp.NewStackRequest)
	if err := r.watch(stack); err != nil {
		t.Fatal(err)
	}
	run := middleware.DecorateHandler(middleware.HandlerFunc(func(ctx context.Context, _ any) (any, middleware.Metadata, error) {
		if err := ask(ctx, 20, answered(503, "SlowDown")); err != nil {
			t.Errorf("throttled 20 times: %v", err)
		}
		if err := ask(ctx, transientAttempts-1, passing); err != nil {
			t.Errorf("failed %d times: %v", transientAttempts-1, err)
		}
		err := ask(ctx, 1, passing)
		return nil, middleware.Metadata{}, errors.Join(passing, err) // as the SDK does
	}), stack)
	for range 2 {
		_, _, err := run.Handle(t.Context(), nil)
		if !errors.Is(err, passing) || !strings.HasPrefix(err.Error(), fmt.Sprintf("tried %d times: ", transientAttempts)) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v", err)
		}
	}
}

// TestCredentialsEnd: credentials that cannot be had are nobody's outage and
// no answer of the service, whatever is inside.
func TestCredentialsEnd(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	for _, inner := range []error{errors.New("the SSO session has expired"), answered(404, "ResourceNotFoundException"), answered(403, "AccessDenied")} {
		c := cloudAt(srv.URL, provider{aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, inner })}, nil)
		_, bucketErr := s3source.BucketRegion(t.Context(), c.S3(""), "bucket")
		_, keyErr := kmskeys.Open(t.Context(), kmskeys.Config{Client: func(region string) kmskeys.API { return c.KMS(region) }, To: "alias/a"})
		for name, err := range map[string]error{"S3": bucketErr, "KMS": keyErr} {
			var run *sources.RunError
			if !errors.Is(err, sources.ErrCredentials) || !errors.Is(err, inner) || !errors.As(err, &run) || run.Strikes > 1 || !strings.Contains(run.Hint, "credentials") {
				t.Errorf("%s, %v: %v", name, inner, err)
			}
			if err != nil && strings.Count(err.Error(), sources.ErrCredentials.Error()) != 1 {
				t.Errorf("%s says it twice: %v", name, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := provider{aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return aws.Credentials{}, ctx.Err() })}.Retrieve(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, sources.ErrCredentials) {
		t.Errorf("cancelled: %v", err)
	}
}

// pipes is a listener and its dialer without a network, so that time can be
// the test's own.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	p.conns <- there
	return here, nil
}

// slow yields bytes at intervals.
type slow struct {
	n     int
	every time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.every)
	s.n--
	p[0] = 'x'
	return 1, nil
}

// TestDeadline: silence ends an attempt; slowness does not.
func TestDeadline(t *testing.T) {
	const headers, body = 15 * time.Minute, time.Minute
	wait := func(d time.Duration) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			time.Sleep(d)
		}
	}
	deaf := func(http.ResponseWriter, *http.Request) { time.Sleep(headers + time.Minute) }
	pause := func(d time.Duration, n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for range n {
				w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				time.Sleep(d)
			}
		}
	}
	for _, test := range []struct {
		name   string
		method string
		send   io.Reader
		serve  http.HandlerFunc
		late   time.Duration // 0: it is well; else after how long it ends
	}{
		{"at once", "GET", nil, wait(0), 0},
		{"headers in time", "PUT", nil, wait(headers - time.Second), 0},
		{"headers too late", "GET", nil, wait(headers + time.Minute), headers},
		{"a long upload", "PUT", &slow{60, time.Minute}, wait(headers - time.Second), 0},
		{"an upload that is not taken", "PUT", bytes.NewReader(make([]byte, 1<<20)), deaf, headers},
		{"a copy that is long after its headers", "PUT", nil, pause(headers-time.Second, 2), 0},
		{"a long body", "GET", nil, pause(body-time.Second, 60), 0},
		{"a body that stalls", "GET", nil, pause(body+time.Minute, 2), body},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &pipes{make(chan net.Conn), make(chan struct{})}
				srv := &http.Server{Handler: test.serve}
				go srv.Serve(l)
				tr := &http.Transport{DialContext: l.dial}
				defer func() {
					srv.Close()
					tr.CloseIdleConnections()
					time.Sleep(3 * headers) // what is asleep wakes up and ends
				}()
				req, err := http.NewRequestWithContext(t.Context(), test.method, "http://service/", test.send)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				res, err := deadline{&http.Client{Transport: tr}, headers, body}.Do(req)
				if err == nil {
					time.Sleep(2 * headers) // the reader's own time does not count
					began = time.Now()
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				took := time.Since(began)
				var timeout *timeoutError
				switch {
				case test.late == 0 && err != nil:
					t.Error(err)
				case test.late != 0 && (!errors.As(err, &timeout) || took < test.late || took > test.late+time.Second):
					t.Errorf("after %v: %v", took, err)
				}
			})
		})
	}
}

// TestDeadlineIsRetried: the SDK takes a silent attempt for a passing error,
// also when it is the body that does not come.
func TestDeadlineIsRetried(t *testing.T) {
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Content-Length", "100")
			w.Write(bytes.Repeat([]byte(" "), 10))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		io.WriteString(w, `{"KeyMetadata":{"KeyId":"k"}}`)
	}))
	defer srv.Close()
	c := cloudAt(srv.URL, credentials.NewStaticCredentialsProvider("a", "b", ""), nil)
	r := c.retryer("KMS", c.kms)
	client := kms.NewFromConfig(c.aws, func(o *kms.Options) {
		o.Retryer, o.APIOptions = r, append(o.APIOptions, r.watch)
		o.HTTPClient = deadline{http.DefaultClient, time.Minute, 50 * time.Millisecond}
	})
	out, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("k")})
	if err != nil || n.Load() != 2 || aws.ToString(out.KeyMetadata.KeyId) != "k" {
		t.Errorf("%d attempts, %v", n.Load(), err)
	}
}
