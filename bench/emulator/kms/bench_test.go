package kms_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"rewrap/bench/emulator/kms"
)

// discard is an answer that is thrown away.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkReEncrypt is the handler alone, without a socket or an SDK: the
// share of the emulator in measurements of its callers.
func BenchmarkReEncrypt(b *testing.B) {
	s := kms.New(kms.Options{})
	arn := benchKey(b, s)
	_, blob, _, err := s.GenerateDataKey(arn, 32, context1)
	if err != nil {
		b.Fatal(err)
	}
	const context = `{"tenant":"a","purpose":"test"}`
	body := fmt.Appendf(nil, `{"CiphertextBlob":%q,"SourceKeyId":%q,"DestinationKeyId":%q,"SourceEncryptionContext":%s,"DestinationEncryptionContext":%s}`,
		base64.StdEncoding.EncodeToString(blob), arn, arn, context, context)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("X-Amz-Target", "TrentService.ReEncrypt")
		r.ContentLength = int64(len(body))
		reader := bytes.NewReader(body)
		r.Body = io.NopCloser(reader)
		w := &discard{header: http.Header{}}
		for p.Next() {
			reader.Reset(body)
			if s.ServeHTTP(w, r); w.status != 200 {
				b.Errorf("status %d", w.status)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkGenerateDataKey is the call that S3 makes.
func BenchmarkGenerateDataKey(b *testing.B) {
	s := kms.New(kms.Options{})
	arn := benchKey(b, s)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, _, _, err := s.GenerateDataKey(arn, 32, context1); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func benchKey(b *testing.B, s *kms.Service) (arn string) {
	r := httptest.NewRequest("POST", "/", bytes.NewReader([]byte(`{}`)))
	r.Header.Set("X-Amz-Target", "TrentService.CreateKey")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var out struct{ KeyMetadata struct{ Arn string } }
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		b.Fatal(err)
	}
	return out.KeyMetadata.Arn
}
