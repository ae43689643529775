package cloud

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/sources"
)

// TestMetered: a meter counts the calls under its context by their operation,
// each once however often it was tried, with the bytes of their bodies. Calls that
// are made once for all items are counted apart.
func TestMetered(t *testing.T) {
	var refused atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case refused.CompareAndSwap(false, true):
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Method == http.MethodGet:
			_, _ = io.WriteString(w, "12345")
		case r.Header.Get("X-Amz-Target") != "":
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			_, _ = io.WriteString(w, `{}`)
		}
	}))
	defer srv.Close()
	c := cloudAt(srv.URL, credentials.NewStaticCredentialsProvider("a", "b", ""), nil)
	store, key := c.S3(""), c.KMS("")
	get := func(ctx context.Context) {
		t.Helper()
		out, err := store.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, out.Body); err != nil {
			t.Fatal(err)
		}
		out.Body.Close()
	}
	var first, second Meter
	get(t.Context())
	get(Metered(t.Context(), &first))
	get(sources.Once(Metered(t.Context(), &first)))
	ctx := Metered(Metered(t.Context(), &first), &second)
	if _, err := store.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key"), Body: strings.NewReader("123")}); err != nil {
		t.Fatal(err)
	}
	refused.Store(false)
	if _, err := key.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	get(Metered(t.Context(), &second))
	if got, want := first.Used(), map[Operation]Use{{ServiceS3, "GetObject"}: {Calls: 1, Once: 1, In: 10}}; !maps.Equal(got, want) {
		t.Errorf("the first meter has %v, want %v", got, want)
	}
	got := second.Used()
	asked := int64(len(`{"KeyId":"k"}`)) // sent twice, since the first answer was a throttle
	want := map[Operation]Use{
		{ServiceS3, "PutObject"}: {Calls: 1, Out: 3}, {ServiceS3, "GetObject"}: {Calls: 1, In: 5}, {ServiceKMS, "DescribeKey"}: {Calls: 1, In: 2, Out: 2 * asked},
	}
	if !maps.Equal(got, want) {
		t.Errorf("the second meter has %v, want %v", got, want)
	}
	if sum := first.Of(ServiceS3); sum != (Use{Calls: 1, Once: 1, In: 10}) {
		t.Errorf("the sum of S3 is %v", sum)
	}
	if sum := second.Of(ServiceS3); sum != (Use{Calls: 2, In: 5, Out: 3}) {
		t.Errorf("the sum of S3 is %v", sum)
	}
	if s, k := c.StoreTraffic(), c.KMSTraffic(); s != (Traffic{Requests: 6, Throttled: 1, In: 20, Out: 3}) || k != (Traffic{Requests: 2, Throttled: 1}) {
		t.Errorf("in all: S3 %+v, KMS %+v", s, k)
	}
}
