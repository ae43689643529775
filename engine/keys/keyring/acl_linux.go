package keyring

import (
	"errors"

	"golang.org/x/sys/unix"

	"rewrap/checkpoint/durable"
)

// aclName holds a file's POSIX ACL, whose mask is what the mode shows for the
// group.
const aclName = "system.posix_acl_access"

// keepACL gives f the ACL of the file at path, in place of the one that the
// folder gave to it as a new file.
func keepACL(f durable.File, path string) error {
	acl := make([]byte, 64<<10) // the most that an extended attribute holds
	n, err := unix.Getxattr(path, aclName, acl)
	switch {
	case errors.Is(err, unix.ENODATA):
		if err := unix.Fremovexattr(int(f.Fd()), aclName); !errors.Is(err, unix.ENODATA) {
			return err
		}
		return nil
	case errors.Is(err, unix.ENOTSUP): // the file system has no ACLs, so f has none either
		return nil
	case err != nil:
		return err
	}
	return unix.Fsetxattr(int(f.Fd()), aclName, acl[:n], 0)
}
