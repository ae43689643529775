package emulatortest

import (
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/bench/seed"
)

// Put stores an object. The functions set the rest of the request.
func (w *World) Put(name, body string, set ...func(*s3.PutObjectInput)) *s3.PutObjectOutput {
	w.Helper()
	in := &s3.PutObjectInput{Bucket: &w.Bucket, Key: &name, Body: strings.NewReader(body)}
	for _, f := range set {
		f(in)
	}
	out, err := w.S3.PutObject(w.Context(), in)
	w.OK(err)
	return out
}

// Get returns an object's body.
func (w *World) Get(name string) (body string) {
	w.Helper()
	out, err := w.S3.GetObject(w.Context(), &s3.GetObjectInput{Bucket: &w.Bucket, Key: &name})
	w.OK(err)
	return w.ReadAll(out.Body)
}

// ReadAll reads a body to its end and closes it.
func (w *World) ReadAll(r io.ReadCloser) string {
	w.Helper()
	defer r.Close()
	b, err := io.ReadAll(r)
	w.OK(err)
	return string(b)
}

// Head returns the answer to HEAD for an object.
func (w *World) Head(name string) *s3.HeadObjectOutput {
	w.Helper()
	out, err := w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: &name})
	w.OK(err)
	return out
}

// Name is the name of the i-th object that Fill writes.
func Name(i int) string { return fmt.Sprintf("p/%05d", i) }

// Payload is the content of the i-th object that Fill writes, before its
// encryption.
func Payload(i int) []byte { return fmt.Appendf(nil, "payload %d", i) }

// Seed is the bucket as an application with the S3 Encryption Client has it.
// key is a key id, ARN or alias.
func (w *World) Seed(key string) seed.Bucket {
	return seed.Bucket{S3: w.S3, KMS: w.KMS, Name: w.Bucket, Key: key, Context: map[string]string{"tenant": "test"}}
}

// Fill writes n objects. Each has a data key of its own that key wraps.
func (w *World) Fill(key string, n int) {
	w.Helper()
	w.OK(w.Seed(key).Fill(w.Context(), n, Name, Payload))
}

// Check opens the n objects that Fill wrote, and checks that key wraps every
// data key under the material. If not it reports an error, and the test goes
// on.
func (w *World) Check(key string, n int, material string) {
	w.Helper()
	census, err := w.Seed(key).Check(w.Context(), n, Name, Payload)
	if err != nil {
		w.Error(err)
	}
	if census[material] != n {
		w.Errorf("%d of %d data keys are under the material: %v", census[material], n, census)
	}
}
