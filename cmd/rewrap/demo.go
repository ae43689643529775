package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"

	"rewrap/bench/emulator"
	"rewrap/bench/seed"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
)

func newDemo(s streams) *cobra.Command {
	var items int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "No set-up: S3 and KMS in process; run, kill -9, resume, verify",
		Long: `demo serves S3 and KMS on a loopback port, fills a bucket with client-side
encrypted objects, rotates their KMS key, and then does what you would do: it
runs this program on the bucket, kills it with SIGKILL half way, runs the same
command again, verifies, and reads every object back. It needs no AWS account
and leaves nothing behind.`,
		Args: argsAre(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if items < 100 || items > 1_000_000 {
				return job.Usage("--items %d: 100 to 1000000", items)
			}
			_, stop, _, unwatch := interruptible(func(string, ...any) {})
			defer unwatch()
			d := &demo{s: s, items: items}
			if err := d.run(stop); err != nil {
				if stop.Err() != nil {
					return &exitError{exitStopped, context.Cause(stop)}
				}
				return err
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&items, "items", 3000, "objects in the bucket")
	return cmd
}

type demo struct {
	s     streams
	items int

	emulator *emulator.Emulator
	url      string
	dir      string
	bucket   seed.Bucket
}

const demoBucket, demoAlias = "demo-bucket", "alias/demo"

func (d *demo) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.emulator = emulator.New(emulator.Options{Region: "us-east-1"})
	srv, err := d.emulator.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.url = srv.URL()
	if d.dir, err = os.MkdirTemp("", "rewrap-demo-*"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()

	d.say("S3 and KMS in process; %s client-side encrypted objects in s3://%s, each with its own data key", report.Count(int64(d.items)), demoBucket)
	if d.bucket, err = seedDemo(ctx, d.emulator, d.url, d.items); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{d.rotate, d.kill, d.resume, d.verify, d.readBack} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.s.out, "\n== "+format+"\n", args...)
}

func demoName(i int) string    { return fmt.Sprintf("invoices/2026/%06d.txt", i) }
func demoPayload(i int) []byte { return fmt.Appendf(nil, "invoice %d: pay 100 USD", i) }

// seedDemo makes a key, and a bucket with so many objects under it, in the
// emulator at url. Its requests meet no quota and are not counted.
func seedDemo(ctx context.Context, emu *emulator.Emulator, url string, items int) (seed.Bucket, error) {
	cfg := aws.Config{
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("demo", "demo", ""),
		BaseEndpoint: &url,
		HTTPClient:   emu.Backdoor(),
	}
	b := seed.Bucket{
		S3:   s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
		KMS:  kms.NewFromConfig(cfg),
		Name: demoBucket, Key: demoAlias, Context: map[string]string{"tenant": "demo"},
	}
	key, err := b.KMS.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		return b, err
	}
	if _, err := b.KMS.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String(demoAlias), TargetKeyId: key.KeyMetadata.KeyId}); err != nil {
		return b, err
	}
	if _, err := b.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(demoBucket)}); err != nil {
		return b, err
	}
	return b, b.Fill(ctx, items, demoName, demoPayload)
}

func (d *demo) rotate(ctx context.Context) error {
	before, err := d.material(ctx)
	if err != nil {
		return err
	}
	if _, err := d.bucket.KMS.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: aws.String(before.arn)}); err != nil {
		return err
	}
	after, err := d.material(ctx)
	if err != nil {
		return err
	}
	d.say("The key is rotated: material %s -> %s. The objects are still under %s", report.Short(before.id), report.Short(after.id), report.Short(before.id))
	return nil
}

type material struct{ arn, id string }

func (d *demo) material(ctx context.Context) (material, error) {
	out, err := d.bucket.KMS.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(demoAlias)})
	if err != nil {
		return material{}, err
	}
	return material{aws.ToString(out.KeyMetadata.Arn), aws.ToString(out.KeyMetadata.CurrentKeyMaterialId)}, nil
}

// command is this program, in a process of its own.
func (d *demo) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("the path of this program is not known, so it cannot be run: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, append(args, "--state", filepath.Join(d.dir, "state"))...)
	cmd.Env = append(withoutAWS(os.Environ()), "AWS_ENDPOINT_URL="+d.url, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=demo", "AWS_SECRET_ACCESS_KEY=demo", "AWS_EC2_METADATA_DISABLED=true")
	cmd.Stdout, cmd.Stderr = d.s.out, d.s.err
	fmt.Fprintf(d.s.out, "$ rewrap %s\n", strings.Join(args, " "))
	return cmd, nil
}

// withoutAWS leaves out the variables that could lead the demo to a real account.
func withoutAWS(env []string) []string {
	var kept []string
	for _, e := range env {
		if !strings.HasPrefix(e, "AWS_") {
			kept = append(kept, e)
		}
	}
	return kept
}

func runArgs() []string {
	return []string{"run", "s3://" + demoBucket + "/", "--from", demoAlias, "--yes"}
}

func (d *demo) kill(ctx context.Context) error {
	d.say("A run, killed with SIGKILL at 40 %%")
	cmd, err := d.command(ctx, runArgs()...)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("the run ended before it could be killed: %w", orNil(err))
		case <-poll.C:
		}
		if d.emulator.Counters()["s3:CopyObject"] >= int64(d.items)*2/5 {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				return err
			}
			<-ended
			fmt.Fprintf(d.s.out, "\nkilled after %s copies\n", report.Count(d.emulator.Counters()["s3:CopyObject"]))
			return nil
		}
	}
}

func orNil(err error) error {
	if err == nil {
		return errors.New("without an error")
	}
	return err
}

func (d *demo) resume(ctx context.Context) error {
	d.say("The same command again: it resumes")
	cmd, err := d.command(ctx, runArgs()...)
	if err != nil {
		return err
	}
	return cmd.Run()
}

func (d *demo) verify(ctx context.Context) error {
	d.say("Is everything on target? (no permission to decrypt is needed)")
	cmd, err := d.command(ctx, "verify", "s3://"+demoBucket+"/", "--from", demoAlias)
	if err != nil {
		return err
	}
	return cmd.Run()
}

func (d *demo) readBack(ctx context.Context) error {
	now, err := d.material(ctx)
	if err != nil {
		return err
	}
	census, err := d.bucket.Check(ctx, d.items, demoName, demoPayload)
	if err != nil {
		return err
	}
	if census[now.id] != d.items {
		return fmt.Errorf("only %d of %d data keys are under material %s", census[now.id], d.items, report.Short(now.id))
	}
	d.say("Read back: all %s objects open, every data key is under material %s", report.Count(int64(d.items)), report.Short(now.id))
	return nil
}
