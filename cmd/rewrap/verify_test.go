package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/bench/emulator"
)

// TestVerifyInterrupted: the first signal ends it, and does not speak of another.
func TestVerifyInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{KMSLatency: 200 * time.Millisecond})
	w.key("alias/a")
	w.fill("alias/a", 20)
	r := w.begin("verify", src, "--from", "alias/a", "--workers", "1", "--progress", "none")
	r.until("kms:ReEncrypt", 4) // some are of the opening
	must(t)(nil, r.cmd.Process.Signal(os.Interrupt))
	if e := r.wait().want(t, exitStopped, ""); e.errors != "rewrap: interrupted by SIGINT; no attestation was written\n" || e.out != "" {
		t.Errorf("%s%s", e.out, e.errors)
	}
}

// TestVerifyOfAnotherJob: what verify finds is not put into the state directory
// of another job. What the job's own words mean may have moved.
func TestVerifyOfAnotherJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.key("alias/a")
	b := w.key("alias/b")
	w.fill("alias/a", 3)
	w.run("run", src, "--from", "alias/a", "--yes", "--state", "state", "--max-items", "1").want(t, exitStopped, "")
	before := files(t, filepath.Join(w.dir, "state"))
	for _, args := range []string{"s3://" + bucket + "/q/ --from alias/a", src + " --from alias/b", src + " --from alias/a --include *1"} {
		w.run(append([]string{"verify", "--state", "state"}, strings.Fields(args)...)...).want(t, exitFailed, "belongs to another job")
	}
	if after := files(t, filepath.Join(w.dir, "state")); !maps.Equal(before, after) {
		t.Errorf("it was %v, and is %v", before, after)
	}
	must(t)(w.kms.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: &b}))
	w.run("verify", src, "--from", "alias/a", "--state", "state").want(t, exitFailed, "")
	if _, ok := files(t, filepath.Join(w.dir, "state"))[attestationFile]; !ok {
		t.Error("there is no attestation")
	}
}
