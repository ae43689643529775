//go:build unix

package main

import "syscall"

// noCoreDumps turns core dumps off, since memory can hold plaintext keys (with
// --verify=open, or a keyring). If that fails, rewrap works all the same.
func noCoreDumps() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}
