//go:build linux

package dir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rewrap/sources"
	"rewrap/sources/sourcetest"
)

// another is the other writer: it puts files as careful programs do, by a
// rename from elsewhere on the same file system.
type another struct {
	root, stage string
	xattr, acl  bool
	n           atomic.Int64
}

// acl is what setfacl -m u:1000:r puts on a file of mode 0640
// (linux/posix_acl_xattr.h: version 2, then tag, permission, id).
var acl = func() string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, 4, 1000}, {4, 4, 1<<32 - 1}, {0x10, 4, 1<<32 - 1}, {0x20, 0, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return string(b)
}()

const aclName = "system.posix_acl_access"

func newAnother(t *testing.T, base string) *another {
	t.Helper()
	a := &another{root: filepath.Join(base, "root"), stage: filepath.Join(base, "stage")}
	for _, d := range []string{a.root, a.stage} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	probe := filepath.Join(a.stage, "probe")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a.xattr = unix.Setxattr(probe, "user.probe", []byte("1"), 0) == nil
	a.acl = unix.Setxattr(probe, aclName, []byte(acl), 0) == nil
	return a
}

func (a *another) path(name string) string { return filepath.Join(a.root, name) }

func (a *another) put(name string, body []byte, _ map[string]string) error {
	staged := filepath.Join(a.stage, fmt.Sprint(a.n.Add(1)))
	if err := os.WriteFile(staged, body, 0o640); err != nil {
		return err
	}
	if a.xattr {
		for name, value := range map[string]string{"user.kept": "as it is", "user.empty": "", "user.bytes": "\x00\xff"} {
			if err := unix.Setxattr(staged, name, []byte(value), 0); err != nil {
				return err
			}
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(staged, 12345, 23456); err != nil {
			return err
		}
	}
	if err := os.Chmod(staged, 0o640|fs.ModeSetgid); err != nil {
		return err
	}
	if a.acl {
		if err := unix.Setxattr(staged, aclName, []byte(acl), 0); err != nil {
			return err
		}
	}
	if err := os.Chtimes(staged, time.Unix(1_500_000_000, 111_222_333), time.Unix(1_400_000_000, 123_456_789)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.path(name)), 0o755); err != nil {
		return err
	}
	return os.Rename(staged, a.path(name))
}

func (a *another) delete(name string) error { return os.Remove(a.path(name)) }

func (a *another) snapshot(name string) (map[string]string, error) {
	var st unix.Stat_t
	err := unix.Lstat(a.path(name), &st)
	if err == unix.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := map[string]string{
		"mode": fmt.Sprintf("%o", st.Mode), "owner": fmt.Sprint(st.Uid, ":", st.Gid), "links": fmt.Sprint(st.Nlink),
		"mtime": fmt.Sprint(st.Mtim.Nano()), "atime": fmt.Sprint(st.Atim.Nano()),
	}
	// Not to change what is looked at.
	f, err := os.OpenFile(a.path(name), os.O_RDONLY|unix.O_NOATIME, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body := make([]byte, st.Size)
	if _, err := f.ReadAt(body, 0); err != nil && st.Size > 0 {
		return nil, err
	}
	m["body"] = string(body)
	list := make([]byte, 64<<10)
	n, err := unix.Listxattr(a.path(name), list)
	if err != nil && err != unix.ENOTSUP {
		return nil, err
	}
	for attr := range strings.SplitSeq(string(list[:max(n, 0)]), "\x00") {
		if attr == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Getxattr(a.path(name), attr, value)
		if err != nil {
			return nil, err
		}
		m["xattr:"+attr] = string(value[:n])
	}
	return m, nil
}

// unbegun is a source as Open gives it.
func unbegun(t *testing.T, root string, skip ...string) *Source {
	t.Helper()
	s, err := Open(t.Context(), Config{Root: root, Skip: skip, Notice: func(text string) { t.Log("notice:", text) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func opened(t *testing.T, root string, skip ...string) *Source {
	t.Helper()
	s := unbegun(t, root, skip...)
	if err := s.Begin(t.Context(), sources.Write); err != nil {
		t.Fatal(err)
	}
	return s
}

// mark is another one after each change of a file or a folder of the tree.
func (a *another) mark() (string, error) {
	mark := ""
	err := filepath.WalkDir(a.root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		mark += fmt.Sprintf("%s %d %d\n", path, st.Ino, st.Ctim.Nano())
		return nil
	})
	return mark, err
}

// later has a source see every file as old enough.
func later(s *Source) *Source {
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	return s
}

// cannotExchange has it known of the root's file system.
func (s *Source) cannotExchange(t *testing.T) {
	st, err := fstat(s.root)
	if err != nil {
		t.Fatal(err)
	}
	s.dull.Store(st.dev, true)
}

var names = []string{
	"new\nline", "tab\tbed", "bell\a", " ", " leading and trailing ", "a b", "a%2Fb", `back\slash`, `\xff`, `a\x5c`, `\x`, `\xZZ`,
	"quote\"'<xml>&amp;", "$&@=:*~!()[]{}|^`", "é", "e\u0301", "日本語/キー", "\uffff", "\U00010000", "\ufffd", "a/b", "a!", "a0", "A", "-", ".hidden", "...",
	".rewrap-tmp-", ".rewrap-tmp-0123456789ABCDEF", ".rewrap-tmp-0123456789abcdef-1", strings.Repeat("x", 255),
}

// ids are names as IDs spell them.
func ids(names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, encodePath(n))
	}
	return out
}

// conformance runs the suite on the file system of base. Every kind of
// source that makes a difference has its turn.
func conformance(t *testing.T, base func(*testing.T) string, change func(*Source), unconditional bool) {
	sourcetest.Run(t, sourcetest.Harness{
		Splices: true, Folders: true, Names: slices.DeleteFunc(slices.Clone(names), func(n string) bool { return encodePath(n) != n }),
		Unconditional: func(sources.Edit) bool { return unconditional },
		Open: func(t *testing.T) sourcetest.Store {
			a := newAnother(t, base(t))
			s := unbegun(t, a.root)
			change(s)
			if unconditional {
				s.cannotExchange(t)
			}
			return sourcetest.Store{
				Source: s, Put: a.put, Delete: a.delete, Snapshot: a.snapshot, Mark: a.mark,
				// There is no service to ask, so a plan has to cost nothing.
				Traffic: func() sources.Cost { return sources.Cost{} },
			}
		},
	})
}

func tempDir(t *testing.T) string { return t.TempDir() }

func TestConformance(t *testing.T) {
	conformance(t, tempDir, func(s *Source) { s.batch = 3 }, false)
}

func TestConformanceWithoutExchange(t *testing.T) {
	conformance(t, tempDir, func(s *Source) {
		s.exchange = func(*os.File, string, string) error { return unix.EINVAL }
	}, true)
}

func TestConformanceTmpfs(t *testing.T) {
	base := mount(t, "tmpfs", "size=64m")
	conformance(t, func(t *testing.T) string { return subdir(t, base) }, func(*Source) {}, false)
}

func TestConformanceXFS(t *testing.T) {
	base := mountXFS(t)
	conformance(t, func(t *testing.T) string { return subdir(t, base) }, func(*Source) {}, false)
}

func TestConformanceWithoutXattrs(t *testing.T) {
	base := mount(t, "ramfs", "")
	if err := unix.Setxattr(base, "user.probe", nil, 0); err != unix.ENOTSUP {
		t.Fatalf("ramfs has extended attributes here: %v", err)
	}
	conformance(t, func(t *testing.T) string { return subdir(t, base) }, func(*Source) {}, false)
}

func subdir(t *testing.T, base string) string {
	t.Helper()
	d, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// mount is a new file system, which goes with the test.
func mount(t *testing.T, kind, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("SKIPPED: mounting %s needs root", kind)
	}
	at := t.TempDir()
	if err := unix.Mount(kind, at, kind, 0, options); err != nil {
		t.Skipf("SKIPPED: mounting %s: %v", kind, err)
	}
	unmountAfter(t, at)
	return at
}

func unmountAfter(t *testing.T, at string) {
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Errorf("unmounting %s: %v", at, err)
		}
	})
}

// mountXFS is a new XFS in an image file.
func mountXFS(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: mounting xfs needs root")
	}
	image, at := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 300<<20); err != nil { // the least that it takes; a hole
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.xfs", "-q", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: %q: %v %s", args, err, out)
		}
	}
	unmountAfter(t, at)
	return at
}

// one is a tree with one file, and an edit of it.
type one struct {
	*another
	s    *Source
	name string
}

const (
	oldBody = "0123456789abcdef"
	newBody = "01234NEW KEY9abcdef"
)

var oneEdit = sources.Edit{Splices: []sources.Splice{{Off: 5, Del: 4, Ins: []byte("NEW KEY")}}}

func newOne(t *testing.T) *one {
	t.Helper()
	return newOneIn(t, t.TempDir())
}

func newOneIn(t *testing.T, base string) *one {
	t.Helper()
	o := &one{another: newAnother(t, base), name: "folder/item"}
	if err := o.put(o.name, []byte(oldBody), nil); err != nil {
		t.Fatal(err)
	}
	o.s = later(opened(t, o.root))
	return o
}

func (o *one) ref() sources.Ref {
	return sources.Ref{ID: encodePath(o.name), Cursor: sources.Cursor(encodePath(o.name))}
}

func (o *one) plan(t *testing.T) (sources.Plan, error) {
	t.Helper()
	v, err := o.s.Read(t.Context(), o.ref(), sources.Want{Head: 1 << 20})
	if err != nil {
		return sources.Plan{}, err
	}
	return o.s.Plan(t.Context(), v, oneEdit)
}

func (o *one) mustPlan(t *testing.T) sources.Plan {
	t.Helper()
	p, err := o.plan(t)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// refused wants a refusal with the reason.
func refused(t *testing.T, err error, reason string) {
	t.Helper()
	var u *sources.SkipError
	if !errors.As(err, &u) || u.Reason != reason || u.Detail == "" {
		t.Errorf("got %v (%#v), should be refused for %q", err, u, reason)
	}
}

// tree is every name below the root.
func (a *another) tree(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(a.root, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, strings.TrimPrefix(path, a.root))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (a *another) body(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(a.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
