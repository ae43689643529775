package main

import (
	"github.com/spf13/cobra"

	"rewrap/cmd/rewrap/internal/job"
)

func newVerify(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify SOURCE | -f FILE",
		Short: "Read only: is everything on target? Writes the attestation",
		Long: `verify asks KMS which key and key material every wrapped key of SOURCE is under:
KMS re-encrypts it onto the target, and the new key is discarded. This needs no
permission to decrypt. Nothing in SOURCE is changed. The result is the
attestation, attestation.json in the state directory. findings.jsonl beside it
lists the items that are not on target, or may not be.

Exit codes: 0 everything is on target; 1 could not go on, or nothing was under
a source key or on target; 2 wrong usage; 4 an item is not on target, or
may not be; 75 stopped before the end.`,
		Example: `  rewrap verify s3://bucket/prefix --from alias/app
  rewrap verify s3://bucket/prefix --from alias/old --to alias/new`,
	}
	f := job.Declare(cmd.Flags(), job.Verify)
	cmd.RunE = withJob(f, s, func(j job.Job) error { return doVerify(s, j) })
	return cmd
}
