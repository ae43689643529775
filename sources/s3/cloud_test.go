package s3

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/bench/emulator"
)

// cloud is the emulator behind a real socket, with a clock of its own and a
// bucket.
type cloud struct {
	*emulator.Emulator
	url    string
	client *s3.Client
	bucket string
	hook   hook // set before the requests that it is about

	mu  sync.Mutex
	now time.Time
}

type hook = func(op string, w http.ResponseWriter, r *http.Request, next http.Handler)

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), bucket: "bucket"}
	c.Emulator = emulator.New(emulator.Options{
		Now: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.now
		},
		Hook: func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if c.hook == nil {
				next.ServeHTTP(w, r)
				return
			}
			c.hook(op, w, r, next)
		},
	})
	server := httptest.NewServer(c.Emulator)
	t.Cleanup(server.Close)
	c.url = server.URL
	c.client = client(c.url, credentials("test", "test", ""))
	if _, err := c.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(c.bucket)}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cloud) wait(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *cloud) newKey(t *testing.T) (arn string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "TrentService.CreateKey")
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct{ KeyMetadata struct{ Arn string } }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.KeyMetadata.Arn == "" {
		t.Fatalf("CreateKey: %s %v", resp.Status, err)
	}
	return out.KeyMetadata.Arn
}

// ignore is an endpoint that does not look at some headers of an operation.
func ignore(op string, headers ...string) hook {
	return func(got string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.TrimPrefix(got, "s3:") == op {
			for _, h := range headers {
				r.Header.Del(h)
			}
		}
		next.ServeHTTP(w, r)
	}
}
