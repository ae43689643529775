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
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
)

type world struct{ *emulatortest.World }

// both runs a test over a socket and without one: they must not differ.
func both(t *testing.T, o emulator.Options, test func(t *testing.T, w world)) {
	for _, way := range []string{"socket", "in process"} {
		t.Run(way, func(t *testing.T) {
			w := world{emulatortest.New(t, o)}
			if way == "in process" {
				w.Through(w.Emulator.Client(), "http://emulator")
			}
			test(t, w)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w world) put(key, body string) error {
	_, err := w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: &key, Body: strings.NewReader(body)})
	return err
}

func (w world) get(key string) (string, error) {
	out, err := w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: &key})
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	return string(b), err
}

// underKMS stores an object under SSE-KMS and returns the error code.
func (w world) underKMS(arn string) string {
	_, err := w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Body: strings.NewReader("v"), ServerSideEncryption: "aws:kms", SSEKMSKeyId: &arn})
	return emulatortest.Code(err)
}

func TestBothServicesAndCounters(t *testing.T) {
	both(t, emulator.Options{}, func(t *testing.T, w world) {
		_, err := w.S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket-b")})
		must(t, err)
		if code := w.underKMS(w.Key("")); code != "" {
			t.Error(code)
		}
		if got, err := w.get("k"); got != "v" || err != nil {
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
		check(w.Emulator.Counters())
		response, err := w.HTTP.Get(w.URL + "/_emulator/counters")
		must(t, err)
		var served map[string]int64
		must(t, json.NewDecoder(response.Body).Decode(&served))
		response.Body.Close()
		check(served)
		response, err = w.HTTP.Post(w.URL+"/_emulator/counters/reset", "", nil)
		must(t, err)
		response.Body.Close()
		want = nil
		check(w.Emulator.Counters())
	})
}

// ThrottlingException, 400, "Rate exceeded" (KMS Developer Guide, "Throttling
// AWS KMS requests"). Calls by S3 count against the quota, and S3 answers
// SlowDown (Guide, SSE-KMS; recorded). DescribeKey has a quota of its own.
func TestKMSQuota(t *testing.T) {
	for _, window := range []string{"second", "bucket"} {
		both(t, emulator.Options{Now: func() time.Time { return time.Unix(1_800_000_000, 500_000_000) }, KMSQuota: 3, KMSWindow: window}, func(t *testing.T, w world) {
			arn := w.Key("")
			use := func() string {
				_, err := w.KMS.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &arn, KeySpec: "AES_256"})
				return emulatortest.Code(err)
			}
			w.Clock.Pass(time.Second) // none is used now
			got := []string{use(), w.underKMS(arn), use(), use(), w.underKMS(arn)}
			if strings.Join(got, ",") != ",,,ThrottlingException,SlowDown" {
				t.Errorf("%s: %q", window, got)
			}
			w.Describe(arn)
			// After 0.5 s the next second has begun, and the bucket holds 1.5
			// requests.
			w.Clock.Pass(500 * time.Millisecond)
			got = []string{use(), use(), use(), use()}
			want := map[string]string{"second": ",,,ThrottlingException", "bucket": ",ThrottlingException,ThrottlingException,ThrottlingException"}[window]
			if strings.Join(got, ",") != want {
				t.Errorf("%s: %q", window, got)
			}
			if n := w.Emulator.Counters()["throttled:s3:kms:GenerateDataKey"]; n != 1 {
				t.Errorf("throttled calls of S3: %d", n)
			}
			// However long the pause, no more than a second's worth is saved up.
			w.Clock.Pass(10 * time.Second)
			if got := []string{use(), use(), use(), use()}; strings.Join(got, ",") != ",,,ThrottlingException" {
				t.Errorf("%s: %q", window, got)
			}
		})
	}
}

// API, Error Responses: 503 SlowDown.
func TestS3Quota(t *testing.T) {
	both(t, emulator.Options{S3Quota: 2}, func(t *testing.T, w world) {
		must(t, w.put("k", "first"))
		must(t, w.put("k", "v"))
		err := w.put("k", "other")
		var response *smithyhttp.ResponseError
		if emulatortest.Code(err) != "SlowDown" || !errors.As(err, &response) || response.HTTPStatusCode() != 503 {
			t.Errorf("got %v", err)
		}
		w.Clock.Pass(time.Second)
		if got, err := w.get("k"); got != "v" || err != nil {
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
	both(t, o, func(t *testing.T, w world) {
		begin := time.Now()
		must(t, w.put("k", "v"))
		if d := time.Since(begin); d < 20*time.Millisecond {
			t.Errorf("took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := w.KMS.CreateKey(ctx, &kms.CreateKeyInput{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		<-left
		list := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
		list.Header.Set("X-Amz-Target", "TrentService.ListKeys")
		rec := httptest.NewRecorder()
		w.Emulator.KMS().ServeHTTP(rec, list)
		if rec.Code != 200 || strings.Contains(rec.Body.String(), "KeyArn") {
			t.Errorf("keys: %d %s", rec.Code, rec.Body)
		}
	})
}

// A hook can fail, lose the answer after the change, cut the body short, and
// reset the connection.
func TestHook(t *testing.T) {
	both(t, emulator.Options{}, func(t *testing.T, w world) {
		must(t, w.put("k", "v1"))

		seen := ""
		w.Hook(func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
			seen += op + " "
			emulator.Fail(rw, r, 500, "InternalError", "no")
		})
		if err := w.put("k", "v2"); emulatortest.Code(err) != "InternalError" {
			t.Errorf("put: %v", err)
		}
		if _, err := w.S3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("k")}); emulatortest.Code(err) != "InternalServerError" {
			t.Errorf("head: %v", err) // the SDK's name for the bare status
		}
		w.Hook(func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
			seen += op
			emulator.Fail(rw, r, 400, "DisabledException", "no")
		})
		if _, err := w.KMS.ListKeys(t.Context(), &kms.ListKeysInput{}); emulatortest.Code(err) != "DisabledException" {
			t.Errorf("kms: %v", err)
		}
		if seen != "s3:PutObject s3:HeadObject kms:ListKeys" {
			t.Errorf("seen %q", seen)
		}

		w.Hook(func(_ string, _ http.ResponseWriter, _ *http.Request, _ http.Handler) { panic(http.ErrAbortHandler) })
		if err := w.put("k", "v3"); err == nil || emulatortest.Code(err) != "" {
			t.Errorf("reset: %v", err)
		}
		w.Hook(nil)
		if got, err := w.get("k"); got != "v1" || err != nil {
			t.Errorf("after failures and a reset: %q %v", got, err)
		}

		w.Hook(func(_ string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
			emulator.LoseAnswer(rw, r, next)
		})
		if err := w.put("k", "v4"); err == nil || emulatortest.Code(err) != "" {
			t.Errorf("lost answer: %v", err)
		}
		w.Hook(nil)
		if got, err := w.get("k"); got != "v4" || err != nil {
			t.Errorf("after a lost answer: %q %v", got, err)
		}

		long := strings.Repeat("0123456789", 10_000)
		must(t, w.put("long", long))
		for _, n := range []int{0, 7, 50_000} {
			w.Hook(func(_ string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
				emulator.Truncate(n, rw, r, next)
			})
			if got, err := w.get("long"); !errors.Is(err, io.ErrUnexpectedEOF) || got != long[:n] {
				t.Errorf("cut at %d: %d bytes, %v", n, len(got), err)
			}
		}
		w.Hook(func(_ string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
			emulator.Truncate(1<<20, rw, r, next)
		})
		if got, err := w.get("long"); got != long || err != nil {
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

// The emulator checks no credentials, so it listens on loopback only.
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
