package durable

import (
	"errors"
	"io"
	"os"
	"time"
)

// ErrNoFlock says that this operating system has no flock(2).
var ErrNoFlock = errors.New("this system has no flock")

// HeldError says that another process holds a lock.
type HeldError struct {
	Name  string // of the lock's file
	Words []byte // of the holder, see [Lock.Say]; empty if it said nothing yet
}

func (e *HeldError) Error() string { return e.Name + " is locked by another process" }

// Lock is flock(2) on a file of its own, held by this process. The kernel
// releases it when the process ends, however it ends, so a lock never has to be
// broken.
type Lock struct {
	name string
	f    *os.File
}

// lockPause is the time between two tries of [TakeLock].
const lockPause = 10 * time.Millisecond

// TakeLock locks the file of that name, which is made with mode 0600 if there
// is none. If another process holds the lock, TakeLock tries again until wait
// has passed, then returns a *HeldError. [Peek] holds a lock for an instant:
// those who use both need some wait. Its other errors are [ErrNoFlock] and the
// file system's.
func TakeLock(name string, wait time.Duration) (*Lock, error) {
	if !hasFlock {
		return nil, ErrNoFlock // and no file is left
	}
	for end := time.Now().Add(wait); ; {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		l := &Lock{name, f}
		taken, err := tryLock(f, false)
		switch {
		case err != nil:
			f.Close()
			return nil, err
		case taken && l.Held():
			return l, nil
		case taken: // and the last holder has removed the file since it was opened here
			f.Close()
		case time.Now().Before(end):
			f.Close()
			time.Sleep(lockPause)
		default:
			words := readWords(f)
			f.Close()
			return nil, &HeldError{name, words}
		}
	}
}

// Say writes into the file what a *HeldError and [Peek] tell others, at most
// 4096 bytes. A process that dies in here leaves part of it; readers have to
// bear that.
func (l *Lock) Say(words []byte) error {
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := l.f.WriteAt(words, 0)
	return err
}

// Held says whether the locked file still has its name. If it was removed or
// replaced, others lock another file, and the lock protects nothing.
func (l *Lock) Held() bool {
	mine, err := l.f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(l.name)
	return err == nil && os.SameFile(mine, named)
}

// Release releases the lock. The file stays, with the last words.
func (l *Lock) Release() error { return l.f.Close() }

// Remove removes the file, if it is still the one that is locked, and releases
// the lock.
func (l *Lock) Remove() error {
	var err error
	if l.Held() {
		err = os.Remove(l.name) // before the release, or it may be the next holder's
	}
	return errors.Join(err, l.f.Close())
}

// Peek says whether a process holds the lock of that name, and the words of
// that process or of the last one that held it. A lock whose file does not
// exist is held by nobody.
func Peek(name string) (held bool, words []byte, err error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	defer f.Close()
	taken, err := tryLock(f, true)
	if err != nil {
		return false, nil, err
	}
	if err := unlock(f); err != nil { // at once: somebody may be waiting for the lock
		return false, nil, err
	}
	return !taken, readWords(f), nil
}

func readWords(f *os.File) []byte {
	words, err := io.ReadAll(io.NewSectionReader(f, 0, 4096))
	if err != nil {
		return nil
	}
	return words
}
