package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rewrap/checkpoint"
	"rewrap/engine"
	"rewrap/engine/move"
	"rewrap/sources"
)

func newRun(s streams) *cobra.Command {
	j := &job{}
	cmd := &cobra.Command{
		Use:   "run SOURCE | -f FILE",
		Short: "Move every wrapped key onto the target; the same command resumes",
		Long: `run moves every wrapped key of SOURCE onto the target and keeps its progress in
the state directory. Killed or stopped, the same command goes on. Items that
failed are tried again by the next run; a run after a complete one begins anew.

The first Ctrl-C finishes what is in work, the second stops at once.

Exit codes: 0 complete; 1 could not go on, or nothing was under a source key or
on target; 2 wrong usage; 3 reached the end, but items failed or were skipped;
75 stopped before the end, run it again to go on.`,
		Example: `  # after a rotation of the key, or onto another key
  rewrap run s3://bucket/prefix --from alias/app
  rewrap run s3://bucket/prefix --from alias/old --to alias/new
  # overnight; again tomorrow
  rewrap run s3://bucket/ --from alias/app --yes --max-duration 8h
  # a directory of JSON, whose blobs are bound to the id beside them
  rewrap run ./config --json-field '/db/*/key' --context tenant={field:id} \
      --from alias/app
  # locally, with a keyring that was rotated
  rewrap run ./vault --format raw --keyring new.json --associated-data {name}
  # a job that stands in a file
  rewrap run -f job.yaml`,
		RunE: j.command(s, func() error { return j.run(s) }),
	}
	f := cmd.Flags()
	j.jobFlags(f)
	j.planFlag(f)
	j.verifyFlag(f)
	f.Int64Var(&j.maxItems, "max-items", 0, "stop cleanly after `N` items; 0: no limit")
	f.DurationVar(&j.maxDuration, "max-duration", 0, "stop cleanly after this time, for example 7h30m; 0: no limit")
	f.BoolVar(&j.yes, "yes", false, "do not ask")
	f.BoolVar(&j.restart, "restart", false, "begin a new pass over all items instead of going on")
	return cmd
}

func (j *job) run(s streams) (err error) {
	ask, err := mustAsk(s, j.yes, "run changes wrapped keys")
	if err != nil {
		return err
	}
	hard, stop, end, release := interruptible(speak(s.err))
	defer release()
	// Until items are worked on there is nothing to finish: the first signal
	// ends it.
	opening, opened := context.WithCancelCause(hard)
	defer context.AfterFunc(stop, func() { opened(context.Cause(stop)) })()
	interrupted := func(err error) error {
		if stop.Err() != nil {
			return &exitError{exitStopped, fmt.Errorf("stopped before anything was changed: %w", context.Cause(stop))}
		}
		return err
	}
	se, err := openSession(opening, j, s, toMove)
	if err != nil {
		return interrupted(err)
	}
	defer se.close()
	if j.planned != nil {
		j.planned.vouch(se.say)
	}
	if ask {
		se.describe(s.err)
		if !confirm(opening, s) {
			return interrupted(errNotConfirmed)
		}
	}
	state, err := checkpoint.Open(se.dir, checkpoint.Options{Job: se.identity(), Restart: j.restart, Version: version()})
	if err != nil {
		return stateError(err)
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	for _, w := range state.Warnings() {
		se.say("%s", w)
	}
	if err := se.source.Begin(opening, sources.Write); err != nil {
		return interrupted(err)
	}

	if j.maxDuration > 0 {
		defer time.AfterFunc(j.maxDuration, func() { end(fmt.Errorf("reached --max-duration %v", j.maxDuration)) }).Stop()
	}
	p, why := newProgress(se, s, state.Snapshot().Tally), left{}
	met := fieldsMet{}
	rep, runErr := engine.Run(hard, engine.Job{
		Source: se.source, Mover: move.NewPayload(se.format, se.rewrapper, j.workers), State: state, Targets: se.targets,
		Workers: j.workers, Match: se.match, MaxItems: j.maxItems,
		Stop: stop,
		Observe: func(ev engine.Event) {
			p.observe(ev)
			why.observe(ev)
			met.observe(ev)
		},
		Notice: func(msg string) { se.say("%s", msg) },
	})
	p.close()
	se.remarks(rep, runErr, why, met)
	sum := se.summary(rep)
	if err := writeSummary(state.WriteFile, sum); err != nil && runErr == nil {
		runErr = err
	}
	if err := sum.print(s.out, j.json, se.dir); err != nil && runErr == nil {
		runErr = fmt.Errorf("the summary cannot be written to standard output: %w", err)
	}
	// Killed before this, the next run says what this one could not.
	if rep.Ended && runErr == nil {
		runErr = state.End()
	}
	return se.ending(rep, runErr)
}

// ending is the exit code of a run, and the last line that goes with it.
func (se *session) ending(rep engine.Report, err error) error {
	switch {
	case rep.Result == engine.ResultStopped:
		// An error says more than a few words do: what to do about credentials, or
		// what could not be written besides. That a context was canceled does not.
		if err == nil || errors.Is(err, context.Canceled) {
			err = errors.New(orElse(rep.Why, "stopped"))
		}
		return &exitError{exitStopped, fmt.Errorf("%w; run the same command again to go on", err)}
	case err != nil:
		return &exitError{exitFailed, err}
	case rep.Result == engine.ResultFailed:
		return &exitError{exitFailed, fmt.Errorf("%s: %s", rep.Why, se.job.nothingHint())}
	case rep.Result == engine.ResultRemaining:
		return &exitError{exitRemaining, fmt.Errorf("%s failed or skipped under an old key, as listed in %s; do what it asks for there, and run the same command again",
			items(rep.Left), filepath.Join(se.dir, "failures.jsonl"))}
	}
	return nil
}

// nothingHint is what to look at when nothing was under a source key or on
// target.
func (j *job) nothingHint() string {
	if j.keyring != "" {
		return "the blobs name keys that the keyring does not hold, or they are no Tink ciphertexts; rewrap inspect says which of an item. Check --keyring, --format and --json-field"
	}
	return "check the prefix, --from (s3ec kms+context does not record its key), --format and --json-field"
}

// describe says what will be done, before it is asked whether it shall.
func (se *session) describe(w io.Writer) {
	j := se.job
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintln(w, "rewrap will change wrapped keys:")
	for _, f := range j.scope() {
		row(f.Name, "%s", f.Value)
	}
	if e := se.endpoint; e != "" {
		row("endpoint", "%s", e)
	}
	for _, r := range se.describeKeys() {
		row(r[0], "%s", r[1])
	}
	row("verify", "%s", j.verify)
	row("pace", "%d key calls at once, KMS %s requests/s, store %s requests/s", j.workers, j.kms.String(), j.store.String())
	row("state", "%s (%s)", se.dir, se.before())
	_ = t.Flush()
}

// before says what the state directory already knows.
func (se *session) before() string {
	st, err := checkpoint.Read(se.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "new"
	case err != nil:
		return err.Error()
	case se.job.restart:
		return "a new pass, as asked"
	case st.Snapshot.Ended:
		return "a new pass; the last one is over"
	}
	return "goes on after " + items(st.Snapshot.Tally.Items.Seen)
}

var errNotConfirmed = errors.New("not confirmed; nothing was changed")

// confirm asks on the terminal. Anything but y or yes is no.
func confirm(ctx context.Context, s streams) bool {
	fmt.Fprint(s.err, "Go on? [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(s.in).ReadString('\n')
		if err != nil { // Ctrl-D leaves the cursor behind the question
			fmt.Fprintln(s.err)
		}
		answer <- line
	}()
	select {
	case a := <-answer:
		a = strings.ToLower(strings.TrimSpace(a))
		return a == "y" || a == "yes"
	case <-ctx.Done():
		fmt.Fprintln(s.err)
		return false
	}
}
