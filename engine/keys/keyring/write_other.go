//go:build !unix

package keyring

import (
	"io/fs"
	"os"
)

func keepOwner(*os.File, fs.FileInfo) error { return nil }

// syncFolder: a rename is as durable as the file system makes it.
func syncFolder(string) error { return nil }
