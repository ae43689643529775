package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/sources"
)

func (c *cloud) fill(t *testing.T, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := (writer{c: c.S3, bucket: c.Bucket}).put(key, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListPages(t *testing.T) {
	c := newCloud(t)
	var want []string
	for i := range 2100 {
		want = append(want, fmt.Sprintf("p/%04d", i))
	}
	c.fill(t, want...)
	c.fill(t, "o", "q")
	s := open(t, Config{Client: c.S3, Bucket: c.Bucket, Prefix: "p/"})
	c.Emulator.ResetCounters()
	if got := keys(t, s, ""); !slices.Equal(got, want) {
		t.Errorf("%d keys, should be %d", len(got), len(want))
	}
	if n := c.Emulator.Counters()["s3:ListObjectsV2"]; n != 3 {
		t.Errorf("%d requests for 2,100 keys", n)
	}
	if got := keys(t, s, sources.Cursor(want[1500])); !slices.Equal(got, want[1501:]) {
		t.Errorf("%d keys after the cursor", len(got))
	}
}

func TestSpans(t *testing.T) {
	for _, test := range []struct {
		name, prefix string
		keys         []string
		want         int
		spans        int
		requests     int64
	}{
		{"one wanted", "", []string{"a/1", "b/1"}, 1, 1, 0},
		{"empty", "", nil, 8, 1, 1},
		{"prefixes", "", []string{"a/1", "b/1", "c/1", "d/1"}, 4, 4, 1},
		{"more than wanted", "", []string{"a/1", "b/1", "c/1", "d/1"}, 3, 3, 1},
		{"fewer than wanted", "", []string{"a/1", "b/1"}, 8, 2, 1},
		{"flat", "", []string{"a", "b", "c", "d"}, 2, 2, 1},
		{"all under one", "", []string{"data/a/1", "data/b/1", "data/c/1"}, 3, 3, 2},
		{"all under two", "", []string{"data/2026/a/1", "data/2026/b/1"}, 2, 1, 2},
		{"under a prefix", "data/", []string{"data/a/1", "data/b/1", "other/c"}, 8, 2, 1},
		{"half a name", "da", []string{"data/a/1", "data/b/1", "day/c", "other/c"}, 2, 2, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCloud(t)
			c.fill(t, test.keys...)
			s := open(t, Config{Client: c.S3, Bucket: c.Bucket, Prefix: test.prefix})
			c.Emulator.ResetCounters()
			spans, err := s.Spans(t.Context(), test.want)
			if err != nil {
				t.Fatal(err)
			}
			if n := c.Emulator.Counters()["s3:ListObjectsV2"]; len(spans) != test.spans || n != test.requests {
				t.Errorf("%d spans for %d requests, should be %d for %d: %v", len(spans), n, test.spans, test.requests, spans)
			}
			var got []string
			for _, span := range spans {
				for r, err := range s.List(t.Context(), span, "") {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, r.ID)
				}
			}
			var want []string
			for _, key := range test.keys {
				if strings.HasPrefix(key, test.prefix) {
					want = append(want, key)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("listed %v, should be %v", got, want)
			}
		})
	}
}

// TestSpanData: checkpoints keep it, so its form stays.
func TestSpanData(t *testing.T) {
	c := newCloud(t)
	c.fill(t, "a", "b", "c", "d")
	s := open(t, Config{Client: c.S3, Bucket: c.Bucket})
	for data, want := range map[string]string{`{}`: "abcd", `{"after":"b"}`: "cd", `{"until":"b"}`: "ab", `{"after":"a","until":"c"}`: "bc", `{"after":"bb","until":"cc"}`: "c"} {
		got := ""
		for r, err := range s.List(t.Context(), sources.Span{ID: "0", Data: data}, "") {
			if err != nil {
				t.Fatal(err)
			}
			got += r.ID
		}
		if got != want {
			t.Errorf("%s: %s, should be %s", data, got, want)
		}
	}
}

// TestListDistrusts: whatever a server does instead of listing in order is an
// error of the run, and no item is passed over in silence.
func TestListDistrusts(t *testing.T) {
	page := func(truncated bool, token string, keys ...string) string {
		x := fmt.Sprintf("<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>%v</IsTruncated>", truncated)
		if token != "" {
			x += "<NextContinuationToken>" + token + "</NextContinuationToken>"
		}
		for _, k := range keys {
			x += "<Contents><Key>" + k + "</Key></Contents>"
		}
		return x + "</ListBucketResult>"
	}
	for _, test := range []struct {
		name  string
		after sources.Cursor
		pages []string
		want  string // what is listed, then "error" if it ends so
	}{
		{"in order", "", []string{page(true, "", "p/a", "p/b"), page(false, "", "p/c")}, "p/a p/b p/c"},
		{"encoded", "", []string{page(false, "", "p/a%20b", "p/a+c", "p/%C3%A9")}, "p/a b p/a c p/é"},
		{"an empty page with a token", "", []string{page(true, "more"), page(false, "", "p/a")}, "p/a"},
		{"an empty page without", "", []string{page(true, "")}, "error"},
		{"out of order", "", []string{page(false, "", "p/b", "p/a")}, "p/b error"},
		{"twice", "", []string{page(false, "", "p/a", "p/a")}, "p/a error"},
		{"the same page again", "", []string{page(true, "", "p/a", "p/b"), page(true, "", "p/a", "p/b")}, "p/a p/b error"},
		{"before the cursor", "p/b", []string{page(false, "", "p/a")}, "error"},
		{"at the cursor", "p/b", []string{page(false, "", "p/b")}, "error"},
		{"another prefix", "", []string{page(false, "", "p/a", "q/a")}, "p/a error"},
		{"not encoded", "", []string{page(false, "", "p/%zz")}, "error"},
		{"not UTF-8", "", []string{page(false, "", "p/%FF")}, "error"},
		{"an error", "", []string{page(true, "", "p/a"), ""}, "p/a error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCloud(t)
			s := open(t, Config{Client: c.S3, Bucket: c.Bucket, Prefix: "p/"})
			n := 0
			c.Hook(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
				if n++; n > len(test.pages) || test.pages[n-1] == "" {
					w.WriteHeader(http.StatusForbidden)
					io.WriteString(w, "<Error><Code>AccessDenied</Code></Error>")
					return
				}
				io.WriteString(w, test.pages[n-1])
			})
			var got []string
			for r, err := range s.List(t.Context(), sources.Span{ID: "0", Data: "{}"}, test.after) {
				if err != nil {
					var run *sources.RunError
					if !errors.As(err, &run) && test.name != "not encoded" && test.name != "an empty page without" {
						t.Errorf("not an error of the run: %v", err)
					}
					got = append(got, "error")
					break
				}
				got = append(got, r.ID)
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("got %q, should be %q", s, test.want)
			}
		})
	}
}

// FuzzDecodeKey: decoding undoes the encoding of forms, as S3 writes keys,
// however much of a key is escaped.
func FuzzDecodeKey(f *testing.F) {
	for _, key := range oddNames {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		for _, encoded := range []string{url.QueryEscape(key), strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")} {
			if got, err := decodeKey(types.EncodingTypeUrl, encoded); err != nil || got != key {
				t.Errorf("%q, encoded %q, decoded %q, %v", key, encoded, got, err)
			}
		}
		if got, err := decodeKey("", key); err != nil || got != key {
			t.Errorf("%q, which is not encoded, decoded %q, %v", key, got, err)
		}
		decodeKey(types.EncodingTypeUrl, key) // no panic
	})
}

// FuzzCopySource: the header is a path that stands for bucket and key.
func FuzzCopySource(f *testing.F) {
	for _, key := range oddNames {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		source := copySource("bucket", key)
		if strings.ContainsAny(source, "+?#&= \n\"<>") {
			t.Errorf("%q became %q", key, source)
		}
		if got, err := url.PathUnescape(source); err != nil || got != "bucket/"+key {
			t.Errorf("%q became %q, which is %q, %v", key, source, got, err)
		}
	})
}

// FuzzSplice: the stream is what a splice is in memory, also from a reader
// that gives a byte at a time, and one byte too few is an error.
func FuzzSplice(f *testing.F) {
	f.Add("0123456789", 2, 3, "ins", 1, 0, "x")
	f.Add("", 0, 0, "", 0, 0, "y")
	f.Add("a", 0, 1, "", 0, 0, "")
	f.Fuzz(func(t *testing.T, body string, off1, del1 int, ins1 string, gap, del2 int, ins2 string) {
		splices := []sources.Splice{
			{Off: int64(off1), Del: int64(del1), Ins: []byte(ins1)},
			{Off: int64(off1) + int64(del1) + int64(gap), Del: int64(del2), Ins: []byte(ins2)},
		}
		if gap < 0 || del1 < 0 {
			return
		}
		size, err := sources.SplicedSize(int64(len(body)), splices)
		if err != nil {
			return
		}
		want := body
		for _, s := range slices.Backward(splices) {
			want = want[:s.Off] + string(s.Ins) + want[s.Off+s.Del:]
		}
		for _, r := range []io.Reader{strings.NewReader(body), iotest.OneByteReader(strings.NewReader(body)), iotest.DataErrReader(strings.NewReader(body))} {
			got, err := io.ReadAll(splice(r, int64(len(body)), splices))
			if err != nil || !bytes.Equal(got, []byte(want)) {
				t.Errorf("%q with %v is %q, should be %q, %v", body, splices, got, want, err)
			}
		}
		if size != int64(len(want)) {
			t.Errorf("size %d, should be %d", size, len(want))
		}
		if len(body) > 0 {
			if _, err := io.ReadAll(splice(strings.NewReader(body[1:]), int64(len(body)), splices)); err != io.ErrUnexpectedEOF {
				t.Errorf("%q ended early: %v", body, err)
			}
		}
	})
}
