//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package checkpoint

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

type lock struct{}

var errNoFlock = fmt.Errorf("state directories need flock, which %s has not: %w", runtime.GOOS, errors.ErrUnsupported)

func takeLock(string, time.Time) (*lock, error) { return nil, errNoFlock }
func (*lock) release() error                    { return nil }
func whoHolds(string) (bool, Process, error)    { return false, Process{}, errNoFlock }
