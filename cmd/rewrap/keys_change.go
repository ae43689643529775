package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/keyadmin"
	"rewrap/cmd/rewrap/internal/report"
)

// oneKey makes sure that there is one argument, and that it can be a key.
func oneKey(what string, args []string) error {
	if len(args) != 1 {
		return job.Usage("give one %s; got %d arguments", what, len(args))
	}
	if err := keyNames(args); err != nil {
		return err
	}
	if what == "KEY" && !couldBeKey(args[0]) {
		return job.Usage("%q is not a key: give an id, an ARN or alias/NAME", args[0])
	}
	return nil
}

// printResult prints the result of a command, as a line or as JSON. A change that
// was made is always printed, with exit code 1 if standard output is closed, even
// after a signal, so that no script repeats it.
func printResult(s streams, asJSON bool, v any, format string, args ...any) error {
	signal.Ignore(syscall.SIGPIPE) // a reader that has closed the pipe would end the program here
	text := report.OneLine(fmt.Sprintf(format, args...))
	line := text
	if asJSON {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		line = string(b)
	}
	if _, err := fmt.Fprintln(s.out, line); err != nil {
		report.Speak(s.err)("%s", text)
		return &exitError{exitFailed, fmt.Errorf("the result above cannot be written to standard output: %w", err)}
	}
	return nil
}

// period is the time between automatic rotations, in days; 0: not given.
type period int

func (p *period) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < keyadmin.MinPeriod || n > keyadmin.MaxPeriod {
		return fmt.Errorf("it takes %d to %d days", keyadmin.MinPeriod, keyadmin.MaxPeriod)
	}
	*p = period(n)
	return nil
}

func (p *period) String() string { return strconv.Itoa(int(*p)) }
func (p *period) Type() string   { return "days" }

// What --json prints about a change: the state now, and the state before.
type (
	rotationChange struct {
		Key      string            `json:"key"`
		Changed  bool              `json:"changed"`
		Rotation keyadmin.Rotation `json:"rotation"`
		Was      keyadmin.Rotation `json:"was"`
	}
	materialChange struct {
		Key             string            `json:"key"`
		Changed         bool              `json:"changed"`  // this command began a rotation; false: one was under way
		Complete        bool              `json:"complete"` // its material is current
		CurrentMaterial string            `json:"current_material"`
		Was             string            `json:"was"`
		OnDemand        keyadmin.OnDemand `json:"on_demand"`
	}
	aliasChange struct {
		Alias   string `json:"alias"`
		Changed bool   `json:"changed"`
		Key     string `json:"key"`
		Was     string `json:"was"`
	}
)

func newEnableRotation(s streams) *cobra.Command {
	var days period
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "enable-rotation KEY",
		Short: "Turn on a key's automatic rotation, and say what it was before",
		Long: `enable-rotation turns on automatic rotation of a customer managed symmetric key
with material made by KMS. A key that rotates already keeps its period unless
--period names another. It needs kms:DescribeKey, kms:GetKeyRotationStatus and
kms:EnableKeyRotation.

If it is interrupted (exit code 75), it says whether the change may have been
made. Run the same command again to be sure.`,
		Example: `  rewrap keys enable-rotation alias/app
  rewrap keys enable-rotation alias/app --period 180`,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := oneKey("KEY", args); err != nil {
				return err
			}
			return administer(s, job.Rate{PerSecond: keysRPS}, func(ctx context.Context, a *keyadmin.Admin) error {
				k, before, after, err := a.EnableRotation(ctx, args[0], int(days))
				if err != nil {
					return err
				}
				change := rotationChange{k.ARN, before != after, after, before}
				if !change.Changed {
					return printResult(s, asJSON, change, "%s: unchanged, rotation was on already: %s", k.ARN, rotationText(after))
				}
				return printResult(s, asJSON, change, "%s: rotation is on: %s (it was: %s)", k.ARN, rotationText(after), rotationText(before))
			})
		},
	}
	cmd.Flags().Var(&days, "period", fmt.Sprintf("`DAYS` between rotations, %d to %d (default %d, or what the key has)", keyadmin.MinPeriod, keyadmin.MaxPeriod, keyadmin.DefaultPeriod))
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object on standard output")
	return cmd
}

// mustAsk says whether the command has to ask before it changes anything. Without
// a terminal it cannot ask, which is an error.
func mustAsk(s streams, yes bool) (bool, error) {
	if yes {
		return false, nil
	}
	if s.in == nil || !term.IsTerminal(int(s.in.Fd())) {
		return false, job.Usage("stdin is not a terminal, so rewrap cannot ask for confirmation. Pass --yes to proceed")
	}
	return true, nil
}

func newRotate(s streams) *cobra.Command {
	var wait, yes, asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rotate KEY",
		Short: "Give a key new key material now, one of 25 times in its life",
		Long: `rotate starts a rotation on demand. KMS carries it out some time later and
encrypts under the old key material until then. With --wait the command ends
when the new material is current. No rotation is started if one is under way
already, or if the key was rotated while rewrap waited for your confirmation.
Rotation re-encrypts nothing; use rewrap run afterwards. It needs
kms:DescribeKey, kms:GetKeyRotationStatus, kms:ListKeyRotations and
kms:RotateKeyOnDemand.

If the wait times out or is interrupted, the rotation goes on inside KMS. Look
at the key with rewrap keys KEY before you start another. Once the rotation was
requested, an interruption has exit code 1 and not 75, so that no script
requests a second one.`,
		Example: `  rewrap keys rotate alias/app --wait
  rewrap keys rotate alias/app --wait --yes --timeout 30m   # in a script`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneKey("KEY", args); err != nil {
				return err
			}
			if timeout <= 0 {
				return job.Usage("--timeout %v: more than 0", timeout)
			}
			if cmd.Flags().Changed("timeout") && !wait {
				return job.Usage("--timeout needs --wait")
			}
			ask, err := mustAsk(s, yes)
			if err != nil {
				return err
			}
			return administer(s, job.Rate{PerSecond: keysRPS}, func(ctx context.Context, a *keyadmin.Admin) error {
				r := rotateCommand{s, a, wait, asJSON, timeout}
				return r.run(ctx, args[0], ask)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&wait, "wait", false, "wait until the new key material is current")
	f.DurationVar(&timeout, "timeout", 15*time.Minute, "how long to --wait")
	f.BoolVar(&yes, "yes", false, "do not ask for confirmation")
	f.BoolVar(&asJSON, "json", false, "one JSON object on standard output")
	return cmd
}

// rotateCommand is one call of keys rotate.
type rotateCommand struct {
	s            streams
	a            *keyadmin.Admin
	wait, asJSON bool
	timeout      time.Duration
}

func (r *rotateCommand) say(format string, args ...any) { report.Speak(r.s.err)(format, args...) }

func (r *rotateCommand) run(ctx context.Context, name string, ask bool) error {
	p, err := r.a.PlanRotation(ctx, name)
	if err != nil {
		return err
	}
	arn, old := p.Key.ARN, p.Key.CurrentMaterial
	if r.wait && old == "" {
		return fmt.Errorf("%s: the endpoint names no key material, so rewrap cannot tell when a rotation is complete; leave --wait out", arn)
	}
	begin := p.Since.IsZero()
	if begin {
		r.say("%s: %d of %d rotations on demand used so far; the current key material is %s", arn, p.Used, keyadmin.MaxOnDemand, report.OrElse(old, "not named by the endpoint"))
		if ask {
			if !confirm(ctx, r.s) {
				return errNotConfirmed
			}
			if err := r.still(ctx, p); err != nil {
				return err
			}
		}
		// From here on no error has exit code 75. A script that repeats the
		// command on 75 could begin a second rotation.
		if err := r.a.BeginRotation(ctx, p); err != nil {
			return &exitError{exitFailed, err}
		}
		p.Used++
	} else {
		r.say("%s: a rotation on demand has been under way since %s; no other is started", arn, p.Since.UTC().Format(time.RFC3339))
	}
	change := materialChange{Key: arn, Changed: begin, CurrentMaterial: old, Was: old, OnDemand: keyadmin.OnDemand{Used: p.Used, Limit: keyadmin.MaxOnDemand}}
	if !r.wait {
		what := "rotation begun"
		if !begin {
			what = "unchanged, a rotation is under way"
		}
		return printResult(r.s, r.asJSON, change, "%s: %s, %d of %d used. KMS encrypts under %s until it is complete: before rewrap run, wait until rewrap keys %s shows new material",
			arn, what, p.Used, keyadmin.MaxOnDemand, report.OrElse(old, "the old key material"), arn)
	}
	material, err := r.await(ctx, p)
	if err != nil {
		return &exitError{exitFailed, err}
	}
	change.Complete, change.CurrentMaterial = true, material
	if err := printResult(r.s, r.asJSON, change, "%s: the current key material is %s (it was %s), %d of %d rotations on demand used", arn, material, old, p.Used, keyadmin.MaxOnDemand); err != nil {
		return err
	}
	r.say("a rotation re-encrypts nothing; next: rewrap run SOURCE --from %s", arn)
	return nil
}

// still makes sure that the key is as it was when the question was asked. The
// answer may have come much later.
func (r *rotateCommand) still(ctx context.Context, p keyadmin.RotationPlan) error {
	now, err := r.a.PlanRotation(ctx, p.Key.ARN)
	switch {
	case err != nil:
		return err
	case now.Key.CurrentMaterial != p.Key.CurrentMaterial, now.Used != p.Used:
		return fmt.Errorf("%[1]s was rotated meanwhile: %[2]d of %[3]d used, the current key material is %[4]s. No rotation was started; look again with rewrap keys %[1]s",
			p.Key.ARN, now.Used, keyadmin.MaxOnDemand, report.OrElse(now.Key.CurrentMaterial, "not named by the endpoint"))
	}
	return nil
}

const rotationNotice = 30 * time.Second

func (r *rotateCommand) await(ctx context.Context, p keyadmin.RotationPlan) (string, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, fmt.Errorf("no new key material within %v", r.timeout))
	defer cancel()
	var said time.Time
	material, err := r.a.AwaitRotation(ctx, p, func() {
		if time.Since(said) >= rotationNotice {
			said = time.Now()
			r.say("waiting for the new key material, %v so far", time.Since(began).Round(time.Second))
		}
	})
	if err != nil {
		return "", fmt.Errorf("%w. The rotation of %s was begun and goes on inside KMS: look with rewrap keys %s, and do not start another", err, p.Key.ARN, p.Key.ARN)
	}
	return material, nil
}

func newMoveAlias(s streams) *cobra.Command {
	var to string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "move-alias ALIAS --to KEY",
		Short: "Point an alias at another key, and say what it named before",
		Long: `move-alias points an alias at another key of the same type and usage in the
same account and Region. From then on, programs that encrypt by the alias use
the new key. Data keys that are wrapped under the old one stay there until
rewrap run moves them. It needs kms:DescribeKey on both keys, and
kms:UpdateAlias on the alias and on both keys.

If it is interrupted (exit code 75), it says whether the change may have been
made, and what the alias named before. Run the same command again to be sure.`,
		Example: `  rewrap keys move-alias alias/app --to 1234abcd-12ab-34cd-56ef-1234567890ab`,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := oneKey("ALIAS", args); err != nil {
				return err
			}
			if to == "" {
				return job.Usage("name the key that the alias shall point at: --to KEY")
			}
			if err := keyNames([]string{to}); err != nil {
				return err
			}
			ask, err := mustAsk(s, yes)
			if err != nil {
				return err
			}
			return administer(s, job.Rate{PerSecond: keysRPS}, func(ctx context.Context, a *keyadmin.Admin) error {
				return moveAlias(ctx, s, a, args[0], to, ask, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the `KEY` that the alias shall name: id, ARN or alias")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object on standard output")
	return cmd
}

func moveAlias(ctx context.Context, s streams, a *keyadmin.Admin, alias, to string, ask, asJSON bool) error {
	say := report.Speak(s.err)
	m, err := a.PlanAliasMove(ctx, alias, to)
	if err != nil {
		return err
	}
	change := aliasChange{m.Alias, !m.Done(), m.To.ARN, m.From.ARN}
	if m.Done() {
		return printResult(s, asJSON, change, "%s: unchanged, it names %s already", m.Alias, m.To.ARN)
	}
	if ask {
		say("%s names %s and is to name %s: programs that encrypt by the alias use the new key from then on", m.Alias, m.From.ARN, m.To.ARN)
		if !confirm(ctx, s) {
			return errNotConfirmed
		}
		// The answer may have come much later.
		now, err := a.PlanAliasMove(ctx, alias, to)
		switch {
		case err != nil:
			return err
		case now.From.ARN != m.From.ARN || now.To.ARN != m.To.ARN:
			return fmt.Errorf("nothing was changed: %s was to move from %s to %s, and now it would move from %s to %s. Look again",
				m.Alias, m.From.ARN, m.To.ARN, now.From.ARN, now.To.ARN)
		}
	}
	if err := a.MoveAlias(ctx, m); err != nil {
		return err
	}
	if err := printResult(s, asJSON, change, "%s: names %s (it was %s)", m.Alias, m.To.ARN, m.From.ARN); err != nil {
		return err
	}
	if m.From.Symmetric() {
		say("data keys wrapped under the old key stay there; next: rewrap run SOURCE --from %s --to %s", m.From.ARN, m.To.ARN)
	} else {
		say("signatures and ciphertexts made with the old key still need it; rewrap cannot move them")
	}
	return nil
}
