package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rewrap/checkpoint/durable"
)

// ErrLocked says that another process is changing the keyring at this moment.
// [Create], [Rotate], [SetStatus] return it.
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

// followed is the file that a path leads to. A symbolic link stays a link, and
// the file that it points to is replaced.
func followed(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// update replaces the file at path with what edit makes of it; edit is given
// nil where there is no file. It holds a lock, flock(2) on PATH.lock: without
// it two rotations at once would lose the key of the first, and with that key
// whatever was wrapped under it meanwhile.
//
// The new content is written to PATH.new, which takes the name PATH when it is
// whole and durable. A process that dies before that leaves the old keyring and
// PATH.new; the next change removes PATH.new, whose new key has wrapped nothing.
// A process that dies later leaves the new keyring, and its caller was not told
// so. If the machine loses power before update returns, either keyring may be
// there. PATH.lock may be left too, and locks nothing.
func update(path string, edit func(*file) ([]byte, error)) error {
	path = followed(path)
	l, err := takeLock(path + lockSuffix)
	if err != nil {
		return err
	}
	defer l.release()

	old, err := oldFile(path)
	if err != nil {
		return err
	}
	text, err := edit(old)
	if err != nil {
		return err
	}
	defer clear(text)
	d, err := durable.Begin(durable.OS{}, path, filepath.Base(path)+newSuffix, 0o600)
	if err != nil {
		return fmt.Errorf("the keyring cannot be written: %w", err)
	}
	defer d.Discard()
	if err := write(d, text, old); err != nil {
		return err
	}
	if !l.held() { // another process may be changing the keyring by now, with a PATH.new of its own
		return fmt.Errorf("%s was removed while the keyring was being changed, so it was not changed", path+lockSuffix)
	}
	commit := d.Commit
	if old == nil {
		commit = d.CommitNew // somebody without the lock may have put a file there
	}
	err = commit()
	var folder *durable.FolderError
	switch {
	case errors.As(err, &folder):
		return fmt.Errorf("%s was written, but may not outlast a loss of power: %w", path, err)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s %w", path, ErrExists)
	case err != nil:
		return fmt.Errorf("the keyring cannot be put in its place: %w", err)
	}
	return nil
}

// oldFile reads the keyring that is to be changed, nil if there is none, and
// removes the PATH.new of a change that was killed.
//
// It refuses a file with several hard links: a change would part them, and the
// other names would keep the old keyring. PATH.new goes first, since it is such
// a link where a process died in the creation of the keyring.
func oldFile(path string) (old *file, err error) {
	switch _, err := os.Lstat(path); {
	case err == nil:
		if old, err = read(path); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the keyring cannot be read: %w", err)
	}
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("what a change left that was killed cannot be removed: %w", err)
	}
	if info, err := os.Stat(path); err == nil && hardLinks(info) > 1 {
		return nil, fmt.Errorf("%s has %d names (hard links), which a change would part, so it was not changed: the others would keep the old keyring. Make symbolic links of them", path, hardLinks(info))
	}
	return old, nil
}

// write gives a new file the owner, mode and ACL of the old one and the new
// content, durably.
func write(d *durable.Draft, text []byte, old *file) error {
	if old != nil {
		// The same people as before can read the new keyring, and nobody else.
		// The owner first: a change of the owner may take bits off the mode. The
		// ACL last: a change of the mode would change its mask.
		if err := keepOwner(d.File(), old.info); err != nil {
			return fmt.Errorf("the owner of %s cannot be kept, so it was not changed; run this as its owner: %w", old.path, err)
		}
		if err := d.File().Chmod(old.info.Mode().Perm()); err != nil {
			return fmt.Errorf("the keyring cannot be written: %w", err)
		}
		if err := keepACL(d.File(), old.path); err != nil {
			return fmt.Errorf("the ACL of %s cannot be kept, so it was not changed: %w", old.path, err)
		}
	}
	_, err := d.Write(text)
	if err == nil {
		err = d.Sync()
	}
	if err != nil {
		return fmt.Errorf("the keyring cannot be written: %w", err)
	}
	return nil
}

// lock is the lock on a keyring. Its file goes when it is released. Where the
// system has no flock there is no lock, and two changes at once are the
// operator's to avoid.
type lock struct{ l *durable.Lock }

// takeLock takes the lock of that name, or returns ErrLocked at once.
func takeLock(name string) (lock, error) {
	l, err := durable.TakeLock(name, 0)
	var held *durable.HeldError
	switch {
	case errors.As(err, &held):
		return lock{}, fmt.Errorf("%s: %w", name, ErrLocked)
	case err != nil && !errors.Is(err, durable.ErrNoFlock):
		return lock{}, fmt.Errorf("the keyring cannot be written: %w", err)
	}
	return lock{l}, nil
}

func (l lock) held() bool { return l.l == nil || l.l.Held() }

func (l lock) release() {
	if l.l != nil {
		_ = l.l.Remove() // a file that stays locks nothing
	}
}
