package s3_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
)

type world struct{ *emulatortest.World }

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{emulatortest.New(t, emulator.Options{})}
}

func is[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// copyOnto copies an object onto itself.
func (w *world) copyOnto(key string, more func(*s3.CopyObjectInput)) (*s3.CopyObjectOutput, error) {
	w.Helper()
	in := &s3.CopyObjectInput{Bucket: &w.Bucket, Key: &key, CopySource: aws.String(w.Bucket + "/" + key)}
	if more != nil {
		more(in)
	}
	return w.S3.CopyObject(w.Context(), in)
}

// raw sends a request that no SDK would.
func (w *world) raw(method, path string, header http.Header, body []byte) (*http.Response, string) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, w.URL+path, bytes.NewReader(body))
	w.OK(err)
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	w.OK(err)
	return response, w.ReadAll(response.Body)
}

// rawHead returns the answer to a HEAD as it comes over the wire.
func (w *world) rawHead(path string) string {
	w.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.URL, "http://"))
	w.OK(err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "HEAD %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
	w.OK(err)
	return w.ReadAll(conn)
}

// escapeSource escapes a key for x-amz-copy-source, slashes kept.
func escapeSource(key string) string { return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/") }

func unescapeListed(w *world, key string) string {
	w.Helper()
	plain, err := url.QueryUnescape(key)
	w.OK(err)
	return plain
}
