//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lock is flock(2) on the file of that name. The kernel lets go of it when
// the process ends, however it ends, so a lock never has to be broken.
type lock struct{ f *os.File }

// A status command holds the lock shared for an instant while it looks; Open
// tries again for this long before it believes that a run holds it.
const (
	lockTries = 25
	lockPause = 10 * time.Millisecond
)

// takeLock takes the directory's lock, or returns a *LockedError.
func takeLock(dir string, since time.Time) (_ *lock, err error) {
	name := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	for try := 1; ; try++ {
		held, err := flock(f, syscall.LOCK_EX)
		if err != nil {
			return nil, err
		}
		if !held {
			break
		}
		if try == lockTries {
			return nil, &LockedError{Dir: dir, Process: readProcess(f)}
		}
		time.Sleep(lockPause)
	}
	host, _ := os.Hostname() // for a message; its lack costs a word
	data, err := json.Marshal(Process{PID: os.Getpid(), Host: host, Since: since})
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(append(data, '\n'), 0); err != nil {
		return nil, err
	}
	return &lock{f}, nil
}

func (l *lock) release() error { return l.f.Close() }

// whoHolds says whether a process holds the directory's lock, and which one
// did so last.
func whoHolds(dir string) (live bool, p Process, err error) {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, Process{}, nil
	}
	if err != nil {
		return false, Process{}, err
	}
	defer f.Close()
	live, err = flock(f, syscall.LOCK_SH)
	if err != nil {
		return false, Process{}, err
	}
	if _, err := flock(f, syscall.LOCK_UN); err != nil { // at once: an Open may be waiting
		return false, Process{}, err
	}
	return live, readProcess(f), nil
}

// flock takes or gives back a lock without waiting; held says that somebody else has it.
func flock(f *os.File, how int) (held bool, err error) {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return false, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return true, nil
		case !errors.Is(err, syscall.EINTR):
			return false, fmt.Errorf("lock %s: %w; a state directory needs a file system with flock", f.Name(), err)
		}
	}
}

// readProcess reads what the holder wrote; nothing if it is just about to.
func readProcess(f *os.File) Process {
	var p Process
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 4096))
	if err != nil || json.Unmarshal(data, &p) != nil {
		return Process{}
	}
	return p
}
