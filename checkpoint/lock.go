package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"rewrap/checkpoint/durable"
)

// lockWait is how long Open tries before it believes that a run holds the
// lock: a status command holds it for an instant while it looks.
const lockWait = 250 * time.Millisecond

// takeLock takes the directory's lock and writes into it which process has it.
// If another process holds the lock, the error is a *LockedError.
//
// A process that dies in here, or at any time later, has the lock no more. It
// may leave a lock file that names nobody, or the holder before; that file is
// only read for messages.
func takeLock(dir string, since time.Time) (*durable.Lock, error) {
	l, err := durable.TakeLock(filepath.Join(dir, lockFile), lockWait)
	var held *durable.HeldError
	if errors.As(err, &held) {
		return nil, &LockedError{Dir: dir, Process: processOf(held.Words)}
	}
	if err != nil {
		return nil, lockError(err)
	}
	host, _ := os.Hostname() // for a message, which does without it
	data, err := json.Marshal(Process{PID: os.Getpid(), Host: host, Since: since})
	if err == nil {
		err = l.Say(append(data, '\n'))
	}
	if err != nil {
		return nil, errors.Join(err, l.Release())
	}
	return l, nil
}

// whoHolds says whether a process holds the directory's lock, and which one
// did so last.
func whoHolds(dir string) (live bool, p Process, err error) {
	live, words, err := durable.Peek(filepath.Join(dir, lockFile))
	return live, processOf(words), lockError(err)
}

func lockError(err error) error {
	if errors.Is(err, durable.ErrNoFlock) {
		return fmt.Errorf("state directories need flock, which %s does not have: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	return err
}

// processOf is what a holder wrote into the lock file; the zero Process if it
// has not written it yet.
func processOf(words []byte) Process {
	var p Process
	if json.Unmarshal(words, &p) != nil {
		return Process{}
	}
	return p
}
