package interop

//lint:file-ignore SA1019 objects that the end of life SDK wrote are there, and it is their reader

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	awsv1 "github.com/aws/aws-sdk-go/aws"
	credentialsv1 "github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/bench/emulator"
)

const (
	region = "us-east-1"
	bucket = "interop"
)

// hook sees every request to the emulator before it is served, and serves it.
type hook func(op string, w http.ResponseWriter, r *http.Request, next http.Handler)

// world is an emulator on a loopback port, clients of it, and two keys.
type world struct {
	emu  *emulator.Emulator
	url  string
	s3   *s3.Client
	kms  *kms.Client
	v1   *session.Session // for the clients of the end of life SDK
	a, b string           // the keys' ARNs; alias/a and alias/b point to them

	hook  atomic.Pointer[hook]
	ahead atomic.Int64 // how far the emulator's clock is ahead, in ns
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	w.emu = emulator.New(emulator.Options{
		Region: region,
		Now:    func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
		Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
			if h := w.hook.Load(); h != nil {
				(*h)(op, rw, r, next)
				return
			}
			next.ServeHTTP(rw, r)
		},
	})
	server := httptest.NewServer(w.emu)
	t.Cleanup(server.Close)
	w.url = server.URL

	creds := credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")
	w.s3 = s3.New(s3.Options{Region: region, BaseEndpoint: &w.url, UsePathStyle: true, Credentials: creds})
	w.kms = kms.New(kms.Options{Region: region, BaseEndpoint: &w.url, Credentials: creds})
	v1, err := session.NewSession(&awsv1.Config{
		Region: aws.String(region), Endpoint: &w.url, S3ForcePathStyle: aws.Bool(true),
		Credentials:                    credentialsv1.NewStaticCredentials("AKIDEXAMPLE", "secret", ""),
		DisableRestProtocolURICleaning: aws.Bool(true), // or it takes a//b for a/b
	})
	if err != nil {
		t.Fatal(err)
	}
	w.v1 = v1
	if _, err := w.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	w.a, w.b = w.newKey(t, "alias/a"), w.newKey(t, "alias/b")
	return w
}

func (w *world) newKey(t *testing.T, alias string) string {
	t.Helper()
	key, err := w.kms.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.kms.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: key.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	return *key.KeyMetadata.Arn
}

func (w *world) disable(t *testing.T, key string) {
	t.Helper()
	if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
}

// rotate makes new key material and returns its id.
func (w *world) rotate(t *testing.T, key string) string {
	t.Helper()
	before := w.material(t, key)
	if _, err := w.kms.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	after := w.material(t, key)
	if after == before || after == "" {
		t.Fatal("the rotation made no new key material")
	}
	return after
}

func (w *world) material(t *testing.T, key string) string {
	t.Helper()
	d, err := w.kms.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &key})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(d.KeyMetadata.CurrentKeyMaterialId)
}

// settle sets the emulator's clock ahead, so that nothing that was written
// before is too young to be changed.
func (w *world) settle() { w.ahead.Add(int64(10 * time.Second)) }

// copySource names an object in the header of a copy, where S3 takes a plus
// sign for a space.
func copySource(name string) *string {
	return aws.String(bucket + "/" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20"))
}

// object is all that S3 says about an object.
type object struct {
	header http.Header // without what belongs to the answer instead of the object
	body   []byte
	tags   map[string]string
}

// notTheObject are the headers that differ between two answers about the
// same object, or that a rewrite of it may change.
var notTheObject = []string{"Date", "Last-Modified", "X-Amz-Request-Id", "X-Amz-Id-2", "Connection", "Server"}

func (w *world) read(ctx context.Context, key string) (object, error) {
	out, err := w.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key, ChecksumMode: s3types.ChecksumModeEnabled})
	if err != nil {
		return object{}, err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		return object{}, err
	}
	o := object{body: body, tags: map[string]string{}, header: http.Header{}}
	for name, values := range awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response).Header {
		o.header[http.CanonicalHeaderKey(name)] = values
	}
	for _, name := range notTheObject {
		o.header.Del(name)
	}
	tags, err := w.s3.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		return object{}, err
	}
	for _, tag := range tags.TagSet {
		o.tags[*tag.Key] = *tag.Value
	}
	return o, nil
}

// wrappedKey takes the wrapped key out of the headers, and returns it.
func (o object) wrappedKey() (name, value string) {
	for _, name := range []string{"X-Amz-Meta-X-Amz-Key-V2", "X-Amz-Meta-X-Amz-3"} {
		if values := o.header[name]; len(values) == 1 {
			return name, values[0]
		}
	}
	return "", ""
}

// sameBut returns what differs between two states of an object apart from the
// wrapped key; "" if nothing does.
func (o object) sameBut(p object) string {
	name, _ := o.wrappedKey()
	a, b := maps.Clone(o.header), maps.Clone(p.header)
	delete(a, name)
	delete(b, name)
	switch {
	case !maps.EqualFunc(a, b, func(x, y []string) bool { return len(x) == 1 && len(y) == 1 && x[0] == y[0] }):
		return "headers"
	case string(o.body) != string(p.body):
		return "body"
	case !maps.Equal(o.tags, p.tags):
		return "tags"
	}
	return ""
}
