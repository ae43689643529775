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
	"path/filepath"
	"strconv"
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
// target is not NEW any more, yet another writer has been there since. If it
// replaced or deleted NEW, it would have done the same to what we hold, had we
// not been there, and that is removed: a file without a name (st_nlink 0) never
// gets one again. If NEW lives on, renamed, linked or written to, what we hold
// may be what should be where NEW is now, or the newest version that there is;
// it is left, and its item fails. Who only finds the names, after a kill, has
// no descriptor of NEW to ask, and leaves it too: nobody's data is removed by
// guess.
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

var (
	// errRemoved: another run's Begin was here, and has removed what was ours.
	// Whether it landed, the next reading tells.
	errRemoved = errors.New("its temporary file was removed by another run")
	// errLeft: what is at the temporary name is somebody's, and nobody knows
	// where it belongs.
	errLeft = errors.New("what another program wrote is left at the temporary name")
)

// settle ends an exchange: it removes the file that has no business at the
// temporary name any more, or undoes the exchange where another writer was
// first. landed says that the new file took the place of the old one. Each of
// old and new is asked, when that file is at the temporary name and just before
// it would be removed, whether nobody has written to it or is about to; dead,
// whether the new file has no name any more. Of errors, errLeft means that
// there is a file that stays at the temporary name.
func (s *Source) settle(dir *os.File, t temp, target string, old, new, dead func() bool) (landed bool, _ error) {
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
			return errLeft
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
	// What came out for NEW is over when NEW is, unless somebody has it open to
	// write to it.
	first := out
	over := func() error {
		if out != first || !dead() || !quiet(dir, name) {
			return errLeft
		}
		s.at("remove what is over")
		return unlink(dir, name)
	}
	at, err := lstat(dir, target)
	if err != nil && !is(err, unix.ENOENT) {
		return false, err
	}
	if err != nil || at.mark() != t.new {
		return false, over()
	}
	// What is at the target is taken to be expected. If something else comes
	// out, it is newer than what was put in for it, and goes back.
	for expected, n := t.new, 0; n < 10; n++ {
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
		was := expected
		expected, out = out, st.mark()
		if out == t.new {
			return false, remove()
		}
		if out == was {
			break
		}
	}
	return false, over()
}

// Begin implements [sources.Source]. With Write it removes what killed runs
// have left in the tree. Writes that are under way meanwhile, by this or
// another process, are left alone.
func (s *Source) Begin(ctx context.Context, m sources.Mode) error {
	if err := s.life.MayBegin(); err != nil {
		return fmt.Errorf("opening directory %q: %w", s.name, err)
	}
	if m == sources.Write {
		if err := s.clearUp(ctx); err != nil {
			return err
		}
	}
	s.life.Begun(m)
	return nil
}

// clearUp removes what killed runs have left.
func (s *Source) clearUp(ctx context.Context) error {
	type place struct{ folder, name string }
	var left []place
	w := walk{s: s, ctx: ctx, item: func(string) bool { return true }, left: func(folder, name string) {
		left = append(left, place{folder, name})
	}}
	if err := w.folder("", ""); err != nil {
		return err
	}
	removed := 0
	for _, p := range left {
		switch err := s.recover(ctx, p.folder, p.name); {
		case err == nil:
			removed++
		case errors.Is(err, errKept), is(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP):
		case is(err, unix.EACCES, unix.EPERM, unix.EROFS):
			s.say("%q was left by an earlier run and cannot be removed (%v). The next run that may write to its folder sees to it", s.path(p.folder, p.name), bare(err))
		default:
			return fail(whereWrite, "clearing up after a killed run:", join(p.folder, p.name), err)
		}
	}
	switch removed {
	case 0:
	case 1:
		s.say("1 temporary file of an earlier run was found and seen to")
	default:
		s.say("%d temporary files of an earlier run were found and seen to", removed)
	}
	return nil
}

// errKept: what looks left behind is not to be touched, and what is to be said
// of it was said.
var errKept = errors.New("kept")

// path is what people find a file of a folder by.
func (s *Source) path(folder, name string) string { return filepath.Join(s.name, folder, name) }

// recover decides about one file that was left behind, and removes it unless
// it returns an error.
func (s *Source) recover(ctx context.Context, folder, name string) error {
	dir, err := s.folder(split(folder), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if t, _ := parseTemp(name); t.new == "" {
		err = s.recoverUnnamed(dir, folder, name)
	} else {
		err = s.recoverNamed(ctx, dir, t, folder)
	}
	if err != nil {
		return err
	}
	return syncFolder(dir)
}

// recoverUnnamed removes what was killed while it was written.
func (s *Source) recoverUnnamed(dir *os.File, folder, name string) error {
	st, err := lstat(dir, name)
	if err != nil {
		return err
	}
	if st.mode&unix.S_IFMT != unix.S_IFREG {
		s.say("%q has a name as rewrap's temporary files have, and is none: it is left, and not looked into", s.path(folder, name))
		return errKept
	}
	if err := unused(dir, name); err != nil {
		return err
	}
	return unlink(dir, name)
}

// recoverNamed ends an exchange that may have begun.
func (s *Source) recoverNamed(ctx context.Context, dir *os.File, t temp, folder string) error {
	name := t.name()
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
		if err == nil {
			err = unused(dir, n)
		}
		if err != nil {
			return err
		}
	}
	// A program that opened the file and was held up by the lease of the
	// process that was killed has it open by now.
	quiet := func() bool { return quiet(dir, name) }
	_, err = s.settle(dir, t, target, quiet, quiet, func() bool { return false })
	switch {
	case errors.Is(err, errRemoved):
		return errKept
	case errors.Is(err, errLeft):
		of := "a file beside it"
		if target != "" {
			of = strconv.Quote(target)
		}
		s.say("%q holds a version of %s that another program wrote while it was being re-wrapped, and that has been replaced or deleted since. It is left for you to look at and to remove", s.path(folder, name), of)
		return errKept
	}
	return err
}

// quiet says that nobody is seen to have a file open for writing.
func quiet(dir *os.File, name string) bool {
	f, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return true // not to be asked
	}
	defer f.Close()
	_, open := lease(f)
	return !open
}

// unused is errKept if a living process holds the lock of a file.
func unused(dir *os.File, name string) error {
	f, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if is(err, unix.ENOENT, unix.EACCES) { // EACCES: of another user, or a mode that keeps us out
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if !lock(f) {
		return errKept
	}
	return nil
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
