// Package durable changes files so that a crash cannot leave half of a change:
// it replaces a file as a whole, makes folders and their names durable, and
// locks a file for one process at a time.
//
// Durable means: still there after a loss of power. A file's content and its
// name are made durable apart, the content by a sync of the file and the name
// by a sync of its folder. Content goes first here, always: a name never
// outlasts the content that it stands for.
//
// The functions take an [FS], so that tests can fail or stop at every
// operation. Everything else passes [OS].
package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// FS is the operations that change a file system, which are the points that a
// crash can fall between.
type FS interface {
	OpenFile(name string, flag int, perm os.FileMode) (File, error)
	Mkdir(name string, perm os.FileMode) error
	Rename(from, to string) error
	Link(from, to string) error
	Remove(name string) error
	// SyncDir makes the names in a folder durable, after files in it were
	// created, renamed or removed.
	SyncDir(name string) error
}

// File is an open file of an [FS].
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Name() string
	Fd() uintptr
	Stat() (os.FileInfo, error)
	Sync() error
	Truncate(size int64) error
	Chmod(mode os.FileMode) error
	Chown(uid, gid int) error
}

// OS is the file system of the machine.
type OS struct{}

// OpenFile is [os.OpenFile].
func (OS) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // and not f, a nil *os.File that would be a File other than nil
	}
	return f, nil
}

// Mkdir is [os.Mkdir].
func (OS) Mkdir(name string, perm os.FileMode) error { return os.Mkdir(name, perm) }

// Rename is [os.Rename].
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Link is [os.Link].
func (OS) Link(from, to string) error { return os.Link(from, to) }

// Remove is [os.Remove].
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir is fsync(2) of a folder. On systems that are no Unix it does
// nothing: there a name is as durable as the file system makes it.
func (OS) SyncDir(name string) error { return syncDir(name) }

// FolderError says that a folder could not be synced. The change in it is
// made, but a loss of power may undo it.
type FolderError struct {
	Dir string
	Err error
}

func (e *FolderError) Error() string { return fmt.Sprintf("sync %s: %v", e.Dir, e.Err) }

// Unwrap is the file system's error.
func (e *FolderError) Unwrap() error { return e.Err }

// SyncDir makes the names in a folder durable. Its error is a *FolderError.
func SyncDir(fs FS, dir string) error {
	if err := fs.SyncDir(dir); err != nil {
		return &FolderError{dir, err}
	}
	return nil
}

// MakeDir makes a folder, and the parents that it lacks, with the given mode,
// and makes their names durable: a file that is durable in a folder that is not
// would vanish with the folder. A process that dies in here leaves some of the
// folders, and the next call makes the others. A folder that exists is left as
// it is.
func MakeDir(fs FS, dir string, perm os.FileMode) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &os.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := MakeDir(fs, parent, perm); err != nil {
		return err
	}
	if err := fs.Mkdir(dir, perm); err != nil && !errors.Is(err, os.ErrExist) { // another process may have made it
		return err
	}
	return SyncDir(fs, parent)
}
