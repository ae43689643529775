//go:build !linux && !darwin

package dir

import (
	"context"
	"errors"
	"runtime"

	"rewrap/sources"
)

// Config says which files are the items.
type Config struct {
	Root   string
	Skip   []string
	Notice func(string)
}

// Source is a directory tree, which this system cannot change safely.
type Source struct{ sources.Source }

// Open fails: this system has no call that exchanges two files in one step.
func Open(context.Context, Config) (*Source, error) {
	return nil, &sources.RunError{Err: errors.New("directories are not supported on " + runtime.GOOS), Hint: "Run on Linux or macOS"}
}
