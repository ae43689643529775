package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/cmd/rewrap/internal/setup"
	"rewrap/engine/keys/keyring"
)

func newKeyring(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keyring",
		Short: "Make and rotate a local keyring: a Tink keyset to wrap data keys",
		Long: `A keyring is a Tink keyset in JSON whose primary key is the latest version. It
is in the clear, with mode 0600, or encrypted by a KMS key; tinkey and every
Tink library read and write the same file.

To move data keys onto a new version: rotate a copy of the keyring, give it to
every reader and then to every writer, re-wrap with it, and disable the old key.
A key is never removed here, so disabling can be undone with enable.`,
		Example: `  rewrap keyring create keys.json
  rewrap keyring create keys.json --kms alias/keyrings --context app=vault
  cp -p keys.json new.json && rewrap keyring rotate new.json
  rewrap keyring list keys.json`,
		Args: onlyCommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeyringCreate(s), newKeyringRotate(s), newKeyringList(s),
		newKeyringStatus(s, "disable", "Disable a key that is not the primary one; it opens nothing then", false),
		newKeyringStatus(s, "enable", "Enable a disabled key again", true))
	return cmd
}

func newKeyringCreate(s streams) *cobra.Command {
	var w wrapFlags
	var template string
	cmd := &cobra.Command{
		Use:   "create FILE",
		Short: "Make a keyring with one key; no file is ever overwritten",
		Args:  argsAre(exactly("FILE")),
		RunE: func(cmd *cobra.Command, args []string) error {
			var id uint32
			err := w.change(cmd, func(ctx context.Context, how keyring.Wrapping) (err error) {
				id, err = keyring.Create(ctx, args[0], template, how)
				return err
			})
			if err != nil {
				return err
			}
			kept := "in the clear"
			if w.key != "" {
				kept = "encrypted by " + w.key
			}
			return printResult(s, false, nil, "key %d is the primary key of %s, which is %s", id, args[0], kept)
		},
	}
	cmd.Flags().StringVar(&template, "template", "AES256_GCM", "the key's template `NAME`, as tinkey has it: "+strings.Join(keyring.Templates(), ", ")+"; each also with _RAW")
	w.flags(cmd.Flags())
	return cmd
}

func newKeyringRotate(s streams) *cobra.Command {
	var w wrapFlags
	var template string
	cmd := &cobra.Command{
		Use:   "rotate FILE",
		Short: "Add a key and make it the primary one; the old keys stay",
		Args:  argsAre(exactly("FILE")),
		RunE: func(cmd *cobra.Command, args []string) error {
			var id uint32
			err := w.change(cmd, func(ctx context.Context, how keyring.Wrapping) (err error) {
				id, err = keyring.Rotate(ctx, args[0], template, how)
				return err
			})
			if err != nil {
				return err
			}
			return printResult(s, false, nil, "key %d is the primary key of %s", id, args[0])
		},
	}
	cmd.Flags().StringVar(&template, "template", "", "the new key's template `NAME`; default: as the primary key")
	w.flags(cmd.Flags())
	return cmd
}

func newKeyringStatus(s streams, verb, short string, enabled bool) *cobra.Command {
	var w wrapFlags
	cmd := &cobra.Command{
		Use:               verb + " FILE KEYID",
		Short:             short,
		Args:              argsAre(exactly("FILE", "KEYID")),
		ValidArgsFunction: completeKeyIDs(enabled),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[1], 10, 32)
			if err != nil {
				return job.Usage("%q is no key id: it is a decimal number, as rewrap keyring list shows it", args[1])
			}
			err = w.change(cmd, func(ctx context.Context, how keyring.Wrapping) error {
				return keyring.SetStatus(ctx, args[0], uint32(id), enabled, how)
			})
			if err != nil {
				return err
			}
			return printResult(s, false, nil, "key %d of %s is %sd", id, args[0], verb)
		},
	}
	w.flags(cmd.Flags())
	return cmd
}

func newKeyringList(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list FILE",
		Short: "The keys of a keyring: ids, types, states; never key material",
		Long: `list shows the ids, types and states of the keys in a keyring file. It calls no
key service: an encrypted keyring has these in the clear beside the keys.`,
		Args: argsAre(exactly("FILE")),
		RunE: func(_ *cobra.Command, args []string) error {
			info, err := keyring.List(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(s.out).Encode(info)
			}
			var b strings.Builder
			kept := "in the clear"
			if info.Encrypted {
				kept = "encrypted by a key service; the list below is not authenticated"
			}
			fmt.Fprintf(&b, "%s is %s\n", report.OneLine(args[0]), kept)
			t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tTYPE\tPREFIX\tSTATUS\t")
			for _, k := range info.Keys {
				note := ""
				if k.Primary {
					note = "primary"
				}
				fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\n", k.ID, report.OneLine(k.Type), k.Prefix, k.Status, note)
			}
			_ = t.Flush()
			_, err = io.WriteString(s.out, b.String())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// exactly checks the arguments of a command that takes these and no others.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return fmt.Errorf("give %s; got %s", strings.Join(names, " and "), report.Many(int64(len(args)), "argument"))
		}
		return nil
	}
}

// change calls do, which changes a keyring. After a signal, do undoes an
// unfinished change.
func (w *wrapFlags) change(cmd *cobra.Command, do func(context.Context, keyring.Wrapping) error) error {
	ctx, unwatch := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer unwatch()
	how, err := w.open(ctx)
	if err == nil {
		err = do(ctx, how)
	}
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return &exitError{exitStopped, errors.New("interrupted, nothing was changed")}
	}
	return setup.KeyringError(err, "")
}

// wrapFlags say how a keyring file is encrypted.
type wrapFlags struct {
	key     string
	context []string
}

func (w *wrapFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&w.key, "kms", "", "the KMS `KEY` that the file is encrypted by: id, ARN or alias; default: the file is in the clear")
	f.StringArrayVar(&w.context, "context", nil, "a pair `k=v` of the encryption context that the file is bound to; repeatable")
}

// open returns how the file is encrypted, for a command that calls KMS for nothing
// else.
func (w *wrapFlags) open(ctx context.Context) (keyring.Wrapping, error) {
	c, err := setup.Cloud(ctx, job.Pace{Workers: 1}, w.key != "", func(string, ...any) {})
	if err != nil {
		return keyring.Wrapping{}, err
	}
	return setup.Wrapping(c, w.key, w.context, "")
}
