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
)

const src = "s3://" + bucket + "/p/"

func TestRunAndVerify(t *testing.T) {
	t.Parallel()
	const n = 200
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	w.fill("alias/a", n)
	old := w.material(arn)
	material := w.rotate(arn)

	v := w.run("verify", src, "--from", "alias/a", "--json").want(t, exitNotOn, "200 items are not on target").summary(t)
	if v.SkippedByReason["not-on-target"] != n {
		t.Errorf("verify before: %+v", v.Tally)
	}
	if got := w.emu.Counters()["s3:CopyObject"] + w.emu.Counters()["s3:PutObject"]; got != n {
		t.Errorf("verify wrote: %v", w.emu.Counters())
	}

	e := w.run("run", src, "--from", "alias/a", "--yes", "--json").want(t, exitOK, "")
	s := e.summary(t)
	if s.Items.Rewrapped != n || s.Items.Seen != n || s.Result != "complete" || s.Resumed {
		t.Errorf("%s", e.out)
	}
	w.check("alias/a", n, material)
	wantCensus(t, e.out, arn, material, n)

	e = w.run("verify", src, "--from", "alias/a", "--json").want(t, exitOK, "nothing found there under a source key is off target")
	if s := e.summary(t); s.Items.Current != n {
		t.Errorf("%s", e.out)
	}
	if got := w.emu.Counters()["kms:Decrypt"]; got != n {
		t.Errorf("%d calls of Decrypt, and only this test made %d", got, n)
	}
	var a attestation
	data, err := os.ReadFile(filepath.Join(w.dir, s.State, "attestation.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &a); err != nil || a.Targets[arn] != material || a.Summary.Items.Current != n {
		t.Errorf("attestation: %v\n%s", err, data)
	}

	// A run after a complete one is a new pass, and has nothing to do.
	s = w.run("run", src, "--from", "alias/a", "--yes", "--json").want(t, exitOK, "").summary(t)
	if s.Items.Current != n || s.Items.Rewrapped != 0 || s.Resumed {
		t.Errorf("second pass: %+v", s)
	}
	if old == material {
		t.Error("the rotation changed nothing")
	}
}

func (w *world) material(arn string) string {
	out, err := w.kms.DescribeKey(w.t.Context(), &kms.DescribeKeyInput{KeyId: &arn})
	if err != nil {
		w.t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.CurrentKeyMaterialId)
}

func wantCensus(t *testing.T, out, key, material string, n int64) {
	t.Helper()
	var s struct {
		Census []struct {
			Key, Material, How string
			Keys               int64
		}
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.Census {
		if c.Key == key && c.Material == material && c.How == "kms" && c.Keys == n && len(s.Census) == 1 {
			return
		}
	}
	t.Errorf("census: %+v", s.Census)
}

// TestSummaryKeys holds the names that scripts rely on.
func TestSummaryKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.key("alias/a")
	w.fill("alias/a", 1)
	e := w.run("run", src, "--from", "alias/a", "--yes", "--json").want(t, exitOK, "")
	var got map[string]any
	if err := json.Unmarshal([]byte(e.out), &got); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"result", "items.seen", "items.rewrapped", "items.current", "items.foreign", "items.skipped", "items.gone", "items.failed",
		"skipped_by_reason", "unconditional", "keys.rewrapped", "keys.current", "keys.deduplicated", "kms.requests", "kms.throttled",
		"store.requests", "store.bytes_in", "store.bytes_out", "census", "elapsed_seconds", "resumed"} {
		at, ok := any(got), true
		for part := range strings.SplitSeq(path, ".") {
			m, _ := at.(map[string]any)
			if at, ok = m[part]; !ok {
				t.Errorf("the summary has no %s: %s", path, e.out)
				break
			}
		}
	}
	if _, ok := got["skipped_by_reason"].(map[string]any); !ok {
		t.Errorf("skipped_by_reason is no object: %v", got["skipped_by_reason"])
	}
	if strings.Count(e.out, "\n") != 1 {
		t.Errorf("more than one object on standard output:\n%s", e.out)
	}
}

// TestKill9 kills the program at random moments until it is through.
func TestKill9(t *testing.T) {
	t.Parallel()
	const n = 600
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	w.fill("alias/a", n)
	material := w.rotate(arn)
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
			if ids[name(i)] != 1 {
				t.Errorf("%s has %d lines of audit", name(i), ids[name(i)])
			}
		}
		break
	}
	if kills < 5 || kills == 100 {
		t.Errorf("%d kills", kills)
	}
	w.check("alias/a", n, material)
	w.noCanary()
}

// noCanary wants nothing in the bucket that was not put there by the test.
func (w *world) noCanary() {
	w.t.Helper()
	out, err := w.s3.ListObjectsV2(w.t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String("p/.")})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range out.Contents {
		w.t.Errorf("left behind: %s", aws.ToString(o.Key))
	}
}

// TestBadInput: one clear line, the right exit code, no stack trace, nothing
// written.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.key("alias/a")
	must(t)(w.kms.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/same"), TargetKeyId: aws.String(w.key("alias/b"))}))
	w.fill("alias/a", 1)
	before := w.emu.Counters()
	other := filepath.Join(w.dir, "documents")
	if err := os.WriteFile(other, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(w.dir, "full")
	if err := os.MkdirAll(full, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(full, "thesis.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args    string
		code    int
		message string
	}{
		{"run", exitUsage, "give one SOURCE"},
		{"run a b --yes", exitUsage, "give one SOURCE"},
		{"run s3://bucket/p/", exitUsage, "--yes"},
		{"run s3:// --yes", exitUsage, "no bucket name"},
		{"run s3://Bad_Name/ --yes", exitUsage, "no bucket name"},
		{"run gs://bucket/ --yes", exitUsage, "unknown scheme"},
		{"run bucket --yes", exitUsage, "a bucket is s3://bucket/"},
		{"run ./nowhere --yes", exitUsage, "nowhere"},
		{"run documents --yes", exitUsage, "not a directory"},
		{"run file://host/srv --yes", exitUsage, "file:///path"},
		{"run full --yes", exitUsage, "--format raw"},
		{"run full --yes --format s3ec", exitUsage, "--format raw"},
		{"run s3://bucket/p/ --yes --format zip", exitUsage, "s3ec, raw, json or auto"},
		{"run s3://bucket/p/ --yes --format raw --json-field /a", exitUsage, "--json-field"},
		{"run s3://bucket/p/ --yes --format json", exitUsage, "JSON Pointers"},
		{"run s3://bucket/p/ --yes --json-field a", exitUsage, "no JSON Pointer"},
		{"run s3://bucket/p/ --yes --context a=b", exitUsage, "--format raw and json"},
		{"run s3://bucket/p/ --yes --format raw --context a", exitUsage, "a"},
		{"run s3://bucket/p/ --yes --format raw --context a={no}", exitUsage, "no"},
		{"run s3://bucket/p/ --yes --format raw --associated-data x", exitUsage, "--keyring"},
		{"run s3://bucket/p/ --yes --format raw --keyring k --from alias/a", exitUsage, "--keyring"},
		{"run s3://bucket/p/ --yes --format raw --keyring k --context a=b", exitUsage, "--associated-data"},
		{"run s3://bucket/p/ --yes --format raw --keyring-kms alias/a", exitUsage, "--keyring"},
		{"run full --yes --format raw --keyring nowhere.json", exitFailed, "nowhere.json"},
		{"run full --yes --format raw", exitUsage, "name it with --from"},
		{"run s3://bucket/p/ --yes --verify maybe", exitUsage, "none, answer or open"},
		{"run s3://bucket/p/ --yes --workers 0", exitUsage, "1 to 4096"},
		{"run s3://bucket/p/ --yes --workers many", exitUsage, "--workers"},
		{"run s3://bucket/p/ --yes --kms-rps 0", exitUsage, "or max"},
		{"run s3://bucket/p/ --yes --store-rps -5", exitUsage, "or max"},
		{"run s3://bucket/p/ --yes --kms-rps NaN", exitUsage, "or max"},
		{"run s3://bucket/p/ --yes --max-items -1", exitUsage, "--max-items"},
		{"run s3://bucket/p/ --yes --max-duration -1s", exitUsage, "--max-duration"},
		{"run s3://bucket/p/ --yes --max-duration soon", exitUsage, "--max-duration"},
		{"run s3://bucket/p/ --yes --progress loud", exitUsage, "--progress"},
		{"run s3://bucket/p/ --yes --include [a", exitUsage, "--include"},
		{"run s3://bucket/p/ --yes --exclude [z-a]", exitUsage, `--exclude "[z-a]": invalid character class range z-a (see`},
		{"run s3://bucket/p/ --yes --json-field a", exitUsage, `--json-field: "a" is no JSON Pointer`},
		{"run s3://bucket/p/ --yes --format raw --context a", exitUsage, `--context: context "a"`},
		{"run s3://bucket/p/ --yes --json-field /a --context-field a~b", exitUsage, "--context-field: "},
		{"run s3:/bucket/p --yes --from alias/a", exitUsage, "a bucket is s3://BUCKET/PREFIX"},
		{"run s3://bucket/p/ --yes --nope", exitUsage, "unknown flag"},
		{"run s3://bucket/p/ --yes --from=", exitUsage, "--from"},
		{"verify s3://bucket/p/ --yes", exitUsage, "unknown flag"},
		{"frobnicate", exitUsage, "unknown command"},
		{"status extra", exitUsage, "unknown command"},
		{"emulator", exitUsage, "--listen"},
		{"emulator --listen 0.0.0.0:0", exitUsage, "loopback"},
		{"emulator --listen 127.0.0.1", exitUsage, "HOST:PORT"},
		{"emulator --listen 127.0.0.1:0 --seed -1", exitUsage, "--seed"},
		{"completion tcsh", exitUsage, "unknown command"},
		{"completion bash zsh", exitUsage, "unknown command"},
		{"run s3://bucket/p/ --yes --from alias/a --to=", exitUsage, "--to"},
		{"run s3://bucket/p/ --yes --from alias/a --state=", exitUsage, "--state"},
		{"run s3://bucket/p/ --yes --from alias/a --include=", exitUsage, "--include"},
		{"demo --items 1", exitUsage, "--items"},
		{"run s3://bucket/p/ --yes --from alias/same --to alias/b", exitUsage, "leave --to out"},
		{"run s3://bucket/p/ --yes --from alias/none", exitFailed, "alias/none"},
		{"run s3://bucket/p/ --yes --from alias/a --to alias/none", exitFailed, "alias/none"},
		{"run s3://bucket/p/ --yes --from not/a/key", exitFailed, "not/a/key"},
		{"run s3://no-such-bucket/ --yes --from alias/a", exitFailed, "no-such-bucket"},
		{"verify s3://no-such-bucket/ --from alias/a", exitFailed, "no-such-bucket"},
		{"run s3://bucket/p/ --yes --from alias/a --state documents", exitFailed, "documents/checkpoint.json: not a directory: name a state directory elsewhere with --state; nothing was changed"},
		{"run s3://bucket/p/ --yes --from alias/a --restart --state documents", exitFailed, "documents: not a directory: name a state directory elsewhere with --state; nothing was changed"},
		{"verify s3://bucket/p/ --from alias/a --state documents", exitFailed, "documents: not a directory: name a state directory elsewhere with --state; nothing was changed"},
		{"run s3://bucket/p/ --yes --from alias/a --state full", exitFailed, "full"},
		{"run s3://bucket/p/ --yes --from alias/a --state /proc/none/x", exitFailed, "elsewhere with --state"},
		{"status", exitFailed, "--state"},
		{"status --state nowhere", exitFailed, "nowhere"},
	} {
		e := w.run(strings.Fields(tc.args)...)
		if e.code != tc.code || !strings.Contains(e.errors, tc.message) {
			t.Errorf("rewrap %s: exit code %d, want %d with %q\n%s", tc.args, e.code, tc.code, tc.message, e.errors)
		}
		if strings.Count(e.errors, "\n") != 1 || e.out != "" {
			t.Errorf("rewrap %s: not one line:\n%s%s", tc.args, e.out, e.errors)
		}
	}
	left, err := os.ReadDir(w.dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left in the working directory: %v %v", left, err)
	}
	if left, _ := os.ReadDir(full); len(left) != 1 {
		t.Errorf("written into a directory that is not rewrap's: %v", left)
	}
	for op, n := range w.emu.Counters() {
		if write := strings.Contains(op, "Put") || strings.Contains(op, "Copy") || strings.Contains(op, "Delete"); write && n != before[op] {
			t.Errorf("%d calls of %s", n-before[op], op)
		}
	}
}

func TestNoAWS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	cmd := w.command(t.Context(), "run", src, "--yes")
	cmd.Env = append(cmd.Env, "AWS_REGION=")
	w.wait(cmd).want(t, exitFailed, "AWS_REGION")
	cmd = w.command(t.Context(), "run", src, "--yes")
	cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=")
	w.wait(cmd).want(t, exitFailed, "credentials")
	cmd = w.command(t.Context(), "run", src, "--yes")
	cmd.Env = append(cmd.Env, "AWS_PROFILE=nobody")
	w.wait(cmd).want(t, exitFailed, "nobody")
}

func TestRemaining(t *testing.T) {
	t.Parallel()
	const n = 30
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	w.fill("alias/a", n)
	w.rotate(arn)
	head, err := w.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String(name(3))})
	if err != nil {
		t.Fatal(err)
	}
	bad := head.Metadata
	good := bad["x-amz-key-v2"]
	bad["x-amz-key-v2"] = "AQID" + good[4:]
	w.putMeta(name(3), bad)

	e := w.run("run", src, "--from", "alias/a", "--yes", "--json").want(t, exitRemaining, "failures.jsonl; do what it asks for there, and run the same command again\n")
	e.want(t, exitRemaining, `left: 1 item for the reason "key", for example `+name(3)+": ")
	s := e.summary(t)
	if s.Items.Failed != 1 || s.Items.Rewrapped != n-1 || s.Result != "remaining" {
		t.Errorf("%s", e.out)
	}
	lines, err := os.ReadFile(filepath.Join(w.dir, s.State, "failures.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		ID, Error, Reason string
		Attempts          int
	}
	if err := json.Unmarshal(lines, &f); err != nil || f.ID != name(3) || f.Attempts != 1 || f.Reason == "" || f.Error == "" {
		t.Errorf("failures.jsonl: %v\n%s", err, lines)
	}
	if strings.Contains(string(lines), bad["x-amz-key-v2"][:20]) {
		t.Error("failures.jsonl holds a part of a wrapped key")
	}

	bad["x-amz-key-v2"] = good
	w.putMeta(name(3), bad)
	s = w.run("run", src, "--from", "alias/a", "--yes", "--json").want(t, exitOK, "").summary(t)
	if s.Items.Failed != 0 || s.Items.Rewrapped != n || s.Items.Seen != n || !s.Resumed {
		t.Errorf("after it was mended: %+v", s)
	}
}

func (w *world) putMeta(key string, meta map[string]string) {
	w.t.Helper()
	must(w.t)(w.s3.CopyObject(w.t.Context(), &s3.CopyObjectInput{Bucket: aws.String(bucket), Key: &key, CopySource: aws.String(bucket + "/" + key),
		MetadataDirective: "REPLACE", Metadata: meta}))
}

func TestNothingIsOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.key("alias/a")
	w.key("alias/b")
	w.fill("alias/a", 5)
	for _, cmd := range []string{"run", "verify"} {
		args := []string{cmd, src, "--from", "alias/b", "--json"}
		if cmd == "run" {
			args = append(args, "--yes")
		}
		e := w.run(args...).want(t, exitFailed, "--from")
		if s := e.summary(t); s.Items.Foreign != 5 || s.Result != "failed" {
			t.Errorf("%s: %s", cmd, e.out)
		}
	}
}

func TestStopped(t *testing.T) {
	t.Parallel()
	const n = 400
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	w.fill("alias/a", n)
	w.rotate(arn)
	args := []string{"run", src, "--from", "alias/a", "--yes", "--json", "--kms-rps", "200", "--workers", "4"}

	s := w.run(append(args, "--max-items", "50")...).want(t, exitStopped, "--max-items 50").summary(t)
	if s.Items.Seen != 50 || s.Result != "stopped" {
		t.Errorf("%+v", s)
	}
	s = w.run(append(args, "--max-duration", "1ms")...).want(t, exitStopped, "--max-duration").summary(t)
	if s.Items.Seen >= n || s.Items.Seen != s.Items.Rewrapped {
		t.Errorf("%+v", s)
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
		t.Errorf("%+v", s)
	}
	st := w.run("status", "--state", s.State, "--json")
	if !strings.Contains(st.out, fmt.Sprintf(`"rewrapped":%d`, s.Items.Rewrapped)) || !strings.Contains(st.out, `"result":"stopped"`) {
		t.Errorf("status: %s", st.out)
	}
	s = w.run(args...).want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != n || s.Items.Seen != n {
		t.Errorf("%+v", s)
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
	arn := w.key("alias/a")
	w.fill("alias/a", n)
	w.rotate(arn)
	args := []string{"run", src, "--from", "alias/a", "--yes", "--json"}
	r := w.begin(args...)
	r.until("s3:CopyObject", 21)
	w.run(args...).want(t, exitFailed, fmt.Sprint(r.cmd.Process.Pid))
	if st := w.run("status"); !strings.Contains(st.out, fmt.Sprintf("running as process %d", r.cmd.Process.Pid)) {
		t.Errorf("status: %s%s", st.out, st.errors)
	}
	close(release)
	if s := r.wait().want(t, exitOK, "").summary(t); s.Items.Rewrapped != n {
		t.Errorf("%+v", s)
	}
}

// TestAnotherJob: what was begun as one job is not gone on with as another.
func TestAnotherJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	a, b := w.key("alias/a"), w.key("alias/b")
	w.fill("alias/a", 20)
	w.rotate(a)
	begin := func(dir string) {
		t.Helper()
		w.run("run", src, "--from", "alias/a", "--yes", "--state", dir, "--max-items", "5").want(t, exitStopped, "")
	}
	begin("one")
	w.run("run", "s3://"+bucket+"/q/", "--from", "alias/a", "--yes", "--state", "one").want(t, exitFailed, "s3://"+bucket+"/q/")
	w.run("run", src, "--from", "alias/b", "--yes", "--state", "one").want(t, exitFailed, b)
	w.run("run", src, "--from", "alias/a", "--to", "alias/b", "--yes", "--state", "one").want(t, exitFailed, b)
	w.run("run", src, "--from", "alias/a", "--format", "s3ec", "--yes", "--state", "one").want(t, exitFailed, "format")
	w.run("run", src, "--from", "alias/a", "--include", "*1", "--yes", "--state", "one").want(t, exitFailed, "include")

	must(t)(w.kms.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: &b}))
	w.run("run", src, "--from", "alias/a", "--yes", "--state", "one").want(t, exitFailed, b)
	must(t)(w.kms.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: &a}))

	was := w.material(a)
	is := w.rotate(a)
	e := w.run("run", src, "--from", "alias/a", "--yes", "--state", "one").want(t, exitFailed, "--restart")
	if !strings.Contains(e.errors, was) || !strings.Contains(e.errors, is) {
		t.Errorf("the difference is not named: %s", e.errors)
	}
	s := w.run("run", src, "--from", "alias/a", "--yes", "--state", "one", "--restart", "--json").want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != 20 || s.Items.Seen != 20 {
		t.Errorf("%+v", s)
	}
	w.check("alias/a", 20, is)

	// After a complete pass the alias may point elsewhere; within one, only a
	// new pass can go there.
	must(t)(w.kms.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: &b}))
	w.run("run", src, "--from", a, "--to", "alias/a", "--yes", "--max-items", "5").want(t, exitStopped, "")
	c := w.key("alias/c")
	must(t)(w.kms.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: &c}))
	w.run("run", src, "--from", a, "--to", "alias/a", "--yes").want(t, exitFailed, "--restart")
	s = w.run("run", src, "--from", a, "--from", b, "--to", "alias/a", "--yes", "--json").want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != 20 {
		t.Errorf("%+v", s)
	}
	w.check("alias/c", 20, w.material(c))
	s = w.run("run", src, "--from", a, "--to", "alias/a", "--yes", "--restart", "--json").want(t, exitOK, "").summary(t)
	if s.Items.Current != 20 {
		t.Errorf("%+v", s)
	}
	must(t)(w.kms.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: &b}))
	s = w.run("run", src, "--from", a, "--to", "alias/a", "--yes", "--json").want(t, exitFailed, "--from").summary(t)
	if s.Items.Foreign != 20 {
		t.Errorf("%+v", s)
	}
}

// TestLostLogs: the items are the truth; what the state directory loses costs
// what it held.
func TestLostLogs(t *testing.T) {
	t.Parallel()
	const n = 40
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	w.fill("alias/a", n)
	material := w.rotate(arn)
	args := []string{"run", src, "--from", "alias/a", "--yes", "--json", "--state", "state"}
	for i, name := range []string{"audit.jsonl", "journal"} {
		w.run(append(args, "--max-items", "10")...).want(t, exitStopped, "")
		if err := os.Remove(filepath.Join(w.dir, "state", name)); err != nil {
			t.Fatal(err)
		}
		s := w.run(append(args, "--max-items", "1")...).want(t, exitStopped, name).summary(t)
		if s.Items.Seen != int64(11*(i+1)) {
			t.Errorf("%+v", s)
		}
	}
	if s := w.run(args...).want(t, exitOK, "").summary(t); s.Items.Rewrapped != n {
		t.Errorf("%+v", s)
	}
	w.check("alias/a", n, material)
}

// TestStatusOfMany: one damaged state directory does not hide the others.
func TestStatusOfMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.key("alias/a")
	w.fill("alias/a", 2)
	for _, dir := range []string{"a", "b", "c"} {
		w.run("run", src, "--from", "alias/a", "--yes", "--state", filepath.Join(".rewrap", dir)).want(t, exitOK, "")
	}
	if err := os.WriteFile(filepath.Join(w.dir, ".rewrap", "b", "checkpoint.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := w.run("status").want(t, exitFailed, ".rewrap/b")
	if !strings.Contains(e.out, ".rewrap/a: complete") || !strings.Contains(e.out, "\n\n.rewrap/c: complete") || strings.HasPrefix(e.out, "\n") {
		t.Errorf("status: %s", e.out)
	}
	if e := w.run("status", "--json").want(t, exitFailed, ".rewrap/b"); strings.Count(e.out, "\n") != 2 {
		t.Errorf("status: %s", e.out)
	}
}

// TestNamesOnOneLine: names hold anything, and each stays on its line.
func TestNamesOnOneLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.run("keyring", "create", "ring\n.json").want(t, exitOK, "")
	w.tree(map[string][]byte{"key": w.sealed("ring\n.json", "secret", "")})
	e := w.run("run", "vault", "--format", "raw", "--keyring", "ring\n.json", "--include", "k*", "--exclude", "a\nb", "--state", "s\nt", "--yes").want(t, exitOK, "")
	wants(t, e.out, "  1 under keyring:ring\\n.json material ", "  state  s\\nt\n")
	e = w.run("status", "--state", "s\nt").want(t, exitOK, "")
	wants(t, e.out, "s\\nt: complete\n", "  exclude: a\\nb\n", "/ring\\n.json\n", "  1 under keyring:ring\\n.json material ")
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
			if _, err := w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &arn}); err != nil {
				t.Error(err)
			}
		}
		next.ServeHTTP(rw, r)
	}})
	arn = w.key("alias/a")
	w.fill("alias/a", n)
	material := w.rotate(arn)
	args := []string{"run", src, "--from", "alias/a", "--yes", "--json", "--kms-rps", "200"}
	s := w.run(args...).want(t, exitFailed, "Enable it").summary(t)
	if s.Items.Failed != 0 || s.Items.Rewrapped == 0 || s.Items.Rewrapped >= n || s.Result != "failed" {
		t.Errorf("%+v", s)
	}
	w.run(args...).want(t, exitFailed, "Enable it")
	must(t)(w.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &arn}))
	s = w.run(args...).want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != n {
		t.Errorf("%+v", s)
	}
	w.check("alias/a", n, material)
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
	arn := w.key("alias/a")
	w.fill("alias/a", n)
	w.rotate(arn)
	slow.Store(true)
	s := w.run("run", src, "--from", "alias/a", "--yes", "--json", "--kms-rps", "max").want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != n || s.KMS.Throttled == 0 || s.Store.Throttled == 0 {
		t.Errorf("%+v", s)
	}
}

func TestIncludeExclude(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	w.fill("alias/a", 30)
	w.rotate(arn)
	s := w.run("run", src, "--from", "alias/a", "--yes", "--json", "--include", "*0001?", "--exclude", "*[89]").want(t, exitOK, "").summary(t)
	if s.Items.Seen != 8 || s.Items.Rewrapped != 8 {
		t.Errorf("%+v", s)
	}
}

func TestToAnotherKey(t *testing.T) {
	t.Parallel()
	const n = 40
	w := newWorld(t, emulator.Options{})
	a, b := w.key("alias/a"), w.key("alias/b")
	w.fill("alias/a", n)
	for i := range 3 {
		w.run("run", src, "--from", "alias/a", "--to", "alias/b", "--yes", "--max-items", fmt.Sprint(5+i)).want(t, exitStopped, "")
	}
	s := w.run("run", src, "--from", "alias/a", "--to", "alias/b", "--yes", "--json").want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != n {
		t.Errorf("%+v", s)
	}
	must(t)(w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &a}))
	w.check("alias/b", n, w.material(b))
}
