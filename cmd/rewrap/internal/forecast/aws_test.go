package forecast

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/spf13/pflag"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/cmd/rewrap/internal/job"
	"rewrap/engine"
	"rewrap/sources"
	"rewrap/sources/cloud"
	"rewrap/sources/s3"
)

// TestPlanOfAWS: where the ways are known, the source says what it would refuse,
// and the requests that it makes before a write are counted by their names.
func TestPlanOfAWS(t *testing.T) {
	const n, archived = 8, 2
	w := emulatortest.New(t, emulator.Options{})
	arn := w.Key("alias/a")
	for i := range n + archived {
		w.Put(emulatortest.Name(i), "", func(in *awss3.PutObjectInput) {
			in.Body = bytes.NewReader(w.Seal("alias/a", "same", nil))
			if i >= n {
				in.StorageClass = types.StorageClassGlacier
			}
		})
	}
	w.Rotate(arn)
	w.Clock.Pass(time.Hour)

	f := open(t, w, w.Bucket)
	// AWS itself needs no canary.
	var err error
	if f.session.Source.Source, err = s3.Open(t.Context(), s3.Config{Client: f.session.Cloud.S3(""), Bucket: w.Bucket, Prefix: "p/"}); err != nil {
		t.Fatal(err)
	}
	if err := f.session.Source.Begin(t.Context(), sources.Look); err != nil {
		t.Fatal(err)
	}
	items, sampled, err := f.Draw(t.Context(), 100)
	if err != nil || items != n+archived || sampled != items {
		t.Fatalf("%d of %d items, %v", sampled, items, err)
	}
	w.Emulator.ResetCounters()
	p, err := f.Rehearse(t.Context(), func(engine.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if p.WaysAssumed || !maps.Equal(p.Ways, map[string]int64{"HeadObject and PutObject": n}) || p.SkippedByReason["archived"] != archived || p.Outcomes["rewrapped"] != n {
		t.Errorf("%+v", p)
	}
	did := w.Emulator.Counters()
	for op, want := range map[string]int64{"GetObjectTagging": n, "ListObjectAnnotations": n} {
		if p.Store.By[op] != want {
			t.Errorf("forecast %d times %s, want %d: %v", p.Store.By[op], op, want, p.Store.By)
		}
	}
	if tags := did["s3:GetObjectTagging"]; tags != n {
		t.Errorf("the tags were read %d times, want %d", tags, n)
	}
	for op := range did {
		name, ours := strings.CutPrefix(op, "s3:")
		reads := strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "Head") || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "kms:")
		if ours && !reads && name != "Unknown" { // ListObjectAnnotations, which the emulator does not have
			t.Errorf("plan changed the bucket by %s", op)
		}
	}
}

// open opens the forecast of a job over raw items of a bucket of the world.
func open(t *testing.T, w *emulatortest.World, bucket string) *Forecast {
	t.Helper()
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": w.URL, "AWS_REGION": w.Region, "AWS_ACCESS_KEY_ID": emulatortest.ID,
		"AWS_SECRET_ACCESS_KEY": emulatortest.Secret, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none"} {
		t.Setenv(name, value)
	}
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags := job.Declare(set, job.Forecast)
	if err := set.Parse([]string{"--from", "alias/a", "--format", "raw", "--progress", "none", "--workers", "4"}); err != nil {
		t.Fatal(err)
	}
	j, err := flags.Parse([]string{"s3://" + bucket + "/p/"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), j, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestAskedOnce: requests that a run makes once are not scaled up with the items:
// whether objects have ACLs, and whether the caller may read locks.
func TestAskedOnce(t *testing.T) {
	const n, size = 40, 4
	w := emulatortest.New(t, emulator.Options{})
	arn, bucket := w.Key("alias/a"), "locked"
	_, err := w.S3.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket, ObjectLockEnabledForBucket: aws.Bool(true)})
	w.OK(err)
	_, err = w.S3.PutBucketOwnershipControls(t.Context(), &awss3.PutBucketOwnershipControlsInput{Bucket: &bucket,
		OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipObjectWriter}}}})
	w.OK(err)
	for i := range n {
		w.Put(emulatortest.Name(i), "", func(in *awss3.PutObjectInput) {
			in.Bucket, in.Body = &bucket, bytes.NewReader(w.Seal("alias/a", "same", nil))
		})
	}
	w.Rotate(arn)
	w.Clock.Pass(time.Hour)

	f := open(t, w, bucket)
	opened := f.opening.Of(cloud.ServiceS3).Calls
	if _, _, err := f.Draw(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	p, err := f.Rehearse(t.Context(), func(engine.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if p.Outcomes["rewrapped"] != n || p.Sampled != size {
		t.Fatalf("%+v", p)
	}
	by := p.Store.By
	if by["GetObjectAcl"] != n || by["GetObjectRetention"] != 0 || by["GetObjectLegalHold"] != 0 || by[Opening] != opened+3 {
		t.Errorf("%v; want %d ACLs, no locks, and %d requests for the opening", by, n, opened+3)
	}
}
