//go:build linux || darwin

package dir

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// A temporary file's name is
//
//	.rewrap-tmp-RANDOM                  while it is written
//	.rewrap-tmp-RANDOM-NEW-OLD-TARGET   from just before the exchange
//
// each part 16 hex digits: the states of the new file and of the old one as
// it was read, and the name that they contend for, hashed. So a name alone
// tells what it takes to decide about a file that a killed process left:
//
//	killed                      at the temporary name    so
//	before it got the long name something of ours        remove it
//	before the exchange         NEW                      remove it
//	after the exchange          OLD                      remove it: the target is durable
//	after the exchange, where   another                  exchange again, if NEW is still at
//	another writer was first                             the target; then remove NEW
//	after undoing the exchange  NEW                      remove it
//	after the removal           nothing
//
// NEW was synced before it got the long name. In the fourth case, when the
// target is not NEW any more, yet another writer has replaced or deleted it
// since, and what we hold is a version that is over. It is reported and left,
// since nobody's data is removed by guess.
//
// After a power failure (and not only a kill) the same holds on file systems
// that keep the order of changes of one folder, as all with a journal do.
const tempPrefix = ".rewrap-tmp-"

type temp struct {
	random, new, old, target string // the last three "" while it is written
}

func newTemp() temp {
	var b [8]byte
	rand.Read(b[:])
	return temp{random: hex.EncodeToString(b[:])}
}

func (t temp) ready(new, old state, target string) temp {
	return temp{t.random, new.mark(), old.mark(), mark(target)}
}

func (t temp) name() string {
	if t.new == "" {
		return tempPrefix + t.random
	}
	return tempPrefix + t.random + "-" + t.new + "-" + t.old + "-" + t.target
}

func parseTemp(name string) (temp, bool) {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	if !ok {
		return temp{}, false
	}
	parts := strings.Split(rest, "-")
	for _, p := range parts {
		if _, err := hex.DecodeString(p); err != nil || len(p) != 16 || p != strings.ToLower(p) {
			return temp{}, false
		}
	}
	switch len(parts) {
	case 1:
		return temp{random: parts[0]}, true
	case 4:
		return temp{parts[0], parts[1], parts[2], parts[3]}, true
	}
	return temp{}, false
}

func isTemp(name string) bool {
	_, ok := parseTemp(name)
	return ok
}

// mark is the part of a state that renaming does not change.
func (s state) mark() string {
	return mark(fmt.Sprintf("%x.%x.%x.%x.%x.%x.%x", s.ino, s.size, s.mtime, s.mode, s.uid, s.gid, s.nlink))
}

func mark(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// errRemoved: another run's Prepare was here, and has removed what was ours.
// Whether it landed, the next reading tells.
var errRemoved = errors.New("its temporary file was removed by another run")

// settle ends an exchange: it removes the file that has no business at the
// temporary name any more, or undoes the exchange where another writer was
// first. landed says that the new file took the place of the old one. Each of
// old and new is asked, when that file is at the temporary name and just before
// it would be removed, whether nobody has written to it or is about to.
func (s *Source) settle(dir *os.File, t temp, target string, old, new func() bool) (landed bool, _ error) {
	name := t.name()
	st, err := lstat(dir, name)
	if is(err, unix.ENOENT) {
		return false, errRemoved
	}
	if err != nil {
		return false, err
	}
	remove := func() error {
		s.at("remove new")
		if !new() {
			s.leave(dir, name, target)
			return nil
		}
		return unlink(dir, name)
	}
	out := st.mark()
	switch {
	case out == t.new:
		return false, remove()
	case out == t.old:
		s.at("remove")
		if old() {
			return true, unlink(dir, name)
		}
	}
	at, err := lstat(dir, target)
	if err != nil && !is(err, unix.ENOENT) {
		return false, err
	}
	if err != nil || at.mark() != t.new {
		s.leave(dir, name, target)
		return false, nil
	}
	// What is at the target is taken to be expected. If something else comes
	// out, it is newer than what was put in for it, and goes back.
	expected := t.new
	for range 10 {
		s.at("undo")
		err := s.exchange(dir, name, target)
		if is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return false, err
		}
		if st, err = lstat(dir, name); err != nil {
			return false, err
		}
		came := st.mark()
		if came == t.new {
			return false, remove()
		}
		if came == expected {
			break
		}
		expected, out = out, came
	}
	s.leave(dir, name, target)
	return false, nil
}

func (s *Source) leave(dir *os.File, name, target string) {
	of := "a file in " + dir.Name()
	if target != "" {
		of = join(dir.Name(), target)
	}
	s.say("%q holds a version of %q that another program wrote while it was being re-wrapped, and that has been replaced or deleted since. It is left for you to look at and to remove", name, of)
}

// Prepare removes what killed runs have left in the tree. To be called before
// the first write of a run; writes that are under way meanwhile, by this or
// another process, are left alone.
func (s *Source) Prepare(ctx context.Context) error {
	type place struct{ folder, name string }
	var left []place
	w := walk{s: s, ctx: ctx, item: func(string) bool { return true }, left: func(folder, name string) {
		left = append(left, place{folder, name})
	}}
	if err := w.folder("", ""); err != nil {
		return err
	}
	for _, p := range left {
		err := s.recover(ctx, p.folder, p.name)
		if err != nil {
			err = fail(whereWrite, "clearing up after a killed run:", join(p.folder, p.name), err)
		}
		if err != nil && !errors.Is(err, sources.ErrGone) {
			return err
		}
	}
	if len(left) > 0 {
		s.say("%d temporary files of an earlier run were found and seen to", len(left))
	}
	return nil
}

// recover decides about one file that was left behind.
func (s *Source) recover(ctx context.Context, folder, name string) error {
	t, _ := parseTemp(name)
	var parts []string
	if folder != "" {
		parts = strings.Split(folder, "/")
	}
	dir, err := s.folder(parts, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if t.new == "" {
		st, err := lstat(dir, name)
		if err == nil && st.mode&unix.S_IFMT != unix.S_IFREG {
			s.say("%q has a name as rewrap's temporary files have, and is none: it is left, and not looked into", join(folder, name))
			return nil
		}
		if err != nil {
			return err
		}
		if free, err := unused(dir, name); err != nil || !free {
			return err
		}
		return unlink(dir, name)
	}
	target, err := s.contended(ctx, folder, t.target)
	if err != nil {
		return err
	}
	// The new file is at one of the two names, if it still exists, and tells
	// by its lock whether whoever wrote it is still alive.
	for _, n := range []string{name, target} {
		st, err := lstat(dir, n)
		if is(err, unix.ENOENT) || err == nil && st.mark() != t.new {
			continue
		}
		if err != nil {
			return err
		}
		if free, err := unused(dir, n); err != nil || !free {
			return err
		}
	}
	// A program that opened the file and was held up by the lease of the
	// process that was killed has it open by now.
	var held []*os.File // until it is removed
	defer func() {
		for _, f := range held {
			f.Close()
		}
	}()
	quiet := func() bool {
		f, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return true // not to be asked
		}
		held = append(held, f)
		_, open := lease(f)
		return !open
	}
	if _, err := s.settle(dir, t, target, quiet, quiet); err != nil {
		return err
	}
	return syncFolder(dir)
}

// unused says whether no living process holds the lock of a file.
func unused(dir *os.File, name string) (bool, error) {
	f, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if is(err, unix.ENOENT) {
		return true, nil
	}
	if is(err, unix.EACCES) {
		return true, nil // of another user, or a mode that keeps us out
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	return lock(f), nil
}

// contended is the name in a folder whose mark is given; "" if there is none
// any more.
func (s *Source) contended(ctx context.Context, folder, marked string) (string, error) {
	found := ""
	w := walk{s: s, ctx: ctx}
	err := w.scan(folder, func(e entry) {
		if mark(e.name) == marked {
			found = e.name
		}
	})
	return found, err
}
