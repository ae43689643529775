package main

import (
	"github.com/spf13/cobra"

	"rewrap/cmd/rewrap/internal/job"
)

func newRun(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run SOURCE | -f FILE",
		Short: "Move every wrapped key onto the target; the same command resumes",
		Long: `run moves every wrapped key of SOURCE onto the target and keeps its progress in
the state directory. After a kill or a stop, the same command resumes. The next
run tries failed items again; a run after a complete one starts over.

The first Ctrl-C finishes the items in work and stops. The second stops at once.

Exit codes: 0 complete; 1 could not go on, or nothing was under a source key or
on target; 2 wrong usage; 3 reached the end, but items failed or were skipped;
75 stopped before the end, run it again to resume.`,
		Example: `  # after a rotation of the key, or onto another key
  rewrap run s3://bucket/prefix --from alias/app
  rewrap run s3://bucket/prefix --from alias/old --to alias/new
  # at most 8 hours; the same command resumes tomorrow
  rewrap run s3://bucket/ --from alias/app --yes --max-duration 8h
  # a directory of JSON; the context of a blob is the id beside it
  rewrap run ./config --json-field '/db/*/key' --context tenant={field:id} \
      --from alias/app
  # locally, with a keyring that was rotated
  rewrap run ./vault --format raw --keyring new.json --associated-data {name}
  # the job is in a file
  rewrap run -f job.yaml`,
	}
	f := job.Declare(cmd.Flags(), job.Run)
	cmd.RunE = withJob(f, s, func(j job.Job) error { return doRun(s, j) })
	return cmd
}
