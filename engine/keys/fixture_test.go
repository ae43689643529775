package keys_test

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
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"

	emulator "rewrap/bench/emulator/kms"
	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/sources"
)

const home, abroad = "us-east-1", "eu-west-1"

// clock only goes on when somebody sleeps.
type clock struct {
	mu    sync.Mutex
	t     time.Time
	slept []time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

type object = map[string]any

// world is KMS in two Regions over HTTP, with a front that counts requests
// and, where a test asks for it, changes what is asked or answered.
type world struct {
	t     *testing.T
	clock *clock
	apis  map[string]*sdk.Client // by Region
	kms   *emulator.Service      // of the home Region

	mu      sync.Mutex
	count   map[string]int
	notices []string

	// before may answer in the service's stead, with an error code; after may
	// change the answer. They are set before the first request, or with hook.
	before func(region, op string, in object) (code string)
	after  func(region, op string, in, out object)
}

func newWorld(t *testing.T, rotationDelay time.Duration) *world {
	w := &world{
		t:     t,
		clock: &clock{t: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)},
		apis:  make(map[string]*sdk.Client),
		count: make(map[string]int),
	}
	for _, region := range []string{home, abroad} {
		service := emulator.New(emulator.Options{Region: region, Now: w.clock.now, RotationDelay: rotationDelay})
		w.apis[region] = w.serve(region, service)
		if region == home {
			w.kms = service
		}
	}
	return w
}

func (w *world) serve(region string, service http.Handler) *sdk.Client {
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		op, _ := emulator.Operation(r)
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		var in object
		json.Unmarshal(body, &in)
		w.mu.Lock()
		w.count[op]++
		before, after := w.before, w.after
		w.mu.Unlock()
		if before != nil {
			if code := before(region, op, in); code != "" {
				rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
				status := http.StatusBadRequest
				if code == "KMSInternalException" {
					status = http.StatusInternalServerError
				}
				rw.WriteHeader(status)
				json.NewEncoder(rw).Encode(object{"__type": code, "message": "made up"})
				return
			}
			body, _ = json.Marshal(in)
			r.Body = io.NopCloser(bytes.NewReader(body))
			r.ContentLength = int64(len(body))
		}
		if after == nil {
			service.ServeHTTP(rw, r)
			return
		}
		rec := httptest.NewRecorder()
		service.ServeHTTP(rec, r)
		answer := rec.Body.Bytes()
		if rec.Code == http.StatusOK {
			var out object
			json.Unmarshal(answer, &out)
			after(region, op, in, out)
			answer, _ = json.Marshal(out)
		}
		for name, v := range rec.Header() {
			if name != "Content-Length" {
				rw.Header()[name] = v
			}
		}
		rw.WriteHeader(rec.Code)
		rw.Write(answer)
	}))
	w.t.Cleanup(srv.Close)
	return sdkClient(srv.URL, region)
}

func sdkClient(url, region string) *sdk.Client {
	return sdk.New(sdk.Options{
		Region:       region,
		BaseEndpoint: &url,
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDTEST", "a-secret-of-the-tests", ""),
		Retryer:      aws.NopRetryer{},
	})
}

// hook changes the front while requests may be under way.
func (w *world) hook(before func(region, op string, in object) string, after func(region, op string, in, out object)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.after = before, after
}

// calls is how many requests of an operation arrived since it was last asked.
func (w *world) calls(op string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.count[op]
	w.count[op] = 0
	return n
}

func (w *world) noticed(s string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.notices {
		if strings.Contains(n, s) {
			return true
		}
	}
	return false
}

func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// api is what tests use themselves; it passes the front as well.
func (w *world) api() *sdk.Client { return w.apis[home] }

func (w *world) keyIn(region string) string {
	w.t.Helper()
	out, err := w.apis[region].CreateKey(w.t.Context(), &sdk.CreateKeyInput{})
	return *must(w.t, out, err).KeyMetadata.Arn
}

func (w *world) key() string { w.t.Helper(); return w.keyIn(home) }

func (w *world) alias(name, arn string) {
	w.t.Helper()
	_, err := w.api().CreateAlias(w.t.Context(), &sdk.CreateAliasInput{AliasName: &name, TargetKeyId: &arn})
	must(w.t, 0, err)
}

func (w *world) rotate(arn string) {
	w.t.Helper()
	_, err := w.api().RotateKeyOnDemand(w.t.Context(), &sdk.RotateKeyOnDemandInput{KeyId: &arn})
	must(w.t, 0, err)
	w.clock.sleep(w.t.Context(), time.Second) // rotations apart in time, as they are on AWS
}

func (w *world) material(arn string) string {
	w.t.Helper()
	out, err := w.api().DescribeKey(w.t.Context(), &sdk.DescribeKeyInput{KeyId: &arn})
	return *must(w.t, out, err).KeyMetadata.CurrentKeyMaterialId
}

func (w *world) seal(arn string, ec map[string]string) []byte {
	w.t.Helper()
	for region, api := range w.apis {
		if strings.Contains(arn, region) {
			out, err := api.Encrypt(w.t.Context(), &sdk.EncryptInput{KeyId: &arn, Plaintext: []byte("0123456789abcdef0123456789abcdef"), EncryptionContext: ec})
			return must(w.t, out, err).CiphertextBlob
		}
	}
	w.t.Fatal("no such Region: " + arn)
	return nil
}

// opens checks that a blob is under the key and material, with the context and
// only with it.
func (w *world) opens(blob []byte, v account.KeyVersion, ec map[string]string) {
	w.t.Helper()
	out, err := w.api().Decrypt(w.t.Context(), &sdk.DecryptInput{CiphertextBlob: blob, KeyId: &v.ARN, EncryptionContext: ec})
	must(w.t, out, err)
	if string(out.Plaintext) != "0123456789abcdef0123456789abcdef" {
		w.t.Error("the new blob holds another data key")
	}
	if *out.KeyMaterialId != v.Material {
		w.t.Errorf("the new blob is under material %s, and the answer said %s", *out.KeyMaterialId, v.Material)
	}
	if len(ec) > 0 {
		if _, err := w.api().Decrypt(w.t.Context(), &sdk.DecryptInput{CiphertextBlob: blob, KeyId: &v.ARN}); err == nil {
			w.t.Error("the new blob opens without its context")
		}
	}
}

func (w *world) config(c keys.Config) keys.Config {
	c.Client = func(region string) keys.API {
		if region == "" {
			region = home
		}
		return w.apis[region]
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 1 << 20
	}
	c.Clock, c.Sleep = w.clock.now, w.clock.sleep
	c.Notice = func(s string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.notices = append(w.notices, s)
	}
	return c
}

// open opens, and forgets what that cost.
func (w *world) open(c keys.Config) *keys.KMS {
	w.t.Helper()
	k, err := keys.OpenKMS(w.t.Context(), w.config(c))
	must(w.t, k, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.count)
	return k
}

func (w *world) rewrap(k *keys.KMS, wk envelope.WrappedKey) envelope.Rewrapped {
	w.t.Helper()
	r, err := k.Rewrap(w.t.Context(), wk)
	return must(w.t, r, err)
}

func runError(t *testing.T, err error, strikes int) *sources.RunError {
	t.Helper()
	var run *sources.RunError
	if !errors.As(err, &run) {
		t.Fatalf("not a RunError: %v", err)
	}
	if run.Hint == "" {
		t.Errorf("no hint: %v", run.Err)
	}
	if run.Strikes != strikes {
		t.Errorf("%d strikes, want %d: %v", run.Strikes, strikes, err)
	}
	return run
}

func foreign(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, envelope.ErrForeign) {
		t.Errorf("want ErrForeign, got %v", err)
	}
}

func itemError(t *testing.T, err error) {
	t.Helper()
	var run *sources.RunError
	if err == nil || errors.As(err, &run) || errors.Is(err, envelope.ErrForeign) {
		t.Errorf("want an error of the item's own, got %v", err)
	}
}

func contains(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, s := range parts {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("the error does not say %q: %v", s, err)
		}
	}
}

func (w *world) disable(arn string) {
	w.t.Helper()
	_, err := w.api().DisableKey(w.t.Context(), &sdk.DisableKeyInput{KeyId: &arn})
	must(w.t, 0, err)
}

func (w *world) scheduleDeletion(arn string) {
	w.t.Helper()
	_, err := w.api().ScheduleKeyDeletion(w.t.Context(), &sdk.ScheduleKeyDeletionInput{KeyId: &arn})
	must(w.t, 0, err)
}
