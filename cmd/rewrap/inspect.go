package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/sources"
)

func newInspect(s streams) *cobra.Command {
	j := &job{}
	var root string
	cmd := &cobra.Command{
		Use:   "inspect ITEM",
		Short: "What is inside one item: format, wrapped keys and their contexts",
		Long: `inspect reads one item, s3://bucket/key or a file, and shows the wrapped keys in
it: where each stands, its length and SHA-256, the key that the item records and
what it is bound to. It shows no plaintext and no wrapped key, and changes
nothing.

No key is needed to look. With --from or --to, KMS is asked under which key and
key material each wrapped key is: it re-encrypts it and the answer is thrown
away, which needs no permission to decrypt. With --keyring, the keyring is
asked.

What the store itself encrypts (SSE-KMS) is not looked at.

Exit codes: 0 done; 1 there is no such item, it holds no wrapped key, it is
damaged, or KMS was asked and could not tell, or names none of the given keys;
2 wrong usage; 75 interrupted.`,
		Example: `  rewrap inspect s3://bucket/key
  rewrap inspect s3://bucket/key --from alias/app --json
  rewrap inspect vault/tenant.json --json-field '/keys/*/blob' \
      --context tenant={base}
  rewrap inspect vault/a/db.key --root vault --format raw \
      --context file={name} --from alias/app`,
		RunE: func(_ *cobra.Command, args []string) error {
			id, err := j.parseItem(args, root)
			if err != nil {
				return err
			}
			return j.inspect(s, id)
		},
	}
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	j.jobFlags(all)
	j.flags = cmd.Flags()
	for _, f := range inspectFlags {
		flag := all.Lookup(f.name)
		flag.Usage = orElse(f.usage, flag.Usage)
		j.flags.AddFlag(flag)
	}
	j.flags.StringVar(&root, "root", "", "`DIR` that {name} and {dir} of a file count from (default: the file's own)")
	return cmd
}

// inspectFlags are the flags of a job that are of use for one item, with
// another text where they mean less here.
var inspectFlags = []struct{ name, usage string }{
	{name: "format"}, {name: "json-field"}, {name: "context"}, {name: "context-field"}, {name: "associated-data"},
	{"from", "ask KMS whether wrapped keys are under this `KEY`, and under which material: id, ARN or alias; repeatable"},
	{"to", "ask KMS whether they are on this target `KEY` (default: each wrapped key's own key, its current material)"},
	{"keyring", "ask the Tink keyset in this `FILE` instead of KMS"},
	{name: "keyring-kms"}, {name: "keyring-context"}, {name: "workers"}, {name: "kms-rps"},
	{"json", "one JSON object on standard output"},
}

// parseItem makes a job of the one item: its source is the folder that the
// file's name counts from, or the bucket.
func (j *job) parseItem(args []string, root string) (id string, err error) {
	if len(args) != 1 {
		return "", usage("give one ITEM, s3://bucket/key or a file; got %d arguments", len(args))
	}
	item := args[0]
	switch scheme, rest, ok := strings.Cut(item, "://"); {
	case item == "":
		return "", usage("ITEM is empty; it is s3://bucket/key or a file")
	case !ok:
		return j.parseFile(item, item, root)
	case scheme == "file":
		path, ok := filePath(item)
		if !ok {
			return "", usage("ITEM %q: a file is file:///path, or the path alone", item)
		}
		return j.parseFile(item, path, root)
	case scheme != "s3":
		return "", usage("ITEM %q: unknown scheme %q; it is s3://bucket/key or a file", item, scheme+"://")
	case root != "":
		return "", usage("--root is for files; the name of an object is its whole key")
	default:
		if bucket, key, _ := strings.Cut(rest, "/"); bucketName.MatchString(bucket) && key == "" {
			return "", usage("ITEM %q is a bucket, and inspect looks at one object: s3://%s/key", item, bucket)
		}
		return strings.TrimPrefix(rest[strings.IndexByte(rest+"/", '/'):], "/"), j.parse(args)
	}
}

func (j *job) parseFile(given, path, root string) (id string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return "", usage("ITEM %q: %v", given, err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("there is no file %s; an object is s3://bucket/key", given)
	case err != nil:
		return "", fmt.Errorf("the item cannot be looked at: %w", err)
	case info.IsDir():
		return "", usage("ITEM %q is a directory, and inspect looks at one file", given)
	case info.Mode()&fs.ModeSymlink != 0:
		return "", fmt.Errorf("%s is a symbolic link, which is no item: name the file that it leads to", given)
	}
	folder := filepath.Dir(path)
	if root != "" {
		if folder, err = filepath.Abs(root); err != nil {
			return "", usage("--root %q: %v", root, err)
		}
	}
	id, err = filepath.Rel(folder, path)
	switch {
	case err != nil || id == "." || id == ".." || strings.HasPrefix(id, "../"):
		return "", usage("ITEM %q is not below --root %q", given, root)
	// Such names have another spelling as the names of items.
	case !utf8.ValidString(id) || strings.Contains(id, `\x`):
		return "", usage(`ITEM %q: names that are not UTF-8, or hold \x, cannot be inspected; look at a copy with another name`, given)
	}
	return id, j.parse([]string{folder})
}

// inspection is what is known of one item, as scripts read it.
type inspection struct {
	Item     string         `json:"item"`
	Revision string         `json:"revision"`
	Size     int64          `json:"size"`
	Format   string         `json:"format"`
	Asked    bool           `json:"asked"` // the key service was asked about the keys
	Keys     []inspectedKey `json:"keys"`
}

type inspectedKey struct {
	Layer          string              `json:"layer"` // payload: as the format keeps it in the item
	Locator        string              `json:"locator"`
	Length         int                 `json:"length"` // bytes of the wrapped key
	SHA256         string              `json:"sha256"` // of the wrapped key; "" where none stands there
	RecordedKey    string              `json:"recorded_key,omitempty"`
	Context        map[string]string   `json:"context,omitempty"`
	AssociatedData string              `json:"associated_data,omitempty"`
	State          string              `json:"state,omitempty"` // asked: current, stale, foreign, unknown
	Under          *account.KeyVersion `json:"under,omitempty"`
	Target         *account.KeyVersion `json:"target,omitempty"` // where a stale key would go
	Error          string              `json:"error,omitempty"`
}

const (
	stateCurrent = "current"
	stateStale   = "stale"
	stateForeign = "foreign"
	stateUnknown = "unknown"
)

func (j *job) inspect(s streams, id string) error {
	// Nothing is in work that would have to be finished.
	_, ctx, _, release := interruptible(func(string, ...any) {})
	defer release()
	in, err := j.look(ctx, s, id)
	if ctx.Err() != nil {
		return &exitError{exitStopped, context.Cause(ctx)}
	}
	if err != nil {
		return err
	}
	if j.json {
		err = json.NewEncoder(s.out).Encode(in)
	} else {
		err = in.print(s.out)
	}
	if err != nil {
		return err
	}
	return in.verdict()
}

// look reads the item, and asks about its keys if there is somebody to ask.
func (j *job) look(ctx context.Context, s streams, id string) (*inspection, error) {
	asks := len(j.from) > 0 || j.to != "" || j.keyring != ""
	var se *session
	var err error
	if asks {
		j.openCurrent()
		if se, err = openSession(ctx, j, s, toLook); err != nil {
			return nil, err
		}
	} else {
		se = &session{job: j, dir: j.stateDir(), say: speak(s.err)}
		se.cloud = newCloud(j.workers, j.kms, j.store, se.say)
		if j.source.dir == "" {
			if err := se.cloud.Configure(ctx); err != nil {
				return nil, err
			}
		}
		if se.format, err = j.formats(); err != nil {
			return nil, err
		}
		if se.source, err = se.openSource(ctx); err != nil {
			return nil, err
		}
	}
	defer se.close()
	in := &inspection{Item: "s3://" + j.source.bucket + "/" + id, Asked: asks}
	if j.source.dir != "" {
		in.Item = filepath.Join(j.source.dir, id)
	}
	view, env, err := parseWhole(ctx, se.source, se.format, sources.Ref{ID: id, Name: id})
	var skip *sources.SkipError
	switch {
	case errors.As(err, new(*sources.NotYetError)): // a run waits
		return nil, fmt.Errorf("%w; look again in a moment", err)
	case errors.Is(err, sources.ErrGone):
		return nil, fmt.Errorf("there is no item %s", in.Item)
	case errors.Is(err, envelope.ErrForeign):
		where := "in the format " + se.format.Name()
		if se.format.Name() == "auto" {
			where = "in any format that is looked for"
		}
		return nil, fmt.Errorf("foreign: %s holds no wrapped key %s%s", in.Item, where, foreignDetail(err))
	case errors.As(err, &skip):
		return nil, fmt.Errorf("%s is not re-wrapped (%s): %w", in.Item, skip.Reason, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", in.Item, err)
	}
	in.Revision, in.Size, in.Format = view.Rev, view.Size, env.Format
	wrapped := env.Keys
	in.Keys = make([]inspectedKey, len(wrapped))
	for i, k := range wrapped {
		sum := sha256.Sum256(k.Blob)
		in.Keys[i] = inspectedKey{
			Layer: "payload", Locator: k.Locator, Length: len(k.Blob), SHA256: hex.EncodeToString(sum[:]),
			RecordedKey: k.KeyID, Context: k.Context, AssociatedData: string(k.AssociatedData),
		}
		if k.Err != nil { // whoever is asked
			in.Keys[i].State, in.Keys[i].Error, in.Keys[i].SHA256 = stateUnknown, k.Err.Error(), ""
		}
	}
	if asks {
		se.ask(ctx, wrapped, in.Keys)
	}
	return in, nil
}

// parseWhole reads as much of an item as its format wants to see.
func parseWhole(ctx context.Context, src sources.Source, f envelope.Format, r sources.Ref) (sources.View, envelope.Envelope, error) {
	for want := (sources.Want{}); ; {
		view, err := src.Read(ctx, r, want)
		if err != nil {
			return view, envelope.Envelope{}, err
		}
		env, err := f.Parse(view)
		var short *sources.ShortError
		if errors.As(err, &short) && short.Need > want.Head {
			want.Head = short.Need
			continue
		}
		return view, env, err
	}
}

// foreignDetail is what a format says beyond that the item is foreign.
func foreignDetail(err error) string {
	detail := strings.TrimPrefix(err.Error(), envelope.ErrForeign.Error())
	if detail == "" {
		return " (see rewrap formats)"
	}
	return detail
}

// ask fills in where each wrapped key is. After an error that would meet every
// key, no more are asked.
func (se *session) ask(ctx context.Context, wrapped []envelope.WrappedKey, keys []inspectedKey) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(se.job.workers)
	for i := range keys {
		if wrapped[i].Err == nil {
			keys[i].State, keys[i].Error = stateUnknown, "not asked"
		}
	}
	for i := range keys {
		if ctx.Err() != nil {
			break
		}
		if wrapped[i].Err != nil {
			continue
		}
		g.Go(func() error {
			k := &keys[i]
			a, err := se.rewrapper.Rewrap(ctx, wrapped[i])
			var run *sources.RunError
			switch {
			case errors.Is(err, envelope.ErrForeign):
				k.State, k.Error = stateForeign, ""
				if se.local != nil { // which says what the blob names
					k.Error = err.Error()
				}
			case errors.As(err, &run):
				k.Error = err.Error()
				return err
			case ctx.Err() != nil:
			case err != nil:
				k.Error = err.Error()
				if h := wrapped[i].Hint; h != "" {
					k.Error += "; " + h
				}
			default:
				k.State, k.Error, k.Under = stateCurrent, "", &a.From
				if !a.Current {
					k.State, k.Target = stateStale, &a.To
				}
			}
			return nil
		})
	}
	_ = g.Wait() // each error stands with its key
}

// verdict is the exit code, once everything has been said.
func (in *inspection) verdict() error {
	states := make(map[string]int)
	for i := range in.Keys {
		states[in.Keys[i].State]++
	}
	switch n := len(in.Keys); {
	case states[stateUnknown] > 0:
		return fmt.Errorf("wrapped keys of which it could not be told where they are: %d of %d", states[stateUnknown], n)
	case states[stateForeign] == n:
		return errors.New("foreign: no wrapped key of the item is under a key that was named")
	}
	return nil
}

// print writes what is known for people. Names, contexts and errors hold what
// anybody put there, so each goes through oneLine.
func (in *inspection) print(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	row("item", "%s", in.Item)
	row("revision", "%s", in.Revision)
	row("size", "%s", size(in.Size))
	row("format", "%s", in.Format)
	row("keys", "%s", count(int64(len(in.Keys))))
	for i := range in.Keys {
		k := &in.Keys[i]
		_ = t.Flush()
		fmt.Fprintf(&b, "\n%s\n", oneLine(k.Locator))
		row("  layer", "%s", k.Layer)
		if k.SHA256 != "" {
			row("  blob", "%d bytes, SHA-256 %s", k.Length, k.SHA256)
		}
		row("  recorded key", "%s", orElse(k.RecordedKey, "none"))
		for _, name := range sortedKeys(k.Context) {
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
			row("  state", "foreign: %s", orElse(k.Error, "under none of the keys that were named"))
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
