package kms_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/bench/emulator/kms"
)

const day = 24 * time.Hour

// fixture is a world of which only KMS is used.
type fixture struct {
	*emulatortest.World
	*sdk.Client
}

func start(t *testing.T, o emulator.Options) *fixture {
	t.Helper()
	w := emulatortest.New(t, o)
	return &fixture{w, w.KMS}
}

// sub is the fixture for a subtest.
func (f *fixture) sub(t *testing.T) *fixture { return &fixture{f.For(t), f.Client} }

func (f *fixture) service() *kms.Service { return f.Emulator.KMS() }

// must ends the test if a call failed.
func must[T any](f *fixture, out T, err error) T {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
	return out
}

// mustFail wants a call to have failed with a code and, unless it is
// anyMessage, a message.
func (f *fixture) mustFail(err error, code, message string) {
	f.Helper()
	if got := f.Refused(err, 400, code); message != anyMessage && got != message {
		f.Errorf("message of %s is %q, want %q", code, got, message)
	}
	var r *awshttp.ResponseError
	if !errors.As(err, &r) || r.ServiceRequestID() == "" {
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
	out, err := f.CreateKey(f.Context(), in)
	return must(f, out, err).KeyMetadata
}

func (f *fixture) seal(id *string, context map[string]string) []byte {
	f.Helper()
	out, err := f.Encrypt(f.Context(), &sdk.EncryptInput{KeyId: id, Plaintext: secret, EncryptionContext: context})
	return must(f, out, err).CiphertextBlob
}

func (f *fixture) open(blob []byte, context map[string]string) *sdk.DecryptOutput {
	f.Helper()
	out, err := f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob, EncryptionContext: context})
	if must(f, out, err); !bytes.Equal(out.Plaintext, secret) {
		f.Fatal("another plaintext came out")
	}
	return out
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

// matchBytes matches a pattern against bytes: each byte counts as the rune of
// its value.
func matchBytes(r *regexp.Regexp, b []byte) bool {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return r.MatchString(string(runes))
}

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }
