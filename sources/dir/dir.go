//go:build linux || darwin

// Package dir is the source for a directory tree: one item is one regular
// file.
//
// # How a file is changed
//
// Never in place. The new content is written to a file of its own in the same
// folder, gets the owner, mode, times, ACL, extended attributes and flags of
// the old one, is synced, and changes places with it in one step (renameat2
// with RENAME_EXCHANGE, rename(2); renameatx_np with RENAME_SWAP on macOS).
// What came out is then compared with what was read: if it is anything else,
// another writer was there first, and the two change places again. Only a
// file that is exactly what was read is removed. A file that another writer
// deleted is never brought back, since an exchange needs both names.
//
// # What is left when the process dies
//
// At most one file per write in flight, with a name that tells all that is
// needed to decide about it; see settle.go for each point of the way.
// [Source.Begin] decides, and no listing shows such names.
//
// # What is not protected
//
//   - A writer that opened the file before the exchange, and writes through
//     that descriptor after it: its bytes go to the file that is removed. On
//     Linux's local file systems it is seen, by a lease (fcntl(2)), and the
//     file is left alone: where this user owns the file or may take leases.
//     The same goes for the new file, should the exchange be undone.
//   - Between the exchange and its undoing (microseconds) a reader can see the
//     new content in the place of what another writer has just put there.
//     If two others write in that time, and the second keeps the new file
//     (renames, links or writes to it), what the first wrote may be left under a
//     temporary name. The item fails then, and its error names the file.
//   - On file systems that cannot exchange (NFS, some of FUSE) the last look
//     and the rename are two steps. Such plans say Unconditional.
//   - Extended attributes that this user cannot even see (trusted.* are shown
//     to root alone): nobody knows that the new file lacks them.
//   - File systems whose inode numbers are not stable: everything ends as a
//     conflict, nothing is lost.
//   - The folder's own mtime and the file's ctime and birth time cannot be
//     kept. Since mtime is kept, a tool that goes by size and mtime alone
//     (rsync without --checksum) may not notice that a file was re-wrapped.
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
	// Skip are files and folders, with all that is in them, that are never
	// items: the state directory. Those that are not below Root do not matter.
	Skip []string
	// Notice takes what people should know and no error says; may be nil.
	Notice func(string)
}

// Source is a directory tree. Make one with [Open]. Safe for concurrent use.
type Source struct {
	life   sources.Life
	root   *os.File
	name   string // of the root, absolute and without symbolic links
	skip   map[string]bool
	notice func(string)

	// writing is held by every write, and by one that found the disk full
	// alone: see Apply.
	writing sync.RWMutex

	// dull are the devices whose file systems were found to be unable to
	// exchange two files, by st_dev.
	dull sync.Map

	now      func() time.Time
	exchange func(dir *os.File, a, b string) error
	// at is called before every step that changes the tree; tests have the
	// process die there, or another writer come in.
	at func(step string)
	// batch is how many names of one folder are in memory at once.
	batch int
}

var _ sources.Source = (*Source)(nil)

// Open opens the directory. It writes nothing. Errors are [sources.RunError].
// Call [Source.Close] when done.
func Open(_ context.Context, c Config) (*Source, error) {
	if c.Root == "" {
		return nil, &sources.RunError{Err: errors.New("no directory given"), Hint: "Name one as ./folder or file:///folder"}
	}
	name, err := real(c.Root)
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
		skipped, err := real(path)
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

// Close lets the directory go.
func (s *Source) Close() error {
	if err := s.life.Close(); err != nil {
		return err
	}
	return s.root.Close()
}

// real is the path without symbolic links, also of what does not exist yet.
func real(path string) (string, error) {
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
