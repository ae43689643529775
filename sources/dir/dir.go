//go:build linux || darwin

// Package dir is the source for a directory tree: one item is one regular
// file.
//
// # How a file is changed
//
// A file is never changed in place. The new content is written to a new file in
// the same folder, which gets the owner, mode, times, ACL, extended attributes
// and flags of the old file and is synced. Then the two files change places in
// one step (renameat2 with RENAME_EXCHANGE, rename(2); renameatx_np with
// RENAME_SWAP on macOS). The file that came out is compared with the one that
// was read. If they differ, another writer was first, and the two change places
// again. Only a file that is exactly the one that was read is removed. A file
// that another writer has deleted does not come back, since an exchange needs
// both names.
//
// # What is left when the process dies
//
// At most one file for each write in flight. Its name tells everything that is
// needed to decide about it; settle.go has the cases. [Source.Begin] decides, and
// no listing shows such names.
//
// # What is not protected
//
//   - A writer that opened the file before the exchange and writes through that
//     descriptor after it: its bytes go to the file that is removed. On local
//     file systems of Linux a lease (fcntl(2)) shows such a writer, if this user
//     owns the file or may take leases; the file is then left alone. The same
//     goes for the new file if the exchange is undone.
//   - Between the exchange and its undoing (microseconds) a reader can see the
//     new content in the place of another writer's. If two others write in that
//     time, and the second one keeps the new file (renames, links or writes to
//     it), the first one's version may be left under a temporary name. The item
//     then fails, and its error names the file.
//   - On file systems that cannot exchange (NFS, some of FUSE) the last look and
//     the rename are two steps. Such plans say Unconditional.
//   - Extended attributes that this user cannot see (only root sees trusted.*):
//     the new file lacks them, and nobody is told.
//   - File systems whose inode numbers are not stable: every write ends as a
//     conflict, and nothing is lost.
//   - The folder's mtime and the file's ctime and birth time change. Since the
//     file's mtime is kept, a tool that compares size and mtime alone (rsync
//     without --checksum) may not notice that a file was re-wrapped.
package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// Config says which files are the items.
type Config struct {
	// Root is the directory. It may itself be a symbolic link; below it none
	// is followed.
	Root string
	// Skip are files and folders that are never items, with everything in them:
	// the state directory, for one. Those outside of Root do not matter.
	Skip []string
	// Notice is called with sentences that people should read and no error
	// says; may be nil.
	Notice func(string)
}

// Source is a directory tree. Make one with [Open]. Safe for concurrent use.
type Source struct {
	life   sources.Life
	root   *os.File
	name   string // of the root, absolute and without symbolic links
	skip   map[string]bool
	notice func(string)

	// writing is read-locked by every write, and locked by one that found the
	// disk full: see Apply.
	writing sync.RWMutex

	// dull are the devices (st_dev) whose file systems cannot exchange two files.
	dull sync.Map

	now      func() time.Time
	exchange func(dir *os.File, a, b string) error
	// at is called before every step that changes the tree. Tests let the process
	// die there, or another writer write.
	at func(step string)
	// batch is how many names of one folder are in memory at a time.
	batch int
}

var _ sources.Source = (*Source)(nil)

// Open opens the directory. It writes nothing. Errors are [sources.RunError].
// The source has to be begun, and closed when done.
func Open(_ context.Context, c Config) (*Source, error) {
	if c.Root == "" {
		return nil, &sources.RunError{Err: errors.New("no directory given"), Hint: "Name one as ./folder or file:///folder"}
	}
	name, err := resolve(c.Root)
	if err != nil {
		return nil, openError(c.Root, err)
	}
	s := &Source{
		name: name, skip: make(map[string]bool), notice: c.Notice,
		now: time.Now, exchange: exchange, at: func(string) {}, batch: 1 << 16,
	}
	if s.notice == nil {
		s.notice = func(string) {}
	}
	for _, path := range c.Skip {
		skipped, err := resolve(path)
		if err != nil {
			return nil, openError(path, err)
		}
		rel, err := filepath.Rel(name, skipped)
		if err != nil {
			return nil, openError(path, err)
		}
		switch {
		case rel == "." || inside(skipped, name):
			return nil, &sources.RunError{
				Err:  fmt.Errorf("directory %q lies in %q, which is never re-wrapped", c.Root, path),
				Hint: "Keep the state in another folder, with --state",
			}
		case inside(name, skipped):
			s.skip[filepath.ToSlash(rel)] = true
		}
	}
	s.root, err = os.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(c.Root, err)
	}
	if _, err := s.root.Readdirnames(1); err != nil && !isEOF(err) {
		s.root.Close()
		return nil, openError(c.Root, err)
	}
	return s, nil
}

// Finish implements [sources.Source]. Nothing is staged here.
func (s *Source) Finish(context.Context) error { return s.life.May(sources.Write) }

// Close implements [sources.Source].
func (s *Source) Close() error {
	if err := s.life.Close(); err != nil {
		return err
	}
	return s.root.Close()
}

// resolve is the absolute path without symbolic links. The path need not exist.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for at := abs; ; at = filepath.Dir(at) {
		found, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(found, rest), nil
		}
		if !errors.Is(err, os.ErrNotExist) || at == filepath.Dir(at) {
			return "", err
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// inside says whether path is below folder; both are clean and absolute.
func inside(folder, path string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

func (s *Source) say(format string, args ...any) { s.notice(fmt.Sprintf(format, args...)) }
