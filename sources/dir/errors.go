//go:build linux || darwin

package dir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

const (
	// How many files in a row have to fail before the run stops.
	deniedStrikes = 50 // access denied, which may be one file's mode
	brokenStrikes = 5  // errors of the disk, which may be one bad sector
	fullStrikes   = 5  // a full disk, which may be one owner's quota
	leftStrikes   = 50 // files that others change all the time
)

// The reasons of refusals.
const (
	reasonSpecial     = "special-file"
	reasonHardLink    = "hard-link"
	reasonMetadata    = "no-metadata"
	reasonStoreKey    = "no-store-key"
	reasonRewrite     = "no-rewrite"
	reasonNotWritable = "not-writable"
	reasonNoRoom      = "no-room"
	reasonOwner       = "owner"
	reasonXattr       = "xattr"
	reasonAttributes  = "attributes"
)

func refuse(reason, format string, args ...any) error {
	return &sources.SkipError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// busyWait is how long to wait for a file that another process has in use.
const busyWait = 50 * time.Millisecond

func busy(id, why string) error {
	return &sources.NotYetError{Wait: busyWait, Detail: fmt.Sprintf("%s is %s by another process", id, why)}
}

func gone(id string) error     { return fmt.Errorf("%s: %w", id, sources.ErrGone) }
func conflict(id string) error { return fmt.Errorf("%s: %w", id, sources.ErrConflict) }

// The parts of the store for [sources.RunError].
const (
	whereRead  = "store: read"
	whereWrite = "store: write"
)

const hintManyFiles = "Too many files are open: use fewer workers, or raise the limit (ulimit -n)"

// fail is the meaning of an error of the file system for the item and the run.
// doing is the start of a sentence.
func fail(where, doing, id string, err error) error {
	err = fmt.Errorf("%s %s: %w", doing, id, bare(err))
	switch {
	case is(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP):
		// A symbolic link or a file in the place of a folder counts too: links
		// are not followed, so the item is not where it was listed.
		return gone(id)
	case is(err, unix.ENOSPC, unix.EDQUOT):
		return &sources.RunError{Err: err, Where: where, Strikes: fullStrikes,
			Hint: "The disk or the quota is full, and each file is written a second time before the old one is removed: make room, then run the same command again. No file was damaged"}
	case is(err, unix.EROFS):
		return &sources.RunError{Err: err, Where: where, Hint: "The file system is mounted read-only; mount it for writing, then run the same command again"}
	case is(err, unix.EMFILE, unix.ENFILE):
		return &sources.RunError{Err: err, Where: where, Hint: hintManyFiles}
	case is(err, unix.EIO, unix.ESTALE, unix.ENOTCONN):
		return &sources.RunError{Err: err, Where: where, Hint: "The disk or its server reports errors; see the system's log, or mount it again", Strikes: brokenStrikes}
	case is(err, unix.EACCES, unix.EPERM):
		return &sources.RunError{Err: err, Where: where, Hint: "Run as a user who may read and write the files", Strikes: deniedStrikes}
	}
	return err
}

// bare is the error without the path that package os adds. Our message names the
// item, and the path of a temporary file would tell nobody anything.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func openError(path string, err error) error {
	e := &sources.RunError{Err: fmt.Errorf("opening directory %q: %w", path, bare(err))}
	switch {
	case is(err, unix.ENOENT):
		e.Hint = "There is no such directory; look at the spelling, and whether it is mounted"
	case is(err, unix.ENOTDIR):
		e.Hint = "It is no directory; name the folder that holds the files"
	case is(err, unix.EACCES, unix.EPERM):
		e.Hint = "Run as a user who may read it"
	}
	return e
}

func is(err error, codes ...unix.Errno) bool {
	var code unix.Errno
	if !errors.As(err, &code) {
		return false
	}
	for _, c := range codes {
		if code == c {
			return true
		}
	}
	return false
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
