package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/cmd/rewrap/internal/attest"
	"rewrap/cmd/rewrap/internal/forecast"
	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/cmd/rewrap/internal/setup"
	"rewrap/engine"
	"rewrap/sources"
)

// withJob makes the job of a command's arguments. Then it prints the job, if
// --print-job asks for that, or does it.
func withJob(f *job.Flags, s streams, do func(job.Job) error) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		j, err := f.Parse(args)
		if err != nil {
			return err
		}
		if f.Print() {
			return f.WriteJob(s.out, j)
		}
		return do(j)
	}
}

func doRun(s streams, j job.Job) (err error) {
	ask, err := mustAsk(s, j.Output.Yes)
	if err != nil {
		return err
	}
	say := report.Speak(s.err)
	hard, stop, end, unwatch := interruptible(say)
	defer unwatch()
	// Before items are worked on there is nothing to finish, so the first signal
	// ends the command.
	opening, opened := context.WithCancelCause(hard)
	defer context.AfterFunc(stop, func() { opened(context.Cause(stop)) })()
	interrupted := func(err error) error {
		if stop.Err() != nil {
			return &exitError{exitStopped, fmt.Errorf("stopped before anything was changed: %w", context.Cause(stop))}
		}
		return err
	}
	se, err := setup.Open(opening, j, job.Run, say)
	if err != nil {
		return interrupted(err)
	}
	defer se.Close()
	if caveat := j.Plan.Caveat(); caveat != "" {
		say("%s", caveat)
	}
	if se, err = se.Learn(opening, say); err != nil {
		return interrupted(err)
	}
	if ask {
		describe(s.err, se)
		if !confirm(opening, s) {
			return interrupted(errNotConfirmed)
		}
	}
	state, err := checkpoint.Open(se.Dir, checkpoint.Options{Job: se.Identity(), Restart: j.State.Restart, Version: version()})
	if err != nil {
		return setup.StateError(err)
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	for _, w := range state.Warnings() {
		say("%s", w)
	}
	if err := se.Source.Begin(opening, sources.Write); err != nil {
		return interrupted(err)
	}

	if d := j.Limits.Duration; d > 0 {
		defer time.AfterFunc(d, func() { end(fmt.Errorf("reached --max-duration %v", d)) }).Stop()
	}
	p, reasons, fields := newProgress(s.err, j.Output.Progress, watch(se), state.Snapshot().Tally.Items), report.Reasons{}, report.Fields{}
	rep, runErr := engine.Run(hard, engine.Job{
		Source: se.Source, Mover: se.Mover(), State: state, Targets: se.Keys.Targets,
		Workers: j.Pace.Workers, Match: se.Match, MaxItems: j.Limits.Items, Learned: se.LearnedName(),
		Stop: stop,
		Observe: func(ev engine.Event) {
			p.observe(ev)
			reasons.Observe(ev)
			fields.Observe(ev)
		},
		Notice: func(msg string) { say("%s", msg) },
	})
	p.close()
	remark(say, se, rep, runErr, reasons, fields)
	sum := summaryOf(se, rep)
	if err := sum.Keep(state.WriteFile); err != nil && runErr == nil {
		runErr = err
	}
	if err := sum.Print(s.out, j.Output.JSON); err != nil && runErr == nil {
		runErr = fmt.Errorf("the summary cannot be written to standard output: %w", err)
	}
	// A process that dies before this line makes the next run print the summary
	// again.
	if rep.Ended && runErr == nil {
		runErr = state.End()
	}
	return ending(se, rep, runErr)
}

// summaryOf is the summary of what an engine reported.
func summaryOf(se *setup.Session, rep engine.Report) report.Summary {
	sum := report.NewSummary(rep, se.Cloud.KMSTraffic(), se.Cloud.StoreTraffic(), se.Dir)
	sum.Base64 = se.Base64
	return sum
}

// ending is the exit code of a run, and the last line that goes with it.
func ending(se *setup.Session, rep engine.Report, err error) error {
	switch {
	case rep.Result == engine.ResultStopped:
		// An error says what to do about credentials, or what could not be
		// written. A canceled context says less than Why.
		if err == nil || errors.Is(err, context.Canceled) {
			err = errors.New(report.OrElse(rep.Why, "stopped"))
		}
		return &exitError{exitStopped, fmt.Errorf("%w; run the same command again to resume", err)}
	case err != nil:
		return &exitError{exitFailed, err}
	case rep.Result == engine.ResultFailed:
		return &exitError{exitFailed, fmt.Errorf("%s: %s", rep.Why, nothingHint(se.Job))}
	case rep.Result == engine.ResultRemaining:
		they, those := "Each is", "those"
		if rep.Left == 1 {
			they, those = "It is", "that one"
		}
		return &exitError{exitRemaining, fmt.Errorf("%s still under an old or an unknown key. %s listed with its reason in %s. Fix the cause, then run the same command to retry only %s",
			report.Are(rep.Left, "item"), they, filepath.Join(se.Dir, "failures.jsonl"), those)}
	}
	return nil
}

// nothingHint says what to check if nothing was under a source key or on target.
func nothingHint(j job.Job) string {
	if j.Keys.Keyring.File != "" {
		return "the blobs are under keys that are not in the keyring, or they are no Tink ciphertexts; rewrap inspect ITEM tells which. Check --keyring, --format and --json-field"
	}
	return "check the prefix, --from (s3ec kms+context does not record its key), --format and --json-field"
}

func doVerify(s streams, j job.Job) error {
	// Nothing is written to the source, so the first signal ends the command.
	_, ctx, _, unwatch := interruptible(func(string, ...any) {})
	defer unwatch()
	say := report.Speak(s.err)
	began := time.Now().UTC()
	se, err := setup.Open(ctx, j, job.Verify, say)
	if err != nil {
		if ctx.Err() != nil {
			return &exitError{exitStopped, context.Cause(ctx)}
		}
		return err
	}
	defer se.Close()
	if caveat := j.Plan.Caveat(); caveat != "" {
		say("%s", caveat)
	}
	if err := checkpoint.MakeDir(se.Dir, se.Identity()); err != nil {
		return setup.StateError(err)
	}
	found, err := attest.NewFindings(se.Dir)
	if err != nil {
		return setup.StateError(err)
	}
	defer found.Discard()
	p, reasons, fields := newProgress(s.err, j.Output.Progress, watch(se), account.Items{}), report.Reasons{}, report.Fields{}
	rep, err := engine.Run(ctx, engine.Job{
		Source: se.Source, Mover: se.Mover(), Until: engine.Moved,
		Workers: j.Pace.Workers, Match: se.Match,
		Observe: func(ev engine.Event) {
			p.observe(ev)
			reasons.Observe(ev)
			fields.Observe(ev)
			found.Observe(ev)
		},
	})
	p.close()
	remark(say, se, rep, err, reasons, fields)
	sum := summaryOf(se, rep)
	switch {
	case ctx.Err() != nil:
		return &exitError{exitStopped, fmt.Errorf("%w; no attestation was written", context.Cause(ctx))}
	case err != nil:
		return fmt.Errorf("%w; no attestation was written", err)
	}
	a := attest.Attestation{
		Statement: attest.Statement(rep, j.Place.String()), Tool: "rewrap " + version(),
		Job: se.Identity(), Targets: se.Keys.Targets(), Began: began, Ended: time.Now().UTC(), Summary: sum, Limits: attest.NotCovered,
	}
	if err := a.Keep(se.Dir, found); err != nil {
		return fmt.Errorf("no attestation was written: %w", setup.StateError(err))
	}
	if err := sum.Print(s.out, j.Output.JSON); err != nil {
		return err
	}
	say("%s The attestation is in %s", a.Statement, filepath.Join(se.Dir, attest.File))
	switch {
	case rep.Result == engine.ResultFailed:
		return ending(se, rep, nil)
	case rep.Left > 0:
		return &exitError{exitNotOn, fmt.Errorf("%s not on target, or may not be, as listed with the reasons in %s", report.Are(rep.Left, "item"), filepath.Join(se.Dir, attest.FindingsFile))}
	}
	return nil
}

func doPlan(s streams, j job.Job, size int, out string) error {
	file, err := openOut(out, j.Place)
	if err != nil {
		return err
	}
	if file != nil {
		defer file.Discard()
	}
	// Nothing is written to the source, so the first signal ends the command.
	_, ctx, _, unwatch := interruptible(func(string, ...any) {})
	defer unwatch()
	p, err := planOf(ctx, s, j, size)
	if ctx.Err() != nil {
		return &exitError{exitStopped, fmt.Errorf("%w; there is no plan", context.Cause(ctx))}
	}
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	kept := keepOut(file, append(data, '\n'))
	if j.Output.JSON {
		err = json.NewEncoder(s.out).Encode(p)
	} else {
		err = printPlan(s.out, p)
	}
	if err != nil {
		err = fmt.Errorf("the plan cannot be written to standard output: %w", err)
	}
	if err := errors.Join(kept, err); err != nil {
		return err
	}
	switch n := p.Outcomes[account.Foreign.String()]; {
	case p.Failure != nil:
		return fmt.Errorf("every item that was looked into failed (%s), for example %w", report.Items(p.Sampled), p.Failure)
	case p.Whole && n > 0 && n == p.Items:
		return fmt.Errorf("saw %s, and nothing is under a source key or on target: %s", report.Items(n), nothingHint(j))
	}
	return nil
}

// planOf makes the plan of a job, from a sample of so many items.
func planOf(ctx context.Context, s streams, j job.Job, size int) (*forecast.Plan, error) {
	say := report.Speak(s.err)
	f, err := forecast.Open(ctx, j, say)
	if err != nil {
		return nil, err
	}
	defer f.Session().Close()
	all, sampled, err := f.Draw(ctx, size)
	if err != nil {
		return nil, err
	}
	say("%s; looking into %s of them", report.Items(all), report.Count(sampled))
	w := watch(f.Session())
	w.source, w.match = f.Sample(), nil
	prog := newProgress(s.err, j.Output.Progress, w, account.Items{})
	p, err := f.Rehearse(ctx, prog.observe)
	prog.close()
	if err != nil {
		return nil, err
	}
	p.Tool = "rewrap " + version()
	where := "no item"
	if sampled < all {
		where = "none of the " + report.Items(sampled) + " that were looked into"
	}
	unmet(say, p.Unmet, where)
	return p, nil
}
