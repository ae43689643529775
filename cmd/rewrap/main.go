// Command rewrap moves every wrapped key of a source onto the latest key
// version.
//
// This package has one file for each command: its flags, one call, and its words
// and exit code. The rooms under internal are shared: job holds the job as it was
// asked for, setup opens the source and the keys, forecast makes the plan, attest
// writes the attestation, report writes summaries and messages, and keyadmin
// looks at KMS keys and changes them.
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
