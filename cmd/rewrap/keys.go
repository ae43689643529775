package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/keyadmin"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/cmd/rewrap/internal/setup"
)

func newKeys(s streams) *cobra.Command {
	c := &keysCommand{rps: job.Rate{PerSecond: keysRPS}}
	cmd := &cobra.Command{
		Use:   "keys [KEY...]",
		Short: "Each customer key: kind, rule, rotation and all its key material",
		Long: `keys shows the KMS keys that are named (id, ARN or alias), or all customer
managed keys of the account in this Region. For each it shows manager, spec,
usage, state, origin, automatic rotation with its period and next date, how many
of its 25 rotations on demand are used, imported material's expiry, aliases, and
every key material with its state, date and type. Key material ids are
shortened; --json has all of them. keys changes nothing. It needs kms:ListKeys,
kms:ListAliases, kms:DescribeKey, kms:GetKeyRotationStatus and
kms:ListKeyRotations. If one of these is denied for a key, its row says so.

Rotation makes new key material for what is encrypted from then on. It
re-encrypts nothing; rewrap run does that.

--require-rotation finds customer managed symmetric keys with material made by
KMS whose automatic rotation is off. Disabled keys and replicas count too; keys
that wait for their deletion do not.

Exit codes: 0 done; 1 a key that was named could not be read, or none could; 2
wrong usage; 4 --require-rotation found a key, or one could not be looked at; 75
interrupted.`,
		Example: `  rewrap keys                      # all customer keys of the account and Region
  rewrap keys alias/app --json
  rewrap keys --require-rotation   # exit 4 if a key does not rotate by itself
  rewrap keys enable-rotation alias/app --period 180
  rewrap keys rotate alias/app --wait
  rewrap keys move-alias alias/app --to 1234abcd-12ab-34cd-56ef-1234567890ab`,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := keyNames(args); err != nil {
				return err
			}
			for _, name := range args {
				if !couldBeKey(name) {
					return job.Usage("%q is neither a key (id, ARN, alias/NAME) nor a subcommand (enable-rotation, rotate, move-alias)", name)
				}
			}
			return c.show(s, args)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.all, "all", false, "also the keys that AWS manages (alias/aws/...)")
	f.BoolVar(&c.require, "require-rotation", false, "exit 4 if a customer key that could rotate by itself does not")
	f.BoolVar(&c.json, "json", false, "one JSON object on standard output")
	f.Var(&c.rps, "kms-rps", "ceiling of KMS requests a second; max: whatever KMS allows")
	cmd.AddCommand(newEnableRotation(s), newRotate(s), newMoveAlias(s))
	return cmd
}

// keysRPS is the default pace, in requests a second. Each key takes three calls.
// ListKeyRotations has the smallest quota of them, 100 a second.
const keysRPS = 200

// keysAtOnce is the number of requests at once for which connections are kept
// open.
const keysAtOnce = 8

type keysCommand struct {
	all, require, json bool
	rps                job.Rate
}

// keyNames refuses names that no key can have, before any call is made.
func keyNames(names []string) error {
	for _, name := range names {
		switch {
		case strings.TrimSpace(name) == "":
			return job.Usage("a KEY is empty; it is an id, ARN or alias")
		case strings.ContainsAny(name, " \t\r\n"):
			return job.Usage("KEY %q: no key has spaces in its name", name)
		}
	}
	return nil
}

// couldBeKey says whether a word can be an id, ARN or alias: each of them has a
// digit, a slash or a colon.
func couldBeKey(name string) bool { return strings.ContainsAny(name, "0123456789/:") }

// administer runs a command on keys until it is done or a signal comes.
func administer(s streams, rps job.Rate, do func(ctx context.Context, a *keyadmin.Admin) error) error {
	_, stop, _, unwatch := interruptible(func(string, ...any) {})
	defer unwatch()
	clients, err := setup.Cloud(stop, job.Pace{Workers: keysAtOnce, KMS: rps}, true, report.Speak(s.err))
	if err == nil {
		err = do(stop, &keyadmin.Admin{Client: func(region string) keyadmin.API { return clients.KMS(region) }})
	}
	var exit *exitError
	if err != nil && stop.Err() != nil && !errors.As(err, &exit) {
		if signal := context.Cause(stop); !errors.Is(err, signal) { // an error that wraps the signal may say more
			err = signal
		}
		return &exitError{exitStopped, err}
	}
	return err
}

// keysReport is what --json prints.
type keysReport struct {
	Keys            []keyadmin.Key `json:"keys"`
	Read            int            `json:"read"`             // keys of which at least something could be read
	WithoutRotation []string       `json:"without_rotation"` // customer keys that could rotate by themselves and do not
	RotationUnknown []string       `json:"rotation_unknown"` // keys for which that is unknown
	Notice          string         `json:"notice,omitempty"`
}

func reportOf(c keyadmin.Overview) keysReport {
	r := keysReport{Keys: c.Keys, WithoutRotation: []string{}, RotationUnknown: []string{}, Notice: c.Notice}
	if r.Keys == nil {
		r.Keys = []keyadmin.Key{}
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		if k.Error == "" {
			r.Read++
		}
		switch {
		case k.Error != "" || k.OwesRotation() && k.Rotation == nil:
			r.RotationUnknown = append(r.RotationUnknown, report.OrElse(k.ARN, k.Given))
		case k.OwesRotation() && !k.Rotation.Enabled:
			r.WithoutRotation = append(r.WithoutRotation, k.ARN)
		}
	}
	return r
}

func (c *keysCommand) show(s streams, names []string) error {
	return administer(s, c.rps, func(ctx context.Context, a *keyadmin.Admin) error {
		a.Progress = slowly(report.Speak(s.err))
		found, err := a.Look(ctx, names, c.all)
		if err != nil {
			return err
		}
		r := reportOf(found)
		if c.json {
			err = json.NewEncoder(s.out).Encode(r)
		} else {
			err = r.print(s.out, c.require)
		}
		if err != nil {
			return fmt.Errorf("the keys cannot be written to standard output: %w", err)
		}
		return r.verdict(c.require)
	})
}

// keysNotice is the time between two lines that say how many keys were read.
const keysNotice = 3 * time.Second

// slowly says now and then how many keys were read, if that takes long.
func slowly(say func(string, ...any)) func(done, of int) {
	var mu sync.Mutex
	last := time.Now()
	return func(done, of int) {
		mu.Lock()
		defer mu.Unlock()
		if done < of && time.Since(last) >= keysNotice {
			last = time.Now()
			say("%d of %d keys looked at", done, of)
		}
	}
}

func (r *keysReport) verdict(require bool) error {
	lost := len(r.Keys) - r.Read
	switch {
	case len(r.Keys) == 1 && lost == 1:
		return &exitError{exitFailed, fmt.Errorf("%s", r.Keys[0].Error)}
	case len(r.Keys) > 0 && r.Read == 0:
		return &exitError{exitFailed, fmt.Errorf("none of %d keys could be read; the error of the first: %s", lost, r.Keys[0].Error)}
	case require && len(r.WithoutRotation)+len(r.RotationUnknown) > 0:
		var says []string
		if n := len(r.WithoutRotation); n == 1 {
			says = append(says, "1 customer key does not rotate by itself: rewrap keys enable-rotation KEY turns it on")
		} else if n > 1 {
			says = append(says, fmt.Sprintf("%d customer keys do not rotate by themselves: rewrap keys enable-rotation KEY turns it on", n))
		}
		if n := len(r.RotationUnknown); n == 1 {
			says = append(says, "the rotation of 1 key could not be looked at")
		} else if n > 1 {
			says = append(says, fmt.Sprintf("the rotation of %d keys could not be looked at", n))
		}
		return &exitError{exitNotOn, errors.New(strings.Join(says, "; "))}
	}
	// A listed key that could not be read has a row that says so. A key that was
	// asked for by name must be readable.
	for _, k := range r.Keys {
		if k.Given != "" && k.Error != "" {
			return &exitError{exitFailed, fmt.Errorf("%s", k.Error)}
		}
	}
	return nil
}
