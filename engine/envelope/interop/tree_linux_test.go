package interop

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// version is a file with wrapped keys in it, as somebody wrote it.
type version struct {
	around []string // the text before, between and behind the wrapped keys
	keys   []secret
	style  style
	path   string // where it was written
}

type secret struct {
	plain, bound string
	digest       string // of the wrapped key
}

// style is how wrapped keys are written.
type style struct {
	encode func([]byte) string
	decode func(string) ([]byte, error)
}

var (
	asBytes = style{func(b []byte) string { return string(b) }, func(s string) ([]byte, error) { return []byte(s), nil }}
	asStd   = style{base64.StdEncoding.EncodeToString, base64.StdEncoding.DecodeString} // which passes over line breaks
	asURL   = style{base64.RawURLEncoding.EncodeToString, base64.RawURLEncoding.DecodeString}
	asMIME  = style{func(b []byte) string {
		text := asStd.encode(b)
		for at := 76; at < len(text); at += 78 {
			text = text[:at] + "\r\n" + text[at:]
		}
		return text
	}, asStd.decode}
	asPHP = style{ // what its json_encode does
		func(b []byte) string { return strings.ReplaceAll(asStd.encode(b), "/", `\/`) },
		func(s string) ([]byte, error) { return asStd.decode(strings.ReplaceAll(s, `\/`, "/")) },
	}
)

// raw is a file that is one wrapped key, of something that is longer by so much
// where its base64 is URL-safe.
func raw(more int) func(*rand.Rand, string) version {
	return func(rng *rand.Rand, name string) version {
		v := version{around: []string{"", ""}}
		width := 32 + rng.IntN(3)
		switch v.style = asBytes; rng.IntN(6) {
		case 0:
			v.style = asStd
		case 1:
			v.style, v.around[1] = asStd, "\n"
		case 2:
			v.style, v.around[1] = asMIME, "\r\n"
		case 3:
			v.style = asURL
			width += more
		}
		v.keys = []secret{{plain: fmt.Sprintf("%*d", width, rng.Uint64()), bound: name}}
		return v
	}
}

// shapes are lines that a careless program writes in another way. KEY stands
// for the wrapped key, ID for what binds it.
var shapes = []string{
	`{"id":"ID","key":"KEY"}`,
	"{ \"n\" : 12345678901234567890.10e+07,\t\"key\" : \"KEY\" ,\"id\": \"ID\", \"n\":-0.0 , \"n\": 1E400}  ",
	`{"\u0069d":"ID","\/":"\ud83d\ude00\\\"\/Z\u00eb☃","deep":{"key":"not one"},"k\u0065y":"KEY","x":[ ],"y":{}}`,
	`{"id":"ID","key":"KEY","dup":1,"dup":[{"key":null}],"key":null,"dup":1}`,
	`{"key":"KEY","id":"ID","key":"KEY"}`,
	`{"key":null,"big":-123456789012345678901234567890123456789,"id":"ID"}`,
	`{"no":"key" , "id":"ID"}`,
	``,
}

// lines is a file of JSON lines.
func lines(rng *rand.Rand, _ string) version {
	v := version{style: []style{asStd, asPHP}[rng.IntN(2)]}
	n := 5 + rng.IntN(40)
	if rng.IntN(200) == 0 {
		n *= 20
	}
	end := []string{"\n", "\r\n"}[rng.IntN(2)]
	text := []string{"", "\ufeff"}[rng.IntN(2)]
	for i := range n {
		shape := shapes[0]
		if i > 0 {
			shape = shapes[rng.IntN(len(shapes))]
		}
		id := fmt.Sprintf("%x-%d", rng.Uint32(), i)
		parts := strings.Split(strings.ReplaceAll(shape, "ID", id), "KEY")
		for _, part := range parts[:len(parts)-1] {
			v.around = append(v.around, text+part)
			width := 32 + rng.IntN(3)
			if len(v.keys) == 0 {
				width += 2000 // so that a slash shows how they are written
			}
			v.keys = append(v.keys, secret{plain: fmt.Sprintf("%*d", width, rng.Uint64()), bound: id})
			text = ""
		}
		text += parts[len(parts)-1]
		if i < n-1 || rng.IntN(2) == 0 {
			text += end
		}
	}
	v.around = append(v.around, text)
	return v
}

// write has its keys wrapped, and writes it.
func (v *version) write(ctx context.Context, by *wrapper, path string, f *file) error {
	var text strings.Builder
	for i := range v.keys {
		k := &v.keys[i]
		blob, err := by.seal(ctx, k.plain, k.bound)
		if err != nil {
			return err
		}
		k.digest = sum(blob)
		text.WriteString(v.around[i])
		text.WriteString(v.style.encode(blob))
	}
	text.WriteString(v.around[len(v.keys)])
	v.path = path
	return errors.Join(os.WriteFile(path, []byte(text.String()), 0o600), os.Chmod(path, f.mode), os.Chtimes(path, f.mtime, f.mtime))
}

// blobs are the wrapped keys of a text, which is to be the version but for
// them.
func (v *version) blobs(text string) ([][]byte, error) {
	var blobs [][]byte
	for i := range v.keys {
		rest, ok := strings.CutPrefix(text, v.around[i])
		if !ok {
			return nil, fmt.Errorf("what is before wrapped key %d has changed", i)
		}
		end := len(rest) - len(v.around[i+1])
		if strings.HasPrefix(v.around[i+1], `"`) {
			end = strings.IndexByte(rest, '"')
		}
		if end < 0 {
			return nil, fmt.Errorf("wrapped key %d is not where it was", i)
		}
		blob, err := v.style.decode(rest[:end])
		if err != nil || v.style.encode(blob) != rest[:end] {
			return nil, fmt.Errorf("wrapped key %d is not written as it was: %q, %v", i, rest[:end], err)
		}
		blobs, text = append(blobs, blob), rest[end:]
	}
	if text != v.around[len(v.keys)] {
		return nil, errors.New("what is behind the last wrapped key has changed")
	}
	return blobs, nil
}

func sum(blob []byte) string {
	s := sha256.Sum256(blob)
	return hex.EncodeToString(s[:])
}

// file is a file of a tree, and what another program does to it.
type file struct {
	name  string
	mode  fs.FileMode
	mtime time.Time
	now   version // what was written there last

	next     *version // what the other program replaces it by; nil: it does not
	late     bool     // it does so as one that has the new key already
	replaced bool
	removed  bool
}

// oddNames are what names end in.
var oddNames = []string{"", "", "", " space", "\nnewline", "é ☃", `\"q`, ".json", "~", "{name}", "%2F"}

// tree is a directory of files.
type tree struct {
	root, aside string
	rng         *rand.Rand
	files       []*file // in the order in which rewrap lists them
	index       map[string]int
}

// newTree makes up files with n wrapped keys in all, or a few more.
func newTree(t *testing.T, rng *rand.Rand, n int, compose func(*rand.Rand, string) version) *tree {
	t.Helper()
	tr := &tree{root: t.TempDir(), aside: t.TempDir(), rng: rng, index: map[string]int{}}
	for keys := 0; keys < n; {
		i := len(tr.files)
		f := &file{
			name:  fmt.Sprintf("d%02d/%06d%s", keys*16/n, i, oddNames[i%len(oddNames)]),
			mode:  []fs.FileMode{0o600, 0o644, 0o440}[rng.IntN(3)],
			mtime: time.Unix(1e9+rng.Int64N(1e8), rng.Int64N(1e9)),
		}
		f.now = compose(rng, f.name)
		if i%8 == 0 {
			next := compose(rng, f.name)
			f.next, f.late = &next, rng.IntN(2) == 0
		}
		keys += len(f.now.keys)
		tr.index[f.name] = i
		tr.files = append(tr.files, f)
	}
	return tr
}

// write has the files written, and what will replace them.
func (tr *tree) write(t *testing.T, by *wrapper) {
	t.Helper()
	each(t, tr.files, func(ctx context.Context, f *file) error {
		path := filepath.Join(tr.root, f.name)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), f.now.write(ctx, by, path, f), tr.spare(ctx, by, f, false))
	})
}

// writeLate is that part of write which comes after the rotation.
func (tr *tree) writeLate(t *testing.T, by *wrapper) {
	t.Helper()
	each(t, tr.files, func(ctx context.Context, f *file) error { return tr.spare(ctx, by, f, true) })
}

func (tr *tree) spare(ctx context.Context, by *wrapper, f *file, late bool) error {
	if f.next == nil || f.late != late {
		return nil
	}
	return f.next.write(ctx, by, filepath.Join(tr.aside, fmt.Sprint(tr.index[f.name])), f)
}

// interfere is what another program does when a file has changed: it replaces
// or removes one that is likely to be in work in that moment, or over; or first
// the one, and later the other.
func (tr *tree) interfere(changed string) error {
	i, ok := tr.index[changed]
	if !ok || i%8 != 5 {
		return nil
	}
	if i += 3; tr.rng.IntN(3) == 0 || i >= len(tr.files) {
		i -= 8
	}
	f := tr.files[i]
	path := filepath.Join(tr.root, f.name)
	switch {
	case f.removed:
		return nil
	case f.replaced || tr.rng.IntN(8) == 0:
		f.removed = true
		return os.Remove(path)
	}
	f.now, f.replaced = *f.next, true
	return os.Rename(f.now.path, path)
}
