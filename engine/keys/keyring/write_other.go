//go:build !unix

package keyring

import (
	"io/fs"
	"os"
)

func keepOwner(*os.File, fs.FileInfo) error { return nil }
func hardLinks(fs.FileInfo) uint64          { return 1 }

// syncFolder: a rename is as durable as the file system makes it.
func syncFolder(string) error { return nil }

// lock: there is none to be had.
type lock struct{ name string }

func takeLock(name string) (*lock, error) { return &lock{name}, nil }
func (*lock) held() bool                  { return true }
func (*lock) release()                    {}
