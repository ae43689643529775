//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package durable

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

const hasFlock = true

// tryLock locks f, for this process alone or shared, without waiting; taken is
// false if another process holds it.
func tryLock(f *os.File, shared bool) (taken bool, err error) {
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	switch err := flock(f, how|syscall.LOCK_NB); {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false, nil
	default:
		return false, lockError(f.Name(), err)
	}
}

func unlock(f *os.File) error {
	if err := flock(f, syscall.LOCK_UN); err != nil {
		return lockError(f.Name(), err)
	}
	return nil
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func lockError(name string, err error) error {
	return fmt.Errorf("lock %s: %w; it needs a file system with flock", name, err)
}
