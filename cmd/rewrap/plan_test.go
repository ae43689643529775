package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/engine"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/raw"
	kmskeys "rewrap/engine/keys/kms"
	"rewrap/engine/move"
	"rewrap/sources"
	s3source "rewrap/sources/s3"
)

func (e ended) plan(t testing.TB) plan {
	t.Helper()
	var p plan
	if err := json.Unmarshal([]byte(e.out), &p); err != nil {
		t.Fatalf("the plan is no JSON object: %v\n%s", err, e.out)
	}
	return p
}

// holds wants a run to have made the requests that the plan forecast, and no
// more than the few with which it begins: it tries the keys, and a canary.
func (p plan) holds(t testing.TB, did map[string]int64) {
	t.Helper()
	begin := map[string]int64{"kms:ReEncrypt": 1, "s3:HeadObject": 12, "s3:GetObject": 4, "s3:CopyObject": 4, "s3:PutObject": 4, "s3:ListObjectsV2": 0}
	for op, few := range begin {
		service, name, _ := strings.Cut(op, ":")
		f := map[string]forecast{"kms": p.KMS, "s3": p.Store}[service]
		if d := did[op] - f.By[name]; d < 0 || d > few {
			t.Errorf("%s: forecast %d, done %d", op, f.By[name], did[op])
		}
	}
	if d := did["s3:GetObjectTagging"] + did["s3:GetObjectAcl"] - p.Store.By[opLooks]; d != 0 {
		t.Errorf("looks: forecast %d, done %d more", p.Store.By[opLooks], d)
	}
}

// TestPlanBodies: where the key is in the body, it is fetched and put.
func TestPlanBodies(t *testing.T) {
	t.Parallel()
	const n = 20
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/a")
	for i := range n {
		blob := w.Seal("alias/a", "same", nil)
		must(t)(w.S3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(emulatortest.Name(i)), Body: bytes.NewReader(blob)}))
	}
	for name, body := range map[string][]byte{"p/empty": nil, "p/large": make([]byte, 1<<20)} { // foreign, each in its way
		must(t)(w.S3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(name), Body: bytes.NewReader(body)}))
	}
	w.Rotate(arn)
	w.Clock.Pass(time.Hour)
	args := []string{src, "--format", "raw", "--from", "alias/a", "--json"}
	w.Emulator.ResetCounters()
	p := w.run(append([]string{"plan"}, args...)...).want(t, exitOK, "").plan(t)
	if ops := changing(w.Emulator.Counters()); len(ops) > 0 {
		t.Errorf("plan changed the bucket: %v", ops)
	}
	if p.Ways["HeadObject and PutObject"] != n || p.BytesOut == 0 || p.BytesIn < p.BytesOut || p.BytesIn > 100_000 || p.Outcomes["foreign"] != 2 {
		t.Errorf("ways %v, %d bytes in and %d out, outcomes %v; want %d by HeadObject and PutObject, more in than out, 2 foreign", p.Ways, p.BytesIn, p.BytesOut, p.Outcomes, n)
	}
	w.Emulator.ResetCounters()
	s := w.run(append([]string{"run", "--yes"}, args...)...).want(t, exitOK, "").summary(t)
	p.holds(t, w.Emulator.Counters())
	if d := s.Store.BytesOut - p.BytesOut; d < 0 || d > 1000 {
		t.Errorf("forecast %d bytes out, sent %d", p.BytesOut, s.Store.BytesOut)
	}
	if d := s.Store.BytesIn - p.BytesIn; d < -500 || d > 3500 { // the canary
		t.Errorf("forecast %d bytes in, got %d", p.BytesIn, s.Store.BytesIn)
	}
}

// TestPlanOfAWS: where the ways are known, the source says what it would refuse,
// and the requests that it makes for a write are counted.
func TestPlanOfAWS(t *testing.T) {
	t.Parallel()
	const n, archived = 8, 2
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/a")
	for i := range n + archived {
		in := &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(emulatortest.Name(i)), Body: bytes.NewReader(w.Seal("alias/a", "same", nil))}
		if i >= n {
			in.StorageClass = types.StorageClassGlacier
		}
		must(t)(w.S3.PutObject(t.Context(), in))
	}
	w.Rotate(arn)
	w.Clock.Pass(time.Hour)
	j := &job{from: []string{"alias/a"}, source: source{bucket: bucket, prefix: "p/"}, progress: "none", workers: 4}
	se := &session{job: j, cloud: newCloud(j.workers, j.kms, j.store, t.Logf)}
	var err error
	if se.source, err = s3source.Open(t.Context(), s3source.Config{Client: w.S3, Bucket: bucket, Prefix: "p/"}); err != nil {
		t.Fatal(err)
	}
	if err := se.source.Begin(t.Context(), sources.Look); err != nil {
		t.Fatal(err)
	}
	client := func(string) kmskeys.API { return w.KMS }
	if se.kms, err = kmskeys.Open(t.Context(), kmskeys.Config{Client: client, From: j.from, Look: true, TargetFirst: true}); err != nil {
		t.Fatal(err)
	}
	blobs, err := raw.New(binding.Binding{}, b64.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	all := sample{size: 100}
	if err := all.draw(t.Context(), se.source, nil); err != nil {
		t.Fatal(err)
	}
	w.Emulator.ResetCounters()
	r := newRehearsal(se, all.refs())
	if _, err := engine.Run(t.Context(), engine.Job{Source: r, Mover: move.NewPayload(blobs, asker{se.kms, r}, 4), Until: engine.Planned, Observe: r.observe}); err != nil {
		t.Fatal(err)
	}
	var did asked
	for op, n := range w.Emulator.Counters() {
		if strings.HasPrefix(op, "s3:") {
			did.store += n
		}
	}
	p := r.plan(asked{}, asked{}, did, &all)
	if p.WaysAssumed || !maps.Equal(p.Ways, map[string]int64{"HeadObject and PutObject": n}) || p.SkippedByReason["archived"] != archived || p.Outcomes["rewrapped"] != n {
		t.Errorf("assumed %v, ways %v, outcomes %v, skipped %v; want %d by HeadObject and PutObject, known, and %d archived", p.WaysAssumed, p.Ways, p.Outcomes, p.SkippedByReason, n, archived)
	}
	if tags := w.Emulator.Counters()["s3:GetObjectTagging"]; tags != n || p.Store.By[opLooks] != 2*n {
		t.Errorf("forecast %d looks; %v", p.Store.By[opLooks], w.Emulator.Counters())
	}
	ops := changing(w.Emulator.Counters())
	delete(ops, "s3:Unknown") // ListObjectAnnotations, which the emulator has not
	if len(ops) > 0 {
		t.Errorf("plan changed the bucket: %v", ops)
	}
}

// TestPlanDirectory: files are planned by their own ways, a JSON document has
// many keys, and nothing in the tree changes.
func TestPlanDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/a")
	in := make(map[string][]byte)
	b64 := base64.StdEncoding.EncodeToString
	const n = 12
	for i := range n {
		in[fmt.Sprintf("%02d.json", i)] = fmt.Appendf(nil, `{"a":%q,"b":%q}`, b64(w.Seal("alias/a", "x", nil)), b64(w.Seal("alias/a", "y", nil)))
	}
	root := w.tree(in)
	if err := os.Link(filepath.Join(root, "00.json"), filepath.Join(root, "twin.json")); err != nil {
		t.Fatal(err)
	}
	w.Rotate(arn)
	before := files(t, root)
	args := []string{"vault", "--json-field", "/*", "--from", "alias/a", "--json"}
	w.Emulator.ResetCounters()
	p := w.run(append([]string{"plan", "--out", "plan.json"}, args...)...).want(t, exitOK, "").plan(t)
	if !maps.Equal(before, files(t, root)) {
		t.Error("plan changed the tree")
	}
	asked := w.Emulator.Counters()["kms:ReEncrypt"]
	if p.Outcomes["rewrapped"] != n-1 || p.SkippedByReason["hard-link"] != 2 || p.Ways["exchange"]+p.Ways["rename"] != n-1 || p.Store.Requests != 0 ||
		p.KMS.By["ReEncrypt"] != 2*n || asked > 2*n+2 {
		t.Errorf("%d calls of ReEncrypt, forecast %d; outcomes %v, skipped %v, ways %v, %d requests to a store; want %d calls, %d rewrapped, 2 hard links, no store",
			asked, p.KMS.By["ReEncrypt"], p.Outcomes, p.SkippedByReason, p.Ways, p.Store.Requests, 2*n, n-1)
	}

	w.Emulator.ResetCounters()
	w.run(append([]string{"run", "--yes"}, args...)...).want(t, exitRemaining, "")
	if did := w.Emulator.Counters()["kms:ReEncrypt"]; did-p.KMS.By["ReEncrypt"] > 2 || did < p.KMS.By["ReEncrypt"] {
		t.Errorf("forecast %d calls of ReEncrypt, the run made %d", p.KMS.By["ReEncrypt"], did)
	}
}

// TestPlanProgress: the last line of the progress is where the plan stands.
func TestPlanProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.Key("alias/a")
	w.Fill("alias/a", 40)
	e := w.run("plan", src, "--from", "alias/a", "--sample", "30", "--json", "--progress", "json").want(t, exitOK, "")
	last := standing{}
	lines := strings.Split(strings.TrimSpace(e.errors), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Items.Seen != 30 || last.Total != 30 {
		t.Errorf("%+v of %d, %v, want 30 of 30", last.Items, last.Total, err)
	}
}

// TestPlanInterrupted: a store that falls silent holds the plan up until it is
// told to stop.
func TestPlanInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{Hook: func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "s3:HeadObject" {
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(w, r)
	}})
	w.Key("alias/a")
	w.Fill("alias/a", 3)
	r := w.begin("plan", src, "--from", "alias/a")
	r.until("s3:HeadObject", 1)
	must(t)(nil, r.cmd.Process.Signal(os.Interrupt))
	r.wait().want(t, exitStopped, "there is no plan")
}

// TestPlanIsShown: a plan that cannot be kept is shown all the same.
func TestPlanIsShown(t *testing.T) {
	t.Parallel()
	late := filepath.Join(t.TempDir(), "late")
	w := newWorld(t, emulator.Options{Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "s3:HeadObject" { // somebody makes a folder of that name meanwhile
			_ = os.MkdirAll(filepath.Join(late, "in", "the", "way"), 0o755)
		}
		next.ServeHTTP(rw, r)
	}})
	w.Key("alias/a")
	w.Fill("alias/a", 1)
	if e := w.run("plan", src, "--from", "alias/a", "--out", late).want(t, exitFailed, "the plan cannot be written to --out"); !strings.Contains(e.out, "1 listed") {
		t.Errorf("the plan is lost:\n%s", e.out)
	}
}

// TestScaling: what is scaled up adds up.
func TestScaling(t *testing.T) {
	t.Parallel()
	got := apportion(map[string]int64{"a": 1, "b": 1, "c": 1, "d": 4}, 100)
	if want := map[string]int64{"a": 15, "b": 14, "c": 14, "d": 57}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := apportion(map[string]int64(nil), 5); len(got) != 0 {
		t.Errorf("%v out of nothing", got)
	}
	for dollars, want := range map[float64]string{0: "about $0.0000", 0.00003: "under $0.0001", 0.0001: "about $0.0001", 12.5: "about $12.5000"} {
		if got := amount("about ", dollars); got != want {
			t.Errorf("%v is %q, want %q", dollars, got, want)
		}
	}
}

// TestSampleIsUniform: each item has the same chance, whatever its place.
func TestSampleIsUniform(t *testing.T) {
	t.Parallel()
	const n, k = 20_000, 2_000
	s, again := sample{size: k}, sample{size: k}
	for i := range n {
		s.meet(sources.Ref{ID: emulatortest.Name(i)}, true)
		again.meet(sources.Ref{ID: emulatortest.Name(n - 1 - i)}, true)
	}
	refs := s.refs()
	if len(refs) != k || s.seen != n || !slices.Equal(refs, again.refs()) {
		t.Fatalf("%d of %d, or another sample in another order", len(refs), s.seen)
	}
	var tenths [10]int
	for _, r := range refs {
		var i int
		if _, err := fmt.Sscanf(r.ID, "p/%d", &i); err != nil {
			t.Fatal(err)
		}
		tenths[i*10/n]++
	}
	for i, got := range tenths { // 200 each; the standard deviation is 13
		if got < 140 || got > 260 {
			t.Errorf("tenth %d of the names has %d of %d", i, got, k)
		}
	}
}
