package emulator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
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

// clients of an emulator, over a socket and without one: every test runs both
// ways, since they shall not differ.
type clients struct {
	s3  *s3.Client
	kms *kms.Client
	url string
	do  *http.Client
}

func both(t *testing.T, o emulator.Options, test func(t *testing.T, e *emulator.Emulator, c clients)) {
	for _, way := range []string{"socket", "in process"} {
		t.Run(way, func(t *testing.T) {
			e := emulator.New(o)
			c := clients{url: "http://emulator", do: e.Client()}
			if way == "socket" {
				server := httptest.NewServer(e)
				t.Cleanup(server.Close)
				c.url, c.do = server.URL, server.Client()
			}
			credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any"}, nil
			})
			once := retry.AddWithMaxAttempts(retry.NewStandard(), 1)
			c.s3 = s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &c.url, UsePathStyle: true, Credentials: credentials, Retryer: once, HTTPClient: c.do})
			c.kms = kms.New(kms.Options{Region: "us-east-1", BaseEndpoint: &c.url, Credentials: credentials, Retryer: once, HTTPClient: c.do})
			test(t, e, c)
		})
	}
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c clients) bucket(t *testing.T) {
	t.Helper()
	_, err := c.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket-a")})
	must(t, err)
}

func (c clients) put(ctx context.Context, key, body string) error {
	_, err := c.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket-a"), Key: &key, Body: strings.NewReader(body)})
	return err
}

func (c clients) get(ctx context.Context, key string) (string, error) {
	out, err := c.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bucket-a"), Key: &key})
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	return string(b), err
}

func TestBothServicesAndCounters(t *testing.T) {
	both(t, emulator.Options{}, func(t *testing.T, e *emulator.Emulator, c clients) {
		c.bucket(t)
		key, err := c.kms.CreateKey(t.Context(), &kms.CreateKeyInput{})
		must(t, err)
		_, err = c.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket-a"), Key: aws.String("k"), Body: strings.NewReader("v"), ServerSideEncryption: "aws:kms", SSEKMSKeyId: key.KeyMetadata.Arn})
		must(t, err)
		if got, err := c.get(t.Context(), "k"); got != "v" || err != nil {
			t.Errorf("%q %v", got, err)
		}
		want := map[string]int64{"kms:CreateKey": 1, "s3:CreateBucket": 1, "s3:PutObject": 1, "s3:GetObject": 1, "s3:kms:GenerateDataKey": 1, "s3:kms:Decrypt": 1}
		check := func(got map[string]int64) {
			t.Helper()
			if len(got) != len(want) {
				t.Errorf("counters %v, want %v", got, want)
			}
			for name, n := range want {
				if got[name] != n {
					t.Errorf("%s: %d, want %d", name, got[name], n)
				}
			}
		}
		check(e.Counters())
		response, err := c.do.Get(c.url + "/_emulator/counters")
		must(t, err)
		var served map[string]int64
		must(t, json.NewDecoder(response.Body).Decode(&served))
		response.Body.Close()
		check(served)
		response, err = c.do.Post(c.url+"/_emulator/counters/reset", "", nil)
		must(t, err)
		response.Body.Close()
		want = nil
		check(e.Counters())
	})
}

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) pass(d time.Duration) { c.mu.Lock(); c.now = c.now.Add(d); c.mu.Unlock() }

// KMS Developer Guide, "Throttling AWS KMS requests": ThrottlingException, 400,
// "Rate exceeded". S3's own calls draw on the quota, and come out as SlowDown
// (S3 User Guide, SSE-KMS and bucket keys, and recorded answers). DescribeKey has a quota of its own.
func TestKMSQuota(t *testing.T) {
	for _, window := range []string{"second", "bucket"} {
		clk := &clock{now: time.Unix(1_800_000_000, 500_000_000)}
		both(t, emulator.Options{Now: clk.read, KMSQuota: 3, KMSWindow: window}, func(t *testing.T, e *emulator.Emulator, c clients) {
			c.bucket(t)
			key, err := c.kms.CreateKey(t.Context(), &kms.CreateKeyInput{})
			must(t, err)
			use := func() string {
				_, err := c.kms.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: key.KeyMetadata.Arn, KeySpec: "AES_256"})
				return code(err)
			}
			sse := func() string {
				_, err := c.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket-a"), Key: aws.String("k"), ServerSideEncryption: "aws:kms", SSEKMSKeyId: key.KeyMetadata.Arn})
				return code(err)
			}
			clk.pass(time.Second) // whatever was used so far
			got := []string{use(), sse(), use(), use(), sse()}
			if strings.Join(got, ",") != ",,,ThrottlingException,SlowDown" {
				t.Errorf("%s: %q", window, got)
			}
			_, err = c.kms.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key.KeyMetadata.Arn})
			must(t, err)
			// 0.5 s on, the next second has begun, and the bucket holds 1.5 requests.
			clk.pass(500 * time.Millisecond)
			got = []string{use(), use(), use(), use()}
			want := map[string]string{"second": ",,,ThrottlingException", "bucket": ",ThrottlingException,ThrottlingException,ThrottlingException"}[window]
			if strings.Join(got, ",") != want {
				t.Errorf("%s: %q", window, got)
			}
			if n := e.Counters()["throttled:s3:kms:GenerateDataKey"]; n != 1 {
				t.Errorf("throttled calls of S3: %d", n)
			}
			// However long nothing is asked, no more than a second's worth is saved up.
			clk.pass(10 * time.Second)
			if got := []string{use(), use(), use(), use()}; strings.Join(got, ",") != ",,,ThrottlingException" {
				t.Errorf("%s: %q", window, got)
			}
			clk.pass(500 * time.Millisecond) // both ways begin on the half second
		})
	}
}

// API, Error Responses: 503 SlowDown.
func TestS3Quota(t *testing.T) {
	clk := &clock{now: time.Unix(1_800_000_000, 0)}
	both(t, emulator.Options{Now: clk.read, S3Quota: 2}, func(t *testing.T, e *emulator.Emulator, c clients) {
		clk.pass(time.Second)
		c.bucket(t)
		must(t, c.put(t.Context(), "k", "v"))
		err := c.put(t.Context(), "k", "other")
		var response *smithyhttp.ResponseError
		if code(err) != "SlowDown" || !errors.As(err, &response) || response.HTTPStatusCode() != 503 {
			t.Errorf("got %v", err)
		}
		clk.pass(time.Second)
		if got, err := c.get(t.Context(), "k"); got != "v" || err != nil {
			t.Errorf("%q %v", got, err)
		}
	})
}

// A wait ends with the request's context, and then nothing is done.
func TestLatency(t *testing.T) {
	left := make(chan struct{}, 1)
	o := emulator.Options{S3Latency: 20 * time.Millisecond, KMSLatency: time.Hour}
	o.Hook = func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "kms:CreateKey" {
			defer func() { left <- struct{}{} }()
		}
		next.ServeHTTP(w, r)
	}
	both(t, o, func(t *testing.T, e *emulator.Emulator, c clients) {
		begin := time.Now()
		c.bucket(t)
		if d := time.Since(begin); d < 20*time.Millisecond {
			t.Errorf("took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := c.kms.CreateKey(ctx, &kms.CreateKeyInput{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		<-left
		list := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
		list.Header.Set("X-Amz-Target", "TrentService.ListKeys")
		rec := httptest.NewRecorder()
		e.KMS().ServeHTTP(rec, list)
		if rec.Code != 200 || strings.Contains(rec.Body.String(), "KeyArn") {
			t.Errorf("keys: %d %s", rec.Code, rec.Body)
		}
	})
}

// What a hook can do: fail, lose the answer after the change, cut the body short,
// reset the connection.
func TestHook(t *testing.T) {
	var mu sync.Mutex
	var fault func(op string, w http.ResponseWriter, r *http.Request, next http.Handler)
	hook := func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		f := fault
		mu.Unlock()
		if f == nil {
			next.ServeHTTP(w, r)
			return
		}
		f(op, w, r, next)
	}
	set := func(f func(op string, w http.ResponseWriter, r *http.Request, next http.Handler)) {
		mu.Lock()
		fault = f
		mu.Unlock()
	}
	both(t, emulator.Options{Hook: hook}, func(t *testing.T, e *emulator.Emulator, c clients) {
		ctx := t.Context()
		set(nil)
		c.bucket(t)
		must(t, c.put(ctx, "k", "v1"))

		seen := ""
		set(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
			seen += op + " "
			emulator.Fail(w, r, 500, "InternalError", "no")
		})
		if err := c.put(ctx, "k", "v2"); code(err) != "InternalError" {
			t.Errorf("put: %v", err)
		}
		if _, err := c.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("bucket-a"), Key: aws.String("k")}); code(err) != "InternalServerError" {
			t.Errorf("head: %v", err) // the SDK's name for the bare status
		}
		set(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
			seen += op
			emulator.Fail(w, r, 400, "DisabledException", "no")
		})
		if _, err := c.kms.ListKeys(ctx, &kms.ListKeysInput{}); code(err) != "DisabledException" {
			t.Errorf("kms: %v", err)
		}
		if seen != "s3:PutObject s3:HeadObject kms:ListKeys" {
			t.Errorf("seen %q", seen)
		}

		set(func(_ string, _ http.ResponseWriter, _ *http.Request, _ http.Handler) { panic(http.ErrAbortHandler) })
		if err := c.put(ctx, "k", "v3"); err == nil || code(err) != "" {
			t.Errorf("reset: %v", err)
		}
		set(nil)
		if got, err := c.get(ctx, "k"); got != "v1" || err != nil {
			t.Errorf("after failures and a reset: %q %v", got, err)
		}

		set(func(_ string, w http.ResponseWriter, r *http.Request, next http.Handler) {
			emulator.LoseAnswer(w, r, next)
		})
		if err := c.put(ctx, "k", "v4"); err == nil || code(err) != "" {
			t.Errorf("lost answer: %v", err)
		}
		set(nil)
		if got, err := c.get(ctx, "k"); got != "v4" || err != nil {
			t.Errorf("after a lost answer: %q %v", got, err)
		}

		long := strings.Repeat("0123456789", 10_000)
		must(t, c.put(ctx, "long", long))
		for _, n := range []int{0, 7, 50_000} {
			set(func(_ string, w http.ResponseWriter, r *http.Request, next http.Handler) {
				emulator.Truncate(n, w, r, next)
			})
			if got, err := c.get(ctx, "long"); !errors.Is(err, io.ErrUnexpectedEOF) || got != long[:n] {
				t.Errorf("cut at %d: %d bytes, %v", n, len(got), err)
			}
		}
		set(func(_ string, w http.ResponseWriter, r *http.Request, next http.Handler) {
			emulator.Truncate(1<<20, w, r, next)
		})
		if got, err := c.get(ctx, "long"); got != long || err != nil {
			t.Errorf("not cut: %d bytes, %v", len(got), err)
		}
	})
}

// The in-process client behaves like a connection.
func TestClient(t *testing.T) {
	e := emulator.New(emulator.Options{Hook: func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch op {
		case "s3:ListBuckets": // as a handler that ignores its context
			time.Sleep(200 * time.Millisecond)
			next.ServeHTTP(w, r)
		case "s3:HeadBucket":
			panic(http.ErrAbortHandler)
		case "s3:GetObject":
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("short"))
		default:
			body, _ := io.ReadAll(r.Body)
			w.Header()["x-lower"] = []string{r.Header.Get("X-Sent"), r.RequestURI, r.Host, string(body)}
		}
	}})
	client := e.Client()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://emulator/", nil)
	begin := time.Now()
	if _, err := client.Do(r); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 150*time.Millisecond {
		t.Errorf("cancelled: %v after %v", err, time.Since(begin))
	}

	r, _ = http.NewRequest("HEAD", "http://emulator/bucket-a", nil)
	if _, err := client.Do(r); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: %v", err)
	}

	response, err := client.Get("http://emulator/bucket-a/k")
	must(t, err)
	if b, err := io.ReadAll(response.Body); string(b) != "short" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q %v", b, err)
	}
	var copied bytes.Buffer
	response, err = client.Get("http://emulator/bucket-a/k")
	must(t, err)
	if _, err := io.Copy(&copied, response.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("copied: %v", err)
	}

	r, _ = http.NewRequest("PUT", "http://emulator/bucket-a/a%2Fb//c?x=%20", strings.NewReader("body"))
	r.Header["x-sent"] = []string{"v"}
	response, err = client.Do(r)
	must(t, err)
	if got := strings.Join(response.Header.Values("X-Lower"), " "); got != "v /bucket-a/a%2Fb//c?x=%20 emulator body" {
		t.Errorf("seen by the handler: %s", got)
	}

	r, _ = http.NewRequest("PUT", "http://emulator/bucket-a/k", io.LimitReader(strings.NewReader("body"), 3))
	r.ContentLength = 4
	if _, err := client.Do(r); err == nil {
		t.Error("a body shorter than declared was sent")
	}
}

// Whoever reaches the port can do anything: loopback only.
func TestListen(t *testing.T) {
	e := emulator.New(emulator.Options{})
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "nonsense"} {
		if _, err := e.Listen(t.Context(), addr); err == nil {
			t.Errorf("listens on %s", addr)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	server, err := e.Listen(ctx, "127.0.0.1:0")
	must(t, err)
	response, err := http.Get(server.URL() + "/_emulator/counters")
	must(t, err)
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("status %d", response.StatusCode)
	}
	if _, err := e.Listen(t.Context(), strings.TrimPrefix(server.URL(), "http://")); err == nil {
		t.Error("listens twice on one port")
	}
	stop()
	must(t, server.Wait())
	if _, err := http.Get(server.URL()); err == nil {
		t.Error("still serves")
	}
}

func TestUnknownWindow(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an unknown KMSWindow is accepted")
		}
	}()
	emulator.New(emulator.Options{KMSWindow: "minute"})
}
