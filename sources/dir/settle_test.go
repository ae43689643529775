//go:build linux

package dir

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// command is this test binary as a process of its own, which runs one test.
func command(t *testing.T, test string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// killed are the circumstances under which a process is killed at each step.
var killed = map[string]struct {
	at   map[string]string // before a step another program puts this at the name; "-": deletes
	dull bool
	want []string // what may be at the name in the end; "-": nothing
	left string   // what a killed process can leave under a name of ours, since nobody knows whose it is
}{
	"alone":            {want: []string{oldBody, newBody}},
	"without exchange": {dull: true, want: []string{oldBody, newBody}},
	"replaced before":  {at: map[string]string{"exchange": "THEIRS"}, want: []string{oldBody, "THEIRS"}},
	"replaced after":   {at: map[string]string{"compare": "THEIRS"}, want: []string{oldBody, newBody, "THEIRS"}},
	"deleted after":    {at: map[string]string{"compare": "-"}, want: []string{oldBody, newBody, "-"}},
	"replaced twice":   {at: map[string]string{"exchange": "first", "compare": "THEIRS"}, want: []string{oldBody, "first", "THEIRS"}, left: "first"},
}

// TestKill kills a process at every step of an Apply, and looks at what the
// next one makes of what it left: no name that was not there, and the content
// of the one or the other, whole.
func TestKill(t *testing.T) {
	for name, c := range killed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := false
			for n := 1; ; n++ {
				o := newOne(t)
				out, err := command(t, "TestKillChild", "DIR_TEST_ROOT="+o.root, "DIR_TEST_KILL="+strconv.Itoa(n), "DIR_TEST_CASE="+name).CombinedOutput()
				var exit *exec.ExitError
				done := err == nil
				if !done && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
					t.Fatalf("the child: %v\n%s", err, out)
				}
				wantTree := []string{"", "/folder", "/folder/item"}
				// Nothing lists what was left, prepared or not.
				raw, err := Open(t.Context(), Config{Root: o.root})
				if err != nil {
					t.Fatal(err)
				}
				if err := raw.Begin(t.Context(), sources.Look); err != nil {
					t.Fatal(err)
				}
				for _, id := range listed(t, raw) {
					if id != "folder/item" {
						t.Errorf("killed at step %d: %q is listed", n, id)
					}
				}
				raw.Close()
				o.s = later(opened(t, o.root))
				got := "-"
				if b, err := os.ReadFile(o.path(o.name)); err == nil {
					got = string(b)
				} else {
					wantTree = wantTree[:2]
				}
				if !slices.Contains(c.want, got) {
					t.Errorf("killed at step %d: %q is at the name, should be one of %q", n, got, c.want)
				}
				tree := slices.DeleteFunc(o.tree(t), func(n string) bool {
					if done || !isTemp(filepath.Base(n)) || c.left == "" || o.body(t, n) != c.left {
						return false
					}
					left = true
					return true
				})
				if !slices.Equal(tree, wantTree) {
					t.Errorf("killed at step %d: the tree is %q, should be %q", n, tree, wantTree)
				}
				// And on it goes.
				if got == oldBody {
					if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
						t.Errorf("killed at step %d, then: %v", n, err)
					} else if got := o.body(t, o.name); got != newBody {
						t.Errorf("killed at step %d, then: %q", n, got)
					}
				}
				if done {
					if n < 7 {
						t.Errorf("the child came to its end after %d steps", n-1)
					}
					if left != (c.left != "") {
						t.Errorf("%q was never left", c.left)
					}
					return
				}
			}
		})
	}
}

func TestKillChild(t *testing.T) {
	root := os.Getenv("DIR_TEST_ROOT")
	if root == "" {
		t.Skip("the child process of TestKill")
	}
	n, err := strconv.Atoi(os.Getenv("DIR_TEST_KILL"))
	if err != nil {
		t.Fatal(err)
	}
	c := killed[os.Getenv("DIR_TEST_CASE")]
	o := &one{another: &another{root: root, stage: filepath.Join(filepath.Dir(root), "stage")}, name: "folder/item"}
	o.s = later(opened(t, root))
	if c.dull {
		o.s.cannotExchange(t)
	}
	p := o.mustPlan(t)
	step := 0
	o.s.at = func(at string) {
		var err error
		switch body := c.at[at]; body {
		case "":
		case "-":
			err = o.delete(o.name)
		default:
			err = o.put(o.name, []byte(body), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if step++; step == n {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	if _, err := o.s.Apply(t.Context(), p); err != nil && !errors.Is(err, sources.ErrConflict) {
		t.Fatal(err)
	}
}

// TestKillBesideAWriter: a program that was held up while the file was exchanged
// has it open when the process is killed, and writes to it later than the next
// run has begun.
func TestKillBesideAWriter(t *testing.T) {
	if root := os.Getenv("DIR_TEST_ROOT"); root != "" {
		o := &one{another: &another{root: root}, s: later(opened(t, root)), name: "folder/item"}
		p := o.mustPlan(t)
		o.s.at = func(step string) {
			switch step {
			case "exchange":
				fmt.Println("EXCHANGE")
				o.waitForBreak(t)
			case "compare":
				unix.Kill(os.Getpid(), unix.SIGKILL)
				select {}
			}
		}
		_, err := o.s.Apply(t.Context(), p)
		t.Fatal(err)
	}
	o := newOne(t)
	cmd := command(t, t.Name(), "DIR_TEST_ROOT="+o.root)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "EXCHANGE"; {
	}
	f, err := os.OpenFile(o.path(o.name), os.O_WRONLY|os.O_APPEND, 0) // until the child is dead
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
	if n := len(o.tree(t)); n != 4 {
		t.Fatalf("the child was killed too early or too late: %q", o.tree(t))
	}
	o.s = later(opened(t, o.root))
	if _, err := f.WriteString("AND MORE"); err != nil {
		t.Fatal(err)
	}
	if got := o.body(t, o.name); got != oldBody+"AND MORE" || len(o.tree(t)) != 3 {
		t.Errorf("%q is at the name, and the tree is %q", got, o.tree(t))
	}
}

// TestOddTemp: a folder with a name like a temporary file's stops nobody.
func TestOddTemp(t *testing.T) {
	o := newOne(t)
	if err := os.Mkdir(o.path(newTemp().name()), 0o755); err != nil {
		t.Fatal(err)
	}
	var notices []string
	s, err := Open(t.Context(), Config{Root: o.root, Notice: func(n string) { notices = append(notices, n) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Begin(t.Context(), sources.Write); err != nil || len(notices) == 0 || len(o.tree(t)) != 4 {
		t.Errorf("%v, %q, %q", err, notices, o.tree(t))
	}
}

// TestPrepareSays: what may not be removed, is no file of ours, or is a living
// process's stops nobody and does not count.
func TestPrepareSays(t *testing.T) {
	if root := os.Getenv("DIR_TEST_ROOT"); root != "" {
		var notices []string
		s, err := Open(t.Context(), Config{Root: root, Notice: func(n string) { notices = append(notices, n) }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Begin(t.Context(), sources.Write); err != nil {
			t.Error(err)
		}
		said := func(prefix string, words ...string) {
			t.Helper()
			for _, n := range notices {
				if strings.HasPrefix(n, prefix) {
					for _, w := range words {
						if !strings.Contains(n, w) {
							t.Errorf("%q: does not say %q", n, w)
						}
					}
					return
				}
			}
			t.Errorf("nothing is said of %s: %q", prefix, notices)
		}
		said(`"`+root+"/denied/", "permission denied", "next run")
		said(`"`+root+"/mounted/", "read-only", "next run")
		said(`"`+root+"/odd/", "is none")
		said("1 temporary file of an earlier run was found")
		if len(notices) != 4 {
			t.Errorf("%d notices: %q", len(notices), notices)
		}
		return
	}
	a := newAnother(t, mount(t, "tmpfs", "size=64m"))
	where := make(map[string]string)
	for _, folder := range []string{"mine", "denied", "mounted", "living"} {
		where[folder] = folder + "/" + newTemp().name()
		if err := a.put(where[folder], []byte("half"), nil); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(a.path(folder), other, other); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(a.path(where[folder]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	living, err := os.Open(a.path(where["living"]))
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	lock(living)
	sub := a.path("mounted")
	for _, err := range []error{
		os.MkdirAll(a.path("odd/"+newTemp().name()), 0o755),
		os.Chmod(a.path("denied"), 0o555),
		unix.Mount(sub, sub, "", unix.MS_BIND, ""),
		unix.Mount("", sub, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	unmountAfter(t, sub)
	asOther(t, a.root)
	for folder, name := range where {
		if _, err := os.Lstat(a.path(name)); errors.Is(err, os.ErrNotExist) != (folder == "mine") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPrepareBesideAnother: what another run has seen to meanwhile is no error.
func TestPrepareBesideAnother(t *testing.T) {
	o := newOne(t)
	for _, tmp := range []temp{newTemp(), newTemp().ready(state{ino: 1}, state{ino: 2}, "item")} {
		for _, folder := range []string{"folder", "nowhere"} {
			if err := o.s.tidy(t.Context(), folder, tmp.name()); !errors.Is(err, errKept) && !is(err, unix.ENOENT) {
				t.Errorf("%s in %s: %v", tmp.name(), folder, err)
			}
		}
	}
}

// TestPrepareBesideAWriter: what a living process has under way is left alone.
func TestPrepareBesideAWriter(t *testing.T) {
	for _, step := range steps[1:] {
		for _, conflicting := range []bool{false, true} {
			o := newOne(t)
			p := o.mustPlan(t)
			beside := later(opened(t, o.root))
			o.s.at = func(at string) {
				if at == "exchange" && conflicting {
					if err := o.put(o.name, []byte("THEIRS"), nil); err != nil {
						t.Fatal(err)
					}
				}
				if at == step {
					if err := beside.Begin(t.Context(), sources.Write); err != nil {
						t.Error(err)
					}
				}
			}
			_, err := o.s.Apply(t.Context(), p)
			want := newBody
			if conflicting {
				want = "THEIRS"
			}
			if conflicting != errors.Is(err, sources.ErrConflict) || !conflicting && err != nil {
				t.Errorf("%s, conflict %v: %v", step, conflicting, err)
			}
			if got := o.body(t, o.name); got != want || len(o.tree(t)) != 3 {
				t.Errorf("%s: it holds %q, and the tree is %q", step, got, o.tree(t))
			}
		}
	}
}

func TestTempNames(t *testing.T) {
	a := newTemp()
	long := a.ready(state{ino: 1}, state{ino: 2}, "target")
	for _, want := range []temp{a, long} {
		if got, ok := parseTemp(want.name()); !ok || got != want {
			t.Errorf("%q reads as %v, %v", want.name(), got, ok)
		}
		if len(want.name()) > 143 {
			t.Errorf("%q is too long for file systems with encrypted names", want.name())
		}
	}
	for _, name := range []string{"", tempPrefix, a.name() + "0", a.name()[:len(a.name())-1], a.name() + "-", long.name() + "-0123456789abcdef", "x" + a.name(), tempPrefix + "0123456789abcdeF", tempPrefix + "0123456789abcdeg"} {
		if isTemp(name) {
			t.Errorf("%q counts as a temporary file", name)
		}
	}
}
