package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/sources"
)

var metaEdit = sources.Edit{Meta: map[string][]byte{"changed": []byte("new")}}

// item puts an object that is old enough to be changed, and opens its bucket.
func (c *cloud) item(t *testing.T, body string, meta map[string]string) *Source {
	t.Helper()
	if err := (writer{c: c.S3, bucket: c.Bucket}).put("item", []byte(body), meta); err != nil {
		t.Fatal(err)
	}
	c.Clock.Pass(minAge)
	return open(t, Config{Client: c.S3, Bucket: c.Bucket})
}

func plan(t *testing.T, s *Source, e sources.Edit) (sources.Plan, error) {
	t.Helper()
	v, err := s.Read(t.Context(), sources.Ref{ID: "item"}, sources.Want{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Plan(t.Context(), v, e)
}

func mustPlan(t *testing.T, s *Source, e sources.Edit) sources.Plan {
	t.Helper()
	p, err := plan(t, s, e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRequests: what an item costs.
func TestRequests(t *testing.T) {
	splices := sources.Edit{Splices: []sources.Splice{{Ins: []byte("x")}}}
	for _, test := range []struct {
		edit sources.Edit
		head int64
		want map[string]int64
	}{
		{metaEdit, 0, map[string]int64{"s3:HeadObject": 1, "s3:CopyObject": 1}},
		{splices, 0, map[string]int64{"s3:HeadObject": 1, "s3:GetObjectTagging": 1, "s3:GetObject": 1, "s3:PutObject": 1}},
		{splices, 3, map[string]int64{"s3:GetObject": 2, "s3:GetObjectTagging": 1, "s3:PutObject": 1}},
		// What has been read whole is not fetched again, only looked at.
		{splices, 4, map[string]int64{"s3:GetObject": 1, "s3:GetObjectTagging": 1, "s3:HeadObject": 1, "s3:PutObject": 1}},
	} {
		c := newCloud(t)
		s := c.item(t, "body", nil)
		c.Emulator.ResetCounters()
		v, err := s.Read(t.Context(), sources.Ref{ID: "item"}, sources.Want{Head: test.head})
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Plan(t.Context(), v, test.edit)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.Apply(t.Context(), p)
		if err != nil || res.RequestID == "" {
			t.Errorf("%s: request id %q, %v", p.Way, res.RequestID, err)
		}
		got := c.Emulator.Counters()
		delete(got, "s3:Unknown") // ListObjectAnnotations, which the emulator does not have
		if !maps.Equal(got, test.want) {
			t.Errorf("%s, head %d: requests %v, should be %v", p.Way, test.head, got, test.want)
		}
		if _, body, err := s.read(t.Context(), "item", 100); err != nil || len(test.edit.Splices) > 0 && string(body) != "xbody" {
			t.Errorf("%s, head %d: the body is %q, %v", p.Way, test.head, body, err)
		}
	}
}

// TestLastLookDenied: an answer to HEAD has no body to say why; whoever asks on
// is told.
func TestLastLookDenied(t *testing.T) {
	c := newCloud(t)
	s := c.item(t, "body", nil)
	v, err := s.Read(t.Context(), sources.Ref{ID: "item"}, sources.Want{Head: 10})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Plan(t.Context(), v, sources.Edit{Splices: []sources.Splice{{Ins: []byte("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	c.Hook(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "s3:HeadObject" || op == "s3:GetObject" {
			emulator.Fail(w, r, 400, "ExpiredToken", "")
			return
		}
		next.ServeHTTP(w, r)
	})
	if _, err := s.Apply(t.Context(), p); !errors.Is(err, sources.ErrCredentials) {
		t.Errorf("%v, want expired credentials", err)
	}
}

// TestMetadataVerbatim: values that S3 shows encoded are the same after both
// ways, and so is what a reader makes of them.
func TestMetadataVerbatim(t *testing.T) {
	long := strings.Repeat("Größe ", 40)
	for _, edit := range []sources.Edit{metaEdit, {Meta: metaEdit.Meta, Splices: []sources.Splice{{Ins: []byte("x")}}}} {
		c := newCloud(t)
		s := c.item(t, "body", map[string]string{"text": "Größe", "long": long, "encoded": "=?UTF-8?B?R3LDtsOfZQ==?=", "plain": "=?", "spaces": "a  b"})
		p := mustPlan(t, s, edit)
		if _, err := s.Apply(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		after, err := s.Read(t.Context(), p.View.Ref, sources.Want{})
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range p.View.Meta {
			if !bytes.Equal(after.Meta[name], value) {
				t.Errorf("%s: metadata %s was %q and is %q", p.Way, name, value, after.Meta[name])
			}
		}
	}
}

// TestLostAnswer: a write that was done, whose answer was lost, and which the
// client sent again, is not reported as refused.
func TestLostAnswer(t *testing.T) {
	for op, edit := range map[string]sources.Edit{"s3:CopyObject": metaEdit, "s3:PutObject": {Splices: []sources.Splice{{Ins: []byte("x")}}}} {
		c := newCloud(t)
		s := c.item(t, "body", nil)
		p := mustPlan(t, s, edit)
		lost := false
		c.Hook(func(got string, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if got == op && !lost {
				lost = true
				c.Clock.Pass(time.Second) // the write is seen in Last-Modified
				emulator.LoseAnswer(w, r, next)
			}
			next.ServeHTTP(w, r)
		})
		_, err := s.Apply(t.Context(), p)
		if !lost || err == nil || errors.Is(err, sources.ErrConflict) || errors.Is(err, sources.ErrGone) {
			t.Errorf("%s: %v", op, err)
		}
		v, err := s.Read(t.Context(), p.View.Ref, sources.Want{})
		if err != nil || v.Rev == p.View.Rev {
			t.Errorf("%s: the write is not there; %v", op, err)
		}
	}
}

// TestBodyEndsEarly: half a body is never written.
func TestBodyEndsEarly(t *testing.T) {
	for _, size := range []int{1000, maxBuffered + 1, 3 << 20} {
		c := newCloud(t)
		s := c.item(t, strings.Repeat("x", size), nil)
		p := mustPlan(t, s, sources.Edit{Splices: []sources.Splice{{Off: 10, Del: 5, Ins: []byte("y")}}})
		c.Hook(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if op == "s3:GetObject" {
				emulator.Truncate(size-1, w, r, next)
			}
			next.ServeHTTP(w, r)
		})
		if _, err := s.Apply(t.Context(), p); err == nil {
			t.Errorf("%d bytes: no error", size)
		}
		c.Hook(nil)
		if v, err := s.Read(t.Context(), p.View.Ref, sources.Want{}); err != nil || v.Rev != p.View.Rev || v.Size != int64(size) {
			t.Errorf("%d bytes: the object is %d bytes at %q, was at %q; %v", size, v.Size, v.Rev, p.View.Rev, err)
		}
	}
}

// TestStreamOverTLS: a body that does not fit the buffer goes with a checksum
// behind it, under the algorithm that the object had.
func TestStreamOverTLS(t *testing.T) {
	c := newCloud(t)
	server := httptest.NewTLSServer(c.Emulator)
	defer server.Close()
	tls := emulatortest.S3Client(server.URL, c.Region, server.Client())
	body := make([]byte, maxBuffered+12345)
	rand.Read(body)
	if _, err := tls.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &c.Bucket, Key: aws.String("item"),
		Body: bytes.NewReader(body), ChecksumAlgorithm: types.ChecksumAlgorithmSha256}); err != nil {
		t.Fatal(err)
	}
	c.Clock.Pass(minAge)
	s := open(t, Config{Client: tls, Bucket: c.Bucket})
	p := mustPlan(t, s, sources.Edit{Splices: []sources.Splice{{Off: 1, Del: 1, Ins: []byte("spliced")}}})
	var chunked string
	c.Hook(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "s3:PutObject" {
			chunked = r.Header.Get("X-Amz-Content-Sha256")
		}
		next.ServeHTTP(w, r)
	})
	if _, err := s.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if chunked != "STREAMING-UNSIGNED-PAYLOAD-TRAILER" {
		t.Errorf("the body went as %s", chunked)
	}
	out, err := tls.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &c.Bucket, Key: aws.String("item"), ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		t.Fatal(err)
	}
	if out.ChecksumSHA256 == nil {
		t.Error("the object had a SHA-256, and has none")
	}
	_, head, err := s.read(t.Context(), "item", int64(len(body)+100))
	if want := slices.Concat(body[:1], []byte("spliced"), body[2:]); err != nil || !bytes.Equal(head, want) {
		t.Errorf("the body is not what it should be: %d bytes, should be %d; %v", len(head), len(want), err)
	}
}

func TestLockIsCarried(t *testing.T) {
	for _, edit := range []sources.Edit{metaEdit, {Splices: []sources.Splice{{Ins: []byte("x")}}}} {
		c := newCloud(t)
		c.Bucket = "locked"
		if _, err := c.S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &c.Bucket, ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
		until := c.Clock.Now().Add(time.Hour).UTC()
		w := writer{c: c.S3, bucket: c.Bucket, headers: map[string]string{
			"X-Amz-Object-Lock-Mode": "COMPLIANCE", "X-Amz-Object-Lock-Retain-Until-Date": until.Format(time.RFC3339), "X-Amz-Object-Lock-Legal-Hold": "ON"}}
		if err := w.put("item", []byte("body"), nil); err != nil {
			t.Fatal(err)
		}
		look := func() *s3.HeadObjectOutput {
			out, err := c.S3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &c.Bucket, Key: aws.String("item")})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		c.Clock.Pass(minAge)
		s := open(t, Config{Client: c.S3, Bucket: c.Bucket})
		if _, err := s.Apply(t.Context(), mustPlan(t, s, edit)); err != nil {
			t.Fatal(err)
		}
		if got := look(); got.ObjectLockMode != types.ObjectLockModeCompliance || !aws.ToTime(got.ObjectLockRetainUntilDate).Equal(until) || got.ObjectLockLegalHoldStatus != "ON" {
			t.Errorf("the lock is %s until %v, hold %s", got.ObjectLockMode, got.ObjectLockRetainUntilDate, got.ObjectLockLegalHoldStatus)
		}
		c.Clock.Pass(2 * time.Hour) // S3 would refuse to set a retention that is over
		if _, err := s.Apply(t.Context(), mustPlan(t, s, edit)); err != nil && len(edit.Meta) == 0 {
			t.Errorf("after the retention: %v", err)
		}
		if got := look(); got.ObjectLockLegalHoldStatus != "ON" {
			t.Errorf("after the retention the hold is %q", got.ObjectLockLegalHoldStatus)
		}
	}
}

// TestLocksAreProven: in a bucket with Object Lock an answer without a lock is
// believed only of callers who may see locks.
func TestLocksAreProven(t *testing.T) {
	c := newCloud(t)
	asked, answer := 0, 403
	c.Hook(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		q := r.URL.Query()
		switch {
		case q.Has("object-lock"):
			fmt.Fprint(w, `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>`)
		case q.Has("retention"), q.Has("legal-hold"):
			asked++
			emulator.Fail(w, r, answer, map[int]string{403: "AccessDenied", 404: "NoSuchObjectLockConfiguration"}[answer], "")
		default:
			next.ServeHTTP(w, r)
		}
	})
	s := c.item(t, "body", nil)
	var run *sources.RunError
	if _, err := plan(t, s, metaEdit); !errors.As(err, &run) || !strings.Contains(run.Hint, "s3:GetObjectRetention") {
		t.Errorf("denied: %v", err)
	}
	answer = 404
	mustPlan(t, s, metaEdit)
	mustPlan(t, s, metaEdit)
	if asked != 3 {
		t.Errorf("asked %d times, should be 3: denied, retention, hold", asked)
	}
}

// TestAge: the two seconds of Last-Modified, on the store's clock.
func TestAge(t *testing.T) {
	date := func(d time.Duration) string {
		return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(d).Format(http.TimeFormat)
	}
	for _, test := range []struct {
		date string
		wait time.Duration
		word string // a reason, "" or "ok"
	}{
		{date(0), 2 * time.Second, ""},
		{date(time.Second), time.Second, ""},
		{date(2 * time.Second), 0, "ok"},
		{date(time.Hour), 0, "ok"},
		{date(-30 * time.Second), 32 * time.Second, ""},
		{date(-time.Hour), 0, "last-modified-ahead"},
		{"", 0, "no-date"},
		{"yesterday", 0, "no-date"},
	} {
		err := oldEnough(object{header: http.Header{"Last-Modified": {date(0)}, "Date": {test.date}}}, "item")
		var notYet *sources.NotYetError
		var unsupported *sources.SkipError
		switch {
		case err == nil:
			if test.word != "ok" {
				t.Errorf("%q: old enough", test.date)
			}
		case errors.As(err, &notYet):
			if test.wait != notYet.Wait {
				t.Errorf("%q: wait %v, should be %v", test.date, notYet.Wait, test.wait)
			}
		case errors.As(err, &unsupported):
			if test.word != unsupported.Reason {
				t.Errorf("%q: %s, should be %q", test.date, unsupported.Reason, test.word)
			}
		default:
			t.Error(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := &Source{c: Config{Bucket: "bucket"}}
	s.life.Begun(sources.Look)
	s.honours.Store(&honours{Copy: true, Put: true, CopyVerbatim: true, PutVerbatim: true})
	for _, test := range []struct {
		want   string // the reason; "" for none
		header map[string]string
		size   int64
		edit   sources.Edit
	}{
		{want: "", edit: metaEdit},
		{want: "sse-c", header: map[string]string{"X-Amz-Server-Side-Encryption-Customer-Algorithm": "AES256"}},
		{want: "archived", header: map[string]string{"X-Amz-Storage-Class": "GLACIER"}},
		{want: "archived", header: map[string]string{"X-Amz-Storage-Class": "DEEP_ARCHIVE", "X-Amz-Restore": `ongoing-request="true"`}},
		{want: "archived", header: map[string]string{"X-Amz-Storage-Class": "INTELLIGENT_TIERING", "X-Amz-Archive-Status": "ARCHIVE_ACCESS"}},
		{want: "", header: map[string]string{"X-Amz-Storage-Class": "GLACIER", "X-Amz-Restore": `ongoing-request="false", expiry-date="Fri, 23 Dec 2026 00:00:00 GMT"`}},
		{want: "", header: map[string]string{"X-Amz-Storage-Class": "GLACIER_IR"}},
		{want: "", header: map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms:dsse"}},
		{want: "", size: maxObject},
		{want: "too-large", size: maxObject + 1},
		{want: "missing-metadata", header: map[string]string{"X-Amz-Missing-Meta": "1"}},
		{want: "", header: map[string]string{"X-Amz-Missing-Meta": "0"}},
		{want: "", edit: sources.Edit{Meta: map[string][]byte{"k": bytes.Repeat([]byte("x"), maxMeta-1-len("has")-len("value"))}}},
		{want: "metadata-too-large", edit: sources.Edit{Meta: map[string][]byte{"k": bytes.Repeat([]byte("x"), maxMeta-len("has")-len("value"))}}},
	} {
		h := http.Header{"Etag": {`"e"`}, "Last-Modified": {"Mon, 23 Nov 2026 12:00:00 GMT"}, "Date": {"Mon, 23 Nov 2026 12:00:02 GMT"}, "X-Amz-Meta-Has": {"value"}}
		for k, v := range test.header {
			h[k] = []string{v}
		}
		o := object{header: h, size: test.size}
		if test.edit.Meta == nil {
			test.edit = metaEdit
		}
		_, err := s.Plan(t.Context(), sources.View{Ref: sources.Ref{ID: "item"}, Meta: o.meta(), State: o}, test.edit)
		got := ""
		if u := new(sources.SkipError); errors.As(err, &u) {
			got = u.Reason
		} else if err != nil {
			t.Errorf("%v: %v", test.header, err)
		}
		if got != test.want {
			t.Errorf("%v, %d bytes: %q, should be %q", test.header, test.size, got, test.want)
		}
	}
	for name, value := range map[string]string{"Upper": "x", "with space": "x", "": "x", "colon:": "x", "ok": "line\nbreak", "trim": " x", "nul": "\x00"} {
		if _, err := editMeta(nil, map[string][]byte{name: []byte(value)}); err == nil {
			t.Errorf("metadata %q: %q can be sent, it says", name, value)
		}
	}
	// An encoded word counts as what it stands for.
	encoded := "=?UTF-8?B?" + base64.StdEncoding.EncodeToString([]byte("äöü")) + "?="
	if n := metaSize(map[string]string{"k": encoded}); n != 1+len("äöü") {
		t.Errorf("%q counts as %d bytes", encoded, n)
	}
}

// TestSSE: what is not said of a bucket key means no, and is sent as no.
func TestSSE(t *testing.T) {
	const key = "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled"
	for sse, want := range map[string]string{"aws:kms": "false", "AES256": "", "aws:kms:dsse": "", "": ""} {
		if got := (object{header: http.Header{"X-Amz-Server-Side-Encryption": {sse}}}).carried()[key]; got != want {
			t.Errorf("%s: bucket key %q, should be %q", sse, got, want)
		}
	}
}

// TestUnreachable: an endpoint that is down is no item's fault, but for one
// whose caller was told to stop.
func TestUnreachable(t *testing.T) {
	c := newCloud(t)
	s := c.item(t, strings.Repeat("x", maxBuffered), nil)
	ctx, cancel := context.WithCancel(t.Context())
	planned := mustPlan(t, s, metaEdit)
	buffered := mustPlan(t, s, sources.Edit{Splices: []sources.Splice{{Del: 1}}})
	streamed := mustPlan(t, s, sources.Edit{Splices: []sources.Splice{{Ins: []byte("x")}}})
	s.client = emulatortest.S3Client(c.URL, c.Region, nil) // which does not try again
	var dark atomic.Bool
	c.Hook(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "s3:GetObject" && !dark.Load() {
			next.ServeHTTP(w, r)
			return
		}
		panic(http.ErrAbortHandler)
	})
	for name, p := range map[string]sources.Plan{"copy": planned, "put": buffered} {
		var run *sources.RunError
		if _, err := s.Apply(ctx, p); !errors.As(err, &run) || run.Strikes != outageStrikes || run.Where != whereWrite {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The client cannot send a stream again, so the item is tried again.
	if _, err := s.Apply(ctx, streamed); err == nil || errors.As(err, new(*sources.RunError)) {
		t.Errorf("a stream: %v", err)
	}
	dark.Store(true)
	var run *sources.RunError
	if _, err := s.Read(ctx, sources.Ref{ID: "item"}, sources.Want{}); !errors.As(err, &run) || run.Strikes != outageStrikes {
		t.Error(err)
	}
	cancel()
	sent := new(attempts)
	sent.n.Add(1)
	if err := s.writeError("copying", "item", sent, ctx.Err()); errors.As(err, &run) {
		t.Error(err)
	}
	if _, err := s.Read(ctx, sources.Ref{ID: "item"}, sources.Want{}); !errors.Is(err, context.Canceled) || errors.As(err, &run) {
		t.Error(err)
	}
}

// TestInProcess: the emulator without a socket serves the source as well.
func TestInProcess(t *testing.T) {
	c := newCloud(t)
	s := c.item(t, "body", map[string]string{"kept": "as it is"})
	s.client = emulatortest.S3Client("http://emulator", c.Region, c.Emulator.Client())
	for _, edit := range []sources.Edit{metaEdit, {Splices: []sources.Splice{{Ins: bytes.Repeat([]byte("x"), maxBuffered)}}}} {
		c.Clock.Pass(minAge)
		p := mustPlan(t, s, edit)
		if _, err := s.Apply(t.Context(), p); err != nil {
			t.Errorf("%s: %v", p.Way, err)
		}
	}
	if v, err := s.Read(t.Context(), sources.Ref{ID: "item"}, sources.Want{Head: 1}); err != nil || v.Size != maxBuffered+4 || string(v.Head) != "x" || string(v.Meta["changed"]) != "new" {
		t.Errorf("%d bytes, %q, %q, %v", v.Size, v.Head, v.Meta, err)
	}
}
