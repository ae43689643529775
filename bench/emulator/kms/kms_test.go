package kms_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"rewrap/bench/emulator/kms"
)

// clock is a clock that stands until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock {
	return &clock{t: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

const day = 24 * time.Hour

// fixture is a KMS behind a real listener and the SDK's client for it.
type fixture struct {
	*testing.T
	*sdk.Client
	service *kms.Service
	clock   *clock
	ctx     context.Context
	url     string
}

func start(t *testing.T, o kms.Options) *fixture {
	t.Helper()
	f := &fixture{T: t, clock: newClock(), ctx: t.Context()}
	if o.Now == nil {
		o.Now = f.clock.now
	}
	f.service = kms.New(o)
	server := httptest.NewServer(f.service)
	t.Cleanup(server.Close)
	f.url = server.URL
	f.Client = client(server.URL, server.Client())
	return f
}

func client(url string, h *http.Client) *sdk.Client {
	return sdk.New(sdk.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(url),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""),
		HTTPClient:   h,
		Retryer:      aws.NopRetryer{},
	})
}

// must is for calls that have to succeed.
func must[T any](f *fixture, out T, err error) T {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
	return out
}

// mustFail is for calls that have to fail with a code, and a message unless it
// is any.
func (f *fixture) mustFail(err error, code, message string) {
	f.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) {
		f.Fatalf("got %v, want %s", err, code)
	}
	if e.ErrorCode() != code {
		f.Fatalf("got %v, want %s", err, code)
	}
	if message != anyMessage && e.ErrorMessage() != message {
		f.Errorf("message of %s is %q, want %q", code, e.ErrorMessage(), message)
	}
	var r *awshttp.ResponseError
	if !errors.As(err, &r) || r.HTTPStatusCode() != 400 {
		f.Errorf("%s has not the HTTP status 400: %v", code, err)
	} else if r.ServiceRequestID() == "" {
		f.Errorf("%s came without a request id", code)
	}
}

const anyMessage = "\x00any"

const (
	wrongKey = "The key ID in the request does not identify a CMK that can perform this operation."
	wouldRun = "The request would have succeeded, but the DryRun option is set."
)

type keyOption func(*sdk.CreateKeyInput)

func spec(s types.KeySpec, u types.KeyUsageType) keyOption {
	return func(in *sdk.CreateKeyInput) { in.KeySpec, in.KeyUsage = s, u }
}

// key makes a key, symmetric unless an option says otherwise.
func (f *fixture) key(options ...keyOption) *types.KeyMetadata {
	f.Helper()
	in := &sdk.CreateKeyInput{}
	for _, o := range options {
		o(in)
	}
	out, err := f.CreateKey(f.ctx, in)
	return must(f, out, err).KeyMetadata
}

func (f *fixture) describe(id *string) *types.KeyMetadata {
	f.Helper()
	out, err := f.DescribeKey(f.ctx, &sdk.DescribeKeyInput{KeyId: id})
	return must(f, out, err).KeyMetadata
}

func (f *fixture) seal(id *string, context map[string]string) []byte {
	f.Helper()
	out, err := f.Encrypt(f.ctx, &sdk.EncryptInput{KeyId: id, Plaintext: secret, EncryptionContext: context})
	return must(f, out, err).CiphertextBlob
}

func (f *fixture) open(blob []byte, context map[string]string) *sdk.DecryptOutput {
	f.Helper()
	out, err := f.Decrypt(f.ctx, &sdk.DecryptInput{CiphertextBlob: blob, EncryptionContext: context})
	if must(f, out, err); !bytes.Equal(out.Plaintext, secret) {
		f.Fatal("another plaintext came out")
	}
	return out
}

func (f *fixture) rotate(id *string) {
	f.Helper()
	_, err := f.RotateKeyOnDemand(f.ctx, &sdk.RotateKeyOnDemandInput{KeyId: id})
	must(f, 0, err)
}

func (f *fixture) alias(name string, target *string) {
	f.Helper()
	_, err := f.CreateAlias(f.ctx, &sdk.CreateAliasInput{AliasName: &name, TargetKeyId: target})
	must(f, 0, err)
}

var (
	secret   = []byte("0123456789abcdef0123456789abcdef")
	context1 = map[string]string{"tenant": "a", "purpose": "test"}
	context2 = map[string]string{"tenant": "b"}
)

func equal[T comparable](f *fixture, what string, got, want T) {
	f.Helper()
	if got != want {
		f.Errorf("%s is %v, want %v", what, got, want)
	}
}

// seeded is a reproducible source of randomness.
func seeded() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{1}) }

var materialID = regexp.MustCompile(`^[0-9a-f]{64}$`)

func matchString(r *regexp.Regexp, s string) bool { return r.MatchString(s) }

// matchBytes matches bytes as they are: as text, each is the rune of its value.
func matchBytes(r *regexp.Regexp, b []byte) bool {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return r.MatchString(string(runes))
}

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }
