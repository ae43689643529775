package dir

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	traverse    = unix.O_RDONLY
	noatime     = 0
	noAttribute = unix.ENOATTR
	seekHole    = 3
	seekData    = 4
)

// exchange lets two names of a folder change places in one step
// (renameatx_np(2), RENAME_SWAP). The error is ENOENT if one does not exist, and
// ENOTSUP if the file system cannot exchange.
func exchange(dir *os.File, a, b string) error {
	fd := int(dir.Fd())
	return retry(func() error { return unix.RenameatxNp(fd, a, fd, b, unix.RENAME_SWAP) })
}

// There are no leases.
func lease(*os.File) (taken, open bool) { return false, false }
func leased(*os.File) bool              { return true }

// create makes an empty file with a new name. It is a clone of the old one
// (clonefile(2)), since only a clone gets the ACL, which is no extended attribute
// here.
func create(t *target, name string) (*os.File, error) {
	err := retry(func() error { return unix.Fclonefileat(int(t.f.Fd()), int(t.dir.Fd()), name, 0) })
	if is(err, unix.ENOTSUP, unix.EXDEV) {
		return nil, refuse(reasonAttributes, "the file system of %s cannot clone files, without which its ACL would be lost", t.id)
	}
	if err != nil {
		return nil, notWritten(t.id, err)
	}
	err = retry(func() error { return unix.Fchmodat(int(t.dir.Fd()), name, 0o600, 0) })
	if err == nil {
		var f *os.File
		if f, err = openat(t.dir, name, unix.O_RDWR|unix.O_TRUNC, 0); err == nil {
			return f, nil
		}
	}
	unlink(t.dir, name)
	return nil, notWritten(t.id, err)
}

func setTimes(_, f *os.File, atime, mtime unix.Timespec) error {
	times := []unix.Timeval{unix.NsecToTimeval(atime.Nano()), unix.NsecToTimeval(mtime.Nano())}
	if err := unix.Futimes(int(f.Fd()), times); err != nil {
		return err
	}
	// futimes has microseconds. A time with nanoseconds is set by the name.
	return unix.UtimesNanoAt(unix.AT_FDCWD, f.Name(), []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

func mayChown() bool { return os.Geteuid() == 0 }

func flagsAllow(t *target) error {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(int(t.f.Fd()), &st) }); err != nil {
		return fail(whereWrite, "planning", t.id, err)
	}
	if st.Flags != 0 {
		return refuse(reasonNotWritable, "%s has file flags (ls -lO), which would keep it from being replaced or be lost; take them away with chflags 0", t.id)
	}
	return nil
}
