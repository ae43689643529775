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
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/cmd/rewrap/internal/forecast"
)

func (e ended) plan(t testing.TB) *forecast.Plan {
	t.Helper()
	p := new(forecast.Plan)
	if err := json.Unmarshal([]byte(e.out), p); err != nil {
		t.Fatalf("the plan is no JSON object: %v\n%s", err, e.out)
	}
	return p
}

// holds wants a run to have made the requests that the plan forecast, and no
// more than the few with which it begins: it tries the keys, and a canary.
func holds(t testing.TB, p *forecast.Plan, did map[string]int64) {
	t.Helper()
	begin := map[string]int64{"kms:ReEncrypt": 1, "s3:HeadObject": 12, "s3:GetObject": 4, "s3:CopyObject": 4, "s3:PutObject": 4, "s3:ListObjectsV2": 0, "s3:GetObjectTagging": 0, "s3:GetObjectAcl": 0}
	for op, few := range begin {
		service, name, _ := strings.Cut(op, ":")
		f := map[string]forecast.Requests{"kms": p.KMS, "s3": p.Store}[service]
		if d := did[op] - f.By[name]; d < 0 || d > few {
			t.Errorf("%s: forecast %d, done %d", op, f.By[name], did[op])
		}
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
	holds(t, p, w.Emulator.Counters())
	if d := s.Store.BytesOut - p.BytesOut; d < 0 || d > 1000 {
		t.Errorf("forecast %d bytes out, sent %d", p.BytesOut, s.Store.BytesOut)
	}
	if d := s.Store.BytesIn - p.BytesIn; d < -500 || d > 3500 { // the canary
		t.Errorf("forecast %d bytes in, got %d", p.BytesIn, s.Store.BytesIn)
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

// TestAmount: a price for people.
func TestAmount(t *testing.T) {
	t.Parallel()
	for dollars, want := range map[float64]string{0: "about $0.0000", 0.00003: "under $0.0001", 0.0001: "about $0.0001", 12.5: "about $12.5000"} {
		if got := amount("about ", dollars); got != want {
			t.Errorf("%v is %q, want %q", dollars, got, want)
		}
	}
}
