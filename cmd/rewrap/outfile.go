package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rewrap/cmd/rewrap/internal/job"
)

// outFile is where the plan is written: a file beside the one that was named.
// It is made before the first request and takes the name when the plan is
// whole. A nil outFile is none.
type outFile struct {
	file *os.File
	name string
}

func openOut(name string, source job.Place) (*outFile, error) {
	if name == "" {
		return nil, nil
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, job.Usage("--out %s is no regular file", name)
	case err == nil: // the file that a symbolic link leads to is replaced, not the link
		name, err = filepath.EvalSymlinks(name)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, job.Usage("--out: %v", err)
	}
	dir, base := filepath.Split(name)
	if err := outsideSource(source, name, filepath.Clean(dir)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(fmt.Sprintf("%s.%s.new-%d", dir, base, os.Getpid()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, job.Usage("--out: %v", err)
	}
	return &outFile{f, name}, nil
}

func (o *outFile) keep(data []byte) error {
	if o == nil {
		return nil
	}
	_, err := o.file.Write(data)
	if err == nil {
		err = o.file.Sync()
	}
	if err == nil {
		err = os.Rename(o.file.Name(), o.name)
	}
	if err != nil {
		return fmt.Errorf("the plan cannot be written to --out: %w", err)
	}
	return nil
}

// discard removes the file if it was not kept.
func (o *outFile) discard() {
	if o != nil {
		_ = o.file.Close()
		_ = os.Remove(o.file.Name())
	}
}

// outsideSource keeps the plan from becoming an item of what it is about.
func outsideSource(source job.Place, name, dir string) error {
	if source.Dir == "" {
		return nil
	}
	root, err := filepath.EvalSymlinks(source.Dir)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return job.Usage("--out: %v", err)
	}
	if rel, err := filepath.Rel(root, dir); err == nil && filepath.IsLocal(rel) {
		return job.Usage("--out %s is inside SOURCE, and plan changes nothing there: write it elsewhere", name)
	}
	return nil
}
