//go:build unix

package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives f the owner and group of another file, where they differ.
func keepOwner(f *os.File, as fs.FileInfo) error {
	want, ok := as.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if have, ok := info.Sys().(*syscall.Stat_t); ok && have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// hardLinks is how many names a file has.
func hardLinks(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock is the lock on a keyring. Its file goes when it is given back.
type lock struct {
	name string
	f    *os.File
}

// takeLock takes the lock of that name, or says at once that it is taken.
func takeLock(name string) (*lock, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("the keyring cannot be written: %w", err)
		}
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			if l := (&lock{name, f}); l.held() {
				return l, nil
			} // else whoever had it before has removed the file
		case errors.Is(err, syscall.EWOULDBLOCK):
			f.Close()
			return nil, fmt.Errorf("%s: %w", name, ErrLocked)
		case !errors.Is(err, syscall.EINTR):
			f.Close()
			return nil, fmt.Errorf("the keyring cannot be locked: %s: %w; it needs a file system with flock", name, err)
		}
		f.Close()
	}
}

// held says whether the file that is locked is the one of the lock's name, which
// is the one that others lock.
func (l *lock) held() bool {
	mine, err := l.f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(l.name)
	return err == nil && os.SameFile(mine, named)
}

func (l *lock) release() {
	if l.held() {
		os.Remove(l.name)
	}
	l.f.Close()
}
