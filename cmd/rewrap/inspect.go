package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rewrap/checkpoint/account"
	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
)

func newInspect(s streams) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "inspect ITEM",
		Short: "What is inside one item: format, wrapped keys and their contexts",
		Long: `inspect reads one item, s3://bucket/key or a file, and shows its wrapped keys:
for each its place, its length and SHA-256, the key that the item records, and
the context that binds it. It shows no plaintext and no wrapped key, and changes
nothing.

No key is needed to look. With --from or --to, inspect asks KMS which key and
key material each wrapped key is under: KMS re-encrypts it, and the new key is
discarded. This needs no permission to decrypt. With --keyring, the keyring is
asked instead.

Encryption by the store itself (SSE-KMS) is not looked at.

Exit codes: 0 done; 1 the item does not exist, is damaged or holds no wrapped
key, KMS could not tell which key one is under, or none is under a named key; 2
wrong usage; 75 interrupted.`,
		Example: `  rewrap inspect s3://bucket/key
  rewrap inspect s3://bucket/key --from alias/app --json
  rewrap inspect vault/tenant.json --json-field '/keys/*/blob' \
      --context tenant={base}
  rewrap inspect vault/a/db.key --root vault --format raw \
      --context file={name} --from alias/app`,
	}
	f := job.DeclareItem(cmd.Flags())
	cmd.Flags().StringVar(&root, "root", "", "`DIR` that {name} and {dir} of a file are relative to (default: the file's own)")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		j, id, err := f.ParseItem(args, root)
		if err != nil {
			return err
		}
		return doInspect(s, j, id)
	}
	return cmd
}

func doInspect(s streams, j job.Job, id string) error {
	// inspect writes nothing, so the first signal ends it.
	_, ctx, _, unwatch := interruptible(func(string, ...any) {})
	defer unwatch()
	in, err := look(ctx, s, j, id)
	if ctx.Err() != nil {
		return &exitError{exitStopped, context.Cause(ctx)}
	}
	if err != nil {
		return err
	}
	if j.Output.JSON {
		err = json.NewEncoder(s.out).Encode(in)
	} else {
		err = in.print(s.out)
	}
	if err != nil {
		return err
	}
	return in.verdict()
}

// print writes the inspection for people. Names, contexts and errors may hold any
// bytes, so each goes through [report.OneLine].
func (in *inspection) print(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, report.OneLine(fmt.Sprintf(format, args...)))
	}
	row("item", "%s", in.Item)
	row("revision", "%s", in.Revision)
	row("size", "%s", report.Size(in.Size))
	row("format", "%s", in.Format)
	row("keys", "%s", report.Count(int64(len(in.Keys))))
	for i := range in.Keys {
		k := &in.Keys[i]
		_ = t.Flush()
		fmt.Fprintf(&b, "\n%s\n", report.OneLine(k.Locator))
		row("  layer", "%s", k.Layer)
		if k.SHA256 != "" {
			row("  blob", "%d bytes, SHA-256 %s", k.Length, k.SHA256)
		}
		row("  recorded key", "%s", report.OrElse(k.RecordedKey, "none"))
		for _, name := range report.SortedKeys(k.Context) {
			row("  context", "%s = %s", name, k.Context[name])
		}
		if len(k.Context) == 0 {
			row("  context", "none")
		}
		if k.AssociatedData != "" {
			row("  associated data", "%s", k.AssociatedData)
		}
		switch k.State {
		case stateCurrent, stateStale:
			row("  under", "%s", versionLine(k.Under))
			if k.State == stateCurrent {
				row("  state", "current: it is on target")
			} else {
				row("  state", "stale: the target is %s", versionLine(k.Target))
			}
		case stateForeign:
			row("  state", "foreign: %s", report.OrElse(k.Error, "under none of the keys that were named"))
		case stateUnknown:
			row("  state", "unknown: %s", k.Error)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func versionLine(v *account.KeyVersion) string {
	if v.Material == "" {
		return v.ARN + ", key material not named by this service"
	}
	return v.ARN + ", key material " + v.Material
}
