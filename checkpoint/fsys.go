package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// fsys is every operation that changes a state directory, and so everything
// that a crash can fall between. Tests crash and fail at each of them.
type fsys interface {
	OpenFile(name string, flag int, perm os.FileMode) (file, error)
	CreateTemp(dir, pattern string) (file, error)
	Mkdir(name string, perm os.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes the names in a directory durable: what was created,
	// renamed and removed in it.
	SyncDir(name string) error
}

type file interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Name() string
	Stat() (os.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm os.FileMode) (file, error) {
	return asFile(os.OpenFile(name, flag, perm))
}

func (osFS) CreateTemp(dir, pattern string) (file, error) {
	return asFile(os.CreateTemp(dir, pattern)) // with mode 0600
}

// asFile keeps a nil *os.File from becoming a file that is not nil.
func asFile(f *os.File, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFS) Mkdir(name string, perm os.FileMode) error { return os.Mkdir(name, perm) }
func (osFS) Rename(from, to string) error              { return os.Rename(from, to) }
func (osFS) Remove(name string) error                  { return os.Remove(name) }

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes a directory and the parents that it lacks, and makes their
// names durable: a journal that is safe in a directory that is not would
// vanish with it in a power loss.
func makeDir(fs fsys, dir string) error {
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
	if err := makeDir(fs, parent); err != nil {
		return err
	}
	if err := fs.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(fs, parent)
}

// tempPrefix begins the names of files that are not yet what they will be.
const tempPrefix = ".tmp-"

// replaceFile gives dir/name new content, whole or not at all: after a crash
// at any point the file is the old one or the new one, and when replaceFile
// has returned it is the new one.
func replaceFile(fs fsys, dir, name string, data []byte) (err error) {
	f, err := fs.CreateTemp(dir, tempPrefix+name+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(dir, name), err)
	}
	defer func() {
		if err != nil {
			f.Close()
			fs.Remove(f.Name()) // if this fails too, the next Open removes it
			err = fmt.Errorf("write %s: %w", filepath.Join(dir, name), err)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	// Without this the new name could survive a power loss that the content
	// does not.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := fs.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func syncDir(fs fsys, dir string) error {
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
