//go:build linux || darwin

package dir

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// state is what the file system says of a file, without the access time, which
// reading changes. If two states are equal, they are of the same file, and nobody
// has changed it in between.
type state struct {
	dev, ino, nlink uint64
	size            int64
	mode, uid, gid  uint32
	mtime, ctime    int64 // ns
}

type status struct {
	state
	atime  unix.Timespec
	mtim   unix.Timespec
	sparse bool
}

func statusOf(st *unix.Stat_t) status {
	return status{
		state: state{
			dev: uint64(st.Dev), ino: st.Ino, nlink: uint64(st.Nlink), size: st.Size,
			mode: uint32(st.Mode), uid: st.Uid, gid: st.Gid,
			mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(),
		},
		atime: st.Atim, mtim: st.Mtim, sparse: st.Blocks*512 < st.Size,
	}
}

// rev names the revision. st_dev is not part of it: devices get new numbers at
// every boot, and the undo journal outlives that.
func (s state) rev() string { return fmt.Sprintf("%x.%x.%x.%x", s.ino, s.size, s.mtime, s.ctime) }

func fstat(f *os.File) (status, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(int(f.Fd()), &st) })
	return statusOf(&st), err
}

// lstat is the status of a name in a folder. It follows no link.
func lstat(dir *os.File, name string) (status, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return statusOf(&st), err
}

func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func openat(dir *os.File, name string, flags int, perm uint32) (*os.File, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

// folder opens a folder below the root, one name after the other, so that no
// symbolic link on the way is followed. last are the flags for the folder itself.
func (s *Source) folder(parts []string, last int) (*os.File, error) {
	if len(parts) == 0 {
		return openat(s.root, ".", last|unix.O_DIRECTORY, 0)
	}
	dir := s.root
	for i, name := range parts {
		flags := traverse
		if i == len(parts)-1 {
			flags = last
		}
		next, err := openat(dir, name, flags|unix.O_DIRECTORY, 0)
		if dir != s.root {
			dir.Close()
		}
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

// open opens a regular file for reading, and keeps its access time as it is
// where that is allowed.
func open(dir *os.File, name, id string) (*os.File, status, error) {
	// Opening a device may have an effect, so the kind is looked at first.
	st, err := lstat(dir, name)
	if err != nil {
		return nil, status{}, fail(whereRead, "reading", id, err)
	}
	if err := special(id, st.mode); err != nil {
		return nil, status{}, err
	}
	f, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|noatime, 0)
	if noatime != 0 && is(err, unix.EPERM) {
		f, err = openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	if is(err, unix.ENXIO) {
		return nil, status{}, conflict(id) // a socket or a pipe by now
	}
	if err != nil {
		return nil, status{}, fail(whereRead, "reading", id, err)
	}
	st, err = fstat(f)
	if err == nil {
		err = special(id, st.mode)
	} else {
		err = fail(whereRead, "reading", id, err)
	}
	if err != nil {
		f.Close()
		return nil, status{}, err
	}
	return f, st, nil
}

func special(id string, mode uint32) error {
	what := ""
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFLNK, unix.S_IFDIR:
		return gone(id)
	case unix.S_IFIFO:
		what = "pipe"
	case unix.S_IFSOCK:
		what = "socket"
	default:
		what = "device"
	}
	return &sources.SkipError{Reason: reasonSpecial, Detail: fmt.Sprintf("%s is a %s and holds no content of its own", id, what), Nothing: true}
}

// seen is the State of a view.
type seen struct {
	status
	when time.Time
}

// Read implements [sources.Source]. There is no metadata.
func (s *Source) Read(ctx context.Context, r sources.Ref, w sources.Want) (sources.View, error) {
	err := s.life.May(sources.Look)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return sources.View{}, fmt.Errorf("reading %s: %w", r.ID, err)
	}
	if shut, ok := strings.CutSuffix(r.ID, "/"); ok {
		return sources.View{}, s.readShut(shut)
	}
	parts, err := splitPath(r.ID)
	if err != nil {
		return sources.View{}, fmt.Errorf("reading %q: %w", r.ID, err)
	}
	last := len(parts) - 1
	dir, err := s.folder(parts[:last], traverse)
	if err != nil {
		return sources.View{}, fail(whereRead, "reading", r.ID, err)
	}
	defer dir.Close()
	for range 5 {
		v, ok, err := s.read(dir, parts[last], r, w.Head)
		if err != nil || ok {
			return v, err
		}
	}
	return sources.View{}, fmt.Errorf("%s changes while it is being read: %w", r.ID, sources.ErrConflict)
}

// readShut is the error of a folder that could not be listed.
func (s *Source) readShut(id string) error {
	parts, err := splitPath(id)
	if err != nil {
		return fmt.Errorf("reading %q: %w", id, err)
	}
	dir, err := s.folder(parts, unix.O_RDONLY)
	if err == nil {
		defer dir.Close()
		for err == nil {
			_, err = dir.Readdirnames(1024)
		}
	}
	if !isEOF(err) {
		return fail(whereRead, "reading the folder", id, err)
	}
	return fmt.Errorf("the folder %s could not be read when it was listed, so the files in it were not looked at: begin anew with --restart", id)
}

// read reads once. ok says that everything it read is of one revision.
func (s *Source) read(dir *os.File, name string, r sources.Ref, want int64) (_ sources.View, ok bool, _ error) {
	f, st, err := open(dir, name, r.ID)
	if err != nil {
		return sources.View{}, false, err
	}
	defer f.Close()
	when := s.now()
	var head []byte
	if want > 0 {
		head = make([]byte, min(want, st.size))
		_, err = io.ReadFull(f, head)
		if isEOF(err) {
			return sources.View{}, false, nil
		}
		if err != nil {
			return sources.View{}, false, fail(whereRead, "reading", r.ID, err)
		}
	}
	if st.size == 0 {
		// Some programs empty a file before they write it anew. Until they are
		// done, its times may still be old (ext4), but they have it open.
		if _, open := lease(f); open {
			return sources.View{}, false, busy(r.ID, "being written")
		}
		if wait := (seen{st, when}).young(); wait > 0 {
			return sources.View{}, false, &sources.NotYetError{Wait: wait, Detail: fmt.Sprintf("%s was emptied or made a moment ago", r.ID)}
		}
	}
	again, err := fstat(f)
	if err != nil {
		return sources.View{}, false, fail(whereRead, "reading", r.ID, err)
	}
	if again.state != st.state {
		return sources.View{}, false, nil
	}
	return sources.View{Ref: r, Rev: st.rev(), Size: st.size, Head: head, State: seen{st, when}}, true, nil
}
