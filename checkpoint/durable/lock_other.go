//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package durable

import "os"

const hasFlock = false

func tryLock(*os.File, bool) (bool, error) { return false, ErrNoFlock }
func unlock(*os.File) error                { return ErrNoFlock }
