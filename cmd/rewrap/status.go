package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
)

func newStatus(s streams) *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "How far a run is, also while it runs",
		Long: `status reads the state directory of a run and changes nothing in it. Without
--state it shows every state directory below .rewrap here. One that cannot be
read is reported at the end, with exit code 1.`,
		Args: argsAre(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs := []string{dir}
			if !cmd.Flags().Changed("state") {
				found, err := filepath.Glob(filepath.Join(".rewrap", "*", "checkpoint.json"))
				if err != nil {
					return err
				}
				if len(found) == 0 {
					return errors.New("there is no state directory below .rewrap here; name one with --state DIR")
				}
				dirs = dirs[:0]
				for _, f := range found {
					dirs = append(dirs, filepath.Dir(f))
				}
			} else if dir == "" {
				return job.Usage("--state has an empty value: set it, or leave the flag out")
			}
			var failed []error
			for i, d := range dirs {
				st, err := checkpoint.Read(d)
				if errors.Is(err, fs.ErrNotExist) {
					err = fmt.Errorf("%s holds no state of a run", d)
				}
				switch {
				case err != nil: // the others are still shown
					failed = append(failed, err)
					continue
				case asJSON:
					err = json.NewEncoder(s.out).Encode(statusOf(d, st))
				default:
					if i > len(failed) {
						fmt.Fprintln(s.out)
					}
					err = statusOf(d, st).print(s.out)
				}
				if err != nil {
					return err
				}
			}
			if n := len(failed); n > 0 {
				for _, err := range failed[:n-1] {
					report.Speak(s.err)("%v", err)
				}
				return failed[n-1]
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "state", "", "the state `DIR` of the run")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object for each state directory")
	return cmd
}

// status is what a state directory says about its run.
type status struct {
	State   string             `json:"state"`
	Result  string             `json:"result"` // running, interrupted (killed), or as in the summary
	Pass    int                `json:"pass"`
	Runs    int                `json:"runs"`
	Began   time.Time          `json:"began"`
	Saved   time.Time          `json:"saved"`
	PID     int                `json:"pid,omitempty"`
	Job     []checkpoint.Field `json:"job"`
	Targets map[string]string  `json:"targets"`
	Spans   int                `json:"spans"`
	Done    int                `json:"spans_done"`
	account.Tally
}

func statusOf(dir string, st checkpoint.Status) status {
	snap := st.Snapshot
	o := status{State: dir, Result: snap.Result, Pass: snap.Pass, Runs: snap.Session, Began: snap.Began, Saved: snap.Saved,
		Job: snap.Job, Targets: snap.Targets, Spans: len(snap.Spans), Tally: snap.Tally}
	for _, s := range snap.Spans {
		if s.Done {
			o.Done++
		}
	}
	switch {
	case st.Live:
		o.Result, o.PID = "running", st.Holder.PID
	case o.Result == "":
		o.Result = "interrupted"
	}
	return o
}

func (o status) print(w io.Writer) error {
	var b strings.Builder
	head := o.Result
	switch o.Result {
	case "running":
		head += fmt.Sprintf(" as process %d", o.PID)
	case "interrupted", "stopped":
		head += "; the same command resumes"
	}
	fmt.Fprintf(&b, "%s: %s\n", report.OneLine(o.State), head)
	for _, f := range o.Job {
		fmt.Fprintf(&b, "  %s: %s\n", report.OneLine(f.Name), report.OneLine(f.Value))
	}
	fmt.Fprintf(&b, "  pass %d, run %d, begun %s, saved %s; %d of %d spans done\n", o.Pass, o.Runs,
		o.Began.Local().Format(time.DateTime), o.Saved.Local().Format(time.DateTime), o.Done, o.Spans)
	report.TallyTable(&b, o.Tally)
	_, err := io.WriteString(w, b.String())
	return err
}
