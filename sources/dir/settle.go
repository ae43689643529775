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
// Each part has 16 hex digits. NEW and OLD are hashes of the states of the new
// file and of the old one as it was read. TARGET is a hash of the item's name.
// So the name alone is enough to decide about a file that a killed process left:
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
// NEW was synced before it got the long name.
//
// In the fourth case the temporary name holds THEIRS, which the other writer put
// at the target just before the exchange. If NEW is not at the target any more,
// a third writer has changed the target since. If the third writer replaced or
// deleted NEW, THEIRS would be gone too without us, so it is removed. NEW is
// known to be gone when it has no name any more (st_nlink 0): a file without a
// name never gets one again. If NEW still exists under any name, or was written
// to, nobody can tell whether THEIRS is newer: both are left, and the item fails.
// After a kill there is no descriptor of NEW to ask for its links, so THEIRS is
// left then too: no data of others is removed on a guess.
//
// After a power failure the same holds on file systems that keep the order of
// changes of one folder, as all file systems with a journal do.
const tempPrefix = ".rewrap-tmp-"

// temp is the name of a temporary file, in parts.
type temp struct {
	random, new, old, target string // the last three are "" while the file is written
}

func newTemp() temp {
	var b [8]byte
	rand.Read(b[:])
	return temp{random: hex.EncodeToString(b[:])}
}

// ready is the name from just before the exchange.
func (t temp) ready(written, read state, target string) temp {
	return temp{t.random, written.mark(), read.mark(), mark(target)}
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

// mark is a hash of the part of a state that renaming does not change.
func (s state) mark() string {
	return mark(fmt.Sprintf("%x.%x.%x.%x.%x.%x.%x", s.ino, s.size, s.mtime, s.mode, s.uid, s.gid, s.nlink))
}

func mark(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

var (
	// errRemoved: Begin of another run has removed our temporary file. The next
	// reading tells whether the edit landed.
	errRemoved = errors.New("its temporary file was removed by another run")
	// errLeft: the temporary name holds a file of another program, and nobody
	// knows where it belongs.
	errLeft = errors.New("what another program wrote is left at the temporary name")
)

// checks are asked before a file is removed from the temporary name.
type checks struct {
	oldUnused func() bool // nobody has written to the old file, or is about to
	newUnused func() bool // the same of the new file
	newGone   func() bool // the new file has no name any more
}

// settle ends an exchange. It removes the file at the temporary name, or undoes
// the exchange where another writer was first. landed says that the new file
// took the place of the old one. errLeft means that a file stays at the
// temporary name.
func (s *Source) settle(dir *os.File, t temp, target string, ask checks) (landed bool, _ error) {
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
		if !ask.newUnused() {
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
		if ask.oldUnused() {
			return true, unlink(dir, name)
		}
	}
	// The file that came out first (THEIRS, above) is removed if NEW is gone,
	// unless somebody has it open for writing.
	first := out
	removeTheirs := func() error {
		if out != first || !ask.newGone() || !noWriter(dir, name) {
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
		return false, removeTheirs()
	}
	// Each exchange should bring out the file that was seen at the target. If
	// another file comes out, it is newer than the one that was put there for
	// it, and goes back.
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
	return false, removeTheirs()
}

// Begin implements [sources.Source]. With Write it removes temporary files that
// killed runs have left in the tree. Those of writes that are under way, in this
// process or another, are left alone.
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
		switch err := s.tidy(ctx, p.folder, p.name); {
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

// errKept: a temporary file is left as it is, and people were told if they need
// to know.
var errKept = errors.New("kept")

// path is the full path of a file, for people.
func (s *Source) path(folder, name string) string { return filepath.Join(s.name, folder, name) }

// tidy decides about one file that was left behind, and removes it unless it
// returns an error.
func (s *Source) tidy(ctx context.Context, folder, name string) error {
	dir, err := s.folder(split(folder), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if t, _ := parseTemp(name); t.new == "" {
		err = s.tidyUnfinished(dir, folder, name)
	} else {
		err = s.tidyExchange(ctx, dir, t, folder)
	}
	if err != nil {
		return err
	}
	return syncFolder(dir)
}

// tidyUnfinished removes a file whose process was killed while it wrote it.
func (s *Source) tidyUnfinished(dir *os.File, folder, name string) error {
	st, err := lstat(dir, name)
	if err != nil {
		return err
	}
	if st.mode&unix.S_IFMT != unix.S_IFREG {
		s.say("%q has a name as rewrap's temporary files have, and is none: it is left, and not looked into", s.path(folder, name))
		return errKept
	}
	if err := unlocked(dir, name); err != nil {
		return err
	}
	return unlink(dir, name)
}

// tidyExchange ends an exchange that may have begun.
func (s *Source) tidyExchange(ctx context.Context, dir *os.File, t temp, folder string) error {
	name := t.name()
	target, err := s.contended(ctx, folder, t.target)
	if err != nil {
		return err
	}
	// If the new file still exists, it is at one of the two names. Its lock tells
	// whether the process that wrote it is still alive.
	for _, n := range []string{name, target} {
		st, err := lstat(dir, n)
		if is(err, unix.ENOENT) || err == nil && st.mark() != t.new {
			continue
		}
		if err == nil {
			err = unlocked(dir, n)
		}
		if err != nil {
			return err
		}
	}
	// A program that was held up by the lease of the killed process has opened
	// the file by now.
	unused := func() bool { return noWriter(dir, name) }
	_, err = s.settle(dir, t, target, checks{oldUnused: unused, newUnused: unused, newGone: func() bool { return false }})
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

// noWriter says that nobody is seen to have a file open for writing.
func noWriter(dir *os.File, name string) bool {
	f, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return true // it cannot be found out
	}
	defer f.Close()
	_, open := lease(f)
	return !open
}

// unlocked is errKept if a living process holds the lock of a file.
func unlocked(dir *os.File, name string) error {
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

// contended is the name in a folder with the given mark; "" if there is none any
// more.
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
