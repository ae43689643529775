package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"rewrap/engine/keys"
)

// oneKey makes sure that there is one argument, and that it can be a key.
func oneKey(what string, args []string) error {
	if len(args) != 1 {
		return usage("give one %s; got %d arguments", what, len(args))
	}
	return keyNames(args)
}

func newEnableRotation(s streams) *cobra.Command {
	var period int
	cmd := &cobra.Command{
		Use:   "enable-rotation KEY",
		Short: "Have a key rotate by itself, and say what it was before",
		Long: `enable-rotation turns on automatic rotation of a customer managed symmetric key
with material made by KMS. A key that rotates already keeps its period unless
--period says another. It wants kms:DescribeKey, kms:GetKeyRotationStatus and
kms:EnableKeyRotation.`,
		Example: `  rewrap keys enable-rotation alias/app
  rewrap keys enable-rotation alias/app --period 180`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneKey("KEY", args); err != nil {
				return err
			}
			if cmd.Flags().Changed("period") && (period < keys.MinPeriod || period > keys.MaxPeriod) {
				return usage("--period %d: %d to %d days", period, keys.MinPeriod, keys.MaxPeriod)
			}
			return administer(s, rate{perSecond: keysRPS}, func(ctx context.Context, a *keys.Admin) error {
				k, before, after, err := a.EnableRotation(ctx, args[0], period)
				if err != nil {
					return err
				}
				if before == after {
					_, err = fmt.Fprintf(s.out, "%s: unchanged, rotation was on already: %s\n", k.ARN, rotationText(after))
					return err
				}
				_, err = fmt.Fprintf(s.out, "%s: rotation is on: %s (it was: %s)\n", k.ARN, rotationText(after), rotationText(before))
				return err
			})
		},
	}
	cmd.Flags().IntVar(&period, "period", 0, fmt.Sprintf("`DAYS` between rotations, %d to %d (default %d, or what the key has)", keys.MinPeriod, keys.MaxPeriod, keys.DefaultPeriod))
	return cmd
}

// mustAsk says whether a question is to be asked, and refuses where it cannot
// be.
func mustAsk(s streams, yes bool, why string) (bool, error) {
	if yes {
		return false, nil
	}
	if s.in == nil || !term.IsTerminal(int(s.in.Fd())) {
		return false, usage("%s, and it cannot be asked here, since standard input is no terminal: say --yes", why)
	}
	return true, nil
}

var errNotConfirmed = errors.New("not confirmed; nothing was changed")

func newRotate(s streams) *cobra.Command {
	var wait, yes bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rotate KEY",
		Short: "Give a key new key material now, one of 25 times in its life",
		Long: `rotate starts a rotation on demand. KMS carries it out later, usually within a
few minutes, and goes on encrypting under the old key material until then: with
--wait the command ends when the new material is current. If one is under way
already no other is started. Rotation re-encrypts nothing; run rewrap run
afterwards. It wants kms:DescribeKey, kms:GetKeyRotationStatus,
kms:ListKeyRotations and kms:RotateKeyOnDemand.

After a wait that timed out or was interrupted, look with rewrap keys KEY
before you start another: the rotation itself goes on inside KMS.`,
		Example: `  rewrap keys rotate alias/app --wait
  rewrap keys rotate alias/app --wait --yes --timeout 30m   # in a script`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneKey("KEY", args); err != nil {
				return err
			}
			if timeout <= 0 {
				return usage("--timeout %v: more than 0", timeout)
			}
			if cmd.Flags().Changed("timeout") && !wait {
				return usage("--timeout is for --wait")
			}
			ask, err := mustAsk(s, yes, "a rotation on demand is one of 25 in the key's life")
			if err != nil {
				return err
			}
			return administer(s, rate{perSecond: keysRPS}, func(ctx context.Context, a *keys.Admin) error {
				r := rotation{s, a, wait, timeout}
				return r.run(ctx, args[0], ask)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&wait, "wait", false, "wait until the new key material is current")
	f.DurationVar(&timeout, "timeout", 15*time.Minute, "how long to --wait")
	f.BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// rotation is one call of keys rotate.
type rotation struct {
	s       streams
	a       *keys.Admin
	wait    bool
	timeout time.Duration
}

func (r *rotation) say(format string, args ...any) {
	fmt.Fprintf(r.s.err, "rewrap: "+format+"\n", args...)
}

func (r *rotation) run(ctx context.Context, name string, ask bool) error {
	p, err := r.a.PlanRotation(ctx, name)
	if err != nil {
		return err
	}
	arn, old := p.Key.ARN, p.Key.CurrentMaterial
	if r.wait && old == "" {
		return fmt.Errorf("%s: the endpoint names no key material, so the end of a rotation cannot be told; leave --wait out", arn)
	}
	if p.Since.IsZero() {
		r.say("%s: %d of %d rotations on demand used so far; the current key material is %s", arn, p.Used, keys.MaxOnDemand, old)
		if ask && !confirm(ctx, r.s) {
			return errNotConfirmed
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
	if !r.wait {
		_, err := fmt.Fprintf(r.s.out, "%s: rotation begun, %d of %d used; KMS encrypts under %s until it is complete: wait for new material in rewrap keys %s before rewrap run\n",
			arn, p.Used, keys.MaxOnDemand, old, arn)
		return err
	}
	material, err := r.await(ctx, p)
	if err != nil {
		return &exitError{exitFailed, err}
	}
	_, err = fmt.Fprintf(r.s.out, "%s: the current key material is %s (it was %s), %d of %d rotations on demand used\n", arn, material, old, p.Used, keys.MaxOnDemand)
	r.say("nothing is re-encrypted by that; next: rewrap run SOURCE --from %s", arn)
	return err
}

const rotationNotice = 30 * time.Second

func (r *rotation) await(ctx context.Context, p keys.RotationPlan) (string, error) {
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
	var yes bool
	cmd := &cobra.Command{
		Use:   "move-alias ALIAS --to KEY",
		Short: "Point an alias at another key, and say what it named before",
		Long: `move-alias points an alias at another key of the same type and usage in the
same account and Region. Whoever encrypts by the alias uses the new key from
then on; what is wrapped under the old one stays there until rewrap run moves
it. It wants kms:DescribeKey on both keys, and kms:UpdateAlias on the alias and
on both keys.`,
		Example: `  rewrap keys move-alias alias/app --to 1234abcd-12ab-34cd-56ef-1234567890ab`,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := oneKey("ALIAS", args); err != nil {
				return err
			}
			if to == "" {
				return usage("say where the alias shall point: --to KEY")
			}
			if err := keyNames([]string{to}); err != nil {
				return err
			}
			ask, err := mustAsk(s, yes, "move-alias changes which key is used by whoever encrypts by the alias")
			if err != nil {
				return err
			}
			return administer(s, rate{perSecond: keysRPS}, func(ctx context.Context, a *keys.Admin) error {
				return moveAlias(ctx, s, a, args[0], to, ask)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the `KEY` that the alias shall name: id, ARN or alias")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func moveAlias(ctx context.Context, s streams, a *keys.Admin, alias, to string, ask bool) error {
	m, err := a.PlanAliasMove(ctx, alias, to)
	if err != nil {
		return err
	}
	if m.Done() {
		_, err := fmt.Fprintf(s.out, "%s: unchanged, it names %s already\n", m.Alias, m.To.ARN)
		return err
	}
	if ask {
		fmt.Fprintf(s.err, "%s names %s and shall name %s: whoever encrypts by it uses that key from then on.\n", m.Alias, m.From.ARN, m.To.ARN)
		if !confirm(ctx, s) {
			return errNotConfirmed
		}
	}
	if err := a.MoveAlias(ctx, m); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.out, "%s: names %s (it was %s)\n", m.Alias, m.To.ARN, m.From.ARN); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "rewrap: what was wrapped under the old key stays there; next: rewrap run SOURCE --from %s --to %s\n", m.From.ARN, m.To.ARN)
	return nil
}
