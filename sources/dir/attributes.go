//go:build linux || darwin

package dir

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// attributes gives the new file the owner, mode, times and extended attributes of
// the old one, and checks that it has them. The order matters. A change of owner
// takes away mode bits and capabilities. Setting user attributes needs a mode
// that lets the owner write. Until the ACL is set, the mode lets nobody else in.
func attributes(t *target, f *os.File) (map[string]string, error) {
	fd := int(f.Fd())
	have, err := fstat(f)
	if err != nil {
		return nil, fail(whereWrite, "writing", t.id, err)
	}
	if have.uid != t.st.uid || have.gid != t.st.gid {
		err := retry(func() error { return unix.Fchown(fd, int(t.st.uid), int(t.st.gid)) })
		if is(err, unix.EPERM, unix.EINVAL) {
			return nil, refuse(reasonOwner, "%s belongs to user %d and group %d, which a new file cannot be given here; run as its owner or as root", t.id, t.st.uid, t.st.gid)
		}
		if err != nil {
			return nil, fail(whereWrite, "writing", t.id, err)
		}
	}
	if err := chmod(t.id, fd, 0o600); err != nil {
		return nil, err
	}
	want, err := xattrs(t.f, t.id)
	if err == nil {
		err = setXattrs(t.id, f, want)
	}
	if err == nil {
		err = chmod(t.id, fd, t.st.mode&07777)
	}
	if err != nil {
		return nil, err
	}
	if got, err := xattrs(f, t.id); err != nil {
		return nil, err
	} else if !maps.Equal(want, got) {
		return nil, refuse(reasonXattr, "the extended attributes of %s cannot be kept: the file system changes them", t.id)
	}
	if err := setTimes(t.dir, f, t.st.atime, t.st.mtim); err != nil {
		return nil, fail(whereWrite, "writing", t.id, err)
	}
	got, err := fstat(f)
	if err != nil {
		return nil, fail(whereWrite, "writing", t.id, err)
	}
	switch {
	case got.uid != t.st.uid || got.gid != t.st.gid:
		return nil, refuse(reasonOwner, "the owner of %s cannot be kept here", t.id)
	case got.mode != t.st.mode:
		return nil, refuse(reasonAttributes, "the mode %o of %s cannot be kept here; a new file gets %o", t.st.mode&07777, t.id, got.mode&07777)
	case got.mtime != t.st.mtime:
		return nil, refuse(reasonAttributes, "the modification time of %s cannot be kept here", t.id)
	}
	return want, nil
}

func chmod(id string, fd int, mode uint32) error {
	if err := retry(func() error { return unix.Fchmod(fd, mode) }); err != nil {
		return fail(whereWrite, "writing", id, err)
	}
	return nil
}

// xattrs are all extended attributes that this user can see. On Linux the ACL and
// the security labels are among them. nil where the file system has none.
func xattrs(f *os.File, id string) (map[string]string, error) {
	fd := int(f.Fd())
	names, err := grow(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	if is(err, unix.ENOTSUP, unix.ENOSYS) || err == nil && len(names) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fail(whereRead, "reading the attributes of", id, err)
	}
	all := make(map[string]string)
	for name := range strings.SplitSeq(string(bytes.TrimSuffix(names, []byte{0})), "\x00") {
		if name == "security.ima" || name == "security.evm" {
			return nil, refuse(reasonXattr, "%s is signed as it is (%s), and would not be valid with another content", id, name)
		}
		value, err := grow(func(b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
		if is(err, noAttribute) {
			continue // it was removed meanwhile, which shows in ctime
		}
		if is(err, unix.EPERM, unix.EACCES, unix.ENOTSUP) {
			return nil, refuse(reasonXattr, "the attribute %q of %s cannot be read, and so not be kept; run as root", name, id)
		}
		if err != nil {
			return nil, fail(whereRead, "reading the attributes of", id, err)
		}
		all[name] = string(value)
	}
	return all, nil
}

// grow makes a call with a buffer that is big enough for its answer.
func grow(call func([]byte) (int, error)) ([]byte, error) {
	for {
		var n int
		err := retry(func() (err error) { n, err = call(nil); return err })
		if err != nil || n == 0 {
			return nil, err
		}
		b := make([]byte, n)
		err = retry(func() (err error) { n, err = call(b); return err })
		if err == unix.ERANGE {
			continue
		}
		return b[:max(n, 0)], err
	}
}

// setXattrs makes the attributes of a new file those that are wanted. It removes
// others that the file got when it was made (from the folder's default ACL).
func setXattrs(id string, f *os.File, want map[string]string) error {
	have, err := xattrs(f, id)
	if err != nil {
		return err
	}
	fd := int(f.Fd())
	for name := range have {
		if _, ok := want[name]; ok {
			continue
		}
		err := unix.Fremovexattr(fd, name)
		if is(err, noAttribute) {
			continue // it went with another one: XFS shows an ACL to root under two names
		}
		if err := xattrError(id, name, err); err != nil {
			return err
		}
	}
	// user.* come before system.*, since the ACL may deny the owner to write.
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(want))) {
		if v, ok := have[name]; ok && v == want[name] {
			continue
		}
		if err := xattrError(id, name, unix.Fsetxattr(fd, name, []byte(want[name]), 0)); err != nil {
			return err
		}
	}
	return nil
}

func xattrError(id, name string, err error) error {
	if is(err, unix.EPERM, unix.EACCES, unix.ENOTSUP, unix.EINVAL) {
		return &sources.SkipError{Reason: reasonXattr, Detail: "the attribute " + name + " of " + id + " cannot be given to a new file; run as root"}
	}
	if err != nil {
		return fail(whereWrite, "writing the attributes of", id, err)
	}
	return nil
}
