package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"golang.org/x/sys/unix"

	"rewrap/bench/emulator"
)

// terminal is the two ends of one: the user's, and the program's.
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t)(user, err)
	t.Cleanup(func() { user.Close() })
	must(t)(nil, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	must(t)(n, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t)(program, err)
	t.Cleanup(func() { program.Close() })
	return user, program
}

// hearing is a buffer that tells when something was said.
type hearing struct {
	mu    sync.Mutex
	b     bytes.Buffer
	what  string
	heard chan struct{}
	once  sync.Once
}

func (h *hearing) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b.Write(p)
	if strings.Contains(h.b.String(), h.what) {
		h.once.Do(func() { close(h.heard) })
	}
	return len(p), nil
}

// asked runs a command on a terminal, and answers its question after meanwhile.
func (w *world) asked(t *testing.T, meanwhile func(p *os.Process), answer string, args ...string) ended {
	t.Helper()
	user, program := terminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := w.command(ctx, args...)
	h := &hearing{what: "Go on? [y/N] ", heard: make(chan struct{})}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, &out, h
	must(t)(nil, cmd.Start())
	select {
	case <-h.heard:
		meanwhile(cmd.Process)
		must(t)(user.WriteString(answer))
	case <-ctx.Done():
		t.Error("it did not ask")
	}
	return w.ended(cmd, &out, &h.b)
}

func nothing(*os.Process) {}

func TestKeysRotateAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/a")
	old := w.Material(arn)
	for _, answer := range []string{"n\n", "\n", "yesterday\n", "\x04"} {
		e := w.asked(t, nothing, answer, "keys", "rotate", "alias/a", "--wait").want(t, exitFailed, "rewrap: not confirmed; nothing was changed\n")
		if answer == "\x04" {
			e.want(t, exitFailed, "[y/N] \nrewrap: not confirmed")
		}
	}
	w.asked(t, func(p *os.Process) { _ = p.Signal(syscall.SIGINT) }, "", "keys", "rotate", "alias/a").want(t, exitStopped, "interrupted by SIGINT")
	if now := w.Material(arn); now != old {
		t.Fatal("it was rotated without a yes")
	}
	e := w.asked(t, nothing, "y\n", "keys", "rotate", "alias/a", "--wait").want(t, exitOK, "the current key material is "+old)
	now := w.Material(arn)
	e.shows(t, "the current key material is "+now+" (it was "+old+"), 1 of 25")

	// Somebody else rotates it while the question stands.
	e = w.asked(t, func(*os.Process) { w.Rotate(arn) }, "y\n", "keys", "rotate", "alias/a", "--wait").want(t, exitFailed, arn+" was rotated meanwhile: 2 of 25 used")
	e.want(t, exitFailed, "look again with rewrap keys "+arn)
	if n := w.Emulator.Counters()["kms:RotateKeyOnDemand"]; n != 2 || e.out != "" {
		t.Errorf("%d rotations were asked for\n%s", n, e.out)
	}
}

// A rotation that is under way by then has changed nothing but the count.
func TestKeysRotateAsksTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{RotationDelay: time.Hour})
	arn := w.Key("alias/a")
	w.asked(t, func(*os.Process) { w.Rotate(arn) }, "y\n", "keys", "rotate", "alias/a").want(t, exitFailed, "was rotated meanwhile: 1 of 25 used")
	if n := w.Emulator.Counters()["kms:RotateKeyOnDemand"]; n != 1 {
		t.Errorf("%d rotations were asked for", n)
	}
}

func TestKeysMoveAliasAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	a, b, c := w.Key("alias/app"), w.Key("alias/b"), w.Key("alias/c")
	point := func(alias, arn string) func(*os.Process) {
		return func(*os.Process) {
			must(t)(w.KMS.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: &alias, TargetKeyId: &arn}))
		}
	}
	move := []string{"keys", "move-alias", "alias/app", "--to", "alias/b"}
	w.asked(t, nothing, "n\n", move...).want(t, exitFailed, "not confirmed")
	w.asked(t, point("alias/app", c), "y\n", move...).want(t, exitFailed, "from "+a+" to "+b+", and now it would move from "+c+" to "+b)
	w.asked(t, point("alias/b", a), "y\n", move...).want(t, exitFailed, "from "+c+" to "+b+", and now it would move from "+c+" to "+a)
	if n := w.Emulator.Counters()["kms:UpdateAlias"]; n != 2 {
		t.Errorf("UpdateAlias was sent %d times", n)
	}
	w.asked(t, nothing, "YES\n", move...).want(t, exitOK, "alias/app names "+c+" and is to name "+a).shows(t, "alias/app: names "+a+" (it was "+c+")")
}

// A change that was made is told, also where standard output takes nothing.
func TestKeysToldOfChanges(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t)(full, err)
	defer full.Close()
	left, shut, err := os.Pipe()
	must(t)(left, err)
	left.Close() // writing to it is SIGPIPE
	defer shut.Close()
	for _, out := range []*os.File{full, shut} {
		w := newWorld(t, emulator.Options{})
		a, b := w.Key("alias/app"), w.Key("alias/b")
		for _, c := range []struct {
			says string
			args []string
		}{
			{a + ": rotation is on: every 365 days", []string{"enable-rotation", a}},
			{a + ": unchanged, rotation was on already", []string{"enable-rotation", a, "--json"}},
			{a + ": rotation begun, 1 of 25 used", []string{"rotate", a, "--yes"}},
			{"2 of 25 rotations on demand used", []string{"rotate", a, "--yes", "--wait", "--json"}},
			{"alias/app: names " + b + " (it was " + a + ")", []string{"move-alias", "alias/app", "--to", b, "--yes"}},
		} {
			cmd := w.command(t.Context(), append([]string{"keys"}, c.args...)...)
			var none, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = out, &errs
			must(t)(nil, cmd.Start())
			e := w.ended(cmd, &none, &errs).want(t, exitFailed, c.says)
			e.want(t, exitFailed, "\nrewrap: the result above cannot be written to standard output: ")
			if strings.Contains(e.errors, "next: ") {
				t.Errorf("what comes next is said after an error:\n%s", e.errors)
			}
		}
	}
	// administer lets such an error through, also after a signal.
	var exit *exitError
	if err := printResult(streams{out: full, err: new(bytes.Buffer)}, false, nil, "done"); !errors.As(err, &exit) || exit.code != exitFailed {
		t.Error(err)
	}
}
