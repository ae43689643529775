package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/sources"
)

// decodes is an endpoint that stores metadata in another form than it gave.
func decodes(op string) emulatortest.Hook {
	return func(got string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if got == "s3:"+op && r.Header.Get("If-Match") != "" {
			for name, values := range r.Header {
				if decoded, err := new(mime.WordDecoder).DecodeHeader(values[0]); err == nil && strings.HasPrefix(name, metaPrefix) {
					r.Header[name] = []string{strings.ReplaceAll(decoded, "ß", "?")}
				}
			}
		}
		next.ServeHTTP(w, r)
	}
}

// lies answers 412 to a failed condition and writes all the same.
func lies(got string, w http.ResponseWriter, r *http.Request, next http.Handler) {
	if got == "s3:CopyObject" && r.Header.Get("If-Match") == wrongETag {
		r.Header.Del("If-Match")
		next.ServeHTTP(httptest.NewRecorder(), r)
		emulator.Fail(w, r, http.StatusPreconditionFailed, "PreconditionFailed", "")
		return
	}
	next.ServeHTTP(w, r)
}

// garbles keeps other bodies than it is sent.
func garbles(got string, w http.ResponseWriter, r *http.Request, next http.Handler) {
	if got == "s3:PutObject" {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(bytes.ToUpper(body)))
		r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		r.Header.Del("X-Amz-Checksum-Crc32")
		r.Header.Del("X-Amz-Sdk-Checksum-Algorithm")
	}
	next.ServeHTTP(w, r)
}

func TestCanary(t *testing.T) {
	const none = "no-conditional-write"
	noCopy := emulatortest.Ignores("s3:CopyObject", "If-Match")
	noPut := emulatortest.Ignores("s3:PutObject", "If-Match")
	for _, test := range []struct {
		name             string
		hook             emulatortest.Hook
		meta, odd, bytes string // the way, or the reason of the refusal
		notices          int
	}{
		{"honours everything", nil, WayCopy, WayCopy, WayPut, 0},
		{"ignores If-Match on CopyObject", noCopy, WayPut, WayPut, WayPut, 1},
		{"ignores the source's condition", emulatortest.Ignores("s3:CopyObject", "X-Amz-Copy-Source-If-Unmodified-Since"), WayPut, WayPut, WayPut, 1},
		{"has no CopyObject", emulatortest.Fails("s3:CopyObject", 501, "NotImplemented"), WayPut, WayPut, WayPut, 1},
		{"refuses every CopyObject", emulatortest.Fails("s3:CopyObject", 412, "PreconditionFailed"), WayPut, WayPut, WayPut, 1},
		{"refuses with 412 and writes", lies, WayPut, WayPut, WayPut, 1},
		{"forgets a header on CopyObject", emulatortest.Ignores("s3:CopyObject", "Cache-Control"), WayPut, WayPut, WayPut, 1},
		{"ignores If-Match on PutObject", noPut, WayCopy, WayCopy, none, 1},
		{"keeps other bodies", garbles, WayCopy, WayCopy, none, 1},
		{"copies change metadata", decodes("CopyObject"), WayCopy, WayPut, WayPut, 1},
		{"all writes change metadata", emulatortest.Both(decodes("CopyObject"), decodes("PutObject")), WayCopy, "metadata-encoding", WayPut, 1},
		{"ignores all", emulatortest.Both(noCopy, noPut), none, none, none, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			w := writer{c: c.S3, bucket: c.Bucket}
			if err := errors.Join(w.put("plain", []byte("body"), map[string]string{"k": "v"}), w.put("odd", []byte("body"), map[string]string{"k": "Größe"})); err != nil {
				t.Fatal(err)
			}
			c.Clock.Pass(minAge)
			c.Hook(test.hook)
			notices := 0
			s, err := Open(t.Context(), Config{Client: c.S3, Bucket: c.Bucket, Canary: true, CanaryID: "x", Notice: func(s string) { t.Log(s); notices++ }})
			if err != nil {
				t.Fatal(err)
			}
			plan := func(name string, e sources.Edit) string {
				p, err := planOf(t, s, name, e)
				if u := new(sources.SkipError); errors.As(err, &u) {
					return u.Reason
				}
				if err != nil {
					t.Fatal(err)
				}
				return p.Way
			}
			meta := sources.Edit{Meta: map[string][]byte{"new": []byte("value")}}
			body := sources.Edit{Splices: []sources.Splice{{Ins: []byte("x")}}}
			if _, err := s.Read(t.Context(), sources.Ref{ID: "plain"}, sources.Want{}); err == nil {
				t.Error("before Begin it reads")
			}
			if p, err := s.Plan(t.Context(), sources.View{Ref: sources.Ref{ID: "plain"}, State: object{}}, meta); err == nil {
				t.Errorf("before the canary: %q", p.Way)
			}
			err = s.Begin(t.Context(), sources.Write)
			var run *sources.RunError
			if wantErr := test.meta == none; wantErr != errors.As(err, &run) || !wantErr && err != nil {
				t.Errorf("Begin: %v", err)
			}
			if err := s.Begin(t.Context(), sources.Look); err != nil { // what was found out stays, also where Begin failed
				t.Fatal(err)
			}
			if got := plan("plain", meta); got != test.meta {
				t.Errorf("metadata: %q, should be %q", got, test.meta)
			}
			if got := plan("odd", meta); got != test.odd {
				t.Errorf("metadata that is not ASCII: %q, should be %q", got, test.odd)
			}
			if got := plan("plain", body); got != test.bytes {
				t.Errorf("body: %q, should be %q", got, test.bytes)
			}
			if notices != test.notices {
				t.Errorf("%d notices, should be %d", notices, test.notices)
			}
			c.nothingLeft(t, "plain", "odd")
		})
	}
}

func planOf(t *testing.T, s *Source, name string, e sources.Edit) (sources.Plan, error) {
	t.Helper()
	v, err := s.Read(t.Context(), sources.Ref{ID: name}, sources.Want{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Plan(t.Context(), v, e)
}

// TestAssume: who only plans need not have written a canary, and what is planned
// so is not written.
func TestAssume(t *testing.T) {
	c := newCloud(t)
	w := writer{c: c.S3, bucket: c.Bucket}
	if err := w.put("o", []byte("body"), map[string]string{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	c.Clock.Pass(minAge)
	s, err := Open(t.Context(), Config{Client: c.S3, Bucket: c.Bucket, Canary: true, CanaryID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(t.Context(), sources.Look); err != nil {
		t.Fatal(err)
	}
	meta := sources.Edit{Meta: map[string][]byte{"new": []byte("value")}}
	p, err := planOf(t, s, "o", meta)
	if err != nil || p.Way != WayCopy || !p.Assumed {
		t.Errorf("way %q, assumed %v, %v; want %q, assumed", p.Way, p.Assumed, err, WayCopy)
	}
	if _, err := s.Apply(t.Context(), p); err == nil || !strings.Contains(err.Error(), "call Begin with Write first") {
		t.Errorf("what was assumed was written: %v", err)
	}
	c.nothingLeft(t, "o")
	if err := s.Begin(t.Context(), sources.Write); err != nil {
		t.Fatal(err)
	}
	if p, err = planOf(t, s, "o", meta); err != nil || p.Assumed {
		t.Fatalf("assumed %v, %v; want what is known", p.Assumed, err)
	}
	if _, err := s.Apply(t.Context(), p); err != nil {
		t.Error(err)
	}
}

// nothingLeft looks for versions and delete markers of other keys.
func (c *cloud) nothingLeft(t *testing.T, but ...string) {
	t.Helper()
	c.Hook(nil)
	out, err := c.S3.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &c.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out.Versions {
		if !strings.Contains(" "+strings.Join(but, " ")+" ", " "+*v.Key+" ") {
			t.Errorf("left behind: %s, version %s", *v.Key, aws.ToString(v.VersionId))
		}
	}
	for _, m := range out.DeleteMarkers {
		t.Errorf("left behind: a delete marker of %s", *m.Key)
	}
}

func TestCanaryIsRemoved(t *testing.T) {
	for _, versioning := range []types.BucketVersioningStatus{"", types.BucketVersioningStatusEnabled, types.BucketVersioningStatusSuspended} {
		for _, at := range []string{"", "s3:PutObject", "s3:CopyObject", "s3:HeadObject", "s3:GetObject"} {
			t.Run(string(versioning)+at, func(t *testing.T) {
				t.Parallel()
				c := newCloud(t)
				if versioning != "" {
					_, err := c.S3.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &c.Bucket,
						VersioningConfiguration: &types.VersioningConfiguration{Status: versioning}})
					if err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c.Hook(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
					if op == at && r.Header.Get("If-Match")+r.Header.Get("Range") != "" {
						cancel()
					}
					next.ServeHTTP(w, r)
					if op == at && op == "s3:HeadObject" {
						cancel()
					}
				})
				s, err := Open(ctx, Config{Client: c.S3, Bucket: c.Bucket, Prefix: "p/", Canary: true, CanaryID: "x", Notice: func(s string) { t.Error(s) }})
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Begin(ctx, sources.Write); (err == nil) != (at == "") {
					t.Errorf("Begin: %v", err)
				}
				c.nothingLeft(t)
			})
		}
	}
}

func TestCanaryDenied(t *testing.T) {
	c := newCloud(t)
	c.Hook(emulatortest.Fails("s3:PutObject", 403, "AccessDenied"))
	s, err := Open(t.Context(), Config{Client: c.S3, Bucket: c.Bucket, Canary: true, CanaryID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var run *sources.RunError
	if err := s.Begin(t.Context(), sources.Write); !errors.As(err, &run) || run.Strikes > 1 || !strings.Contains(run.Hint, "s3:PutObject") {
		t.Errorf("Begin: %v", err)
	}
}

func TestCanaryIsNotListed(t *testing.T) {
	c := newCloud(t)
	w := writer{c: c.S3, bucket: c.Bucket}
	for _, key := range []string{"p/.rewrap-canary-x", "p/.rewrap-canary-y", "p/item"} {
		if err := w.put(key, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), Config{Client: c.S3, Bucket: c.Bucket, Prefix: "p/", Canary: true, CanaryID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(t.Context(), sources.Look); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(keys(t, s, ""), " "); got != "p/.rewrap-canary-y p/item" {
		t.Errorf("listed: %s", got)
	}
}

// keys lists everything in one span after a cursor.
func keys(t *testing.T, s *Source, after sources.Cursor) []string {
	t.Helper()
	spans, err := s.Spans(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for r, err := range s.List(t.Context(), spans[0], after) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r.ID)
	}
	return all
}
