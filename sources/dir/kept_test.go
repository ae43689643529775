//go:build linux

package dir

import (
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

func TestRefused(t *testing.T) {
	t.Run("hard link", func(t *testing.T) {
		o := newOne(t)
		if err := os.Link(o.path(o.name), o.path("second")); err != nil {
			t.Fatal(err)
		}
		_, err := o.plan(t)
		refused(t, err, reasonHardLink)
	})
	t.Run("special files", func(t *testing.T) {
		o := newOne(t)
		if err := unix.Mkfifo(o.path("fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", o.path("socket"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		want := []string{"fifo", "folder/item", "socket"}
		if os.Geteuid() == 0 {
			if err := unix.Mknod(o.path("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 7))); err != nil {
				t.Fatal(err)
			}
			want = slices.Insert(want, 0, "device")
		}
		if err := os.Symlink("item", o.path("folder/link")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("folder", o.path("linked")); err != nil {
			t.Fatal(err)
		}
		if got := listed(t, o.s); !slices.Equal(got, want) {
			t.Errorf("listed: %q, should be %q", got, want)
		}
		for _, name := range want {
			if name == o.name {
				continue
			}
			_, err := o.s.Read(t.Context(), sources.Ref{ID: name}, sources.Want{Head: 10})
			refused(t, err, reasonSpecial)
			var u *sources.SkipError
			if errors.As(err, &u) && !u.Nothing {
				t.Errorf("%s could hold a key, says %v", name, err)
			}
		}
		for _, name := range []string{"folder/link", "linked/item", "linked", "folder", "nothing", "folder/item/below"} {
			if _, err := o.s.Read(t.Context(), sources.Ref{ID: name}, sources.Want{}); !errors.Is(err, sources.ErrGone) {
				t.Errorf("reading %s: %v, should be ErrGone", name, err)
			}
		}
		for _, name := range []string{"../stage", "folder/../folder/item", "/etc/passwd", "", ".", "folder//item", "a\x00b"} {
			if _, err := o.s.Read(t.Context(), sources.Ref{ID: name}, sources.Want{}); err == nil || errors.Is(err, sources.ErrGone) {
				t.Errorf("reading %q: %v, should be an error", name, err)
			}
		}
	})
	t.Run("immutable", func(t *testing.T) {
		for _, path := range []string{"folder/item", "folder"} {
			o := newOne(t)
			setFlags(t, o.path(path), flagImmutable)
			_, err := o.plan(t)
			refused(t, err, reasonNotWritable)
		}
	})
	t.Run("young", func(t *testing.T) {
		o := newOne(t)
		o.s.now = time.Now
		_, err := o.plan(t)
		var wait *sources.NotYetError
		if !errors.As(err, &wait) || wait.Wait <= 0 || wait.Wait > 50*time.Millisecond {
			t.Errorf("got %v, should be put off for some milliseconds", err)
		}
	})
}

func setFlags(t *testing.T, path string, set int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	was, err := flags(f)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(was)|set)
	}
	if err != nil {
		t.Skipf("SKIPPED: flags cannot be set here: %v", err)
	}
	t.Cleanup(func() {
		defer f.Close()
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(was)); err != nil {
			t.Error(err)
		}
	})
}

// TestKept: what the suite's other writer does not give its files.
func TestKept(t *testing.T) {
	t.Run("read-only", func(t *testing.T) {
		o := newOne(t)
		if err := os.Chmod(o.path(o.name), 0o400); err != nil {
			t.Fatal(err)
		}
		if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
			t.Fatal(err)
		}
		if m := o.look(t); m["mode"] != "100400" || m["body"] != newBody {
			t.Errorf("it is %v", m)
		}
	})
	t.Run("flags", func(t *testing.T) {
		o := newOne(t)
		const nodump = 0x40
		setFlags(t, o.path(o.name), nodump)
		if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(o.path(o.name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if n, err := flags(f); err != nil || n&nodump == 0 {
			t.Errorf("the flags are %x; %v", n, err)
		}
	})
	t.Run("no ACL in a folder with a default ACL", func(t *testing.T) { noACL(t, newOne(t)) })
	t.Run("no ACL in a folder with a default ACL, on XFS", func(t *testing.T) { noACL(t, newOneIn(t, mountXFS(t))) })
	t.Run("holes", func(t *testing.T) {
		o := newOne(t)
		const size = 64 << 20
		f, err := os.OpenFile(o.path(o.name), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte("in the middle"), size/2)
		if err = errors.Join(err, f.Truncate(size), f.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, size+3)
		copy(want, newBody)
		copy(want[size/2+3:], "in the middle")
		if got := o.body(t, o.name); got != string(want) {
			t.Errorf("the content is another, of %d bytes", len(got))
		}
		var st unix.Stat_t
		if err := unix.Stat(o.path(o.name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Blocks*512 > 1<<20 {
			t.Errorf("%d of %d bytes are on the disk: the holes were filled", st.Blocks*512, size)
		}
	})
}

func noACL(t *testing.T, o *one) {
	t.Helper()
	if !o.acl {
		t.Skip("SKIPPED: the file system has no ACLs")
	}
	for _, err := range []error{
		unix.Removexattr(o.path(o.name), aclName),
		os.Chmod(o.path(o.name), 0o640),
		unix.Setxattr(o.path("folder"), "system.posix_acl_default", []byte(acl), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := o.look(t)
	if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
		t.Fatal(err)
	}
	before["body"] = newBody
	if got := o.look(t); !maps.Equal(got, before) {
		t.Errorf("it is %v, should be %v", got, before)
	}
}

// TestOthersFile: without the right to give files away it is refused, before
// anything is written.
func TestOthersFile(t *testing.T) {
	if root := os.Getenv("DIR_TEST_ROOT"); root != "" {
		o := &one{another: &another{root: root}, s: later(opened(t, root)), name: "folder/item"}
		_, err := o.plan(t)
		refused(t, err, os.Getenv("DIR_TEST_REASON"))
		return
	}
	o := newOne(t)
	if err := os.Chmod(o.path(o.name), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, owner := range []int{other, 0} {
		want := reasonOwner
		if owner == 0 {
			want = reasonNotWritable
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(o.path("folder"), owner, owner); err != nil {
				t.Fatal(err)
			}
		}
		asOther(t, o.root, "DIR_TEST_REASON="+want)
	}
}

// TestOwnReadOnly: an owner who is not root, and may not write the file, keeps
// its extended attributes.
func TestOwnReadOnly(t *testing.T) {
	if root := os.Getenv("DIR_TEST_ROOT"); root != "" {
		o := &one{another: &another{root: root}, s: later(opened(t, root)), name: "folder/item"}
		want := o.look(t)
		if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
			t.Fatal(err)
		}
		want["body"] = newBody
		if got := o.look(t); !maps.Equal(got, want) {
			t.Errorf("it is %v, should be %v", got, want)
		}
		return
	}
	o := newOne(t)
	for _, path := range []string{"folder", o.name} {
		if err := os.Lchown(o.path(path), other, other); os.Geteuid() == 0 && err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(o.path(o.name), 0o440); err != nil {
		t.Fatal(err)
	}
	asOther(t, o.root)
}

// TestShutFolder: a folder that may not be read is an item that fails, and the
// others are listed, each once, from wherever a listing goes on.
func TestShutFolder(t *testing.T) {
	if root := os.Getenv("DIR_TEST_ROOT"); root != "" {
		s := opened(t, root)
		want := []string{"a", "b/", "b.", "b0", "c/x/", "c/y"}
		list := func(span, after string) (got []string) {
			for r, err := range s.List(t.Context(), sources.Span{Data: span}, sources.Cursor(after)) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, r.ID)
			}
			return got
		}
		if got := listed(t, s); !slices.Equal(got, want) {
			t.Errorf("listed: %q, should be %q", got, want)
		}
		for i, after := range want {
			if got := list("{}", after); !slices.Equal(got, want[i+1:]) {
				t.Errorf("after %q: %q, should be %q", after, got, want[i+1:])
			}
			border := strings.TrimSuffix(after, "/") // a file's name once
			first, second := list(`{"until":"`+border+`"}`, ""), list(`{"after":"`+border+`"}`, "")
			if got := slices.Concat(first, second); !slices.Equal(got, want) {
				t.Errorf("parted at %q: %q and %q", border, first, second)
			}
		}
		for _, id := range []string{"b/", "c/x/"} {
			_, err := s.Read(t.Context(), sources.Ref{ID: id}, sources.Want{})
			var run *sources.RunError
			if !errors.As(err, &run) || run.Strikes != deniedStrikes || !errors.Is(err, unix.EACCES) {
				t.Errorf("reading %s: %v", id, err)
			}
		}
		if _, err := s.Read(t.Context(), sources.Ref{ID: "c/"}, sources.Want{}); err == nil || errors.Is(err, sources.ErrGone) {
			t.Errorf("reading a folder that can be read by now: %v", err)
		}
		if _, err := s.Read(t.Context(), sources.Ref{ID: "nothing/"}, sources.Want{}); !errors.Is(err, sources.ErrGone) {
			t.Errorf("reading a folder that is gone: %v", err)
		}
		for _, err := range s.List(t.Context(), sources.Span{}, "b/in") {
			stops(t, "a folder that was closed while it was listed", err)
			break
		}
		if err := s.Begin(t.Context(), sources.Write); err != nil {
			t.Error(err)
		}
		return
	}
	a := newAnother(t, t.TempDir())
	for _, name := range []string{"a", "b.", "b/in", "b0", "c/x/in", "c/y"} {
		if err := a.put(name, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, shut := range []string{"b", "c/x"} {
		if err := os.Chmod(a.path(shut), 0); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(a.path(shut), 0o700) //nolint:errcheck // for TempDir's sake
	}
	asOther(t, a.root)
}

// other is somebody who may do little.
const other = 1001

// asOther has the test run once more as somebody else, with root in
// DIR_TEST_ROOT.
func asOther(t *testing.T, root string, env ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to be somebody else")
	}
	for path := filepath.Dir(root); path != "/tmp" && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The folder in which go test keeps it is root's alone.
	binary, err := os.ReadFile(os.Args[0])
	test := filepath.Join(filepath.Dir(root), "test")
	if err == nil {
		err = os.WriteFile(test, binary, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, t.Name(), append(env, "DIR_TEST_ROOT="+root)...)
	cmd.Path, cmd.Dir = test, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
