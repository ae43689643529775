//go:build linux

package dir

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// TestFullDisk fills a disk of 20 MB. A file that is too large for what is left
// is refused alone, however many there are; a disk on which nothing has room
// ends the run, whatever the size.
func TestFullDisk(t *testing.T) {
	a := newAnother(t, mount(t, "tmpfs", "size=20m"))
	s := later(opened(t, a.root))
	sizes := map[string]int{"large": 3 << 20, "small": 16, "sparse": 3 << 20}
	before := make(map[string]map[string]string)
	plans := make(map[string]sources.Plan)
	for name, size := range sizes {
		if err := a.put(name, bytes.Repeat([]byte("0123456789abcdef"), size/16), nil); err != nil {
			t.Fatal(err)
		}
		if name == "sparse" { // of which only the writing tells
			if err := os.Truncate(a.path(name), 4<<20); err != nil {
				t.Fatal(err)
			}
		}
		plans[name] = (&one{a, s, name}).mustPlan(t)
		var err error
		if before[name], err = a.snapshot(name); err != nil {
			t.Fatal(err)
		}
	}
	filler := filepath.Join(a.stage, "filler")
	fill := func(leave int64) {
		if err := os.RemoveAll(filler); err != nil {
			t.Fatal(err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(a.root, &st); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, make([]byte, int64(st.Bfree)*st.Bsize-leave), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unchanged := func(name, what string) {
		t.Helper()
		if now, err := a.snapshot(name); err != nil || !maps.Equal(now, before[name]) {
			t.Errorf("%s on a disk with %s: it is another; %v", name, what, err)
		}
		if got := a.tree(t); !slices.Equal(got, []string{"", "/large", "/small", "/sparse"}) {
			t.Errorf("%s on a disk with %s: the tree is %q", name, what, got)
		}
	}
	stops := func(name, what string) {
		t.Helper()
		_, err := s.Apply(t.Context(), plans[name])
		var run *sources.RunError
		if !errors.As(err, &run) || !errors.Is(err, unix.ENOSPC) || run.Strikes != fullStrikes || run.Hint == "" {
			t.Errorf("%s on a disk with %s: %v (%#v), should stop the run if it goes on", name, what, err, run)
		}
		unchanged(name, what)
	}
	fill(0)
	stops("large", "nothing left")
	stops("small", "nothing left")
	fill(4096)
	stops("large", "a block left")
	fill(2 << 20)
	stops("sparse", "2 MiB left")
	for range 2 * fullStrikes {
		_, err := s.Apply(t.Context(), plans["large"])
		refused(t, err, reasonNoRoom)
		unchanged("large", "2 MiB left")
	}
	if _, err := s.Apply(t.Context(), plans["small"]); err != nil {
		t.Errorf("small beside it: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), plans["large"]); err != nil {
		t.Error(err)
	}
}

// TestFullOfTemporaries: two files of which the disk holds one more at a time
// are both written.
func TestFullOfTemporaries(t *testing.T) {
	a := newAnother(t, mount(t, "tmpfs", "size=20m"))
	body := bytes.Repeat([]byte("0123456789abcdef"), 6<<16) // 6 MiB
	s := later(opened(t, a.root))
	second := make(chan struct{}) // has found the disk full, or ended
	var sec, once sync.Once
	s.at = func(step string) {
		switch step {
		case "sync":
			once.Do(func() { <-second }) // the first holds its room until then
		case "full":
			sec.Do(func() { close(second) })
		}
	}
	var both sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		if err := a.put(name, body, nil); err != nil {
			t.Fatal(err)
		}
		v, err := s.Read(t.Context(), sources.Ref{ID: name}, sources.Want{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Plan(t.Context(), v, oneEdit)
		if err != nil {
			t.Fatal(err)
		}
		both.Go(func() {
			defer sec.Do(func() { close(second) })
			if _, err := s.Apply(t.Context(), p); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	both.Wait()
	if got := a.tree(t); !slices.Equal(got, []string{"", "/a", "/b"}) {
		t.Errorf("the tree is %q", got)
	}
}

// TestReadOnlyFileSystem: nothing can be done in a tree that is read-only; a
// mount in it that is says nothing of the rest.
func TestReadOnlyFileSystem(t *testing.T) {
	base := mount(t, "tmpfs", "size=1m")
	a := newAnother(t, base)
	for _, name := range []string{"item", "mounted/item"} {
		if err := a.put(name, []byte(oldBody), nil); err != nil {
			t.Fatal(err)
		}
	}
	sub := a.path("mounted")
	if err := unix.Mount(sub, sub, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, sub)
	if err := unix.Mount("", sub, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	src := later(opened(t, a.root))
	o, in := &one{a, src, "item"}, &one{a, src, "mounted/item"}
	_, err := in.plan(t)
	refused(t, err, reasonNotWritable)
	if err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("%v: does not say why", err)
	}
	if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
		t.Errorf("beside the mount: %v", err)
	}
	if err := unix.Mount("", base, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, o := range []*one{o, in} {
		_, err := o.plan(t)
		var run *sources.RunError
		if !errors.As(err, &run) || !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s in a tree that is read-only: %v, should stop the run", o.name, err)
		}
	}
}
