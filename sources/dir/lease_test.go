//go:build linux

package dir

import (
	"bufio"
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rewrap/sources"
)

// needLeases skips a test where nobody can tell that a file is open elsewhere.
func needLeases(t *testing.T) {
	t.Helper()
	probe, err := os.Create(filepath.Join(t.TempDir(), "probe"))
	if err != nil {
		t.Fatal(err)
	}
	probe.Close()
	if probe, err = os.Open(probe.Name()); err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	if taken, _ := lease(probe); !taken {
		t.Skip("SKIPPED: the file system of the temporary folder has no leases")
	}
}

// TestEmptied: a file that another process has emptied and is about to write is
// not taken for one that holds nothing, however old its times are.
func TestEmptied(t *testing.T) {
	needLeases(t)
	o := newOne(t)
	cmd := exec.Command("sh", "-c", `exec 3>"$0"; echo open; read -r _`, o.path(o.name))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		t.Errorf("the other process: %q, %v", line, err)
	}
	for _, head := range []int64{0, 100} {
		_, err = o.s.Read(t.Context(), o.ref(), sources.Want{Head: head})
		notYet(t, err)
	}
	in.Close()
	cmd.Wait() //nolint:errcheck // read has met the end of its input, and fails
	if v, err := o.s.Read(t.Context(), o.ref(), sources.Want{Head: 100}); err != nil || v.Size != 0 {
		t.Errorf("when it is closed: %d bytes, %v", v.Size, err)
	}
}

// TestLease: a program that has the file open for writing, or opens it while
// it is being exchanged, does not lose what it writes.
func TestLease(t *testing.T) {
	needLeases(t)
	t.Run("open before", func(t *testing.T) {
		o := newOne(t)
		f, err := os.OpenFile(o.path(o.name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		before := o.look(t)
		_, err = o.s.Apply(t.Context(), o.mustPlan(t))
		notYet(t, err)
		if got := o.look(t); !maps.Equal(got, before) {
			t.Errorf("it is %v, should be %v", got, before)
		}
		if _, err := f.WriteString("THEIRS"); err != nil || o.body(t, o.name) != "THEIRS6789abcdef" {
			t.Errorf("their write is not seen: %v, %q", err, o.body(t, o.name))
		}
	})
	for _, step := range []string{"leased", "name", "exchange", "look"} {
		t.Run("opens before "+step, func(t *testing.T) {
			o := newOne(t)
			if step == "look" {
				o.s.cannotExchange(t)
			}
			wrote := make(chan error, 1)
			o.s.at = func(at string) {
				if at != step {
					return
				}
				go func() {
					f, err := os.OpenFile(o.path(o.name), os.O_WRONLY, 0)
					if err == nil {
						_, err = f.WriteString("THEIRS")
						f.Close()
					}
					wrote <- err
				}()
				o.waitForBreak(t)
			}
			if _, err := o.s.Apply(t.Context(), o.mustPlan(t)); !errors.Is(err, sources.ErrConflict) && !errors.As(err, new(*sources.NotYetError)) {
				t.Errorf("got %v, should be a conflict or be put off", err)
			}
			if err := <-wrote; err != nil {
				t.Fatal(err)
			}
			if got := o.body(t, o.name); got != "THEIRS6789abcdef" {
				t.Errorf("it holds %q: their write is lost", got)
			}
			if n := len(o.tree(t)); n != 3 {
				t.Errorf("the tree is %q", o.tree(t))
			}
		})
	}
}

// TestUndoneAndOpened: who has opened the new file before the exchange is
// undone does not write into nothing.
func TestUndoneAndOpened(t *testing.T) {
	o := newOne(t)
	p := o.mustPlan(t)
	wrote := make(chan error, 1)
	o.s.at = func(step string) {
		switch step {
		case "exchange":
			if err := o.put(o.name, []byte("THEIRS"), nil); err != nil {
				t.Fatal(err)
			}
		case "undo":
			go func() { wrote <- appendTo(o.path(o.name)) }()
			o.waitForBreak(t)
		}
	}
	_, err := o.s.Apply(t.Context(), p)
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	o.leaves(t, err, newBody+"AND MORE", map[string]string{"folder/item": "THEIRS"})
}

func appendTo(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("AND MORE")
	return errors.Join(err, f.Close())
}

// waitForBreak waits until somebody waits for a lease of ours.
func (o *one) waitForBreak(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		b, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("BREAKING")) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("nobody waits for a lease")
}

// notYet wants to be told to wait.
func notYet(t *testing.T, err error) {
	t.Helper()
	var wait *sources.NotYetError
	if !errors.As(err, &wait) || wait.Wait <= 0 {
		t.Errorf("got %v, should be put off", err)
	}
}
