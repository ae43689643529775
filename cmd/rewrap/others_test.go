package main

import (
	"net"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

// TestMoto is rewrap against S3 and KMS of moto, which nobody here wrote: it
// ignores SourceKeyId, conditions on copies and key materials. So objects are
// put, under a condition on their content, which counts as unconditional since
// it does not see a change of metadata alone. A move to
// another key works there; a move to new material of the same key cannot be
// told, and is not claimed.
func TestMoto(t *testing.T) {
	t.Parallel()
	bin, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skipf("SKIPPED, no moto_server in the path, so nothing was tried against it: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	_ = l.Close()
	cmd := exec.CommandContext(t.Context(), bin, "-H", "127.0.0.1", "-p", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get("http://" + addr + "/moto-api/")
		if err == nil {
			_ = res.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}

	const n = 30
	w := worldAt(t, "http://"+addr)
	_, b := w.Key("alias/a"), w.Key("alias/b")
	w.Fill("alias/a", n)
	w.run("run", src, "--from", "alias/a", "--to", "alias/b", "--yes", "--max-items", "7").want(t, exitStopped, "")
	e := w.run("run", src, "--from", "alias/a", "--to", "alias/b", "--yes", "--json").want(t, exitOK, "")
	if s := e.summary(t); s.Items.Rewrapped != n || s.Items.Seen != n || s.Unconditional != n {
		t.Errorf("%+v, %d unconditional, want all %d rewrapped without a condition", s.Items, s.Unconditional, n)
	}
	w.Check("alias/b", n, "")
	w.noCanary()
	w.run("verify", src, "--from", "alias/a", "--to", "alias/b").want(t, exitOK, "")

	e = w.run("run", src, "--from", b, "--yes", "--json").want(t, exitOK, "not named")
	if s := e.summary(t); s.Items.Current != n {
		t.Errorf("%+v, want all %d current", s.Items, n)
	}
}
