package dir

import (
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	traverse    = unix.O_PATH
	noatime     = unix.O_NOATIME
	noAttribute = unix.ENODATA
	seekData    = unix.SEEK_DATA
	seekHole    = unix.SEEK_HOLE
)

// exchange lets two names of a folder change places in one step (rename(2),
// RENAME_EXCHANGE). The error is ENOENT if one does not exist, and EINVAL if the
// file system cannot exchange.
func exchange(dir *os.File, a, b string) error {
	fd := int(dir.Fd())
	return retry(func() error { return unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE) })
}

// lease takes a read lease of a file that is open for reading (fcntl(2),
// F_SETLEASE), which ends when the file is closed. Until then a program that opens
// the file for writing is held up, and leased shows it. open says that a program
// has it open for writing already. Both are false where there are no leases (on
// network file systems, and on files of other users).
func lease(f *os.File) (taken, open bool) {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	return err == nil, is(err, unix.EAGAIN)
}

// leased is false if a program waits to open the file for writing. The lease has
// to have been taken.
func leased(f *os.File) bool {
	kind, err := unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0)
	return err == nil && kind == unix.F_RDLCK
}

// create makes an empty file with a new name.
func create(t *target, name string) (*os.File, error) {
	f, err := openat(t.dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, notWritten(t.id, err)
	}
	err = copyFlags(t, f)
	if err == nil {
		err = copyProject(t, f)
	}
	if err != nil {
		f.Close()
		unlink(t.dir, name)
		return nil, err
	}
	return f, nil
}

func setTimes(dir, f *os.File, atime, mtime unix.Timespec) error {
	name := filepath.Base(f.Name())
	return retry(func() error {
		return unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// mayChown says that CAP_CHOWN is effective (capabilities(7)).
func mayChown() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.Geteuid() == 0
	}
	return data[0].Effective&(1<<unix.CAP_CHOWN) != 0
}

// Inode flags (ioctl_iflags(2)).
const (
	flagImmutable = 0x10
	flagAppend    = 0x20
	flagVerity    = 0x100000
	// Flags that a user sets and a new file does not get by itself: secure
	// deletion, undelete, compress, sync, nodump, noatime, journal data, no tail
	// merging, no copy on write, DAX.
	flagsKept = 0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x4000 | 0x8000 | 0x800000 | 0x2000000
)

// flags are the inode flags of a file; 0 where the file system has none.
func flags(f *os.File) (uint32, error) {
	var n uint32
	err := retry(func() (err error) { n, err = unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS); return err })
	if is(err, unix.ENOTTY, unix.ENOTSUP, unix.ENOSYS, unix.EINVAL) {
		return 0, nil
	}
	return n, err
}

func flagsAllow(t *target) error {
	n, err := flags(t.f)
	if err != nil {
		return fail(whereWrite, "planning", t.id, err)
	}
	folder, err := flags(t.dir)
	if err != nil {
		return fail(whereWrite, "planning", t.id, err)
	}
	switch {
	case n&(flagImmutable|flagAppend) != 0:
		return refuse(reasonNotWritable, "%s is immutable or append-only; take that away with chattr -i -a", t.id)
	case folder&(flagImmutable|flagAppend) != 0:
		return refuse(reasonNotWritable, "the folder of %s is immutable or append-only; take that away with chattr -i -a", t.id)
	case n&flagVerity != 0:
		return refuse(reasonAttributes, "%s is sealed with fs-verity, which a new file would not be", t.id)
	}
	return nil
}

func copyFlags(t *target, f *os.File) error {
	want, err := flags(t.f)
	if err != nil {
		return fail(whereWrite, "writing", t.id, err)
	}
	have, err := flags(f)
	if err != nil {
		return fail(whereWrite, "writing", t.id, err)
	}
	if (want^have)&flagsKept == 0 {
		return nil
	}
	set := have&^flagsKept | want&flagsKept
	err = retry(func() error { return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(set)) })
	if err == nil {
		have, err = flags(f)
	}
	if err != nil || (want^have)&flagsKept != 0 {
		return refuse(reasonAttributes, "the flags of %s (lsattr) cannot be given to a new file", t.id)
	}
	return nil
}

// fsxattr is struct fsxattr of linux/fs.h: the project that a file's blocks are
// counted for (quotas), and how its space is allocated.
type fsxattr struct {
	xflags, extsize, nextents, projid, cowextsize uint32
	_                                             [8]byte
}

// ioctl numbers of linux/fs.h, by the size of the struct, on architectures
// where they are made in the usual way.
const (
	fsGetXattr = 0x801c581f // FS_IOC_FSGETXATTR
	fsSetXattr = 0x401c5820 // FS_IOC_FSSETXATTR
)

// project is the project of a file. ok is false where the file system has none.
func project(f *os.File) (a fsxattr, ok bool, _ error) {
	err := ioctl(f, fsGetXattr, &a)
	if is(err, unix.ENOTTY, unix.ENOTSUP, unix.ENOSYS, unix.EINVAL) {
		return a, false, nil
	}
	return a, err == nil, err
}

func ioctl(f *os.File, number uintptr, a *fsxattr) error {
	return retry(func() error {
		if _, _, code := unix.Syscall(unix.SYS_IOCTL, f.Fd(), number, uintptr(unsafe.Pointer(a))); code != 0 {
			return code
		}
		return nil
	})
}

// copyProject gives the new file the project and the allocation hints of the
// old one.
func copyProject(t *target, f *os.File) error {
	want, ok, err := project(t.f)
	if err != nil {
		return fail(whereWrite, "writing", t.id, err)
	}
	have, _, err := project(f)
	if err != nil {
		return fail(whereWrite, "writing", t.id, err)
	}
	differ := func() bool {
		return want.projid != have.projid || want.extsize != have.extsize || want.cowextsize != have.cowextsize
	}
	if !ok || !differ() {
		return nil
	}
	have.xflags, have.projid, have.extsize, have.cowextsize = want.xflags, want.projid, want.extsize, want.cowextsize
	if err = ioctl(f, fsSetXattr, &have); err == nil {
		have, _, err = project(f)
	}
	if err != nil || differ() {
		return refuse(reasonAttributes, "the project id or allocation hints of %s (xfs_io -c stat) cannot be given to a new file; run as root", t.id)
	}
	return nil
}
