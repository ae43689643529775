package main

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/spf13/cobra"

	"rewrap/bench/emulator"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
)

func newEmulator(s streams) *cobra.Command {
	var listen string
	var o emulator.Options
	var items int
	cmd := &cobra.Command{
		Use:   "emulator --listen ADDR",
		Short: "S3 and KMS on one loopback port, for trials and benchmarks",
		Long: `emulator serves S3 and KMS in memory on one loopback port, with key material,
rotation, quotas and latency. It takes any credentials, keeps nothing when it
ends, and listens on loopback addresses only. GET /_emulator/counters answers
with the number of requests by operation.`,
		Example: `  rewrap emulator --listen 127.0.0.1:9000 --seed 1000
  rewrap emulator --listen 127.0.0.1:9000 --kms-quota 1000 --rotation-delay 2m`,
		Args: argsAre(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			switch {
			case listen == "":
				return job.Usage("name the address to listen on, for example --listen 127.0.0.1:9000")
			case items < 0 || items > 1_000_000:
				return job.Usage("--seed %d: 0 to 1000000", items)
			case o.KMSQuota < 0 || o.S3Quota < 0 || o.KMSLatency < 0 || o.S3Latency < 0 || o.RotationDelay < 0:
				return job.Usage("quotas and times are 0 or more")
			case !slices.Contains(kmsWindows, o.KMSWindow):
				return job.Usage("--kms-window %q: it is %s", o.KMSWindow, report.OneOf(kmsWindows))
			}
			if host, port, err := net.SplitHostPort(listen); err != nil {
				return job.Usage("--listen %q: it is HOST:PORT, for example 127.0.0.1:9000", listen)
			} else if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
				return job.Usage("--listen %q: it takes only a loopback address, for example 127.0.0.1:%s, since the emulator checks no credentials", listen, port)
			}
			say := report.Speak(s.err)
			_, stop, _, unwatch := interruptible(func(string, ...any) {})
			defer unwatch()
			emu := emulator.New(o)
			srv, err := emu.Listen(stop, listen)
			if err != nil {
				return err
			}
			if items > 0 {
				say("seeding s3://%s with %s", demoBucket, report.Many(int64(items), "object"))
				_, err := seedDemo(stop, emu, srv.URL(), items)
				if stop.Err() != nil {
					return &exitError{exitStopped, context.Cause(stop)}
				}
				if err != nil {
					return err
				}
			}
			say("S3 and KMS on %s until Ctrl-C; in another terminal:", srv.URL())
			fmt.Fprintf(s.out, "export AWS_ENDPOINT_URL=%s AWS_REGION=%s AWS_ACCESS_KEY_ID=emulator AWS_SECRET_ACCESS_KEY=emulator\n", srv.URL(), o.Region)
			return srv.Wait()
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "", "loopback `ADDR` to listen on, for example 127.0.0.1:9000; port 0 takes a free one")
	f.IntVar(&items, "seed", 0, "begin with `N` client-side encrypted objects in s3://demo-bucket under alias/demo")
	f.StringVar(&o.Region, "region", "us-east-1", "the Region that it serves")
	f.IntVar(&o.KMSQuota, "kms-quota", 0, "cryptographic KMS requests a second before ThrottlingException; 0: no quota")
	f.StringVar(&o.KMSWindow, "kms-window", "second", "how the quota is counted: second (windows of one second) or bucket (token bucket)")
	f.IntVar(&o.S3Quota, "s3-quota", 0, "S3 requests a second before 503 SlowDown; 0: no quota")
	f.DurationVar(&o.KMSLatency, "kms-latency", 0, "time added to each KMS request")
	f.DurationVar(&o.S3Latency, "s3-latency", 0, "time added to each S3 request")
	f.DurationVar(&o.RotationDelay, "rotation-delay", 0, "time from the request of a rotation on demand to its completion")
	return cmd
}
