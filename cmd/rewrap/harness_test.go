package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/cmd/rewrap/internal/report"
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
	*emulatortest.World
	dir string
}

const bucket = emulatortest.Bucket

// newWorld starts a world whose clock runs, since rewrap waits for objects that
// were just written.
func newWorld(t testing.TB, o emulator.Options) *world {
	t.Helper()
	o.Now = time.Now
	return &world{emulatortest.New(t, o), t.TempDir()}
}

// worldAt is the same behind somebody else's endpoint.
func worldAt(t testing.TB, url string) *world {
	t.Helper()
	return &world{emulatortest.At(t, url), t.TempDir()}
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

// command is rewrap in a process of its own.
func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = w.dir
	cmd.Env = append(withoutAWS(os.Environ()), "REWRAP_TEST_MAIN=1", "AWS_ENDPOINT_URL="+w.URL, "AWS_REGION=us-east-1",
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
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 5*time.Minute)
	defer cancel()
	return w.wait(w.command(ctx, args...))
}

func (w *world) wait(cmd *exec.Cmd) ended { return w.start(cmd)() }

// start starts a command; the function that it returns waits for its end.
func (w *world) start(cmd *exec.Cmd) (wait func() ended) {
	w.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	return func() ended { return w.ended(cmd, &out, &errs) }
}

func (w *world) ended(cmd *exec.Cmd, out, errs *bytes.Buffer) ended {
	w.Helper()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	e := ended{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	if strings.Contains(e.errors, "goroutine ") || strings.Contains(e.errors, "panic:") {
		w.Errorf("rewrap %v printed a stack trace:\n%s", cmd.Args[1:], e.errors)
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

func (e ended) summary(t testing.TB) report.Summary {
	t.Helper()
	var s report.Summary
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
	w.Helper()
	cmd := w.command(w.Context(), args...)
	return &running{w, cmd, w.start(cmd)}
}

// until returns when the emulator has answered n more requests of the
// operation; the command is expected to go on that long.
func (r *running) until(op string, n int64) {
	r.w.Helper()
	for from, deadline := r.w.Emulator.Counters()[op], time.Now().Add(2*time.Minute); r.w.Emulator.Counters()[op] < from+n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_ = r.cmd.Process.Kill()
			r.w.Fatalf("%d more of %s have not come: %+v", n, op, r.wait())
		}
	}
}

// killAfter runs the command and kills it with SIGKILL when the emulator has
// answered n more requests of the operation. false: it ended before.
func (w *world) killAfter(op string, n int64, args ...string) (ended, bool) {
	w.Helper()
	cmd := w.command(w.Context(), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	from := w.Emulator.Counters()[op]
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
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
			if w.Emulator.Counters()[op]-from < n {
				continue
			}
			_ = cmd.Process.Signal(syscall.SIGKILL)
			<-done
			return ended{}, true
		}
	}
}
