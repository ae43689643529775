// Command rewrap moves every wrapped key of a source onto the latest key
// version.
//
// This package has one file for each command: its flags, one call, and its words
// and exit code. What commands share is in the rooms under internal: job is what
// was asked, setup opens what a job needs, forecast makes the plan, attest and
// report say what was found, keyadmin looks at and changes KMS keys.
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
