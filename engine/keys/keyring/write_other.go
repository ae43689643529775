//go:build !unix

package keyring

import (
	"io/fs"

	"rewrap/checkpoint/durable"
)

func keepOwner(durable.File, fs.FileInfo) error { return nil }
func hardLinks(fs.FileInfo) uint64              { return 1 }
