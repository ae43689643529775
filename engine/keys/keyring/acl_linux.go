package keyring

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// aclName holds a file's POSIX ACL, whose mask is what the mode shows for the
// group.
const aclName = "system.posix_acl_access"

// keepACL gives f the ACL of the file at path: that one's, and not what the
// folder would give to a new file.
func keepACL(f *os.File, path string) error {
	acl := make([]byte, 64<<10) // the most that an extended attribute holds
	n, err := unix.Getxattr(path, aclName, acl)
	switch {
	case errors.Is(err, unix.ENODATA):
		if err := unix.Fremovexattr(int(f.Fd()), aclName); !errors.Is(err, unix.ENODATA) {
			return err
		}
		return nil
	case errors.Is(err, unix.ENOTSUP): // nor has its neighbour one
		return nil
	case err != nil:
		return err
	}
	return unix.Fsetxattr(int(f.Fd()), aclName, acl[:n], 0)
}
