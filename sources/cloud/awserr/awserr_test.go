package awserr_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// TestPlain: what the SDK makes of real answers.
func TestPlain(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Request-Id", "R1")
		w.Header().Set("X-Amzn-Requestid", "R1")
		if r.Method == http.MethodPost {
			w.Header().Set("X-Amzn-Errortype", "NotFoundException")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"NotFoundException","message":"no such key."}`)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(srv.Close)
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &srv.URL, Credentials: aws.AnonymousCredentials{}, RetryMaxAttempts: 1}
	head := func(ctx context.Context) error {
		_, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("b")})
		return err
	}
	_, describe := kms.NewFromConfig(cfg).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("k")})
	shut := "http://127.0.0.1:1"
	_, refused := kms.NewFromConfig(cfg, func(o *kms.Options) { o.BaseEndpoint = &shut }).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("k")})
	own := errors.New("ours")
	ended := fmt.Errorf("%w: %w", sources.ErrCredentials, describe)
	for _, test := range []struct {
		err        error
		code, text string
	}{
		{head(t.Context()), "NotFound", `NotFound, HTTP 404 \(request R1\)`},
		{describe, "NotFoundException", `NotFoundException: no such key \(request R1\)`},
		{refused, "", `Post "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: .*refused`},
		{own, "", "ours"},
		{ended, "", regexp.QuoteMeta(ended.Error())},
	} {
		got := awserr.Plain(test.err)
		if ok, _ := regexp.MatchString("^"+test.text+"$", got.Error()); !ok {
			t.Errorf("got %q, want %q", got, test.text)
		}
		if !errors.Is(got, test.err) || awserr.Code(got) != test.code {
			t.Errorf("%q: code %q, want %q", got, awserr.Code(got), test.code)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := awserr.Plain(head(ctx)); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "NotFound") {
		t.Errorf("cancelled: %v", err)
	}
}
