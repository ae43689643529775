package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// missing skips a test whose server is not here, and fails instead where
// REWRAP_MUST_RUN (names of tests, separated by commas) has it.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("REWRAP_MUST_RUN"), ","), t.Name()) {
		t.Fatalf("REWRAP_MUST_RUN says that this test must run: "+format, args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}

func credentials(id, secret, token string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
	})
}

// client is the SDK's, as somebody who is not rewrap would make it.
func client(endpoint string, creds aws.CredentialsProvider) *s3.Client {
	region := os.Getenv("AWS_REGION")
	if region == "" {
		region = "us-east-1"
	}
	return s3.New(s3.Options{Region: region, BaseEndpoint: &endpoint, UsePathStyle: true, Credentials: creds})
}

// start runs a server until the test ends, and waits until it answers HTTP.
// args are made with a free loopback address; its last element is the port.
func start(t *testing.T, bin string, env []string, args func(addr, port string) []string) (endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	log, err := os.Create(filepath.Join(t.TempDir(), "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args(addr, port)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if t.Failed() {
			out, _ := os.ReadFile(log.Name())
			t.Logf("%s said: %s", bin, out[max(0, len(out)-4096):])
		}
		log.Close()
	})
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if resp, err := http.Get("http://" + addr + "/"); err == nil {
			resp.Body.Close()
			return "http://" + addr
		}
		select {
		case <-exited:
			out, _ := os.ReadFile(log.Name())
			t.Fatalf("%s ended: %s", bin, out)
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not answer on %s", bin, addr)
	return ""
}

// versitygw starts the gateway that REWRAP_VERSITYGW names, over a directory.
func versitygw(t *testing.T) *s3.Client {
	bin := os.Getenv("REWRAP_VERSITYGW")
	if bin == "" {
		missing(t, "no versitygw: build github.com/versity/versitygw/cmd/versitygw@v1.8.0 and name it in REWRAP_VERSITYGW")
	}
	dir := t.TempDir()
	for _, d := range []string{"data", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const key = "testtesttest"
	return client(start(t, bin, []string{"ROOT_ACCESS_KEY=" + key, "ROOT_SECRET_KEY=" + key}, func(addr, _ string) []string {
		return []string{"--port", addr, "--quiet", "--keep-alive", "posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data")}
	}), credentials(key, key, ""))
}

// moto starts moto_server from the path.
func moto(t *testing.T) *s3.Client {
	bin, err := exec.LookPath("moto_server")
	if err != nil {
		missing(t, "no moto_server in the path: %v", err)
	}
	return client(start(t, bin, nil, func(_, port string) []string {
		return []string{"-H", "127.0.0.1", "-p", port}
	}), credentials("test", "test", ""))
}

// elsewhere is the endpoint that REWRAP_TEST_S3_ENDPOINT names, with the
// credentials of the usual variables.
func elsewhere(t *testing.T) *s3.Client {
	endpoint := os.Getenv("REWRAP_TEST_S3_ENDPOINT")
	if endpoint == "" {
		missing(t, "no endpoint in REWRAP_TEST_S3_ENDPOINT")
	}
	return client(endpoint, credentials(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")))
}

var buckets atomic.Int64

// newBucket makes a bucket, and empties and deletes it at the end.
func newBucket(t *testing.T, c *s3.Client) string {
	t.Helper()
	bucket := fmt.Sprintf("rewrap-test-%d-%d", os.Getpid(), buckets.Add(1))
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket})
		if err != nil {
			t.Error(err)
			return
		}
		for _, o := range out.Contents {
			_, err = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: o.Key})
			if err != nil {
				t.Error(err)
			}
		}
		_, err = c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("bucket %s is left behind: %v", bucket, err)
		}
	})
	return bucket
}
