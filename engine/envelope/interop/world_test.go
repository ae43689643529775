package interop

//lint:file-ignore SA1019 objects that the end of life SDK wrote are there, and it is their reader

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	awsv1 "github.com/aws/aws-sdk-go/aws"
	credentialsv1 "github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
)

const bucket = emulatortest.Bucket

// world has two keys and a client of the end of life SDK.
type world struct {
	*emulatortest.World
	v1   *session.Session
	a, b string // the keys' ARNs; alias/a and alias/b point to them
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: emulatortest.New(t, emulator.Options{Now: time.Now})}
	v1, err := session.NewSession(&awsv1.Config{
		Region: &w.Region, Endpoint: &w.URL, S3ForcePathStyle: aws.Bool(true),
		Credentials:                    credentialsv1.NewStaticCredentials(emulatortest.ID, emulatortest.Secret, ""),
		DisableRestProtocolURICleaning: aws.Bool(true), // or it takes a//b for a/b
	})
	w.OK(err)
	w.v1 = v1
	w.a, w.b = w.Key("alias/a"), w.Key("alias/b")
	return w
}

// rotate makes new key material and returns its id.
func (w *world) rotate(key string) string {
	w.Helper()
	before := w.Material(key)
	after := w.Rotate(key)
	if after == before || after == "" {
		w.Fatal("the rotation made no new key material")
	}
	return after
}

// settle moves the emulator's clock on, so that nothing that was written before
// is too young to be changed.
func (w *world) settle() { w.Clock.Pass(10 * time.Second) }

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
	out, err := w.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key, ChecksumMode: s3types.ChecksumModeEnabled})
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
	tags, err := w.S3.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: aws.String(bucket), Key: &key})
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
