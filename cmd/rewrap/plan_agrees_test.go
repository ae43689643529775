package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/cmd/rewrap/internal/forecast"
	"rewrap/cmd/rewrap/internal/report"
	s3source "rewrap/sources/s3"
)

// agreed is how many items a world of TestPlanAgrees has.
const agreed = 24

// agreement is a world in which a plan and the run that follows tell the same.
type agreement struct {
	name   string
	bucket func(*world)
	item   func(w *world, i int) *s3.PutObjectInput
	args   []string
	ways   map[string]int64
	reason string
	few    int64 // requests that only the plan makes where there is something
}

func withLocks(w *world) {
	must(w.TB)(w.S3.CreateBucket(w.Context(), &s3.CreateBucketInput{Bucket: aws.String("special"), ObjectLockEnabledForBucket: aws.Bool(true)}))
}

func withACLs(w *world) {
	must(w.TB)(w.S3.CreateBucket(w.Context(), &s3.CreateBucketInput{Bucket: aws.String("special"), ObjectOwnership: types.ObjectOwnershipObjectWriter}))
}

// blobItem is an item that is one blob.
func blobItem(w *world, key string, i int) *s3.PutObjectInput {
	return &s3.PutObjectInput{Body: bytes.NewReader(w.Seal(key, fmt.Sprint(i), nil))}
}

// heldItem is an object whose metadata hold the blob.
func heldItem(w *world, key string, i int) *s3.PutObjectInput {
	blob := w.Seal(key, fmt.Sprint(i), map[string]string{"aws:x-amz-cek-alg": "AES/GCM/NoPadding"})
	return &s3.PutObjectInput{Body: strings.NewReader("hello"), Metadata: map[string]string{
		"x-amz-key-v2": base64.StdEncoding.EncodeToString(blob), "x-amz-iv": "MTExMTExMTExMTEx", "x-amz-matdesc": `{"aws:x-amz-cek-alg":"AES/GCM/NoPadding"}`,
		"x-amz-wrap-alg": "kms+context", "x-amz-cek-alg": "AES/GCM/NoPadding", "x-amz-tag-len": "128",
	}}
}

var agreements = []agreement{
	{name: "copies", item: func(w *world, i int) *s3.PutObjectInput { return heldItem(w, "alias/a", i) }, ways: map[string]int64{s3source.WayCopy: agreed}},
	{name: "archived", reason: "archived", ways: map[string]int64{s3source.WayCopy: agreed / 2}, item: func(w *world, i int) *s3.PutObjectInput {
		in := heldItem(w, "alias/a", i)
		if i%2 == 0 {
			in.StorageClass = types.StorageClassGlacier
		}
		return in
	}},
	{name: "ACLs", bucket: withACLs, few: 1, ways: map[string]int64{s3source.WayCopy: agreed}, item: func(w *world, i int) *s3.PutObjectInput {
		in := heldItem(w, "alias/a", i)
		if i%3 == 0 {
			in.ACL = types.ObjectCannedACLPublicRead
		}
		return in
	}},
	{name: "locks", bucket: withLocks, ways: map[string]int64{s3source.WayCopy: agreed}, item: func(w *world, i int) *s3.PutObjectInput {
		in := heldItem(w, "alias/a", i)
		if i%3 == 0 {
			in.ObjectLockLegalHoldStatus = types.ObjectLockLegalHoldStatusOn
		}
		return in
	}},
	{name: "unconditional", args: []string{"--format", "raw"}, item: func(w *world, i int) *s3.PutObjectInput { return blobItem(w, "alias/a", i) }, ways: map[string]int64{s3source.WayPutRead: agreed}},
	{name: "large bodies", args: []string{"--json-field", "/k", "--base64", "std"}, ways: map[string]int64{s3source.WayPutRead: agreed}, item: func(w *world, i int) *s3.PutObjectInput {
		blob := base64.StdEncoding.EncodeToString(w.Seal("alias/a", fmt.Sprint(i), nil))
		return &s3.PutObjectInput{Body: strings.NewReader(fmt.Sprintf(`{"k":%q,"text":%q}`, blob, strings.Repeat("x", i%2*100_000)))}
	}},
	{name: "tags and SSE-KMS", args: []string{"--format", "raw"}, ways: map[string]int64{s3source.WayPutRead: agreed}, item: func(w *world, i int) *s3.PutObjectInput {
		in := blobItem(w, "alias/a", i)
		in.Tagging = aws.String("a=b")
		if i%2 == 0 {
			in.ServerSideEncryption = types.ServerSideEncryptionAwsKms
		}
		return in
	}},
	{name: "several keys", args: []string{"--format", "raw", "--from", "alias/b", "--from", "alias/c", "--from", "alias/d"}, ways: map[string]int64{s3source.WayPutRead: agreed}, item: func(w *world, i int) *s3.PutObjectInput {
		return blobItem(w, []string{"alias/a", "alias/b", "alias/c", "alias/d"}[i%4], i)
	}},
	{name: "foreign keys and damage", args: []string{"--format", "raw", "--from", "alias/b"}, ways: map[string]int64{s3source.WayPutRead: agreed / 4}, item: func(w *world, i int) *s3.PutObjectInput {
		switch i % 4 {
		case 0:
			return blobItem(w, "alias/b", i)
		case 1:
			blob := w.Seal("alias/b", fmt.Sprint(i), nil)
			blob[len(blob)-1] ^= 1
			return &s3.PutObjectInput{Body: bytes.NewReader(blob)}
		case 2:
			return &s3.PutObjectInput{Body: bytes.NewReader(make([]byte, 7000+i))}
		}
		return blobItem(w, "alias/d", i)
	}},
	{name: "to, one material", args: []string{"--format", "raw", "--to", "alias/b"}, item: func(w *world, i int) *s3.PutObjectInput { return blobItem(w, "alias/a", i) }, ways: map[string]int64{s3source.WayPutRead: agreed}},
	{name: "to, several materials", args: []string{"--to", "alias/b"}, ways: map[string]int64{s3source.WayCopy: agreed}, item: func(w *world, i int) *s3.PutObjectInput {
		if i%6 == 5 {
			w.Rotate(aws.ToString(w.Describe("alias/a").Arn))
		}
		return heldItem(w, "alias/a", i)
	}},
	{name: "to, several keys", args: []string{"--format", "raw", "--from", "alias/b", "--from", "alias/c", "--to", "alias/d"}, ways: map[string]int64{s3source.WayPutRead: agreed}, item: func(w *world, i int) *s3.PutObjectInput {
		if i == agreed/2 {
			w.Rotate(aws.ToString(w.Describe("alias/b").Arn))
		}
		return blobItem(w, []string{"alias/a", "alias/b", "alias/c", "alias/d"}[i%4], i)
	}},
	{name: "opened", args: []string{"--format", "raw", "--verify", "open"}, ways: map[string]int64{s3source.WayPutRead: agreed - 3}, item: func(w *world, i int) *s3.PutObjectInput {
		switch {
		case i%8 == 0:
			return blobItem(w, "alias/b", i) // foreign
		case i%8 == 1 && i > 1: // equal keys
			return &s3.PutObjectInput{Body: strings.NewReader(w.Get(emulatortest.Name(1)))}
		}
		return blobItem(w, "alias/a", i)
	}},
	{name: "to, and foreign keys", args: []string{"--format", "raw", "--to", "alias/b"}, ways: map[string]int64{s3source.WayPutRead: agreed / 2}, item: func(w *world, i int) *s3.PutObjectInput {
		return blobItem(w, []string{"alias/a", "alias/c"}[i%2], i)
	}},
}

// TestPlanAgrees: in all kinds of worlds, a plan of the whole source and the run
// that follows tell the same, request by request. The requests that a command
// and the canary make before the first item are taken from a prefix without any.
func TestPlanAgrees(t *testing.T) {
	t.Parallel()
	for _, tc := range agreements {
		t.Run(tc.name, tc.hold)
	}
}

func (tc agreement) hold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	var arns []string
	for _, alias := range []string{"alias/a", "alias/b", "alias/c", "alias/d"} {
		arns = append(arns, w.Key(alias))
	}
	in := bucket
	if tc.bucket != nil {
		tc.bucket(w)
		in = "special"
	}
	for i := range agreed {
		put := tc.item(w, i)
		put.Bucket, put.Key = &in, aws.String(emulatortest.Name(i))
		must(t)(w.S3.PutObject(t.Context(), put))
	}
	for _, arn := range arns {
		w.Rotate(arn)
	}
	w.Clock.Pass(time.Hour)
	source := func(prefix string) []string {
		return append([]string{"s3://" + in + "/" + prefix, "--from", "alias/a", "--json"}, tc.args...)
	}
	planned := func(prefix string) *forecast.Plan {
		return w.run(append([]string{"plan", "--sample", "1000"}, source(prefix)...)...).want(t, exitOK, "").plan(t)
	}
	ran := func(prefix string) report.Summary {
		return w.run(append([]string{"run", "--yes"}, source(prefix)...)...).summary(t)
	}
	nothing, begun := planned("none/"), ran("none/")
	w.Emulator.ResetCounters()
	p := planned("p/")
	if ops := changing(w.Emulator.Counters()); len(ops) > 0 {
		t.Errorf("plan changed the bucket: %v", ops)
	}
	w.Emulator.ResetCounters()
	s := ran("p/")
	if did := w.Emulator.Counters()["kms:ReEncrypt"]; did != p.KMS.By["ReEncrypt"]+int64(len(slices.DeleteFunc(source(""), func(arg string) bool { return arg != "--from" && arg != "--to" }))) { // each key is tried when a command begins
		t.Errorf("the run called ReEncrypt %d times: %+v", did, p.KMS)
	}
	outcomes := map[string]int64{"rewrapped": s.Items.Rewrapped, "current": s.Items.Current, "foreign": s.Items.Foreign, "skipped": s.Items.Skipped, "gone": s.Items.Gone, "failed": s.Items.Failed}
	maps.DeleteFunc(outcomes, func(_ string, n int64) bool { return n == 0 })
	if !maps.Equal(p.Outcomes, outcomes) || !maps.Equal(p.SkippedByReason, s.SkippedByReason) || p.Unconditional != s.Unconditional || !maps.Equal(p.Ways, tc.ways) || !p.WaysAssumed {
		t.Errorf("plan: %v %v %v, %d unconditional\nrun: %v %v, %d unconditional", p.Outcomes, p.SkippedByReason, p.Ways, p.Unconditional, outcomes, s.SkippedByReason, s.Unconditional)
	}
	if tc.reason != "" && p.SkippedByReason[tc.reason] == 0 {
		t.Errorf("nothing is %s", tc.reason)
	}
	if d := s.KMS.Requests - begun.KMS.Requests - (p.KMS.Requests - nothing.KMS.Requests); max(d, -d) > 1 { // a key is described once or twice
		t.Errorf("KMS: the run made %d requests more than forecast: %+v", d, p.KMS)
	}
	if d := s.Store.Requests - begun.Store.Requests - (p.Store.Requests - nothing.Store.Requests); max(d, -d) > tc.few {
		t.Errorf("store: the run made %d requests more than forecast: %+v", d, p.Store)
	}
	if d := s.Store.BytesIn - begun.Store.BytesIn - (p.BytesIn - nothing.BytesIn); max(d, -d) > 16*agreed+500*tc.few { // the length of an answer to a copy
		t.Errorf("the run got %d bytes more than the forecast %d", d, p.BytesIn)
	}
	if d := s.Store.BytesOut - begun.Store.BytesOut - p.BytesOut; d != 0 {
		t.Errorf("the run sent %d bytes more than the forecast %d", d, p.BytesOut)
	}
}

// TestPlanOfPages: names that take more than one page are listed by a run as
// often as the plan says, and the bytes of that go with the names.
func TestPlanOfPages(t *testing.T) {
	t.Parallel()
	const n = 1000 + 101 // a page has 1000
	w := newWorld(t, emulator.Options{})
	for i, key := range []string{"alias/a", "alias/b", "alias/c"} {
		w.Key(key)
		if err := w.Seed(key).Fill(t.Context(), n/3, func(k int) string { return emulatortest.Name(3*k + i) }, emulatortest.Payload); err != nil {
			t.Fatal(err)
		}
	}
	w.Clock.Pass(time.Hour)
	for _, progress := range []string{"log", "none"} { // a run lists once more for its progress
		source := func(prefix string) []string {
			return []string{"s3://" + bucket + "/" + prefix, "--from", "alias/a", "--from", "alias/b", "--from", "alias/c", "--json", "--progress", progress}
		}
		planned := func(prefix string) *forecast.Plan {
			return w.run(append([]string{"plan", "--sample", "20"}, source(prefix)...)...).want(t, exitOK, "").plan(t)
		}
		ran := func(prefix string) report.Summary {
			return w.run(append([]string{"run", "--yes"}, source(prefix)...)...).want(t, exitOK, "").summary(t)
		}
		nothing, begun, p, s := planned("none/"), ran("none/"), planned("p/"), ran("p/")
		if p.Items != n || s.Items.Current != n {
			t.Fatalf("plan: %d items, run: %+v", p.Items, s.Items)
		}
		keys := int64(0)
		for _, k := range p.Keys {
			keys += k.Keys
		}
		if keys != n || len(p.Keys) != 3 {
			t.Errorf("the keys of the plan add up to %d: %+v", keys, p.Keys)
		}
		if d := s.Store.Requests - begun.Store.Requests - (p.Store.Requests - nothing.Store.Requests); d != 0 {
			t.Errorf("--progress %s: the run made %d requests more than forecast: %+v", progress, d, p.Store)
		}
		if d := s.Store.BytesIn - begun.Store.BytesIn - (p.BytesIn - nothing.BytesIn); max(d, -d) > p.BytesIn/200 {
			t.Errorf("--progress %s: the run got %d bytes more than the forecast %d", progress, d, p.BytesIn)
		}
	}
}

// changing are the counters of what changes a bucket.
func changing(m map[string]int64) map[string]int64 {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(op string, _ int64) bool {
		read := strings.HasPrefix(op, "s3:Get") || strings.HasPrefix(op, "s3:Head") || strings.HasPrefix(op, "s3:List")
		return read || !strings.HasPrefix(op, "s3:") || strings.HasPrefix(op, "s3:kms:")
	})
	return m
}
