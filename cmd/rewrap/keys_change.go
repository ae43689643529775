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
		return job.Usage("%q is no key: it is an id, an ARN or alias/NAME", args[0])
	}
	return nil
}

// printResult prints the result of a command, as a line or as JSON. A change that
// was made is always printed, with exit code 1 if standard output is closed, even
// after a signal, so that no script repeats it.
func printResult(s streams, asJSON bool, v any, format string, args ...any) error {
	signal.Ignore(syscall.SIGPIPE) // or a reader that left would end the program here
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
		return &exitError{exitFailed, fmt.Errorf("that is so, but it cannot be written to standard output: %w", err)}
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
		Short: "Have a key rotate by itself, and say what it was before",
		Long: `enable-rotation turns on automatic rotation of a customer managed symmetric key
with material made by KMS. A key that rotates already keeps its period unless
--period says another. It wants kms:DescribeKey, kms:GetKeyRotationStatus and
kms:EnableKeyRotation.

Interrupted (exit code 75), it says if the change may have been made; the same
command again makes it, or says that it was made.`,
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

// mustAsk says whether the command has to ask before it changes anything. It is
// an error where there is no terminal to ask on.
func mustAsk(s streams, yes bool, why string) (bool, error) {
	if yes {
		return false, nil
	}
	if s.in == nil || !term.IsTerminal(int(s.in.Fd())) {
		return false, job.Usage("%s, and it cannot be asked here, since standard input is no terminal: say --yes", why)
	}
	return true, nil
}

func newRotate(s streams) *cobra.Command {
	var wait, yes, asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rotate KEY",
		Short: "Give a key new key material now, one of 25 times in its life",
		Long: `rotate starts a rotation on demand. KMS carries it out some time later, and goes
on encrypting under the old key material until then: with --wait the command
ends when the new material is current. If one is under way already no other is
started, and none if the key was rotated while the question stood. Rotation
re-encrypts nothing; run rewrap run afterwards. It wants kms:DescribeKey,
kms:GetKeyRotationStatus, kms:ListKeyRotations and kms:RotateKeyOnDemand.

After a wait that timed out or was interrupted, look with rewrap keys KEY
before you start another: the rotation itself goes on inside KMS. Interrupted
once the rotation was asked for, the exit code is 1 and not 75, so that nothing
asks for a second one.`,
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
				return job.Usage("--timeout is for --wait")
			}
			ask, err := mustAsk(s, yes, "a rotation on demand is one of 25 in the key's life")
			if err != nil {
				return err
			}
			return administer(s, job.Rate{PerSecond: keysRPS}, func(ctx context.Context, a *keyadmin.Admin) error {
				r := rotation{s, a, wait, asJSON, timeout}
				return r.run(ctx, args[0], ask)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&wait, "wait", false, "wait until the new key material is current")
	f.DurationVar(&timeout, "timeout", 15*time.Minute, "how long to --wait")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&asJSON, "json", false, "one JSON object on standard output")
	return cmd
}

// rotation is one call of keys rotate.
type rotation struct {
	s            streams
	a            *keyadmin.Admin
	wait, asJSON bool
	timeout      time.Duration
}

func (r *rotation) say(format string, args ...any) { report.Speak(r.s.err)(format, args...) }

func (r *rotation) run(ctx context.Context, name string, ask bool) error {
	p, err := r.a.PlanRotation(ctx, name)
	if err != nil {
		return err
	}
	arn, old := p.Key.ARN, p.Key.CurrentMaterial
	if r.wait && old == "" {
		return fmt.Errorf("%s: the endpoint names no key material, so the end of a rotation cannot be told; leave --wait out", arn)
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
		// From here on no error is exit 75: a script that runs the command
		// again by that could begin a second rotation.
		if err := r.a.BeginRotation(ctx, p); err != nil {
			return &exitError{exitFailed, err}
		}
		p.Used++
	} else {
		r.say("%s: a rotation on demand is under way since %s; no other is started", arn, p.Since.UTC().Format(time.RFC3339))
	}
	change := materialChange{Key: arn, Changed: begin, CurrentMaterial: old, Was: old, OnDemand: keyadmin.OnDemand{Used: p.Used, Limit: keyadmin.MaxOnDemand}}
	if !r.wait {
		what := "rotation begun"
		if !begin {
			what = "unchanged, a rotation is under way"
		}
		return printResult(r.s, r.asJSON, change, "%s: %s, %d of %d used; KMS encrypts under %s until it is complete: wait for new material in rewrap keys %s before rewrap run",
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
	r.say("nothing is re-encrypted by that; next: rewrap run SOURCE --from %s", arn)
	return nil
}

// still makes sure that the key is as it was when the question was asked. The
// answer may have come much later.
func (r *rotation) still(ctx context.Context, p keyadmin.RotationPlan) error {
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

func (r *rotation) await(ctx context.Context, p keyadmin.RotationPlan) (string, error) {
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
same account and Region. Whoever encrypts by the alias uses the new key from
then on; what is wrapped under the old one stays there until rewrap run moves
it. It wants kms:DescribeKey on both keys, and kms:UpdateAlias on the alias and
on both keys.

Interrupted (exit code 75), it says if the change may have been made, and what
the alias named; the same command again makes it, or says that it was made.`,
		Example: `  rewrap keys move-alias alias/app --to 1234abcd-12ab-34cd-56ef-1234567890ab`,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := oneKey("ALIAS", args); err != nil {
				return err
			}
			if to == "" {
				return job.Usage("say where the alias shall point: --to KEY")
			}
			if err := keyNames([]string{to}); err != nil {
				return err
			}
			ask, err := mustAsk(s, yes, "move-alias changes which key is used by whoever encrypts by the alias")
			if err != nil {
				return err
			}
			return administer(s, job.Rate{PerSecond: keysRPS}, func(ctx context.Context, a *keyadmin.Admin) error {
				return moveAlias(ctx, s, a, args[0], to, ask, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the `KEY` that the alias shall name: id, ARN or alias")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
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
		say("%s names %s and shall name %s: whoever encrypts by it uses that key from then on", m.Alias, m.From.ARN, m.To.ARN)
		if !confirm(ctx, s) {
			return errNotConfirmed
		}
		// The answer may have come much later.
		now, err := a.PlanAliasMove(ctx, alias, to)
		switch {
		case err != nil:
			return err
		case now.From.ARN != m.From.ARN || now.To.ARN != m.To.ARN:
			return fmt.Errorf("%s was to be moved from %s to %s, and meanwhile that would be from %s to %s: nothing was changed; look again",
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
		say("what was wrapped under the old key stays there; next: rewrap run SOURCE --from %s --to %s", m.From.ARN, m.To.ARN)
	} else {
		say("what was made with the old key still needs it; rewrap cannot move that")
	}
	return nil
}
