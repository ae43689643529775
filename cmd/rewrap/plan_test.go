package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/bench/emulator"
	"rewrap/engine"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/raw"
	kmskeys "rewrap/engine/keys/kms"
	"rewrap/engine/move"
	"rewrap/sources"
	s3source "rewrap/sources/s3"
)

// aged is an emulator whose clock can be moved on, since a source waits for
// items that were just written.
func aged() (o emulator.Options, age func()) {
	var ahead atomic.Int64
	o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	return o, func() { ahead.Add(int64(time.Hour)) }
}

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

// TestPlanIsWhatRunDoes: the plan of a whole source changes nothing, and the
// run that follows makes the requests that it forecast.
func TestPlanIsWhatRunDoes(t *testing.T) {
	t.Parallel()
	const stale, current, foreign = 120, 30, 10
	o, age := aged()
	w := newWorld(t, o)
	arn, other := w.key("alias/a"), w.key("alias/other")
	b := w.bucket("alias/a")
	fill := func(key string, from, n int) {
		t.Helper()
		b.Key = key
		if err := b.Fill(t.Context(), n, func(i int) string { return name(from + i) }, payload); err != nil {
			t.Fatal(err)
		}
	}
	fill("alias/a", 0, stale)
	old := w.material(arn)
	material := w.rotate(arn)
	fill("alias/a", stale, current)
	fill("alias/other", stale+current, foreign)
	age()

	w.emu.ResetCounters()
	e := w.run("plan", src, "--from", "alias/a", "--json", "--sample", "1000", "--out", "plan.json").want(t, exitOK, "")
	p := e.plan(t)
	if ops := changing(w.emu.Counters()); len(ops) > 0 {
		t.Errorf("plan changed the bucket: %v", ops)
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, ".rewrap*")); len(left) > 0 {
		t.Errorf("plan made %v", left)
	}
	if p.Items != stale+current+foreign || p.Sampled != p.Items || !p.Whole ||
		!maps.Equal(p.Outcomes, map[string]int64{"rewrapped": stale, "current": current, "foreign": foreign}) ||
		!maps.Equal(p.Ways, map[string]int64{"CopyObject": stale}) || !p.WaysAssumed {
		t.Errorf("%s", e.out)
	}
	want := []planKeys{
		{"s3ec-v2 kms+context", arn, old, "stale", stale},
		{"s3ec-v2 kms+context", arn, material, "current", current},
		{"s3ec-v2 kms+context", "", "", "foreign", foreign},
	}
	if !slices.Equal(p.Keys, want) {
		t.Errorf("keys: %+v", p.Keys)
	}
	if !slices.Equal(p.From, []string{arn}) {
		t.Errorf("from %v, want the ARN %s and not %s", p.From, arn, other)
	}

	w.emu.ResetCounters()
	s := w.run("run", src, "--from-plan", "plan.json", "--yes", "--json").want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != stale || s.Items.Foreign != foreign || s.Items.Current != current {
		t.Errorf("run: %+v", s.Items)
	}
	did := w.emu.Counters()
	p.holds(t, did)
	dollars := float64(p.KMS.Requests)*0.03/1e4 + float64(stale+p.Store.By["ListObjectsV2"])*0.005/1e3 +
		float64(p.Store.Requests-stale-p.Store.By["ListObjectsV2"])*0.0004/1e3
	if math.Abs(p.Dollars-dollars) > 1e-5 || p.KMS.Seconds <= 0 || p.KMS.Ceiling != 500 {
		t.Errorf("cost %v, want %v; %+v", p.Dollars, dollars, p.KMS)
	}

	// What a plan says of keys is for its own source.
	w.run("run", "s3://"+bucket+"/q/", "--from-plan", "plan.json", "--yes").want(t, exitUsage, `source is "s3://bucket/p/" there, and here "s3://bucket/q/"`)
	w.run("run", src, "--from-plan", "plan.json", "--from", "alias/a", "--yes").want(t, exitUsage, "give one")
	w.run("run", src, "--from-plan", "plan.json", "--to", "alias/other", "--yes").want(t, exitUsage, `to is "" there, and here "alias/other"`)
	w.run("verify", src, "--from-plan", "plan.json").want(t, exitOK, "")
}

// TestPlanOfAnotherJob: what a plan says of keys is for the job that it was made
// of, and no key that was named is lost by it.
func TestPlanOfAnotherJob(t *testing.T) {
	t.Parallel()
	o, age := aged()
	w := newWorld(t, o)
	a, b := w.key("alias/a"), w.key("alias/b")
	w.fill("alias/a", 3)
	w.rotate(a)
	age()
	p := w.run("plan", src, "--from", "alias/b", "--from", "alias/a", "--include", "*", "--json", "--out", "plan.json").want(t, exitOK, "").plan(t)
	if !p.Whole || !slices.Equal(p.From, []string{a, b}) {
		t.Errorf("from %v, want what was found, and then what was named: %s, %s", p.From, a, b)
	}
	for _, command := range []string{"run", "verify"} {
		for _, tc := range []struct {
			args    []string
			message string
		}{
			{nil, `include is "*" there, and here ""`},
			{[]string{"--include", "*/0*"}, `and here "*/0*"`},
			{[]string{"--include", "*", "--exclude", "*1"}, `exclude is "" there, and here "*1"`},
			{[]string{"--include", "*", "--format", "raw"}, `format is "auto" there, and here "raw"`},
			{[]string{"--include", "*", "--json-field", "/a", "--context", "k=v"}, `json-field is "" there, and here "/a"; context is "" there, and here "k=v"`},
		} {
			args := append([]string{command, src, "--from-plan", "plan.json"}, tc.args...)
			if command == "run" {
				args = append(args, "--yes")
			}
			w.run(args...).want(t, exitUsage, tc.message)
		}
	}
	other := worldAt(t, strings.Replace(w.url, "127.0.0.1", "localhost", 1)+"/")
	other.run("run", src, "--include", "*", "--from-plan", filepath.Join(w.dir, "plan.json"), "--yes").want(t, exitUsage, "the plan was made at the endpoint")
	w.run("run", src, "--include", "*", "--from-plan", "plan.json", "--yes").want(t, exitOK, "")
}

// TestPlanSample: a part of the source is scaled up, and says so.
func TestPlanSample(t *testing.T) {
	t.Parallel()
	const n = 90
	o, age := aged()
	w := newWorld(t, o)
	a, b := w.key("alias/a"), w.key("alias/b")
	w.fill("alias/a", n)
	age()
	args := []string{"plan", src, "--from", "alias/a", "--to", "alias/b", "--sample", "30", "--out", "plan.json"}
	w.emu.ResetCounters()
	p := w.run(append(args, "--json")...).want(t, exitOK, "looking into 30").plan(t)
	if got := w.emu.Counters()["s3:HeadObject"]; got != 30 {
		t.Errorf("%d items were looked into", got)
	}
	last := standing{}
	lines := strings.Split(strings.TrimSpace(w.run(append(args, "--json", "--progress", "json")...).want(t, exitOK, "").errors), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Items.Seen != 30 || last.Total != 30 {
		t.Errorf("the last line of the progress: %v %+v", err, last)
	}
	if p.Items != n || p.Sampled != 30 || p.Whole || p.Outcomes["rewrapped"] != n || p.KMS.By["ReEncrypt"] != n || p.Store.By["CopyObject"] != n {
		t.Errorf("%+v", p)
	}
	if len(p.Readers) != 1 || p.Readers[0].Pins != "no" || !slices.Equal(p.From, []string{a}) {
		t.Errorf("readers %+v, from %v (to %s)", p.Readers, p.From, b)
	}
	e := w.run(args...).want(t, exitOK, "")
	for _, text := range []string{"90 listed, 30 looked into", "about 90 by CopyObject, assumed", "Scaled up from 30 of 90", "about $"} {
		if !strings.Contains(e.out, text) {
			t.Errorf("the plan lacks %q:\n%s", text, e.out)
		}
	}
	w.run("run", src, "--from-plan", "plan.json", "--to", "alias/b", "--yes").want(t, exitOK, "looked into 30 of 90 items")
}

// TestPlanBodies: where the key is in the body, it is fetched and put.
func TestPlanBodies(t *testing.T) {
	t.Parallel()
	const n = 20
	o, age := aged()
	w := newWorld(t, o)
	arn := w.key("alias/a")
	for i := range n {
		blob := w.encrypt("alias/a", "same", nil)
		must(t)(w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(name(i)), Body: bytes.NewReader(blob)}))
	}
	for name, body := range map[string][]byte{"p/empty": nil, "p/large": make([]byte, 1<<20)} { // foreign, each in its way
		must(t)(w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(name), Body: bytes.NewReader(body)}))
	}
	w.rotate(arn)
	age()
	args := []string{src, "--format", "raw", "--from", "alias/a", "--json"}
	w.emu.ResetCounters()
	p := w.run(append([]string{"plan"}, args...)...).want(t, exitOK, "").plan(t)
	if ops := changing(w.emu.Counters()); len(ops) > 0 {
		t.Errorf("plan changed the bucket: %v", ops)
	}
	if p.Ways["HeadObject and PutObject"] != n || p.BytesOut == 0 || p.BytesIn < p.BytesOut || p.BytesIn > 100_000 || p.Outcomes["foreign"] != 2 {
		t.Errorf("%+v", p)
	}
	w.emu.ResetCounters()
	s := w.run(append([]string{"run", "--yes"}, args...)...).want(t, exitOK, "").summary(t)
	p.holds(t, w.emu.Counters())
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
	o, age := aged()
	w := newWorld(t, o)
	arn := w.key("alias/a")
	for i := range n + archived {
		in := &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(name(i)), Body: bytes.NewReader(w.encrypt("alias/a", "same", nil))}
		if i >= n {
			in.StorageClass = types.StorageClassGlacier
		}
		must(t)(w.s3.PutObject(t.Context(), in))
	}
	w.rotate(arn)
	age()
	j := &job{from: []string{"alias/a"}, source: source{bucket: bucket, prefix: "p/"}, progress: "none", workers: 4}
	se := &session{job: j, cloud: newCloud(j.workers, j.kms, j.store, t.Logf)}
	var err error
	if se.source, err = s3source.Open(t.Context(), s3source.Config{Client: w.s3, Bucket: bucket, Prefix: "p/"}); err != nil {
		t.Fatal(err)
	}
	if err := se.source.Begin(t.Context(), sources.Look); err != nil {
		t.Fatal(err)
	}
	client := func(string) kmskeys.API { return w.kms }
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
	w.emu.ResetCounters()
	r := newRehearsal(se, all.refs())
	if _, err := engine.Run(t.Context(), engine.Job{Source: r, Mover: move.NewPayload(blobs, asker{se.kms, r}, 4), Until: engine.Planned, Observe: r.observe}); err != nil {
		t.Fatal(err)
	}
	var did asked
	for op, n := range w.emu.Counters() {
		if strings.HasPrefix(op, "s3:") {
			did.store += n
		}
	}
	p := r.plan(asked{}, asked{}, did, &all)
	if p.WaysAssumed || !maps.Equal(p.Ways, map[string]int64{"HeadObject and PutObject": n}) || p.SkippedByReason["archived"] != archived || p.Outcomes["rewrapped"] != n {
		t.Errorf("%+v", p)
	}
	if tags := w.emu.Counters()["s3:GetObjectTagging"]; tags != n || p.Store.By[opLooks] != 2*n {
		t.Errorf("forecast %d looks; %v", p.Store.By[opLooks], w.emu.Counters())
	}
	ops := changing(w.emu.Counters())
	delete(ops, "s3:Unknown") // ListObjectAnnotations, which the emulator has not
	if len(ops) > 0 {
		t.Errorf("plan changed the bucket: %v", ops)
	}
}

// TestPlanKeyring: a keyring costs nothing.
func TestPlanKeyring(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.run("keyring", "create", "ring.json").want(t, exitOK, "")
	w.tree(map[string][]byte{"none": []byte("no key at all, but longer than nothing!")})
	p := w.run("plan", "vault", "--format", "raw", "--keyring", "ring.json", "--json").want(t, exitFailed, "saw 1 item, and nothing is under").plan(t)
	if p.Dollars != 0 || p.KMS.Requests != 0 || p.Outcomes["foreign"] != 1 {
		t.Errorf("%+v", p)
	}
	if e := w.run("plan", "vault", "--format", "raw", "--keyring", "ring.json").want(t, exitFailed, ""); strings.Contains(e.out, "$") {
		t.Errorf("nothing is billed:\n%s", e.out)
	}
}

// TestPlanDirectory: files are planned by their own ways, a JSON document has
// many keys, and nothing in the tree changes.
func TestPlanDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	in := make(map[string][]byte)
	b64 := base64.StdEncoding.EncodeToString
	const n = 12
	for i := range n {
		in[fmt.Sprintf("%02d.json", i)] = fmt.Appendf(nil, `{"a":%q,"b":%q}`, b64(w.encrypt("alias/a", "x", nil)), b64(w.encrypt("alias/a", "y", nil)))
	}
	root := w.tree(in)
	if err := os.Link(filepath.Join(root, "00.json"), filepath.Join(root, "twin.json")); err != nil {
		t.Fatal(err)
	}
	w.rotate(arn)
	before := files(t, root)
	args := []string{"vault", "--json-field", "/*", "--from", "alias/a", "--json"}
	w.emu.ResetCounters()
	p := w.run(append([]string{"plan", "--out", "plan.json"}, args...)...).want(t, exitOK, "").plan(t)
	if !maps.Equal(before, files(t, root)) {
		t.Error("plan changed the tree")
	}
	asked := w.emu.Counters()["kms:ReEncrypt"]
	if p.Outcomes["rewrapped"] != n-1 || p.SkippedByReason["hard-link"] != 2 || p.Ways["exchange"]+p.Ways["rename"] != n-1 || p.Store.Requests != 0 ||
		p.KMS.By["ReEncrypt"] != 2*n || asked > 2*n+2 {
		t.Errorf("%d calls; %+v", asked, p)
	}
	w.run("plan", "vault", "--json-field", "/*", "--from", "alias/a", "--out", "vault/plan.json").want(t, exitUsage, "is inside SOURCE")

	w.emu.ResetCounters()
	w.run(append([]string{"run", "--yes"}, args...)...).want(t, exitRemaining, "")
	if did := w.emu.Counters()["kms:ReEncrypt"]; did-p.KMS.By["ReEncrypt"] > 2 || did < p.KMS.By["ReEncrypt"] {
		t.Errorf("forecast %d calls of ReEncrypt, the run made %d", p.KMS.By["ReEncrypt"], did)
	}
}

// TestPlanEnds: what cannot be planned ends as a run would.
func TestPlanEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.key("alias/a")
	w.key("alias/b")
	w.fill("alias/a", 3)
	w.run("plan", src, "--from", "alias/b").want(t, exitFailed, "saw 3 items, and nothing is under a source key")
	w.run("plan", src).want(t, exitFailed, "--from")
	e := w.run("plan", src, "--from", "alias/a", "--exclude", "*2").want(t, exitOK, "")
	if strings.Contains(e.out, "failed") {
		t.Errorf("%s", e.out)
	}
	w.run("plan", src, "--from", "alias/a", "--sample", "0").want(t, exitUsage, "--sample 0")
	w.run("plan", "s3://"+bucket+"/none/", "--from", "alias/a").want(t, exitOK, "")

	// A store that falls silent holds the plan up until it is told to stop.
	silent := newWorld(t, emulator.Options{Hook: func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "s3:HeadObject" {
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(w, r)
	}})
	silent.key("alias/a")
	silent.fill("alias/a", 3)
	r := silent.begin("plan", src, "--from", "alias/a")
	r.until("s3:HeadObject", 1)
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	r.wait().want(t, exitStopped, "there is no plan")

	// What plan --out cannot write is said before anything is asked; a plan that
	// could not be kept is shown all the same, and what stood there stays.
	w.emu.ResetCounters()
	w.run("plan", src, "--from", "alias/a", "--out", "nowhere/plan.json").want(t, exitUsage, "--out: open nowhere/")
	w.run("plan", src, "--from", "alias/a", "--out", "/dev/null").want(t, exitUsage, "--out /dev/null is no regular file")
	w.run("plan", src, "--from", "alias/a", "--out", ".").want(t, exitUsage, "no regular file")
	if asked := w.emu.Counters(); len(asked) > 0 {
		t.Errorf("asked first: %v", asked)
	}
	w.run("plan", src, "--from", "alias/none", "--out", "plan.json").want(t, exitFailed, "alias/none")
	if left, _ := filepath.Glob(filepath.Join(w.dir, "*plan.json*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	late := filepath.Join(w.dir, "late")
	swap := newWorld(t, emulator.Options{Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "s3:HeadObject" { // somebody makes a folder of that name meanwhile
			_ = os.MkdirAll(filepath.Join(late, "in", "the", "way"), 0o755)
		}
		next.ServeHTTP(rw, r)
	}})
	swap.key("alias/a")
	swap.fill("alias/a", 1)
	if e := swap.run("plan", src, "--from", "alias/a", "--out", late).want(t, exitFailed, "the plan cannot be written to --out"); !strings.Contains(e.out, "1 listed") {
		t.Errorf("the plan is lost:\n%s", e.out)
	}

	// Where all that was looked into failed, the plan says so.
	damaged := w.encrypt("alias/a", "x", nil)
	damaged[len(damaged)-1] ^= 1
	must(t)(w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("bad/1"), Body: bytes.NewReader(damaged)}))
	if e := w.run("plan", "s3://"+bucket+"/bad/", "--format", "raw", "--from", "alias/a").want(t, exitFailed, "all that was looked into failed (1 item), for example bad/1"); !strings.Contains(e.out, "failed") || strings.Contains(e.out, "readers") {
		t.Errorf("there is no plan, or it knows about readers:\n%s", e.out)
	}

	bad := filepath.Join(w.dir, "bad.json")
	for _, content := range []string{"", "{}", `[]`, `{"source":5}`, `{"source":"` + src + `","items":1,"from":[]}`, `{"source":"` + src + `","items":1,"from":[""]}`} {
		if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		w.run("run", src, "--from-plan", bad, "--yes").want(t, exitUsage, "--from-plan")
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

// TestPlanOfRepeats: what a sample cannot know is said to be a bound.
func TestPlanOfRepeats(t *testing.T) {
	t.Parallel()
	o, age := aged()
	w := newWorld(t, o)
	w.key("alias/a")
	blob := w.encrypt("alias/a", "same", nil)
	for i := range 40 {
		must(t)(w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(name(i)), Body: bytes.NewReader(blob)}))
	}
	age()
	args := []string{"plan", src, "--format", "raw", "--from", "alias/a", "--sample"}
	e := w.run(append(args, "10")...).want(t, exitOK, "")
	if !strings.Contains(e.out, "at most ") || !strings.Contains(e.out, "Equal wrapped keys cost one call together.") {
		t.Errorf("%s", e.out)
	}
	if p := w.run(append(args, "10", "--json")...).want(t, exitOK, "").plan(t); !p.KMS.AtMost || p.Outcomes["current"] != 40 {
		t.Errorf("%+v", p)
	}
	if p := w.run(append(args, "40", "--json")...).want(t, exitOK, "").plan(t); p.KMS.AtMost || p.KMS.By["ReEncrypt"] != 1 {
		t.Errorf("%+v", p)
	}
}

// TestSampleIsUniform: each item has the same chance, whatever its place.
func TestSampleIsUniform(t *testing.T) {
	t.Parallel()
	const n, k = 20_000, 2_000
	s, again := sample{size: k}, sample{size: k}
	for i := range n {
		s.meet(sources.Ref{ID: name(i)}, true)
		again.meet(sources.Ref{ID: name(n - 1 - i)}, true)
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
