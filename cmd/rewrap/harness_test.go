package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/bench/emulator"
	"rewrap/bench/seed"
)

// TestMain lets the test binary be rewrap itself, so that tests run the real
// program in a process of its own, and can kill it.
func TestMain(m *testing.M) {
	if os.Getenv("REWRAP_TEST_MAIN") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// world is S3 and KMS on a loopback port, and a folder to run rewrap in.
type world struct {
	t   testing.TB
	emu *emulator.Emulator
	url string
	dir string
	s3  *s3.Client
	kms *kms.Client
}

const bucket = "bucket"

func newWorld(t testing.TB, o emulator.Options) *world {
	t.Helper()
	emu := emulator.New(o)
	srv, err := emu.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := worldAt(t, srv.URL())
	w.emu = emu
	return w
}

// worldAt is the same behind somebody else's endpoint.
func worldAt(t testing.TB, url string) *world {
	t.Helper()
	w := &world{t: t, url: url, dir: t.TempDir()}
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &w.url, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	w.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	w.kms = kms.NewFromConfig(cfg)
	must(t)(w.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}))
	return w
}

func must(t testing.TB) func(_ any, err error) {
	t.Helper()
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// key makes a key with an alias, and returns its ARN.
func (w *world) key(alias string) string {
	w.t.Helper()
	out, err := w.kms.CreateKey(w.t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		w.t.Fatal(err)
	}
	must(w.t)(w.kms.CreateAlias(w.t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: out.KeyMetadata.KeyId}))
	return aws.ToString(out.KeyMetadata.Arn)
}

func (w *world) arn(alias string) string {
	w.t.Helper()
	out, err := w.kms.DescribeKey(w.t.Context(), &kms.DescribeKeyInput{KeyId: &alias})
	if err != nil {
		w.t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.Arn)
}

func (w *world) rotate(arn string) (material string) {
	w.t.Helper()
	must(w.t)(w.kms.RotateKeyOnDemand(w.t.Context(), &kms.RotateKeyOnDemandInput{KeyId: &arn}))
	out, err := w.kms.DescribeKey(w.t.Context(), &kms.DescribeKeyInput{KeyId: &arn})
	if err != nil {
		w.t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.CurrentKeyMaterialId)
}

func name(i int) string    { return fmt.Sprintf("p/%05d", i) }
func payload(i int) []byte { return fmt.Appendf(nil, "payload %d", i) }

func (w *world) bucket(key string) seed.Bucket {
	return seed.Bucket{S3: w.s3, KMS: w.kms, Name: bucket, Key: key, Context: map[string]string{"tenant": "test"}}
}

func (w *world) fill(key string, n int) {
	w.t.Helper()
	if err := w.bucket(key).Fill(w.t.Context(), n, name, payload); err != nil {
		w.t.Fatal(err)
	}
}

// check opens every object, and wants every data key under the material.
func (w *world) check(key string, n int, material string) {
	w.t.Helper()
	census, err := w.bucket(key).Check(w.t.Context(), n, name, payload)
	if err != nil {
		w.t.Error(err)
	}
	if census[material] != n {
		w.t.Errorf("%d of %d data keys are under the material: %v", census[material], n, census)
	}
}

// command is rewrap in a process of its own.
func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = w.dir
	cmd.Env = append(withoutAWS(os.Environ()), "REWRAP_TEST_MAIN=1", "AWS_ENDPOINT_URL="+w.url, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+filepath.Join(w.dir, "none"), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(w.dir, "none"))
	return cmd
}

// ended is what a command left behind.
type ended struct {
	code        int
	out, errors string
}

func (w *world) run(args ...string) ended {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	return w.wait(w.command(ctx, args...))
}

func (w *world) wait(cmd *exec.Cmd) ended { return w.start(cmd)() }

// start starts a command; the function that it returns waits for its end.
func (w *world) start(cmd *exec.Cmd) (wait func() ended) {
	w.t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return func() ended { return w.ended(cmd, &out, &errs) }
}

func (w *world) ended(cmd *exec.Cmd, out, errs *bytes.Buffer) ended {
	w.t.Helper()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	e := ended{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	if strings.Contains(e.errors, "goroutine ") || strings.Contains(e.errors, "panic:") {
		w.t.Errorf("rewrap %v printed a stack trace:\n%s", cmd.Args[1:], e.errors)
	}
	return e
}

func (e ended) want(t testing.TB, code int, message string) ended {
	t.Helper()
	if e.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", e.code, code, e.out, e.errors)
	}
	if !strings.Contains(e.errors, message) {
		t.Errorf("standard error lacks %q:\n%s", message, e.errors)
	}
	return e
}

func (e ended) summary(t testing.TB) summary {
	t.Helper()
	var s summary
	if err := json.Unmarshal([]byte(e.out), &s); err != nil {
		t.Fatalf("the summary is no JSON object: %v\n%s", err, e.out)
	}
	i := s.Items
	if sum := i.Rewrapped + i.Current + i.Foreign + i.Skipped + i.Gone + i.Failed; sum != i.Seen {
		t.Errorf("the outcomes add up to %d, seen are %d", sum, i.Seen)
	}
	return s
}

// running is a command that has been started and not waited for.
type running struct {
	w    *world
	cmd  *exec.Cmd
	wait func() ended
}

func (w *world) begin(args ...string) *running {
	w.t.Helper()
	cmd := w.command(w.t.Context(), args...)
	return &running{w, cmd, w.start(cmd)}
}

// until returns when the emulator has answered n more requests of the
// operation; the command is expected to go on that long.
func (r *running) until(op string, n int64) {
	r.w.t.Helper()
	for from, deadline := r.w.emu.Counters()[op], time.Now().Add(2*time.Minute); r.w.emu.Counters()[op] < from+n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_ = r.cmd.Process.Kill()
			r.w.t.Fatalf("%d more of %s have not come: %+v", n, op, r.wait())
		}
	}
}

// killAfter runs the command and kills it with SIGKILL when the emulator has
// answered n more requests of the operation. false: it ended before.
func (w *world) killAfter(op string, n int64, args ...string) (ended, bool) {
	w.t.Helper()
	cmd := w.command(w.t.Context(), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	from := w.emu.Counters()[op]
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return ended{cmd.ProcessState.ExitCode(), out.String(), errs.String()}, false
		case <-tick.C:
			if w.emu.Counters()[op]-from < n {
				continue
			}
			_ = cmd.Process.Signal(syscall.SIGKILL)
			<-done
			return ended{}, true
		}
	}
}
