package kms_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/kms"
)

func codeOf(err error) string {
	var e *kms.Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("%T", err)
	}
	return e.Code
}

// The methods that S3 calls, without HTTP in between.
func TestServiceMethods(t *testing.T) {
	f := start(t, emulator.Options{})
	k := f.key()
	f.Alias("alias/a", *k.KeyId)
	arn, err := f.service().ResolveKey("alias/a")
	equal(f, "ARN", must(f, arn, err), *k.Arn)
	plaintext, blob, arn, err := f.service().GenerateDataKey("alias/a", 32, context1)
	must(f, arn, err)
	equal(f, "ARN", arn, *k.Arn)
	for _, id := range []string{"", *k.KeyId, "alias/a"} {
		back, arn, material, err := f.service().Decrypt(blob, context1, id)
		if must(f, back, err); !bytes.Equal(back, plaintext) {
			t.Error("another plaintext came out")
		}
		equal(f, "ARN", arn, *k.Arn)
		equal(f, "material", material, *k.CurrentKeyMaterialId)
	}
	// It is the same key as over HTTP.
	out, err := f.Decrypt(f.Context(), &sdk.DecryptInput{CiphertextBlob: blob, EncryptionContext: context1})
	equal(f, "plaintext", string(must(f, out, err).Plaintext), string(plaintext))

	_, _, _, err = f.service().Decrypt(blob, nil, "")
	equal(f, "code", codeOf(err), "InvalidCiphertextException")
	_, _, _, err = f.service().Decrypt(nil, nil, "")
	equal(f, "code", codeOf(err), "ValidationException")
	_, _, _, err = f.service().Decrypt(blob, context1, *f.key().KeyId)
	equal(f, "code", codeOf(err), "IncorrectKeyException")
	_, _, _, err = f.service().GenerateDataKey("alias/absent", 32, nil)
	equal(f, "code", codeOf(err), "NotFoundException")
	_, _, _, err = f.service().GenerateDataKey("alias/a", 0, nil)
	equal(f, "code", codeOf(err), "ValidationException")
	_, err = f.service().ResolveKey("nonsense")
	equal(f, "code", codeOf(err), "NotFoundException")
	_, err = f.DisableKey(f.Context(), &sdk.DisableKeyInput{KeyId: k.KeyId})
	must(f, 0, err)
	_, _, _, err = f.service().GenerateDataKey("alias/a", 32, nil)
	equal(f, "code", codeOf(err), "DisabledException")
	arn, err = f.service().ResolveKey(*k.KeyId)
	equal(f, "ARN of a disabled key", must(f, arn, err), *k.Arn)
}

func (f *fixture) post(target, body string) (*http.Response, map[string]any) {
	f.Helper()
	r, err := http.NewRequestWithContext(f.Context(), "POST", f.URL+"/", strings.NewReader(body))
	must(f, 0, err)
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	resp, err := http.DefaultClient.Do(r)
	must(f, 0, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(f, 0, err)
	var out map[string]any
	if len(b) > 0 {
		must(f, 0, json.Unmarshal(b, &out))
	}
	return resp, out
}

// AWS JSON 1.1 as KMS speaks it: the error code is in __type, the request id
// in x-amzn-RequestId. An error without a message has no member for it.
func TestWire(t *testing.T) {
	f := start(t, emulator.Options{})
	alone := httptest.NewServer(f.service()) // the emulator passes requests that name no operation of KMS to S3
	t.Cleanup(alone.Close)
	f.URL = alone.URL
	k := f.key()
	ids := map[string]bool{}
	for _, c := range []struct {
		target, body string
		status       int
		code         any
	}{
		{"TrentService.DescribeKey", `{"KeyId":"` + *k.KeyId + `"}`, 200, nil},
		{"TrentService.DescribeKey", `{"KeyId":"` + *k.KeyId + `","Unknown":[1]}`, 200, nil},
		{"TrentService.DescribeKey", `{}`, 400, "ValidationException"},
		{"TrentService.DescribeKey", `{"KeyId":7}`, 400, "SerializationException"},
		{"TrentService.DescribeKey", ``, 400, "SerializationException"},
		{"TrentService.Decrypt", `{"CiphertextBlob":"%%"}`, 400, "SerializationException"},
		{"TrentService.Decrypt", `{"CiphertextBlob":"AAAA"}`, 400, "InvalidCiphertextException"},
		{"TrentService.ReplicateKey", `{"KeyId":"` + *k.KeyId + `"}`, 400, "UnsupportedOperationException"},
		{"TrentService.Sign", `{}`, 400, "UnsupportedOperationException"},
		{"TrentService.Invented", `{}`, 400, "UnsupportedOperationException"},
		{"", `{}`, 400, "UnknownOperationException"},
		{"DynamoDB_20120810.GetItem", `{}`, 400, "UnknownOperationException"},
		{"TrentService.Encrypt", `{"Plaintext":"` + strings.Repeat("A", 2<<20) + `"}`, 413, "RequestEntityTooLargeException"},
	} {
		resp, out := f.post(c.target, c.body)
		equal(f, "status of "+c.target, resp.StatusCode, c.status)
		equal(f, "__type of "+c.target, out["__type"], c.code)
		equal(f, "Content-Type", resp.Header.Get("Content-Type"), "application/x-amz-json-1.1")
		id := resp.Header.Get("x-amzn-RequestId")
		if !uuid.MatchString(id) || ids[id] {
			t.Errorf("request id %q", id)
		}
		ids[id] = true
		if _, message := out["message"]; message && c.code == "InvalidCiphertextException" {
			t.Error("InvalidCiphertextException has a message")
		}
	}
	_, out := f.post("TrentService.GenerateDataKeyWithoutPlaintext", `{"KeyId":"`+*k.KeyId+`","KeySpec":"AES_256"}`)
	if _, there := out["Plaintext"]; there || out["CiphertextBlob"] == nil {
		t.Errorf("GenerateDataKeyWithoutPlaintext answers %v", out)
	}
	w := httptest.NewRecorder()
	get := httptest.NewRequest("GET", "/", strings.NewReader(`{}`))
	get.Header.Set("X-Amz-Target", "TrentService.ListKeys")
	f.service().ServeHTTP(w, get)
	equal(f, "status of GET", w.Code, 400)
	if out := f.Describe(*k.KeyId); out.KeyState != "Enabled" {
		t.Errorf("an operation that is not known changed the key: %s", out.KeyState)
	}
}

func TestOperation(t *testing.T) {
	for target, want := range map[string]string{"TrentService.ReEncrypt": "ReEncrypt", "": "-", "DynamoDB_20120810.GetItem": "-"} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("X-Amz-Target", target)
		name, ok := kms.Operation(r)
		if got := map[bool]string{true: name, false: "-"}[ok]; got != want {
			t.Errorf("%q is operation %q, want %q", target, got, want)
		}
	}
}

// With a seeded source of randomness two services give the same answers byte
// for byte.
func TestReproducible(t *testing.T) {
	run := func() string {
		f := start(t, emulator.Options{Rand: seeded()})
		k := f.key()
		f.Rotate(*k.KeyId)
		b := f.seal(k.KeyId, context1)
		return fmt.Sprintf("%s %s %x", *k.Arn, f.Material(*k.KeyId), b)
	}
	if a, b := run(), run(); a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

// Everything at once, for the race detector. Every answer must be one that
// some order of the requests explains.
func TestConcurrentUse(t *testing.T) {
	f := start(t, emulator.Options{Rand: seeded()})
	k, other := f.key(), f.key()
	f.Alias("alias/moving", *k.KeyId)
	blob := f.seal(k.KeyId, context1)
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range 25 {
				switch w {
				case 0:
					if _, err := f.RotateKeyOnDemand(f.Context(), &sdk.RotateKeyOnDemandInput{KeyId: k.KeyId}); err != nil {
						t.Errorf("rotation %d: %v", i, err)
					}
				case 1:
					target := []*string{k.KeyId, other.KeyId}[i%2]
					if _, err := f.UpdateAlias(f.Context(), &sdk.UpdateAliasInput{AliasName: aws.String("alias/moving"), TargetKeyId: target}); err != nil {
						t.Errorf("alias: %v", err)
					}
					if _, err := f.DescribeKey(f.Context(), &sdk.DescribeKeyInput{KeyId: aws.String("alias/moving")}); err != nil {
						t.Errorf("describe: %v", err)
					}
				default:
					out, err := f.ReEncrypt(f.Context(), &sdk.ReEncryptInput{
						CiphertextBlob: blob, SourceKeyId: k.KeyId, DestinationKeyId: aws.String("alias/moving"),
						SourceEncryptionContext: context1, DestinationEncryptionContext: context2,
					})
					if err != nil {
						t.Errorf("re-encrypt: %v", err)
						continue
					}
					back, arn, material, err := f.service().Decrypt(out.CiphertextBlob, context2, *out.KeyId)
					if err != nil || !bytes.Equal(back, secret) || arn != *out.KeyId || material != *out.DestinationKeyMaterialId {
						t.Errorf("the new blob opens as %s %s, %v; answered %s %s", arn, material, err, *out.KeyId, *out.DestinationKeyMaterialId)
					}
				}
			}
		})
	}
	wg.Wait()
	equal(f, "materials", len(f.rotations(k.KeyId, "ALL_KEY_MATERIAL")), 26)
}
