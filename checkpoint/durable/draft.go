package durable

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Draft is a file that is being written under a temporary name and takes its
// own name when it is whole. Until then the file that has the name stays as it
// is. It is for one goroutine.
//
//	d, err := durable.Begin(durable.OS{}, name, ".tmp-*", 0o600)
//	if err != nil {
//		return err
//	}
//	defer d.Discard() // does nothing after Commit
//	// write to d
//	return d.Commit()
//
// A process that dies before Commit leaves the temporary file, which nobody
// but the caller can know to remove. One that dies during Commit leaves the
// old file or the new one, whole.
type Draft struct {
	fs     FS
	f      File
	name   string
	synced bool // everything that was written is durable
	done   bool // the temporary name is given up
}

// Begin makes the temporary file, in the folder of name. Its own name is temp,
// in which a * stands for random digits. Without a * the file must not exist
// yet. The mode is perm less the umask, whatever the mode of a file that is
// there already.
func Begin(fs FS, name, temp string, perm os.FileMode) (*Draft, error) {
	before, after, random := strings.Cut(temp, "*")
	for try := 1; ; try++ {
		base := temp
		if random {
			base = before + strconv.FormatUint(uint64(rand.Uint32()), 10) + after
		}
		f, err := fs.OpenFile(filepath.Join(filepath.Dir(name), base), os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		switch {
		case err == nil:
			return &Draft{fs: fs, f: f, name: name}, nil
		case !random || !errors.Is(err, os.ErrExist) || try == 1000:
			return nil, err
		}
	}
}

// Write adds to the file.
func (d *Draft) Write(p []byte) (int, error) {
	d.synced = false
	return d.f.Write(p)
}

// File is the temporary file, for those who give it an owner, a mode or
// attributes. They must neither close it nor write to it.
func (d *Draft) File() File { return d.f }

// Sync makes the content durable, under the temporary name. Commit does so too;
// Sync is for callers that have something to do or to check between the two.
func (d *Draft) Sync() error {
	if d.synced {
		return nil
	}
	if err := d.f.Sync(); err != nil {
		return err
	}
	d.synced = true
	return nil
}

// Commit gives the file its name, in place of any file that has it, and makes
// that durable. After a *FolderError the new file is in its place, but a loss
// of power may bring the old one back; after any other error the old one is in
// its place. If the machine loses power during Commit, either may be there.
func (d *Draft) Commit() error {
	return d.commit(func() error { return d.fs.Rename(d.f.Name(), d.name) })
}

// CommitNew is Commit for a name that nothing must have: if something does, the
// error is an os.ErrExist, and that file stays. A process that dies in here may
// leave a whole file under both names.
func (d *Draft) CommitNew() error {
	return d.commit(func() error {
		if err := d.fs.Link(d.f.Name(), d.name); err != nil {
			return err
		}
		_ = d.fs.Remove(d.f.Name()) // the file has its name all the same
		return nil
	})
}

func (d *Draft) commit(give func() error) error {
	// Without this sync a loss of power could leave the new name with content
	// that is cut short, and no old file.
	if err := d.Sync(); err != nil {
		return err
	}
	if err := d.f.Close(); err != nil {
		return err
	}
	if err := give(); err != nil {
		return err
	}
	d.done = true
	return SyncDir(d.fs, filepath.Dir(d.name))
}

// Discard removes the temporary file, unless the file has its name by now. It
// may be called more than once.
func (d *Draft) Discard() {
	if d.done {
		return
	}
	d.done = true
	_ = d.f.Close()
	_ = d.fs.Remove(d.f.Name()) // like a file that a killed process left
}

// Replace gives a file new content, whole or not at all, by way of a temporary
// file as for [Begin]. It is durable when Replace returns; the errors are those
// of [Draft.Commit].
func Replace(fs FS, name, temp string, perm os.FileMode, data []byte) error {
	err := replace(fs, name, temp, perm, data)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func replace(fs FS, name, temp string, perm os.FileMode, data []byte) error {
	d, err := Begin(fs, name, temp, perm)
	if err != nil {
		return err
	}
	defer d.Discard()
	if _, err := d.Write(data); err != nil {
		return err
	}
	return d.Commit()
}
