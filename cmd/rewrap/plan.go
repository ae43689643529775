package main

import (
	"github.com/spf13/cobra"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
)

func newPlan(s streams) *cobra.Command {
	var size int
	var out string
	cmd := &cobra.Command{
		Use:   "plan SOURCE | -f FILE",
		Short: "Read only: what a run would do, and what it would cost",
		Long: `plan lists all of SOURCE and takes a sample of its items. It does with each of
them what run would do, up to the write: it reads the item, asks KMS to
re-encrypt its wrapped keys onto the target, discards the new keys, and asks the
source how it would write the item. The counts are scaled up to all of SOURCE;
if the sample is all of it (see --sample), they are exact. Nothing in SOURCE is
changed, and no state directory is made.

The sample is the same each time, as long as the names are the same.

Exit codes: 0 the plan was made; 1 could not go on, or nothing in the whole
source was under a source key or on target; 2 wrong usage; 75 stopped.`,
		Example: `  rewrap plan s3://bucket/prefix --from alias/app
  rewrap plan s3://bucket/prefix --from alias/old --to alias/new \
      --sample 5000 --out plan.json
  rewrap run  s3://bucket/prefix --from-plan plan.json --to alias/new`,
	}
	f := job.Declare(cmd.Flags(), job.Forecast)
	cmd.Flags().Lookup("progress").Usage = "how the progress of plan is shown, on standard error: " + report.OneOf(job.ProgressModes) + ". With none, a run does not list the items once more to count them, and the plan leaves those requests out"
	cmd.Flags().Lookup("json").Usage = "the plan as one JSON object on standard output"
	cmd.Flags().IntVar(&size, "sample", 200, "how many items to look into; the others are only listed")
	cmd.Flags().StringVar(&out, "out", "", "also write the plan as JSON to this `FILE`, for run --from-plan")
	cmd.RunE = withJob(f, s, func(j job.Job) error {
		if size < 1 || size > maxSample {
			return job.Usage("--sample %d: 1 to %d", size, maxSample)
		}
		return doPlan(s, j, size, out)
	})
	return cmd
}

// maxSample bounds the memory that names take.
const maxSample = 1_000_000
