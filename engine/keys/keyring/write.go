package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrLocked: another process changes the keyring at this moment; from
// [Create], [Rotate] and [SetStatus].
var ErrLocked = errors.New("another process is changing the keyring; try again when it is done")

// Files are the names that a keyring takes up, also while it is changed.
func Files(path string) []string {
	path = followed(path)
	return []string{path, path + lockSuffix, path + newSuffix}
}

const (
	lockSuffix = ".lock"
	newSuffix  = ".new"
)

// followed is where a path leads: a link stays a link, and what it points to is
// replaced.
func followed(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// update replaces the file at path with what edit makes of it; edit is given
// nil where there is no file. It holds a lock, flock(2) on PATH.lock, since two
// rotations at once would otherwise lose the key of the first, and with it
// whatever was wrapped under it meanwhile. The kernel lets go of it when the
// process ends, however it ends, so it never has to be broken.
//
// The new content is written to PATH.new and takes its name from there whole.
// Whoever dies before leaves the old keyring, and PATH.new, whose new key
// wrapped nothing; the next change removes it. If the machine loses power before
// the folder is synced, either keyring may be there, and the caller was told of
// neither.
func update(path string, edit func(*file) ([]byte, error)) error {
	path = followed(path)
	l, err := takeLock(path + lockSuffix)
	if err != nil {
		return err
	}
	defer l.release()

	var old *file
	switch _, err := os.Lstat(path); {
	case err == nil:
		if old, err = read(path); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the keyring cannot be read: %w", err)
	}
	temp := path + newSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what a change left that was killed cannot be removed: %w", err)
	}
	if info, err := os.Stat(path); err == nil && hardLinks(info) > 1 { // not by PATH.new
		return fmt.Errorf("%s has %d names (hard links), which a change would part, so it was not changed: the others would keep the old keyring. Make symbolic links of them", path, hardLinks(info))
	}
	text, err := edit(old)
	if err != nil {
		return err
	}
	defer clear(text)
	defer os.Remove(temp) // unless it was renamed
	if err := write(temp, text, old); err != nil {
		return err
	}
	if !l.held() { // or PATH.new may be another process's by now
		return fmt.Errorf("%s was removed while the keyring was being changed, so it was not changed", l.name)
	}
	if old == nil {
		// A link does not replace what somebody put there without the lock.
		err = os.Link(temp, path)
	} else {
		err = os.Rename(temp, path)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s %w", path, ErrExists)
	case err != nil:
		return fmt.Errorf("the keyring cannot be put in its place: %w", err)
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s was written, but may not outlast a loss of power: %w", path, err)
	}
	return nil
}

// write makes a file with the owner and mode of the old one, durably.
func write(name string, text []byte, old *file) (err error) {
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("the keyring cannot be written: %w", err)
	}
	defer func() {
		if cerr := out.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("the keyring cannot be written: %w", cerr)
		}
	}()
	if old != nil {
		// Whoever could read the keyring before has to be able to after, and
		// nobody else. The mode after the owner, whose change may take bits away;
		// the ACL last, since a change of the mode would change its mask.
		if err := keepOwner(out, old.info); err != nil {
			return fmt.Errorf("the owner of %s cannot be kept, so it was not changed; run this as its owner: %w", old.path, err)
		}
		if err := out.Chmod(old.info.Mode().Perm()); err != nil {
			return fmt.Errorf("the keyring cannot be written: %w", err)
		}
		if err := keepACL(out, old.path); err != nil {
			return fmt.Errorf("the ACL of %s cannot be kept, so it was not changed: %w", old.path, err)
		}
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("the keyring cannot be written: %w", err)
	}
	if err := out.Sync(); err != nil {
		return fmt.Errorf("the keyring cannot be written: %w", err)
	}
	return nil
}
