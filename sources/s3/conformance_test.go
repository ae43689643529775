package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/bench/emulator/emulatortest"
	"rewrap/sources"
	"rewrap/sources/sourcetest"
)

// writer is another writer in the sense of sourcetest: the plain SDK.
type writer struct {
	c       *s3.Client
	bucket  string
	acl     bool              // objects have ACLs to be looked at
	headers map[string]string // with every write, beside attributes
}

// attributes go with everything that the other writer writes, so that a
// source that forgets one is seen.
var attributes = map[string]string{
	"Content-Type":                    "application/x-rewrap-test; charset=odd",
	"Cache-Control":                   "max-age=60, private",
	"Content-Disposition":             `attachment; filename="a b.bin"`,
	"Content-Encoding":                "identity",
	"Content-Language":                "de, en",
	"Expires":                         "Thu, 01 Dec 2033 16:00:00 GMT",
	"X-Amz-Website-Redirect-Location": "/elsewhere",
}

func setHeaders(h map[string]string) func(*s3.Options) {
	return func(o *s3.Options) {
		for name, value := range h {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue(name, value))
		}
	}
}

func (w writer) put(name string, body []byte, meta map[string]string) error {
	_, err := w.c.PutObject(context.Background(), &s3.PutObjectInput{
		Bucket: &w.bucket, Key: &name, Body: bytes.NewReader(body), Metadata: meta, Tagging: aws.String("team=a%2Bb+c&cost%3Acentre=%3D%2F%40"),
	}, setHeaders(attributes), setHeaders(w.headers))
	return err
}

func (w writer) delete(name string) error {
	_, err := w.c.DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: &w.bucket, Key: &name})
	return err
}

// passing headers change at every write, or belong to the answer.
var passing = map[string]bool{
	"Last-Modified": true, "Date": true, "Etag": true, "X-Amz-Version-Id": true, "X-Amz-Request-Id": true, "X-Amz-Id-2": true,
	"Content-Length": true, "X-Amz-Checksum-Crc32": true, "X-Amz-Checksum-Crc64nvme": true, "X-Amz-Checksum-Type": true,
	"X-Amzn-Requestid": true, "X-Amz-Content-Sha256": true, // moto
	"Accept-Ranges": true, "Server": true, "Connection": true, "Keep-Alive": true,
}

func (w writer) snapshot(name string) (map[string]string, error) { return w.look(name, nil) }

func (w writer) version(name, version string) (map[string]string, error) {
	return w.look(name, &version)
}

// look is everything that is seen of an object, or of one of its versions.
func (w writer) look(name string, version *string) (map[string]string, error) {
	ctx := context.Background()
	out, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: &w.bucket, Key: &name, VersionId: version})
	if status(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		return nil, err
	}
	m := map[string]string{"body": string(body)}
	for name, values := range awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response).Header {
		if meta, ok := strings.CutPrefix(name, metaPrefix); ok {
			m["meta:"+strings.ToLower(meta)] = strings.Join(values, "\n")
		} else if !passing[name] {
			m["header:"+name] = strings.Join(values, "\n")
		}
	}
	tags, err := w.c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &w.bucket, Key: &name, VersionId: version})
	if err != nil {
		return nil, err
	}
	for _, tag := range tags.TagSet {
		m["tag:"+*tag.Key] = *tag.Value
	}
	if w.acl {
		acl, err := w.c.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: &w.bucket, Key: &name, VersionId: version})
		if err != nil {
			return nil, err
		}
		for _, g := range acl.Grants {
			m[fmt.Sprintf("grant:%s:%s%s", g.Permission, aws.ToString(g.Grantee.ID), aws.ToString(g.Grantee.URI))] = "yes"
		}
	}
	return m, nil
}

// harness is one for a server that is not AWS. Its canary says what it can do.
func harness(t *testing.T, c *s3.Client) sourcetest.Harness {
	w := *open(t, Config{Client: c, Bucket: newBucket(t, c), Canary: true, CanaryID: "test"}).honours.Load()
	t.Logf("it honours %+v", w)
	h := sourcetest.Harness{
		Metadata: true, Splices: w.Put, Folders: true, Names: fileNames, Unconditional: always,
		Open: func(t *testing.T) sourcetest.Store {
			w := writer{c: c, bucket: newBucket(t, c)}
			s := unbegun(t, Config{Client: c, Bucket: w.bucket, Canary: true, CanaryID: "test"})
			return sourcetest.Store{Source: s, Put: w.put, Delete: w.delete, Snapshot: w.snapshot}
		},
	}
	if w.Copy {
		h.Unconditional = forBodies
	}
	return h
}

// PutObject has no condition but the ETag, which does not see metadata.
func always(sources.Edit) bool      { return true }
func forBodies(e sources.Edit) bool { return len(e.Splices) > 0 }
func never(sources.Edit) bool       { return false }

// unbegun is a source as Open gives it.
func unbegun(t *testing.T, c Config) *Source {
	t.Helper()
	c.Notice = func(s string) { t.Log("notice:", s) }
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens a source and begins it, as a run does.
func open(t *testing.T, c Config) *Source {
	t.Helper()
	s := unbegun(t, c)
	if err := s.Begin(t.Context(), sources.Write); err != nil {
		t.Fatal(err)
	}
	return s
}

// oddNames are keys that S3 allows and that something between here and there
// may get wrong: form encoding, paths, XML, the order of UTF-8 and UTF-16.
var oddNames = []string{
	" ", " leading and trailing ", "a b", "a+b", "a%20b", "a%2Fb", "100%", "?query=1&x=2", "#fragment", "semi;colon,comma", `back\slash`,
	"quote\"'<xml>&amp;", "new\nline", "tab\tbed", "bell\a", "\x7f", "$&@=:*~!()[]{}|^`",
	"/leading", "trailing/", "double//slash", "///", "a/../b", "a/./b", "..", ".",
	"é", "e\u0301", "日本語/キー", "\uffff", "\U00010000", "😀", "\u200b", strings.Repeat("x", 1024), strings.Repeat("ü", 512),
	"a", "a/", "a/b", "a!", "a0", "A",
}

// fileNames are those of them that a store of files can hold side by side,
// less U+FFFF, which XML cannot, and which servers list in the raw (against
// encoding-type=url).
var fileNames = []string{
	"a b", "a+b", "a%20b", "a%2Fb", "100%", "?query=1&x=2", "#fragment", "semi;colon,comma",
	"quote\"'<xml>&amp;", "$&@=:*~!()[]{}|^`", "é", "e\u0301", "日本語/キー", "\U00010000", "😀", "a/b", "a!", "a0", "A",
}

func TestConformanceVersitygw(t *testing.T) { sourcetest.Run(t, harness(t, versitygw(t))) }
func TestConformanceEndpoint(t *testing.T)  { sourcetest.Run(t, harness(t, elsewhere(t))) }

// TestMoto: moto copies whatever the conditions, so what changes is fetched
// and put. Short, since its clock is the real one; for the whole suite point
// TestConformanceEndpoint at it.
func TestMoto(t *testing.T) {
	c := moto(t)
	w := writer{c: c, bucket: newBucket(t, c)}
	if err := w.put("item", []byte("body"), map[string]string{"kept": "as it is"}); err != nil {
		t.Fatal(err)
	}
	want, err := w.snapshot("item")
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Client: c, Bucket: w.bucket, Canary: true, CanaryID: "test"})
	if h := *s.honours.Load(); h.Copy || !h.Put {
		t.Errorf("moto honours %+v", h)
	}
	edit := sources.Edit{Meta: map[string][]byte{"changed": []byte("new")}, Splices: []sources.Splice{{Off: 4, Ins: []byte("!")}}}
	want["meta:changed"], want["body"] = "new", "body!"
	p, err := plan(t, s, edit)
	for notYet := new(sources.NotYetError); errors.As(err, &notYet); p, err = plan(t, s, edit) {
		time.Sleep(notYet.Wait)
	}
	if err != nil || p.Way != WayPut {
		t.Fatalf("Plan: %s, %v", p.Way, err)
	}
	if _, err := s.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got, err := w.snapshot("item"); err != nil || !maps.Equal(got, want) {
		t.Errorf("it is %v, should be %v; %v", got, want, err)
	}
	if _, err := s.Apply(t.Context(), p); !errors.Is(err, sources.ErrConflict) {
		t.Errorf("the same again: %v", err)
	}
}

// TestConformanceEmulator runs the suite against the project's own emulator,
// on its clock, in every kind of bucket that makes a difference.
func TestConformanceEmulator(t *testing.T) {
	for _, test := range []struct {
		name          string
		canary        bool
		unconditional func(sources.Edit) bool
		set           func(*testing.T, *cloud, *writer)
	}{
		{name: "plain"},
		{name: "canary", canary: true},
		{name: "versioned", canary: true, set: func(t *testing.T, _ *cloud, w *writer) {
			_, err := w.c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &w.bucket,
				VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
			if err != nil {
				t.Fatal(err)
			}
		}},
		{name: "acl", set: func(t *testing.T, _ *cloud, w *writer) {
			_, err := w.c.PutBucketOwnershipControls(t.Context(), &s3.PutBucketOwnershipControlsInput{Bucket: &w.bucket,
				OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipObjectWriter}}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.put("first", nil, nil); err != nil {
				t.Fatal(err)
			}
			acl, err := w.c.GetObjectAcl(t.Context(), &s3.GetObjectAclInput{Bucket: &w.bucket, Key: aws.String("first")})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.delete("first"); err != nil {
				t.Fatal(err)
			}
			w.acl = true
			w.headers = map[string]string{
				"X-Amz-Grant-Full-Control": `id="` + *acl.Owner.ID + `"`,
				"X-Amz-Grant-Read":         `uri="http://acs.amazonaws.com/groups/global/AuthenticatedUsers", id="` + strings.Repeat("a", 64) + `"`,
				"X-Amz-Grant-Read-Acp":     `id="` + strings.Repeat("b", 64) + `"`,
			}
		}},
		{name: "sse-kms", unconditional: never, set: func(t *testing.T, c *cloud, w *writer) {
			w.headers = map[string]string{
				"X-Amz-Server-Side-Encryption":                    "aws:kms",
				"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id":     c.Key(""),
				"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": "true",
				"X-Amz-Storage-Class":                             "STANDARD_IA",
			}
		}},
		{name: "odd-expires", set: func(_ *testing.T, _ *cloud, w *writer) {
			w.headers = map[string]string{"Expires": "0", "X-Amz-Storage-Class": "GLACIER_IR"}
		}},
		{name: "put-only", canary: true, unconditional: always, set: func(_ *testing.T, c *cloud, _ *writer) {
			c.Hook(emulatortest.Ignores("s3:CopyObject", "If-Match"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.unconditional == nil {
				test.unconditional = forBodies
			}
			sourcetest.Run(t, sourcetest.Harness{
				Metadata: true, Splices: true, Folders: true, Names: oddNames, Unconditional: test.unconditional,
				Open: func(t *testing.T) sourcetest.Store {
					c := newCloud(t)
					w := writer{c: c.S3, bucket: c.Bucket}
					if test.set != nil {
						test.set(t, c, &w)
					}
					n := &counted{cloud: c, next: http.DefaultTransport}
					s := unbegun(t, Config{Client: n.client(), Bucket: c.Bucket, Canary: test.canary, CanaryID: "test"})
					return sourcetest.Store{
						Source: s, Put: w.put, Delete: w.delete, Snapshot: w.snapshot, Version: w.version,
						Wait: c.Clock.Pass, Traffic: n.traffic, Mark: n.mark,
					}
				},
			})
		})
	}
}

// counted is a cloud whose requests are counted, with the bytes of their
// bodies as the source's client sends and receives them.
type counted struct {
	cloud   *cloud
	next    http.RoundTripper
	in, out atomic.Int64
}

func (n *counted) client() *s3.Client {
	return s3.New(n.cloud.S3.Options(), func(o *s3.Options) { o.HTTPClient = &http.Client{Transport: n} })
}

func (n *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	n.out.Add(max(r.ContentLength, 0))
	res, err := n.next.RoundTrip(r)
	if err == nil {
		res.Body = &weighed{res.Body, &n.in}
	}
	return res, err
}

// weighed is the body of an answer, whose bytes are counted.
type weighed struct {
	io.ReadCloser
	n *atomic.Int64
}

func (w *weighed) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.n.Add(int64(n))
	return n, err
}

func (n *counted) traffic() sources.Cost {
	c := sources.Cost{In: n.in.Load(), Out: n.out.Load()}
	for op, times := range n.cloud.Emulator.Counters() {
		if name, ok := strings.CutPrefix(op, "s3:"); ok && !strings.HasPrefix(name, "kms:") { // S3's own calls to KMS
			c.Requests = append(c.Requests, sources.Request{Op: name, N: times})
		}
	}
	return c
}

// mark counts the requests that write.
func (n *counted) mark() (string, error) {
	writes := int64(0)
	for op, times := range n.cloud.Emulator.Counters() {
		if slices.ContainsFunc([]string{"s3:Put", "s3:Copy", "s3:Delete", "s3:Create", "s3:Post"}, func(p string) bool { return strings.HasPrefix(op, p) }) {
			writes += times
		}
	}
	return fmt.Sprint(writes, " writes"), nil
}
