//go:build linux

package dir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

func listed(t *testing.T, s *Source) []string {
	t.Helper()
	var all []string
	for r, err := range s.List(t.Context(), sources.Span{ID: "0", Data: "{}"}, "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r.ID)
	}
	return all
}

// TestBytesThatAreNoText: names that are no UTF-8, or look like the way in
// which those are spelt, are listed, found again from what is kept of them,
// and changed.
func TestBytesThatAreNoText(t *testing.T) {
	o := newOne(t)
	all := slices.Concat(names, []string{"\xff", "\xff/\xfe", "caf\xe9", "\\\xff", "a\\x5c\xffb", "\x80\x80", `\x80`})
	all = slices.DeleteFunc(all, func(n string) bool { return n == "\xff" }) // a folder here
	for _, name := range all {
		if err := o.put(name, []byte(oldBody), nil); err != nil {
			t.Fatal(err)
		}
	}
	want := append(ids(all), o.name)
	got := listed(t, o.s)
	if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("listed: %q, should be %q", got, want)
	}
	for i, id := range got {
		if !utf8.ValidString(id) {
			t.Errorf("%q is not UTF-8", id)
		}
		var rest []string
		for r, err := range o.s.List(t.Context(), sources.Span{Data: "{}"}, sources.Cursor(id)) {
			if err != nil {
				t.Fatal(err)
			}
			rest = append(rest, r.ID)
		}
		if !slices.Equal(rest, got[i+1:]) {
			t.Errorf("after %q come %q, should be %q", id, rest, got[i+1:])
		}
	}
	for _, name := range append(all, o.name) {
		o.name = name
		p := o.mustPlan(t)
		if _, err := o.s.Apply(t.Context(), p); err != nil {
			t.Errorf("%q: %v", name, err)
		} else if got := o.body(t, name); got != newBody {
			t.Errorf("%q holds %q", name, got)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, n := range append(names, "\xff", `\\x5c\x5cxff`, "\\\\x\xffff") {
		f.Add(n, "x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		id := encodePath(a)
		if !utf8.ValidString(id) {
			t.Errorf("%q is written as %q, which is not UTF-8", a, id)
		}
		if back := decodePath(id); back != a {
			t.Errorf("%q is written as %q, which reads as %q", a, id, back)
		}
		if utf8.ValidString(a) && !strings.Contains(a, `\x`) && id != a {
			t.Errorf("%q is written as %q", a, id)
		}
		if got, want := comparePaths(a, b), slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")); (got < 0) != (want < 0) || (got > 0) != (want > 0) {
			t.Errorf("%q and %q compare as %d, should be %d", a, b, got, want)
		}
	})
}

// TestManyNames: a folder with more names than are held at once.
func TestManyNames(t *testing.T) {
	root := t.TempDir()
	var want []string
	for i := range 1000 {
		name := fmt.Sprintf("%04d", i*7919%1000)
		if i%10 == 0 {
			name += "/in"
			if err := os.Mkdir(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, name)
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	for _, batch := range []int{1, 7, 500, 999, 1000, 1001} {
		s := opened(t, root)
		s.batch = batch
		if got := listed(t, s); !slices.Equal(got, want) {
			t.Errorf("%d at a time: %d are listed, should be %d", batch, len(got), len(want))
		}
		var some []string
		for r, err := range s.List(t.Context(), sources.Span{Data: `{"after":"0100","until":"0300"}`}, "0200/in") {
			if err != nil {
				t.Fatal(err)
			}
			some = append(some, r.ID)
		}
		if !slices.Equal(some, want[201:301]) && !slices.Equal(some, want[201:300]) {
			t.Errorf("%d at a time: a part is %d, from %v", batch, len(some), some[:min(len(some), 3)])
		}
	}
}

// TestDeadMount: a folder that cannot be read for whatever reason is an item that
// fails; the root's and what would meet every folder are the run's.
func TestDeadMount(t *testing.T) {
	a := newAnother(t, t.TempDir())
	for _, name := range []string{"a", "b", "dead/in", "e"} {
		if err := a.put(name, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	// A FUSE mount whose server is gone.
	dead := a.path("dead")
	server, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		err = unix.Mount("dead", dead, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server.Fd()))
		server.Close()
	}
	if err != nil {
		t.Skipf("SKIPPED: mounting with FUSE needs root and /dev/fuse: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dead, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := opened(t, a.root)
	if got, want := listed(t, s), []string{"a", "b", "dead/", "e"}; !slices.Equal(got, want) {
		t.Errorf("listed: %q, should be %q", got, want)
	}
	if _, err := s.Spans(t.Context(), 4); err != nil {
		t.Error(err)
	}
	_, err = s.Read(t.Context(), sources.Ref{ID: "dead/"}, sources.Want{})
	var run *sources.RunError
	if !errors.As(err, &run) || run.Strikes != brokenStrikes || !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("reading it: %v, should fail, and stop the run if it goes on", err)
	}
	w := walk{s: s, ctx: t.Context()}
	stops(t, "the root", w.fail("", unix.EIO))
	stops(t, "too many open files", w.fail("dead", unix.EMFILE))
}

// TestRemovedWhileListed: a folder that is removed while it is listed.
func TestRemovedWhileListed(t *testing.T) {
	root := t.TempDir()
	folder := filepath.Join(root, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	const all = 3000
	for i := range all {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	w := walk{s: opened(t, root), ctx: t.Context()}
	err := w.scan("folder", func(entry) {
		if n++; n == 1 {
			if err := os.RemoveAll(folder); err != nil {
				t.Fatal(err)
			}
		}
	})
	if err != nil || n == 0 || n == all {
		t.Errorf("%d of %d names were seen: %v", n, all, err)
	}
}

func TestSkip(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a", ".rewrap/state/journal", ".rewrap-other", "b/.rewrap/item", ".git/config", "b/.git", ".gitignore", "file"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{root, link} {
		s := opened(t, at, filepath.Join(link, ".rewrap"), filepath.Join(root, "file"), filepath.Join(root, "not/yet"), "/somewhere/else")
		if got, want := listed(t, s), []string{".gitignore", ".rewrap-other", "a"}; !slices.Equal(got, want) {
			t.Errorf("listed: %q, should be %q", got, want)
		}
	}
	for _, state := range []string{root, filepath.Dir(root)} {
		_, err := Open(t.Context(), Config{Root: root, Skip: []string{state}})
		stops(t, "a state directory around it", err)
	}
}

func TestOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"", file, file + "/below", filepath.Join(filepath.Dir(file), "nothing")} {
		_, err := Open(t.Context(), Config{Root: root})
		stops(t, root, err)
	}
}

func stops(t *testing.T, what string, err error) {
	t.Helper()
	var run *sources.RunError
	if !errors.As(err, &run) || run.Hint == "" {
		t.Errorf("%s: %v, should stop the run with a hint", what, err)
	}
}
