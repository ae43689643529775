package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// ErrLocked matches every [LockedError] in [errors.Is].
var ErrLocked = errors.New("state directory is in use")

// ErrNotUTF8 says that a text, such as an id, a cursor or a revision, is not
// UTF-8, so JSON would not give it back as it was. Nothing was written, and the
// state can be used on.
var ErrNotUTF8 = errors.New("not valid UTF-8")

// ErrTooLarge says that a record is larger than the largest that is read back:
// 16 MiB for a line, 1 GiB for a frame of the journal. Nothing was written, and
// the state can be used on.
var ErrTooLarge = errors.New("too large for one record")

// Process is the process that holds, or last held, a state directory.
type Process struct {
	PID   int       `json:"pid"`   // 0: not known
	Host  string    `json:"host"`  // the name of its host, which may be another host on a shared file system
	Since time.Time `json:"since"` // when it opened the directory
}

func (p Process) String() string {
	if p.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d on %s since %s", p.PID, p.Host, p.Since.Format(time.RFC3339))
}

// LockedError says that another process has the directory open.
type LockedError struct {
	Dir string
	Process
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("state directory %s is in use by %s; wait for it to end or stop it", e.Dir, e.Process)
}

// Is says whether target is [ErrLocked].
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// Difference is a field of the job whose value has changed.
type Difference struct {
	Name    string
	Was, Is string // "": not there. Several values of one name are joined with commas
	Moves   bool   // a new pass would accept the new value: see Field.Moves
}

// OtherJobError says that the directory holds the state of another job, whose
// watermarks and counts mean nothing to this one. If every difference Moves, the
// job is the same, and its pass was begun when an alias pointed elsewhere.
type OtherJobError struct {
	Dir         string
	Differences []Difference
}

func (e *OtherJobError) Error() string {
	var b strings.Builder
	holds, advice := "belongs to another job", "Give this job a state directory of its own with --state, or give the old values to resume the old job"
	if !slices.ContainsFunc(e.Differences, func(d Difference) bool { return !d.Moves }) {
		holds, advice = "holds a pass that began when a name stood for another key", "Nothing is lost; start over with --restart, or give the old values to resume the pass"
	}
	fmt.Fprintf(&b, "state directory %s %s: ", e.Dir, holds)
	for i, d := range e.Differences {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s was %q and is now %q", d.Name, d.Was, d.Is)
	}
	return b.String() + ". " + advice
}

// NotOursError says that a directory holds files of another program and no
// state. Nothing was written to it.
type NotOursError struct {
	Dir   string
	Found string // the name of a file that is no part of a state directory
}

func (e *NotOursError) Error() string {
	return fmt.Sprintf("directory %s holds other files (%s) and no checkpoint.json, so it is not used as a state directory; name one that is empty or does not exist", e.Dir, e.Found)
}

// CorruptError says that a file is not as it was when it was made durable: the
// disk has damaged it, or somebody has changed it.
type CorruptError struct {
	File   string // its path
	Offset int64  // in bytes: up to here the file makes sense
	Detail string // the damage, its cost and its remedy
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s", e.File, e.Offset, e.Detail)
}

// VersionError says that a file was written in a format newer than this
// program knows.
type VersionError struct {
	File      string
	Format    int // of the file
	Supported int // the newest that can be read
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s is of format %d, and this version of the program knows formats up to %d; go on with the version that wrote it, or a later one", e.File, e.Format, e.Supported)
}

var errClosed = fmt.Errorf("checkpoint: state is closed: %w", os.ErrClosed)
