package checkpoint

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"rewrap/checkpoint/durable"
)

// errDead is what every file operation returns once the process of a crashFS
// has died.
var errDead = errors.New("this process has been killed")

// crashFS is the real file system under one state directory, up to the moment
// of a crash. Each changing operation is a step. At step dieAt nothing more
// happens, but that a write may still get part of its bytes out. At step
// failAt the operation fails as on a full disk, and the next ones do not.
//
// It also keeps what would be left after a power loss: of a file the bytes
// that were synced, of the directory the names that were. See powerLoss.
type crashFS struct {
	durable.FS // nil: what is not overridden is not called

	dir    string
	dieAt  int // -1: never
	failAt int // -1: never
	rnd    *rand.Rand

	mu     sync.Mutex
	step   int
	ops    []string // what each step was
	dead   bool
	now    map[string]*inode // the directory
	synced map[string]*inode // the directory as of its last sync
	moves  []func(map[string]*inode)
}

// inode is what is safe of a file.
type inode struct {
	content []byte // as of the last sync
	path    string // where it is now, or ""
}

// newCrashFS is a crashFS over a directory of which everything is safe.
func newCrashFS(t testing.TB, dir string, rnd *rand.Rand) *crashFS {
	t.Helper()
	c := &crashFS{dir: dir, dieAt: -1, failAt: -1, rnd: rnd, now: map[string]*inode{}, synced: map[string]*inode{}}
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Name())
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		i := &inode{content: data, path: name}
		c.now[name], c.synced[name] = i, i
	}
	return c
}

var errInjectedFull = &os.PathError{Op: "injected", Path: "disk", Err: syscall.ENOSPC}

// do is one step.
func (c *crashFS) do(op string, act func() error) error {
	return c.doPart(op, act, func() {})
}

// doPart is one step that may be done in part.
func (c *crashFS) doPart(op string, act func() error, part func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errDead
	}
	step := c.step
	c.step++
	c.ops = append(c.ops, op)
	switch step {
	case c.dieAt:
		c.dead = true
		part()
		return errDead
	case c.failAt:
		part()
		return errInjectedFull
	}
	return act()
}

func (c *crashFS) move(m func(map[string]*inode)) {
	m(c.now)
	c.moves = append(c.moves, m)
}

func (c *crashFS) opened(f *os.File) durable.File {
	if c.now[f.Name()] == nil {
		i := &inode{path: f.Name()}
		c.move(func(d map[string]*inode) { d[f.Name()] = i })
	}
	return &crashFile{File: f, fs: c, inode: c.now[f.Name()]}
}

func (c *crashFS) OpenFile(name string, flag int, perm os.FileMode) (got durable.File, err error) {
	err = c.do("open "+filepath.Base(name), func() error {
		f, err := os.OpenFile(name, flag, perm)
		if err == nil {
			got = c.opened(f)
		}
		return err
	})
	return got, err
}

func (c *crashFS) Mkdir(name string, perm os.FileMode) error {
	return c.do("mkdir", func() error { return os.Mkdir(name, perm) })
}

func (c *crashFS) Rename(from, to string) error {
	return c.do("rename to "+filepath.Base(to), func() error {
		if err := os.Rename(from, to); err != nil {
			return err
		}
		i := c.now[from]
		if old := c.now[to]; old != nil {
			old.path = ""
		}
		i.path = to
		c.move(func(d map[string]*inode) { d[to] = i; delete(d, from) })
		return nil
	})
}

func (c *crashFS) Remove(name string) error {
	return c.do("remove "+filepath.Base(name), func() error {
		if err := os.Remove(name); err != nil {
			return err
		}
		c.now[name].path = ""
		c.move(func(d map[string]*inode) { delete(d, name) })
		return nil
	})
}

func (c *crashFS) SyncDir(name string) error {
	return c.do("sync directory", func() error {
		if name == c.dir {
			for _, m := range c.moves {
				m(c.synced)
			}
			c.moves = nil
		}
		return nil
	})
}

type crashFile struct {
	*os.File
	fs    *crashFS
	inode *inode
}

func (f *crashFile) Write(p []byte) (n int, err error) {
	err = f.fs.doPart("write "+filepath.Base(f.inode.path),
		func() error { n, err = f.File.Write(p); return err },
		func() { n, _ = f.File.Write(p[:f.fs.rnd.IntN(len(p)+1)]) })
	return n, err
}

func (f *crashFile) Sync() error {
	return f.fs.do("sync "+filepath.Base(f.inode.path), func() error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		data := make([]byte, info.Size())
		if _, err := f.ReadAt(data, 0); err != nil && info.Size() > 0 {
			return err
		}
		f.inode.content = data
		return nil
	})
}

func (f *crashFile) Truncate(size int64) error {
	return f.fs.do("truncate "+filepath.Base(f.inode.path), func() error { return f.File.Truncate(size) })
}

// powerLoss leaves in the directory what may be left after one: the names as
// of the last sync with some of the later moves, the first or any, and in each file
// what was synced, with anything that was written later: all of it, a part,
// or bytes that are not what was written.
func (c *crashFS) powerLoss(t testing.TB) {
	t.Helper()
	left := c.synced
	if c.rnd.IntN(2) == 0 {
		for _, m := range c.moves[:c.rnd.IntN(len(c.moves)+1)] {
			m(left)
		}
	} else {
		for _, m := range c.moves {
			if c.rnd.IntN(2) == 0 {
				m(left)
			}
		}
	}
	content := make(map[string][]byte)
	for name, i := range left {
		content[name] = c.survives(t, i)
	}
	files, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() != lockFile {
			if err := os.Remove(filepath.Join(c.dir, f.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, data := range content {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *crashFS) survives(t testing.TB, i *inode) []byte {
	if i.path == "" {
		return i.content
	}
	written, err := os.ReadFile(i.path)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for same < min(len(written), len(i.content)) && written[same] == i.content[same] {
		same++
	}
	if same == len(written) { // a cut, which lasts or does not
		if c.rnd.IntN(2) == 0 {
			return i.content
		}
		return written
	}
	later := written[same:]
	left := append([]byte(nil), written[:same]...)
	switch c.rnd.IntN(4) {
	case 0: // nothing of it; a cut before it may not have lasted either
		return i.content
	case 1: // a part
		return append(left, later[:c.rnd.IntN(len(later)+1)]...)
	case 2: // the length, but not every page
		later = append([]byte(nil), later...)
		from := c.rnd.IntN(len(later))
		clear(later[from : from+c.rnd.IntN(len(later)-from)+1])
	}
	return append(left, later...)
}
