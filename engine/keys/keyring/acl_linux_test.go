package keyring_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rewrap/engine/keys/keyring"
)

// acl lets the user 1234 read; its mask is r.
const acl = "\x02\x00\x00\x00" +
	"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xd2\x04\x00\x00" + "\x04\x00\x00\x00\xff\xff\xff\xff" +
	"\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"

// TestACL: whoever the old file let in, the new one lets in, and nobody else:
// neither the group that the mode seems to name, nor those that the folder lets
// into new files.
func TestACL(t *testing.T) {
	const access, inherited = "system.posix_acl_access", "system.posix_acl_default"
	kms := encrypting()
	path := filepath.Join(t.TempDir(), "keys.json")
	if _, err := keyring.Create(t.Context(), path, "AES256_GCM", kms); err != nil {
		t.Fatal(err)
	}
	rotated := func(want string) {
		t.Helper()
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Rotate(t.Context(), path, "", kms); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1024)
		n, err := unix.Getxattr(path, access, b)
		if err != nil && !errors.Is(err, unix.ENODATA) {
			t.Fatal(err)
		}
		if got := string(b[:max(n, 0)]); got != want {
			t.Errorf("the ACL is %q", got)
		}
		if after, err := os.Stat(path); err != nil || after.Mode() != before.Mode() {
			t.Errorf("the mode is %v, and was %v; %v", after.Mode(), before.Mode(), err)
		}
	}
	switch err := unix.Setxattr(path, access, []byte(acl), 0); {
	case errors.Is(err, unix.ENOTSUP):
		t.Skip("SKIPPED: the file system has no ACLs")
	case err != nil:
		t.Fatal(err)
	}
	rotated(acl)
	if err := errors.Join(unix.Removexattr(path, access), os.Chmod(path, 0o640),
		unix.Setxattr(filepath.Dir(path), inherited, []byte(strings.Replace(acl, "\x10\x00\x04", "\x10\x00\x06", 1)), 0)); err != nil {
		t.Fatal(err)
	}
	rotated("")
}
