package s3_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"rewrap/bench/emulator/kms"
	emulated "rewrap/bench/emulator/s3"
)

func conflict(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "PreconditionFailed"
}

// Of writers that saw the same version exactly one wins, in every round, with
// puts and with copies.
func TestOneWinner(t *testing.T) {
	w := newWorld(t)
	etag := w.Put("k", "0").ETag
	for round := range 20 {
		var wins atomic.Int32
		var group sync.WaitGroup
		for writer := range 8 {
			group.Go(func() {
				var err error
				if body := fmt.Sprintf("%d by %d", round, writer); writer%2 == 0 {
					_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Body: strings.NewReader(body), IfMatch: etag})
				} else {
					source := "source-" + strconv.Itoa(writer)
					if _, err := w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: &source, Body: strings.NewReader(body)}); err != nil {
						t.Error(err)
					}
					_, err = w.S3.CopyObject(w.Context(), &s3.CopyObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), CopySource: aws.String("bucket/" + source), IfMatch: etag})
				}
				switch {
				case err == nil:
					wins.Add(1)
				case !conflict(err):
					t.Error(err)
				}
			})
		}
		group.Wait()
		is(w, "winners", wins.Load(), 1)
		etag = w.Head("k").ETag
	}
}

// A counter in the metadata is moved on by copies in place, under a condition
// on the value that was read. It counts every copy that succeeded: no write is
// lost. Writers that put the object anew in between are not lost either.
func TestNoLostUpdate(t *testing.T) {
	w := newWorld(t)
	arn := w.Key("")
	w.Put("k", "body", func(in *s3.PutObjectInput) {
		in.Metadata = map[string]string{"n": "0"}
		in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", &arn
	})
	var done atomic.Int64
	var group sync.WaitGroup
	for writer := range 6 {
		group.Go(func() {
			for range 30 {
				h, err := w.S3.HeadObject(w.Context(), &s3.HeadObjectInput{Bucket: &w.Bucket, Key: aws.String("k")})
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(h.Metadata["n"])
				meta := map[string]string{"n": strconv.Itoa(n + 1)}
				if writer == 0 {
					_, err = w.S3.PutObject(w.Context(), &s3.PutObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), Metadata: meta, IfMatch: h.ETag, ServerSideEncryption: "aws:kms", SSEKMSKeyId: &arn})
				} else {
					_, err = w.S3.CopyObject(w.Context(), &s3.CopyObjectInput{Bucket: &w.Bucket, Key: aws.String("k"), CopySource: aws.String("bucket/k"),
						MetadataDirective: "REPLACE", Metadata: meta, IfMatch: h.ETag, ServerSideEncryption: "aws:kms", SSEKMSKeyId: &arn})
				}
				switch {
				case err == nil:
					done.Add(1)
				case !conflict(err):
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	is(w, "count", w.Head("k").Metadata["n"], strconv.FormatInt(done.Load(), 10))
	t.Logf("%d of 180 writes won", done.Load())
}

// A copy in place without a condition runs against writers of the content. It
// keeps the content of its instant, and never brings older content back.
func TestCopyIsOneInstant(t *testing.T) {
	w := newWorld(t)
	w.Put("k", "0")
	var group sync.WaitGroup
	group.Go(func() {
		for i := range 200 {
			w.Put("k", strconv.Itoa(i))
		}
	})
	var last atomic.Int64
	group.Go(func() {
		for range 400 {
			if _, err := w.copyOnto("k", func(in *s3.CopyObjectInput) { in.MetadataDirective = "REPLACE" }); err != nil {
				t.Error(err)
			}
			n, err := strconv.ParseInt(w.Get("k"), 10, 64)
			if err != nil || n < last.Load() {
				t.Errorf("read %d after %d (%v)", n, last.Load(), err)
			}
			last.Store(n)
		}
	})
	group.Wait()
}

// meanwhile is a KMS in which something happens while S3 waits for a data key:
// after the write's conditions were first evaluated, and before it takes
// effect.
type meanwhile struct {
	*kms.Service
	happens func()
}

func (m *meanwhile) GenerateDataKey(keyID string, n int, context map[string]string) (plaintext, blob []byte, keyARN string, err error) {
	if f := m.happens; f != nil {
		m.happens = nil
		f()
	}
	return m.Service.GenerateDataKey(keyID, n, context)
}

// Conditions are evaluated at the moment of the write, not when the request
// came in.
func TestOvertaken(t *testing.T) {
	keys := &meanwhile{Service: kms.New(kms.Options{})}
	arn, err := keys.ManagedKey("alias/aws/s3")
	if err != nil {
		t.Fatal(err)
	}
	service := emulated.New(emulated.Options{Keys: keys})
	do := func(method, path, body string, header ...string) (int, http.Header, string) {
		rec := httptest.NewRecorder()
		service.ServeHTTP(rec, request(method, path, body, header...))
		canonical := make(http.Header)
		for name, values := range rec.Result().Header {
			canonical[http.CanonicalHeaderKey(name)] = values
		}
		return rec.Code, canonical, rec.Body.String()
	}
	put := []string{"x-amz-server-side-encryption", "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id", arn}
	onto := append(put, "x-amz-copy-source", "bucket/k")
	do("PUT", "/bucket", "")
	do("PUT", "/bucket/k", "old")
	_, h, _ := do("HEAD", "/bucket/k", "")
	etag := h.Get("ETag") // of "old", whenever it is put again

	overtake := func() { do("PUT", "/bucket/k", "overtaking", "x-amz-meta-by", "another") }
	remove := func() { do("DELETE", "/bucket/k", "") }
	for _, c := range []struct {
		name    string
		absent  bool // the object, when the request comes in
		happens func()
		header  []string
		status  int
		after   string // the object; "": there is none
	}{
		{"put", false, overtake, append(put, "If-Match", etag), 412, "overtaking"},
		{"put if none", true, overtake, append(put, "If-None-Match", "*"), 412, "overtaking"},
		{"put after a delete", false, remove, append(put, "If-Match", etag), 404, ""},
		{"copy", false, overtake, append(onto, "If-Match", etag), 412, "overtaking"},
		// Without a condition the copy is of the object at its own instant.
		{"unconditional copy", false, overtake, onto, 200, "overtaking"},
		// The condition on the source is evaluated again, too.
		{"copy with a source condition", false, overtake, append(onto, "x-amz-copy-source-if-match", etag), 412, "overtaking"},
		{"copy of a source that went away", false, remove, onto, 404, ""},
	} {
		do("PUT", "/bucket/k", "old", "x-amz-meta-by", "the first")
		if c.absent {
			remove()
		}
		keys.happens = c.happens
		if status, _, body := do("PUT", "/bucket/k", map[bool]string{true: "", false: "new"}[slices.Contains(c.header, "bucket/k")], c.header...); status != c.status {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
		status, h, got := do("GET", "/bucket/k", "")
		switch {
		case c.after == "" && status != 404:
			t.Errorf("%s: the object is back: %d %q", c.name, status, got)
		case c.after != "" && (got != c.after || h.Get("x-amz-meta-by") != "another"):
			t.Errorf("%s: the object is %q by %q", c.name, got, h.Get("x-amz-meta-by"))
		}
	}
}
