package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrLocked: another process changes the keyring, or died while it did; from
// [Create], [Rotate] and [SetStatus].
var ErrLocked = errors.New("another process is changing the keyring; if none is, one died doing so: remove the file")

// update replaces the file at path with what edit makes of it; edit is given
// nil where there is no file. The new content is written to PATH.lock, which is
// created so that only one process can, and is then renamed into place: two
// rotations at once would otherwise lose the key of the first, and with it
// whatever was wrapped under it meanwhile.
//
// Whoever dies before the rename leaves the old keyring and PATH.lock behind,
// whose key wrapped nothing yet. After the rename the new keyring is there; if
// the machine loses power before the folder is synced, either of the two may
// be, and the caller was told of neither.
func update(path string, edit func(*file) ([]byte, error)) error {
	// A link stays a link; what it points to is replaced.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	lock := path + ".lock"
	out, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", lock, ErrLocked)
	}
	if err != nil {
		return fmt.Errorf("the keyring cannot be written: %w", err)
	}
	placed := false
	defer func() {
		_ = out.Close()
		if !placed {
			_ = os.Remove(lock)
		}
	}()

	var old *file
	switch _, err := os.Lstat(path); {
	case err == nil:
		if old, err = read(path); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the keyring cannot be read: %w", err)
	}
	text, err := edit(old)
	if err != nil {
		return err
	}
	defer clear(text)
	if old != nil {
		// Whoever could read the keyring before has to be able to after; the
		// mode last, since a change of owner may take bits away.
		if err := keepOwner(out, old.info); err != nil {
			return fmt.Errorf("the owner of %s cannot be kept, so it was not changed; run this as its owner: %w", path, err)
		}
		if err := out.Chmod(old.info.Mode().Perm()); err != nil {
			return fmt.Errorf("the keyring cannot be written: %w", err)
		}
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("the keyring cannot be written: %w", err)
	}
	if err := out.Sync(); err != nil {
		return fmt.Errorf("the keyring cannot be written: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("the keyring cannot be written: %w", err)
	}
	if err := os.Rename(lock, path); err != nil {
		return fmt.Errorf("the keyring cannot be replaced: %w", err)
	}
	placed = true
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s was written, but may not outlast a loss of power: %w", path, err)
	}
	return nil
}
