// Command rewrap moves every wrapped key of a source onto the latest key
// version. This package is the wiring: flags, AWS clients, progress, reports
// and exit codes. What it is made of is in engine, sources and checkpoint.
package main

import (
	"io"
	"os"
)

func main() {
	noCoreDumps()
	os.Exit(run(os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// streams are where a command reads and writes.
type streams struct {
	in       *os.File
	out, err io.Writer
}
