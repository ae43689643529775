package s3_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/s3"
)

// nowhere takes an answer and keeps its status.
type nowhere struct {
	header http.Header
	status int
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(status int)      { n.status = status }

func send(b testing.TB, h http.Handler, r *http.Request) {
	n := &nowhere{header: make(http.Header, 16)}
	h.ServeHTTP(n, r)
	if n.status/100 != 2 {
		b.Fatalf("%s %s: %d", r.Method, r.URL, n.status)
	}
}

func request(method, path, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// The handler alone, no HTTP: what the emulator itself costs.
func BenchmarkHandler(b *testing.B) {
	e := emulator.New(emulator.Options{})
	s := e.S3()
	send(b, s, request("PUT", "/bucket", ""))
	meta := []string{"x-amz-meta-x-amz-key-v2", strings.Repeat("A", 248), "x-amz-meta-x-amz-iv", strings.Repeat("B", 16), "x-amz-meta-x-amz-matdesc", `{"aws:x-amz-cek-alg":"AES/GCM/NoPadding"}`}
	for i := range 1000 {
		send(b, s, request("PUT", fmt.Sprintf("/bucket/%03d", i), strings.Repeat("x", 1024), meta...))
	}
	sse := append(meta, "x-amz-server-side-encryption", "aws:kms")
	run := func(name, method string, header ...string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for i := 0; p.Next(); i++ {
					path := fmt.Sprintf("/bucket/%03d", i%1000)
					r := request(method, path, "", header...)
					if strings.HasPrefix(name, "Copy") {
						r.Header.Set("x-amz-copy-source", path[1:])
					}
					send(b, s, r)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
	run("Head", "HEAD")
	run("Get", "GET")
	run("Put", "PUT", meta...)
	run("Copy", "PUT", append(meta, "x-amz-metadata-directive", "REPLACE")...)
	run("CopySSEKMS", "PUT", append(sse, "x-amz-metadata-directive", "REPLACE")...)
}

// A bucket of a million small objects: what one costs in memory, and what a page
// costs from the middle.
func BenchmarkMillion(b *testing.B) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	s := s3.New(s3.Options{})
	send(b, s, request("PUT", "/bucket", ""))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range n {
		send(b, s, request("PUT", fmt.Sprintf("/bucket/objects/%07d", i), "x", "x-amz-meta-key", "value"))
	}
	perObject := float64(heap()-before) / float64(n)
	b.Run("List", func(b *testing.B) {
		for i := range b.N {
			send(b, s, request("GET", fmt.Sprintf("/bucket?list-type=2&start-after=objects/%07d", i*7919%n), ""))
		}
		b.ReportMetric(perObject, "B/object")
	})
	b.Run("ListDelimiter", func(b *testing.B) {
		for range b.N {
			send(b, s, request("GET", "/bucket?list-type=2&delimiter=/", ""))
		}
	})
	runtime.KeepAlive(s)
}
