//go:build linux

package dir

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// steps are those of an Apply that lands, in order.
var steps = []string{"create", "write", "attributes", "sync", "leased", "name", "exchange", "compare", "remove", "sync folder"}

func TestSteps(t *testing.T) {
	o := newOne(t)
	var got []string
	o.s.at = func(step string) { got = append(got, step) }
	if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, steps) {
		t.Errorf("the steps are %q, should be %q: the tests below go by them", got, steps)
	}
}

// TestOtherWriters has another program come in before each step of an Apply.
// Whatever it left there is what has to be there in the end.
func TestOtherWriters(t *testing.T) {
	// As editors and careful programs do, and as they should not.
	for _, other := range []struct {
		name string
		do   func(*one) error
		want error
		from string // the steps from which on it comes too late to matter
	}{
		{"replaces", func(o *one) error { return o.put(o.name, []byte("THEIRS"), nil) }, sources.ErrConflict, "compare"},
		{"replaces, same size and times", func(o *one) error { return o.put(o.name, []byte(strings.ToUpper(oldBody)), nil) }, sources.ErrConflict, "compare"},
		{"deletes", func(o *one) error { return o.delete(o.name) }, sources.ErrGone, "compare"},
		{"deletes the folder", func(o *one) error { return os.RemoveAll(filepath.Dir(o.path(o.name))) }, sources.ErrGone, "compare"},
		{"moves away", func(o *one) error { return os.Rename(o.path(o.name), o.path("elsewhere")) }, sources.ErrGone, "compare"},
		{"writes in place", func(o *one) error { return os.WriteFile(o.path(o.name), []byte("THEIRS"), 0) }, sources.ErrConflict, "compare"},
		{"appends", func(o *one) error {
			f, err := os.OpenFile(o.path(o.name), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("THEIRS")
			return errors.Join(err, f.Close())
		}, sources.ErrConflict, "compare"},
		{"chmod", func(o *one) error { return os.Chmod(o.path(o.name), 0o600) }, sources.ErrConflict, "compare"},
		{"setxattr", func(o *one) error { return unix.Setxattr(o.path(o.name), "user.theirs", []byte("x"), 0) }, sources.ErrConflict, "compare"},
		{"hard link", func(o *one) error { return os.Link(o.path(o.name), o.path("second")) }, sources.ErrConflict, "compare"},
		{"symlink", func(o *one) error {
			if err := os.Remove(o.path(o.name)); err != nil {
				return err
			}
			return os.Symlink("/etc/passwd", o.path(o.name))
		}, sources.ErrConflict, "compare"},
		{"folder", func(o *one) error {
			if err := os.Remove(o.path(o.name)); err != nil {
				return err
			}
			return os.MkdirAll(o.path(o.name+"/in/it"), 0o755)
		}, sources.ErrConflict, "compare"},
	} {
		for i, step := range steps {
			if step == "sync folder" || slices.Index(steps, other.from) <= i {
				break
			}
			// From there on a writer in place is held up by the lease: see
			// TestLease.
			if i > slices.Index(steps, "sync") && (other.name == "writes in place" || other.name == "appends") {
				break
			}
			t.Run(other.name+" before "+step, func(t *testing.T) {
				o := newOne(t)
				if other.name == "setxattr" && !o.xattr {
					t.Skip("SKIPPED: the file system has no extended attributes")
				}
				p := o.mustPlan(t)
				var theirs map[string]string
				var tree []string
				o.s.at = func(at string) {
					if at != step || theirs != nil {
						return
					}
					if err := other.do(o); err != nil {
						t.Fatal(err)
					}
					theirs = o.look(t)
					tree = slices.DeleteFunc(o.tree(t), func(n string) bool { return isTemp(filepath.Base(n)) })
				}
				_, err := o.s.Apply(t.Context(), p)
				if !errors.Is(err, other.want) && !(errors.Is(err, sources.ErrGone) && (other.name == "symlink" || other.name == "folder")) {
					t.Errorf("got %v, should be: %v", err, other.want)
				}
				if got := o.look(t); !maps.Equal(got, theirs) {
					t.Errorf("there is %v, the other left %v", got, theirs)
				}
				if got := o.tree(t); !slices.Equal(got, tree) {
					t.Errorf("the tree is %q, should be %q", got, tree)
				}
			})
		}
	}
}

// TestTooLate: what another writer does after the exchange is its own.
func TestTooLate(t *testing.T) {
	for _, step := range []string{"compare", "remove", "sync folder"} {
		o := newOne(t)
		o.s.at = func(at string) {
			if at == step {
				if err := o.put(o.name, []byte("THEIRS"), nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		if got := o.body(t, o.name); got != "THEIRS" || len(o.tree(t)) != 3 {
			t.Errorf("%s: it holds %q, and the tree is %q", step, got, o.tree(t))
		}
		o = newOne(t)
		o.s.at = func(at string) {
			if at == step {
				if err := o.delete(o.name); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		if got := o.tree(t); len(got) != 2 {
			t.Errorf("%s: the tree is %q: what was deleted is back", step, got)
		}
	}
}

// look is a snapshot of whatever is at the name.
func (o *one) look(t *testing.T) map[string]string {
	t.Helper()
	st, err := os.Lstat(o.path(o.name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return map[string]string{}
	case err != nil:
		t.Fatal(err)
	case !st.Mode().IsRegular():
		return map[string]string{"mode": st.Mode().String()}
	}
	m, err := o.snapshot(o.name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestTwoOtherWriters: the second writer comes after the exchange that is undone
// for the first one, or while it is undone. The newest version has to be at the
// name. Versions that it replaced or deleted are gone, as they would be without
// us. If it kept our new file, the first writer's version is kept too, and the
// item fails.
func TestTwoOtherWriters(t *testing.T) {
	put := func(body string) func(*one) error {
		return func(o *one) error { return o.put(o.name, []byte(body), nil) }
	}
	remove := func(o *one) error { return o.delete(o.name) }
	away := func(o *one) error { return os.Rename(o.path(o.name), o.path("away")) }
	link := func(o *one) error { return os.Link(o.path(o.name), o.path("link")) }
	both := func(all ...func(*one) error) func(*one) error {
		return func(o *one) error {
			for _, do := range all {
				if err := do(o); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, test := range map[string]struct {
		compare func(*one) error   // after the exchange
		undo    []func(*one) error // before each exchange that undoes one
		want    map[string]string  // the tree
		left    string             // with the temporary name
	}{
		"replaced":                           {compare: put("second"), want: map[string]string{"folder/item": "second"}},
		"deleted":                            {compare: remove, want: map[string]string{}},
		"renamed and deleted":                {compare: both(away, func(o *one) error { return o.delete("away") }), want: map[string]string{}},
		"renamed":                            {compare: away, want: map[string]string{"away": newBody}, left: "first"},
		"renamed and replaced":               {compare: both(away, put("second")), want: map[string]string{"away": newBody, "folder/item": "second"}, left: "first"},
		"linked":                             {compare: link, want: map[string]string{"link": newBody, "folder/item": newBody}, left: "first"},
		"linked and replaced":                {compare: both(link, put("second")), want: map[string]string{"link": newBody, "folder/item": "second"}, left: "first"},
		"linked and deleted":                 {compare: both(link, remove), want: map[string]string{"link": newBody}, left: "first"},
		"changed":                            {compare: func(o *one) error { return os.Chmod(o.path(o.name), 0o600) }, want: map[string]string{"folder/item": newBody}, left: "first"},
		"replaced while undone":              {undo: []func(*one) error{put("second")}, want: map[string]string{"folder/item": "second"}},
		"deleted while undone":               {undo: []func(*one) error{remove}, want: map[string]string{}},
		"renamed while undone":               {undo: []func(*one) error{away}, want: map[string]string{"away": newBody}, left: "first"},
		"renamed and replaced while undone":  {undo: []func(*one) error{both(away, put("second"))}, want: map[string]string{"away": newBody, "folder/item": "second"}, left: "first"},
		"replaced, and the first is renamed": {undo: []func(*one) error{put("second"), away}, want: map[string]string{"away": "first"}, left: "second"},
		"replaced, and the first is deleted": {undo: []func(*one) error{put("second"), remove}, want: map[string]string{}, left: "second"},
		"replaced twice while undone":        {undo: []func(*one) error{put("second"), put("third")}, want: map[string]string{"folder/item": "third"}, left: "second"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOne(t)
			n := 0
			o.s.at = func(step string) {
				do := func(*one) error { return nil }
				switch {
				case step == "exchange":
					do = put("first")
				case step == "compare" && test.compare != nil:
					do = test.compare
				case step == "undo" && n < len(test.undo):
					do = test.undo[n]
					n++
				}
				if err := do(o); err != nil {
					t.Fatal(err)
				}
			}
			_, err := o.s.Apply(t.Context(), o.mustPlan(t))
			o.leaves(t, err, test.left, test.want)
		})
	}
}

// TestTwoOtherWritersOpened: the first one's file comes out of the exchange again,
// and a program has it open for writing by then.
func TestTwoOtherWritersOpened(t *testing.T) {
	needLeases(t)
	o := newOne(t)
	n := 0
	o.s.at = func(step string) {
		var err error
		switch step {
		case "exchange":
			err = o.put(o.name, []byte("first"), nil)
		case "undo":
			if n++; n == 1 {
				err = o.put(o.name, []byte("second"), nil)
				break
			}
			var f *os.File
			f, err = os.OpenFile(o.path(o.name), os.O_WRONLY, 0)
			t.Cleanup(func() { f.Close() })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := o.s.Apply(t.Context(), o.mustPlan(t))
	o.leaves(t, err, "first", map[string]string{"folder/item": "second"})
}

// leaves wants the tree to hold these files. left is the content of one more with
// a temporary name, which the error names; "": there is none, and the error is a
// conflict.
func (o *one) leaves(t *testing.T, err error, left string, want map[string]string) {
	t.Helper()
	var run *sources.RunError
	name := ""
	got := make(map[string]string)
	for _, path := range o.tree(t) {
		switch st, err := os.Lstat(o.path(path)); {
		case err != nil:
			t.Fatal(err)
		case isTemp(filepath.Base(path)):
			if name = o.path(path); left == "" || o.body(t, path) != left {
				t.Errorf("%q is left, should be %q", o.body(t, path), left)
			}
		case !st.IsDir():
			got[path[1:]] = o.body(t, path)
		}
	}
	switch {
	case !maps.Equal(got, want):
		t.Errorf("the tree holds %q, should be %q", got, want)
	case left == "" && !errors.Is(err, sources.ErrConflict):
		t.Errorf("got %v, should be a conflict", err)
	case left != "" && (name == "" || !errors.As(err, &run) || run.Strikes != leftStrikes || run.Hint == "" || !strings.Contains(err.Error(), strconv.Quote(name))):
		t.Errorf("got %v (%#v), should fail the item and name what is left: %q", err, run, name)
	}
}

// TestLocked: of two runs on one tree, only who has the lock exchanges.
func TestLocked(t *testing.T) {
	o := newOne(t)
	p := o.mustPlan(t)
	f, err := os.Open(o.path(o.name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	_, err = o.s.Apply(t.Context(), p)
	if notYet(t, err); !strings.Contains(err.Error(), "locked") {
		t.Errorf("%v: does not say that it is locked", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if _, err := o.s.Apply(t.Context(), p); err != nil {
		t.Error(err)
	}
}

// TestModeAlone: a change of mode that shows in no extended attribute.
func TestModeAlone(t *testing.T) {
	o := newOne(t)
	if o.acl {
		if err := unix.Removexattr(o.path(o.name), aclName); err != nil {
			t.Fatal(err)
		}
	}
	p := o.mustPlan(t)
	o.s.at = func(step string) {
		if step == "exchange" {
			if err := os.Chmod(o.path(o.name), 0o604); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := o.s.Apply(t.Context(), p); !errors.Is(err, sources.ErrConflict) {
		t.Errorf("got %v, should be a conflict", err)
	}
	if m := o.look(t); m["mode"] != "100604" || m["body"] != oldBody {
		t.Errorf("it is %v", m)
	}
}

// TestPlanNotices: a dry run, which ends with Plan, does not call possible
// what a conflict keeps from being done.
func TestPlanNotices(t *testing.T) {
	o := newOne(t)
	p := o.mustPlan(t)
	if err := o.put(o.name, []byte("THEIRS"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := o.s.Plan(t.Context(), p.View, p.Edit); !errors.Is(err, sources.ErrConflict) {
		t.Errorf("got %v, should be a conflict", err)
	}
}

// TestRewrittenInPlace: a view is of one revision also while another program
// writes the file as none should.
func TestRewrittenInPlace(t *testing.T) {
	o := newOne(t)
	f, err := os.OpenFile(o.path(o.name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	body := bytes.Repeat([]byte("a"), 1<<20)
	if _, err := f.WriteAt(body, 0); err != nil {
		t.Fatal(err)
	}
	reads := 0
	o.s.now = func() time.Time { // between the first look and the reading
		if reads++; reads < 3 {
			body = bytes.Repeat([]byte{byte('a' + reads)}, 1<<20+reads)
			if _, err := f.WriteAt(body, 0); err != nil {
				t.Fatal(err)
			}
		}
		return time.Now()
	}
	v, err := o.s.Read(t.Context(), o.ref(), sources.Want{Head: 2 << 20})
	if err != nil || v.Size != int64(len(body)) || !bytes.Equal(v.Head, body) {
		t.Errorf("a view of %d bytes, should be %d; %v", v.Size, len(body), err)
	}
	o.s.now = func() time.Time { f.WriteAt([]byte("x"), int64(1<<20+reads)); reads++; return time.Now() }
	if _, err := o.s.Read(t.Context(), o.ref(), sources.Want{Head: 10}); !errors.Is(err, sources.ErrConflict) {
		t.Errorf("a file that never rests: %v, should be a conflict", err)
	}
}

// TestSwappedParent: a folder that becomes a symbolic link leads nowhere.
func TestSwappedParent(t *testing.T) {
	for _, when := range []string{"Read", "Plan", "Apply"} {
		o := newOne(t)
		outside := filepath.Join(filepath.Dir(o.root), "outside")
		swap := func() {
			if err := os.Rename(o.path("folder"), outside); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, o.path("folder")); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		switch when {
		case "Read":
			swap()
			_, err = o.s.Read(t.Context(), o.ref(), sources.Want{})
		case "Plan":
			var v sources.View
			if v, err = o.s.Read(t.Context(), o.ref(), sources.Want{}); err != nil {
				t.Fatal(err)
			}
			swap()
			_, err = o.s.Plan(t.Context(), v, oneEdit)
		case "Apply":
			p := o.mustPlan(t)
			swap()
			_, err = o.s.Apply(t.Context(), p)
		}
		if !errors.Is(err, sources.ErrGone) {
			t.Errorf("%s behind a symbolic link: %v, should be ErrGone", when, err)
		}
		if got := o.body(t, "folder/item"); got != oldBody {
			t.Errorf("%s wrote %q through a symbolic link", when, got)
		}
	}
}

// TestCancelledCopy: a context that ends while a file is copied leaves
// nothing.
func TestCancelledCopy(t *testing.T) {
	o := newOne(t)
	p := o.mustPlan(t)
	ctx, cancel := context.WithCancel(t.Context())
	o.s.at = func(step string) {
		if step == "write" {
			cancel()
		}
	}
	if _, err := o.s.Apply(ctx, p); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, should wrap context.Canceled", err)
	}
	if got := o.body(t, o.name); got != oldBody || len(o.tree(t)) != 3 {
		t.Errorf("it holds %q, and the tree is %q", got, o.tree(t))
	}
}
