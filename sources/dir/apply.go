//go:build linux || darwin

package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// Apply implements [sources.Source].
//
// A write needs room for the new file until the old one is removed, and many
// writes at once need it many times. So a write that finds the disk full is made
// again while no other is under way. If that fails too, the disk is too full.
func (s *Source) Apply(ctx context.Context, p sources.Plan) (sources.Result, error) {
	if err := s.life.May(sources.Write); err != nil {
		return sources.Result{}, fmt.Errorf("changing %s: %w", p.View.ID, err)
	}
	if p.Assumed {
		return sources.Result{}, fmt.Errorf("changing %s: the plan was not made for a write", p.View.ID)
	}
	s.writing.RLock()
	res, err := s.apply(ctx, p)
	s.writing.RUnlock()
	var refused *sources.SkipError
	if !is(err, unix.ENOSPC, unix.EDQUOT) && !(errors.As(err, &refused) && refused.Reason == reasonNoRoom) {
		return res, err
	}
	s.at("full")
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.apply(ctx, p)
}

func (s *Source) apply(ctx context.Context, p sources.Plan) (sources.Result, error) {
	id := p.View.ID
	if err := ctx.Err(); err != nil {
		return sources.Result{}, fmt.Errorf("changing %s: %w", id, err)
	}
	was, ok := p.View.State.(seen)
	if !ok {
		return sources.Result{}, fmt.Errorf("changing %s: the view is not of a directory", id)
	}
	t, err := s.target(id)
	if err != nil {
		return sources.Result{}, err
	}
	defer t.Close()
	// Two runs that exchange the same file at once could not tell each other's
	// new file from another writer's. Only the holder of the file's lock may.
	if !lock(t.f) {
		return sources.Result{}, busy(id, "locked (flock)")
	}
	if now, err := lstat(t.dir, t.name); err != nil {
		return sources.Result{}, fail(whereWrite, "changing", id, err)
	} else if now.state != was.state || t.st.state != was.state {
		return sources.Result{}, conflict(id)
	}
	w := &write{s: s, t: t, temp: newTemp()}
	return w.make(ctx, p)
}

// write is one Apply under way.
type write struct {
	s    *Source
	t    *target
	temp temp
	f    *os.File          // the new file, until it is written
	new  *os.File          // the same for reading: its lock and its lease
	attr map[string]string // the old file's

	oldLeased, newLeased bool // nobody can open the file for writing unseen
}

func (w *write) make(ctx context.Context, p sources.Plan) (_ sources.Result, err error) {
	t, name := w.t, w.temp.name()
	if err := room(t, p.Edit.Splices); err != nil {
		return sources.Result{}, err
	}
	w.s.at("create")
	// A process that is killed between here and the exchange leaves a file with
	// nothing in it that is not elsewhere. The next Begin removes it.
	if w.f, err = create(t, name); err != nil {
		return sources.Result{}, err
	}
	defer w.f.Close()
	if w.new, err = openat(t.dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		unlink(t.dir, name)
		return sources.Result{}, fail(whereWrite, "writing", t.id, err)
	}
	defer w.new.Close()
	if err := w.fill(ctx, p.View.Head, p.Edit.Splices); err != nil {
		unlink(t.dir, name)
		if w.changed() && ctx.Err() == nil {
			// That may be why it failed.
			return sources.Result{}, w.lost()
		}
		return sources.Result{}, err
	}
	_, dull := w.s.dull.Load(t.st.dev)
	switch {
	case dull && !p.Unconditional:
		// This was found out after the plan was made. The plan says that the
		// write is conditional, so it has to be made again.
		unlink(t.dir, name)
		return sources.Result{}, conflict(t.id)
	case dull:
		err = w.rename(name)
	default:
		err = w.exchange()
	}
	if err != nil {
		return sources.Result{}, err
	}
	w.s.at("sync folder")
	if err := syncFolder(t.dir); err != nil {
		return sources.Result{}, fail(whereWrite, "syncing the folder of", t.id, err)
	}
	st, err := fstat(w.new)
	if err != nil || w.temp.new != "" && st.mark() != w.temp.new {
		return sources.Result{}, nil // the edit landed, and somebody has changed the file again
	}
	return sources.Result{Rev: st.rev()}, nil
}

// fill writes the new file whole and durably.
func (w *write) fill(ctx context.Context, head []byte, splices []sources.Splice) (err error) {
	t := w.t
	lock(w.new)
	w.s.at("write")
	err = splice(ctx, w.f, t.f, head, t.st.size, splices, t.st.sparse)
	switch {
	case err == io.ErrUnexpectedEOF:
		return conflict(t.id)
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("changing %s: %w", t.id, ctx.Err())
	case err != nil:
		return fail(whereWrite, "writing", t.id, err)
	}
	w.s.at("attributes")
	if w.attr, err = attributes(t, w.f); err != nil {
		return err
	}
	w.s.at("sync")
	if err := w.f.Sync(); err != nil {
		return fail(whereWrite, "syncing", t.id, err)
	}
	if err := w.f.Close(); err != nil {
		return fail(whereWrite, "writing", t.id, err)
	}
	// A program that has the old file open for writing would go on writing to a
	// file that is about to be removed. The new file is leased too: if the
	// exchange is undone, a program that opened it meanwhile would write to a
	// removed file.
	var open bool
	if w.oldLeased, open = lease(t.f); open {
		return busy(t.id, "open for writing")
	}
	w.newLeased, _ = lease(w.new)
	w.s.at("leased")
	// A write into the old file is seen here, before anything is exchanged.
	if w.changed() {
		return w.lost()
	}
	return nil
}

// full is how many bytes a disk may have left to count as full, for every file
// and not for large ones only.
const full = 64 << 10

// room refuses a file that does not fit on the disk, so that a write does not
// first use up the room that others need. A full disk ends the run. A file that
// is too large for the rest of the disk fails alone. How much a sparse file takes
// shows only when it is written.
func room(t *target, splices []sources.Splice) error {
	if t.st.sparse {
		return nil
	}
	size, err := sources.SplicedSize(t.st.size, splices)
	var st unix.Statfs_t
	if err == nil {
		err = retry(func() error { return unix.Fstatfs(int(t.dir.Fd()), &st) })
	}
	if err != nil {
		return fail(whereWrite, "writing", t.id, err)
	}
	blocks := uint64(st.Bavail)
	if os.Geteuid() == 0 {
		blocks = st.Bfree
	}
	free := blocks * uint64(st.Bsize)
	switch {
	case st.Blocks == 0 || st.Bsize <= 0 || uint64(size) <= free:
		return nil
	case free < full:
		return fail(whereWrite, "writing", t.id, unix.ENOSPC)
	}
	return refuse(reasonNoRoom, "the disk has no room for a second copy of %s: it takes %d bytes, and %d are free; make room", t.id, size, free)
}

// changed says whether another writer has changed the old file since it was
// opened.
func (w *write) changed() bool {
	now, err := fstat(w.t.f)
	return err != nil || now.state != w.t.st.state
}

// lost is the error for a file that is not what it was, or not where it was.
func (w *write) lost() error {
	if _, err := lstat(w.t.dir, w.t.name); is(err, unix.ENOENT) {
		return gone(w.t.id)
	}
	return conflict(w.t.id)
}

// exchange puts the new file in the place of the old one, or leaves what
// another writer put there.
func (w *write) exchange() error {
	t, name := w.t, w.temp.name()
	st, err := fstat(w.new)
	if err != nil {
		unlink(t.dir, name)
		return fail(whereWrite, "writing", t.id, err)
	}
	w.temp = w.temp.ready(st.state, t.st.state, t.name)
	w.s.at("name")
	fd := int(t.dir.Fd())
	if err := retry(func() error { return unix.Renameat(fd, name, fd, w.temp.name()) }); err != nil {
		unlink(t.dir, name)
		return w.failed(err)
	}
	w.s.at("exchange")
	err = w.s.exchange(t.dir, w.temp.name(), t.name)
	if err != nil {
		unlink(t.dir, w.temp.name())
	}
	switch {
	case err == nil:
	case is(err, unix.EINVAL, unix.ENOSYS, unix.ENOTSUP):
		if _, known := w.s.dull.LoadOrStore(t.st.dev, true); !known {
			w.s.say("The file system of %s cannot exchange two files. Its files are renamed instead: what another program writes in the instant between the last look and the rename is lost. Such changes are counted as unconditional", t.id)
		}
		return conflict(t.id)
	case is(err, unix.ENOENT):
		return w.lost()
	default:
		return w.failed(err)
	}
	w.s.at("compare")
	now, err := xattrs(t.f, t.id)
	same := err == nil && maps.Equal(now, w.attr)
	landed, err := w.s.settle(t.dir, w.temp, t.name, checks{
		// A program that opened the old file before the exchange, and waits for
		// its lease to end, gets the file back to write to.
		oldUnused: func() bool { return same && (!w.oldLeased || leased(t.f)) },
		newUnused: func() bool { return !w.newLeased || leased(w.new) },
		newGone: func() bool {
			now, err := fstat(w.new)
			return err == nil && now.nlink == 0 && st.nlink > 0 // some file systems count no links
		},
	})
	if errors.Is(err, errLeft) {
		return &sources.RunError{
			Err:     fmt.Errorf("while %s was in work other programs changed it more than once, and a version of theirs is left as %q", t.id, filepath.Join(t.dir.Name(), w.temp.name())),
			Hint:    "Compare the two, keep what is right and remove that file",
			Where:   whereWrite,
			Strikes: leftStrikes,
		}
	}
	if err != nil {
		return fail(whereWrite, "changing", t.id, err)
	}
	if !landed {
		return conflict(t.id)
	}
	return nil
}

// rename puts the new file over the old one, on file systems that cannot
// exchange.
func (w *write) rename(name string) error {
	t := w.t
	w.s.at("look")
	now, err := lstat(t.dir, t.name)
	switch {
	case err != nil:
		err = fail(whereWrite, "changing", t.id, err)
	case now.state != t.st.state:
		err = conflict(t.id)
	case w.oldLeased && !leased(t.f):
		err = busy(t.id, "open for writing")
	}
	if err != nil {
		unlink(t.dir, name)
		return err
	}
	w.s.at("rename")
	fd := int(t.dir.Fd())
	if err := retry(func() error { return unix.Renameat(fd, name, fd, t.name) }); err != nil {
		unlink(t.dir, name)
		return w.failed(err)
	}
	return nil
}

// failed is the meaning of an error of a rename.
func (w *write) failed(err error) error {
	if is(err, unix.ENOENT) {
		if err := w.lost(); errors.Is(err, sources.ErrGone) {
			return err // the folder is gone too
		}
		return fmt.Errorf("changing %s: its temporary file was removed by somebody; is another run at work?", w.t.id)
	}
	return notWritten(w.t.id, err)
}

// notWritten is the meaning of an error of a call that changes a folder.
func notWritten(id string, err error) error {
	if is(err, unix.EPERM, unix.EACCES, unix.EBUSY) {
		return refuse(reasonNotWritable, "%s cannot be replaced (%v): look at the folder's permissions and flags, and whether the file is a mount point", id, err)
	}
	return fail(whereWrite, "writing", id, err)
}

// unlink removes a temporary file. One that cannot be removed is left to the
// next Begin.
func unlink(dir *os.File, name string) error {
	err := retry(func() error { return unix.Unlinkat(int(dir.Fd()), name, 0) })
	if is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// syncFolder makes the names in a folder durable. Some file systems (of FUSE)
// cannot sync folders, which is no error.
func syncFolder(dir *os.File) error {
	err := dir.Sync()
	if is(err, unix.EINVAL, unix.ENOTSUP) {
		return nil
	}
	return err
}

// lock takes the lock of an open file (flock(2)), which ends with the process at
// the latest. It is false only if another process holds it. File systems without
// locks count as unlocked.
func lock(f *os.File) bool {
	return retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }) != unix.EWOULDBLOCK
}
