package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"rewrap/checkpoint/durable"
)

// faultFS writes down every operation and fails at one of them.
type faultFS struct {
	durable.OS
	ops    []string
	failAt int // -1: never
}

var errFault = &os.PathError{Op: "injected", Path: "disk", Err: syscall.EIO}

func (f *faultFS) do(format string, args ...any) error {
	f.ops = append(f.ops, fmt.Sprintf(format, args...))
	if len(f.ops)-1 == f.failAt {
		return errFault
	}
	return nil
}

func (f *faultFS) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	if err := f.do("open %s %o", kind(name), perm); err != nil {
		return nil, err
	}
	file, err := f.OS.OpenFile(name, flag, perm)
	return &faultFile{file, f}, err
}

func (f *faultFS) Mkdir(name string, perm os.FileMode) error {
	if err := f.do("mkdir %s %o", kind(name), perm); err != nil {
		return err
	}
	return f.OS.Mkdir(name, perm)
}

func (f *faultFS) Rename(from, to string) error {
	if err := f.do("rename %s %s", kind(from), kind(to)); err != nil {
		return err
	}
	return f.OS.Rename(from, to)
}

func (f *faultFS) Link(from, to string) error {
	if err := f.do("link %s %s", kind(from), kind(to)); err != nil {
		return err
	}
	return f.OS.Link(from, to)
}

func (f *faultFS) Remove(name string) error {
	if err := f.do("remove %s", kind(name)); err != nil {
		return err
	}
	return f.OS.Remove(name)
}

func (f *faultFS) SyncDir(name string) error {
	if err := f.do("syncdir %s", kind(name)); err != nil {
		return err
	}
	return f.OS.SyncDir(name)
}

type faultFile struct {
	durable.File
	fs *faultFS
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.fs.do("write"); err != nil {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, err
	}
	return f.File.Write(p)
}

func (f *faultFile) Sync() error {
	if err := f.fs.do("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Close() error {
	if err := f.fs.do("close"); err != nil {
		f.File.Close()
		return err
	}
	return f.File.Close()
}

// kind is the last part of a path, without random digits.
func kind(name string) string {
	base, _, _ := strings.Cut(filepath.Base(name), "-")
	return base
}

func content(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestReplaceOrder holds the order of the operations: content, then name, then
// folder.
func TestReplaceOrder(t *testing.T) {
	dir := t.TempDir()
	f := &faultFS{failAt: -1}
	if err := durable.Replace(f, filepath.Join(dir, "name"), ".tmp-*", 0o640, []byte("new")); err != nil {
		t.Fatal(err)
	}
	want := []string{"open .tmp 640", "write", "sync", "close", "rename .tmp name", "syncdir " + kind(dir)}
	if !slices.Equal(f.ops, want) {
		t.Errorf("got  %q\nwant %q", f.ops, want)
	}
	info, err := os.Stat(filepath.Join(dir, "name"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"name"}) {
		t.Errorf("left: %q", got)
	}
}

// TestReplaceFails lets each operation fail: the file is the old one or the new
// one, whole, and nothing is left beside it.
func TestReplaceFails(t *testing.T) {
	for step := 0; ; step++ {
		dir := t.TempDir()
		name := filepath.Join(dir, "name")
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		f := &faultFS{failAt: step}
		err := durable.Replace(f, name, ".tmp-*", 0o600, []byte("the new one"))
		if step == len(f.ops) {
			if err != nil {
				t.Error(err)
			}
			if step != 6 {
				t.Errorf("%d operations", step)
			}
			return
		}
		op := f.ops[step]
		if !errors.Is(err, errFault) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", op, err)
		}
		want, renamed := "old", strings.HasPrefix(op, "syncdir")
		if renamed {
			want = "the new one"
		}
		if got := content(t, name); got != want {
			t.Errorf("%s: %q", op, got)
		}
		if e := new(durable.FolderError); errors.As(err, &e) != renamed || renamed && e.Dir != dir {
			t.Errorf("%s: %v", op, err)
		}
		if got := files(t, dir); !slices.Equal(got, []string{"name"}) {
			t.Errorf("%s: left: %q", op, got)
		}
	}
}

// TestDraft: a file that is written piece by piece has no name before Commit.
func TestDraft(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "name")
	f := &faultFS{failAt: -1}
	d, err := durable.Begin(f, name, "name-new-*", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	for range 3 {
		fmt.Fprint(d, "abc")
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if content(t, name) != "" || content(t, d.File().Name()) != "abcabcabc" {
		t.Error("the file has its name before Commit, or not its content")
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	d.Discard()
	if content(t, name) != "abcabcabc" || len(files(t, dir)) != 1 {
		t.Errorf("%q in %q", content(t, name), files(t, dir))
	}
	if n := strings.Count(strings.Join(f.ops, " "), "sync close"); n != 1 || slices.Index(f.ops, "sync") != len(f.ops)-4 {
		t.Errorf("synced otherwise than once: %q", f.ops)
	}

	// What is written after Sync is synced too.
	f.ops = nil
	if d, err = durable.Begin(f, name, "fixed", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Begin(f, name, "fixed", 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second draft of one temporary name: %v", err)
	}
	err = errors.Join(d.Sync(), second(d.Write([]byte("x"))), d.Commit())
	if want := []string{"open fixed 600", "open fixed 600", "sync", "write", "sync", "close", "rename fixed name", "syncdir " + kind(dir)}; err != nil || !slices.Equal(f.ops, want) {
		t.Errorf("%q, %v", f.ops, err)
	}

	// A draft that is discarded leaves the old file and nothing else.
	if d, err = durable.Begin(f, name, "fixed", 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(d, "never")
	d.Discard()
	d.Discard()
	if content(t, name) != "x" || len(files(t, dir)) != 1 {
		t.Errorf("%q in %q", content(t, name), files(t, dir))
	}
}

func second(_ int, err error) error { return err }

// TestCommitNew takes a name that is free, and no other.
func TestCommitNew(t *testing.T) {
	for step := -1; step < 6; step++ {
		dir := t.TempDir()
		name := filepath.Join(dir, "name")
		f := &faultFS{failAt: step}
		d, err := durable.Begin(f, name, "name.new", 0o600)
		if err == nil {
			if _, err = fmt.Fprint(d, "new"); err == nil {
				err = d.CommitNew()
			}
			d.Discard()
		}
		op := ""
		if step >= 0 {
			op = f.ops[step]
		}
		want := ""
		left := []string{"name"}
		switch {
		case strings.HasPrefix(op, "remove"): // and the file has both names
			want, left = "new", []string{"name", "name.new"}
		case step < 0 || strings.HasPrefix(op, "syncdir"):
			want = "new"
		default:
			left = nil
		}
		if got := content(t, name); got != want {
			t.Errorf("%q: %q", op, got)
		}
		if got := files(t, dir); !slices.Equal(got, left) {
			t.Errorf("%q: left: %q", op, got)
		}
		if fails := step >= 0 && !strings.HasPrefix(op, "remove"); errors.Is(err, errFault) != fails {
			t.Errorf("%q: %v", op, err)
		}
		if step < 0 {
			if want := []string{"open name.new 600", "write", "sync", "close", "link name.new name", "remove name.new", "syncdir " + kind(dir)}; !slices.Equal(f.ops, want) {
				t.Errorf("%q", f.ops)
			}
		}
	}

	name := filepath.Join(t.TempDir(), "name")
	if err := os.WriteFile(name, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := durable.Begin(durable.OS{}, name, "name.new", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(d, "ours")
	if err := d.CommitNew(); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	d.Discard()
	if content(t, name) != "theirs" || len(files(t, filepath.Dir(name))) != 1 {
		t.Errorf("%q in %q", content(t, name), files(t, filepath.Dir(name)))
	}
}

func TestMakeDir(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	f := &faultFS{failAt: -1}
	if err := durable.MakeDir(f, filepath.Join(root, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if want := []string{"mkdir a 700", "syncdir root", "mkdir b 700", "syncdir a"}; !slices.Equal(f.ops, want) {
		t.Errorf("%q", f.ops)
	}
	f.ops = nil
	if err := durable.MakeDir(f, root, 0o700); err != nil || f.ops != nil {
		t.Errorf("a folder that exists: %q, %v", f.ops, err)
	}
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(file, "below")} {
		if err := durable.MakeDir(f, name, 0o700); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
