package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rewrap/checkpoint/durable"
	"rewrap/cmd/rewrap/internal/job"
)

// openOut begins the file that the plan is written to, before the first request.
// The file appears under its name when the plan is complete. Without a name, the
// draft is nil.
func openOut(name string, place job.Place) (*durable.Draft, error) {
	if name == "" {
		return nil, nil
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, job.Usage("--out %s is not a regular file", name)
	case err == nil: // the file that a symbolic link leads to is replaced, not the link
		name, err = filepath.EvalSymlinks(name)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, job.Usage("--out: %v", err)
	}
	dir, base := filepath.Split(name)
	if err := outsideSource(place, name, filepath.Clean(dir)); err != nil {
		return nil, err
	}
	draft, err := durable.Begin(durable.OS{}, name, fmt.Sprintf(".%s.new-%d", base, os.Getpid()), 0o644)
	if err != nil {
		return nil, job.Usage("--out: %v", err)
	}
	return draft, nil
}

// keepOut writes the plan.
func keepOut(d *durable.Draft, data []byte) error {
	if d == nil {
		return nil
	}
	_, err := d.Write(data)
	if err == nil {
		err = d.Commit()
	}
	if err != nil {
		return fmt.Errorf("the plan cannot be written to --out: %w", err)
	}
	return nil
}

// outsideSource keeps the plan from becoming an item of the source.
func outsideSource(place job.Place, name, dir string) error {
	if place.Dir == "" {
		return nil
	}
	root, err := filepath.EvalSymlinks(place.Dir)
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
