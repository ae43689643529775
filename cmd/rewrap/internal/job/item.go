package job

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// itemFlags are the flags of a job that are of use for one item, with another
// text where they mean less here.
var itemFlags = []struct{ name, usage string }{
	{name: "format"}, {name: "json-field"}, {name: "context"}, {name: "context-field"}, {name: "associated-data"},
	{"from", "ask KMS whether wrapped keys are under this `KEY`, and under which material: id, ARN or alias; repeatable"},
	{"to", "ask KMS whether they are on this target `KEY` (default: each wrapped key's own key, its current material)"},
	{"keyring", "ask the Tink keyset in this `FILE` instead of KMS"},
	{name: "keyring-kms"}, {name: "keyring-context"}, {name: "workers"}, {name: "kms-rps"},
	{"json", "one JSON object on standard output"},
}

// DeclareItem declares the flags of a command that looks at one item. Make the
// job with [Flags.ParseItem].
func DeclareItem(set *pflag.FlagSet) *Flags {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	f := Declare(all, Verify)
	f.set = set
	for _, i := range itemFlags {
		flag := all.Lookup(i.name)
		if i.usage != "" {
			flag.Usage = i.usage
		}
		set.AddFlag(flag)
	}
	return f
}

// ParseItem makes a job of the one item that was named, and returns the item's
// id in it. The source of the job is the bucket, or the folder root, from which
// the file's name counts; "" is the file's own folder.
func (f *Flags) ParseItem(args []string, root string) (Job, string, error) {
	if len(args) != 1 {
		return Job{}, "", Usage("give one ITEM, s3://bucket/key or a file; got %d arguments", len(args))
	}
	item := args[0]
	switch scheme, rest, ok := strings.Cut(item, "://"); {
	case item == "":
		return Job{}, "", Usage("ITEM is empty; it is s3://bucket/key or a file")
	case !ok:
		return f.parseFile(item, item, root)
	case scheme == "file":
		path, ok := filePath(item)
		if !ok {
			return Job{}, "", Usage("ITEM %q: a file is file:///path, or the path alone", item)
		}
		return f.parseFile(item, path, root)
	case scheme != "s3":
		return Job{}, "", Usage("ITEM %q: unknown scheme %q; it is s3://bucket/key or a file", item, scheme+"://")
	case root != "":
		return Job{}, "", Usage("--root is for files; the name of an object is its whole key")
	default:
		bucket, key, _ := strings.Cut(rest, "/")
		if bucketName.MatchString(bucket) && key == "" {
			return Job{}, "", Usage("ITEM %q is a bucket, and inspect looks at one object: s3://%s/key", item, bucket)
		}
		place, err := parseBucket("ITEM", item, rest)
		if err != nil {
			return Job{}, "", err
		}
		j, err := f.parse(place)
		return j, key, err
	}
}

func (f *Flags) parseFile(given, path, root string) (j Job, id string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return Job{}, "", Usage("ITEM %q: %v", given, err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Job{}, "", fmt.Errorf("there is no file %s; an object is s3://bucket/key", given)
	case err != nil:
		return Job{}, "", fmt.Errorf("the item cannot be looked at: %w", err)
	case info.IsDir():
		return Job{}, "", Usage("ITEM %q is a directory, and inspect looks at one file", given)
	case info.Mode()&fs.ModeSymlink != 0:
		return Job{}, "", fmt.Errorf("%s is a symbolic link, which is no item: name the file that it leads to", given)
	}
	folder := filepath.Dir(path)
	if root != "" {
		if folder, err = filepath.Abs(root); err != nil {
			return Job{}, "", Usage("--root %q: %v", root, err)
		}
	}
	id, err = filepath.Rel(folder, path)
	switch {
	case err != nil || id == "." || id == ".." || strings.HasPrefix(id, "../"):
		return Job{}, "", Usage("ITEM %q is not below --root %q", given, root)
	// The id of such an item spells its name differently.
	case !utf8.ValidString(id) || strings.Contains(id, `\x`):
		return Job{}, "", Usage(`ITEM %q: names that are not UTF-8, or hold \x, cannot be inspected; look at a copy with another name`, given)
	}
	what := "ITEM"
	if root != "" {
		what = "--root"
	}
	place, err := parseDir(what, folder, folder)
	if err != nil {
		return Job{}, "", err
	}
	j, err = f.parse(place)
	return j, id, err
}
