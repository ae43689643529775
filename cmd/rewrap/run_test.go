package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
)

const src = "s3://" + bucket + "/p/"

// TestKill9 kills the program at random moments until it is through.
func TestKill9(t *testing.T) {
	t.Parallel()
	const n = 600
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/a")
	w.Fill("alias/a", n)
	material := w.Rotate(arn)
	args := []string{"run", src, "--from", "alias/a", "--yes", "--json", "--kms-rps", "max"}
	rnd := rand.New(rand.NewPCG(1, 2))
	kills := 0
	for ; kills < 100; kills++ {
		e, killed := w.killAfter("s3:CopyObject", 1+rnd.Int64N(100), args...)
		if killed {
			continue
		}
		s := e.want(t, exitOK, "").summary(t)
		if s.Items.Rewrapped != n || s.Items.Seen != n || s.Keys.Rewrapped != n || !s.Resumed {
			t.Errorf("after %d kills: %s", kills, e.out)
		}
		lines, err := os.ReadFile(filepath.Join(w.dir, s.State, "audit.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		ids := make(map[string]int)
		for line := range strings.Lines(string(lines)) {
			var a struct{ ID string }
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatal(err)
			}
			ids[a.ID]++
		}
		for i := range n {
			if ids[emulatortest.Name(i)] != 1 {
				t.Errorf("%s has %d lines of audit", emulatortest.Name(i), ids[emulatortest.Name(i)])
			}
		}
		break
	}
	if kills < 5 || kills == 100 {
		t.Errorf("%d kills", kills)
	}
	w.Check("alias/a", n, material)
	w.noCanary()
}

// noCanary wants nothing in the bucket that was not put there by the test.
func (w *world) noCanary() {
	w.Helper()
	out, err := w.S3.ListObjectsV2(w.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String("p/.")})
	if err != nil {
		w.Fatal(err)
	}
	for _, o := range out.Contents {
		w.Errorf("left behind: %s", aws.ToString(o.Key))
	}
}

func TestStopped(t *testing.T) {
	t.Parallel()
	const n = 400
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/a")
	w.Fill("alias/a", n)
	w.Rotate(arn)
	args := []string{"run", src, "--from", "alias/a", "--yes", "--json", "--kms-rps", "200", "--workers", "4"}

	s := w.run(append(args, "--max-items", "50")...).want(t, exitStopped, "--max-items 50").summary(t)
	if s.Items.Seen != 50 || s.Result != "stopped" {
		t.Errorf("%s after %+v, want stopped after 50 items", s.Result, s.Items)
	}
	s = w.run(append(args, "--max-duration", "1ms")...).want(t, exitStopped, "--max-duration").summary(t)
	if s.Items.Seen >= n || s.Items.Seen != s.Items.Rewrapped {
		t.Errorf("%+v, want fewer than %d, and all of them rewrapped", s.Items, n)
	}

	// The first signal finishes what is in work.
	r := w.begin(args...)
	r.until("s3:CopyObject", 20)
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	e := r.wait()
	s = e.want(t, exitStopped, "interrupted by SIGINT").summary(t)
	if s.Items.Rewrapped >= n || s.Items.Failed != 0 {
		t.Errorf("%+v, want fewer than %d rewrapped, and none failed", s.Items, n)
	}
	st := w.run("status", "--state", s.State, "--json")
	if !strings.Contains(st.out, fmt.Sprintf(`"rewrapped":%d`, s.Items.Rewrapped)) || !strings.Contains(st.out, `"result":"stopped"`) {
		t.Errorf("status does not say stopped with %d items rewrapped: %s", s.Items.Rewrapped, st.out)
	}
	s = w.run(args...).want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != n || s.Items.Seen != n {
		t.Errorf("%+v, want all %d rewrapped", s.Items, n)
	}
	w.noCanary()
}

// TestTwice: a second run beside the first is refused, status looks on.
func TestTwice(t *testing.T) {
	t.Parallel()
	const n = 50
	var copies atomic.Int64
	release := make(chan struct{})
	w := newWorld(t, emulator.Options{Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "s3:CopyObject" && copies.Add(1) > 20 {
			<-release // the first run stays where it is
		}
		next.ServeHTTP(rw, r)
	}})
	arn := w.Key("alias/a")
	w.Fill("alias/a", n)
	w.Rotate(arn)
	args := []string{"run", src, "--from", "alias/a", "--yes", "--json"}
	r := w.begin(args...)
	r.until("s3:CopyObject", 21)
	w.run(args...).want(t, exitFailed, fmt.Sprint(r.cmd.Process.Pid))
	if st := w.run("status"); !strings.Contains(st.out, fmt.Sprintf("running as process %d", r.cmd.Process.Pid)) {
		t.Errorf("status does not name process %d: %s%s", r.cmd.Process.Pid, st.out, st.errors)
	}
	close(release)
	if s := r.wait().want(t, exitOK, "").summary(t); s.Items.Rewrapped != n {
		t.Errorf("%+v, want all %d rewrapped", s.Items, n)
	}
}

// TestDisabledKey: the run stops with its state safe, and goes on when the key
// is enabled again.
func TestDisabledKey(t *testing.T) {
	t.Parallel()
	const n = 300
	var w *world
	var arn string
	var copies atomic.Int64
	w = newWorld(t, emulator.Options{Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "s3:CopyObject" && copies.Add(1) == 50 {
			if _, err := w.KMS.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &arn}); err != nil {
				t.Error(err)
			}
		}
		next.ServeHTTP(rw, r)
	}})
	arn = w.Key("alias/a")
	w.Fill("alias/a", n)
	material := w.Rotate(arn)
	args := []string{"run", src, "--from", "alias/a", "--yes", "--json", "--kms-rps", "75"}
	s := w.run(args...).want(t, exitFailed, "Enable it").summary(t)
	if s.Items.Failed != 0 || s.Items.Rewrapped == 0 || s.Items.Rewrapped >= n || s.Result != "failed" {
		t.Errorf("%s after %+v, want failed with some of %d rewrapped and none failed", s.Result, s.Items, n)
	}
	w.run(args...).want(t, exitFailed, "Enable it")
	must(t)(w.KMS.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &arn}))
	s = w.run(args...).want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != n {
		t.Errorf("%+v, want all %d rewrapped", s.Items, n)
	}
	w.Check("alias/a", n, material)
}

// TestThrottled: throttles of both services cost time and no item.
func TestThrottled(t *testing.T) {
	t.Parallel()
	const n = 60
	var calls atomic.Int64
	var slow atomic.Bool
	w := newWorld(t, emulator.Options{Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		switch k := calls.Add(1); {
		case !slow.Load() || k%10 != 0:
			next.ServeHTTP(rw, r)
		case op == "kms:ReEncrypt":
			rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(rw, `{"__type":"ThrottlingException","message":"Rate exceeded"}`)
		default:
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}})
	arn := w.Key("alias/a")
	w.Fill("alias/a", n)
	w.Rotate(arn)
	slow.Store(true)
	s := w.run("run", src, "--from", "alias/a", "--yes", "--json", "--kms-rps", "max").want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != n || s.KMS.Throttled == 0 || s.Store.Throttled == 0 {
		t.Errorf("%+v with throttles %d of KMS and %d of S3, want all %d rewrapped and throttles of both", s.Items, s.KMS.Throttled, s.Store.Throttled, n)
	}
}
