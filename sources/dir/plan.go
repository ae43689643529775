//go:build linux || darwin

package dir

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// The ways of a plan.
const (
	wayExchange = "exchange"
	wayRename   = "rename"
)

// Plan implements [sources.Source]. The cost of a plan is zero: there is no
// service to ask and nothing to send.
func (s *Source) Plan(ctx context.Context, v sources.View, e sources.Edit) (sources.Plan, error) {
	err := s.life.May(sources.Look)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return sources.Plan{}, fmt.Errorf("planning %s: %w", v.ID, err)
	}
	switch {
	case len(e.Meta) > 0:
		return sources.Plan{}, refuse(reasonMetadata, "%s is a file, of which only bytes can be changed", v.ID)
	case e.Store != nil:
		return sources.Plan{}, refuse(reasonStoreKey, "%s is a file, and a directory has no key that it encrypts files with", v.ID)
	case e.Body != nil:
		return sources.Plan{}, refuse(reasonRewrite, "%s is a file, of which rewrap changes parts and not the whole", v.ID)
	}
	was, ok := v.State.(seen)
	if !ok {
		return sources.Plan{}, fmt.Errorf("planning %s: the view is not of a directory", v.ID)
	}
	if _, err := sources.SplicedSize(v.Size, e.Splices); err != nil {
		return sources.Plan{}, fmt.Errorf("planning %s: %w", v.ID, err)
	}
	if was.nlink > 1 {
		return sources.Plan{}, refuse(reasonHardLink, "%s has %d names (hard links), which would be parted by the change; replace all but one by symbolic links, or copy them apart", v.ID, was.nlink)
	}
	if wait := was.young(); wait > 0 {
		return sources.Plan{}, &sources.NotYetError{Wait: wait, Detail: fmt.Sprintf("%s was changed so short a time ago that another change might not show in its times", v.ID)}
	}
	t, err := s.target(v.ID)
	if err != nil {
		return sources.Plan{}, err
	}
	defer t.Close()
	if t.st.state != was.state {
		return sources.Plan{}, conflict(v.ID)
	}
	if err := s.writable(t); err != nil {
		return sources.Plan{}, err
	}
	p := sources.Plan{View: v, Edit: e, Way: wayExchange, Undo: sources.UndoOf(v, e)}
	if _, dull := s.dull.Load(t.st.dev); dull {
		p.Way, p.Unconditional = wayRename, true
	}
	return p, nil
}

// young is how long to wait until every later change shows in the file's times.
// The kernel takes the times from a clock that ticks (every 4 ms where HZ is 250;
// Linux before 6.13 has nothing finer), and some file systems keep whole seconds,
// or two (vfat). A file that is read in the tick of its last change can change
// again in that tick and look the same.
func (v seen) young() time.Duration {
	grain := 50 * time.Millisecond
	if v.ctime%1e9 == 0 && v.mtime%1e9 == 0 {
		grain = 2 * time.Second
	}
	// A time in the future comes from a clock that was set back. The next change
	// gets another time.
	if age := v.when.Sub(time.Unix(0, v.ctime)); 0 <= age && age < grain {
		return grain - age
	}
	return 0
}

// target is an open item and its open folder.
type target struct {
	id, name string
	dir, f   *os.File
	st       status
}

func (t *target) Close() {
	t.f.Close()
	t.dir.Close()
}

func (s *Source) target(id string) (*target, error) {
	parts, err := splitPath(id)
	if err != nil {
		return nil, fmt.Errorf("changing %q: %w", id, err)
	}
	last := len(parts) - 1
	dir, err := s.folder(parts[:last], unix.O_RDONLY)
	if is(err, unix.EACCES) {
		return nil, refuse(reasonNotWritable, "the folder of %s cannot be read, which writing safely needs; allow it", id)
	}
	if err != nil {
		return nil, fail(whereWrite, "changing", id, err)
	}
	f, st, err := open(dir, parts[last], id)
	if err != nil {
		dir.Close()
		return nil, err
	}
	return &target{id: id, name: parts[last], dir: dir, f: f, st: st}, nil
}

// writable refuses files that cannot be replaced, or only with a loss, as far as
// this can be known beforehand.
func (s *Source) writable(t *target) error {
	err := mayWrite(t.dir)
	switch {
	case is(err, unix.EACCES, unix.EPERM):
		return refuse(reasonNotWritable, "the folder of %s cannot be written to; run as a user who may", t.id)
	case is(err, unix.EROFS) && !is(mayWrite(s.root), unix.EROFS):
		// It is a mount or a snapshot in the tree; other items can be written.
		return refuse(reasonNotWritable, "the file system that %s lies on is read-only, as a snapshot is; mount it for writing, or leave it out", t.id)
	}
	if err != nil {
		return fail(whereWrite, "planning", t.id, err)
	}
	folder, err := fstat(t.dir)
	if err != nil {
		return fail(whereWrite, "planning", t.id, err)
	}
	if me := uint32(os.Geteuid()); me != 0 && folder.mode&unix.S_ISVTX != 0 && me != t.st.uid && me != folder.uid {
		return refuse(reasonNotWritable, "%s lies in a sticky folder and belongs to another user; run as its owner", t.id)
	}
	if !mayOwn(t.st.uid, t.st.gid) {
		return refuse(reasonOwner, "%s belongs to user %d and group %d, and a file of this user cannot get both; run as that user and a member of that group, or as root", t.id, t.st.uid, t.st.gid)
	}
	if _, err := xattrs(t.f, t.id); err != nil {
		return err
	}
	return flagsAllow(t)
}

func mayWrite(folder *os.File) error {
	return retry(func() error {
		return unix.Faccessat(int(folder.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	})
}

// mayOwn says whether this user can give a new file to this owner and group.
func mayOwn(uid, gid uint32) bool {
	if mayChown() {
		return true
	}
	if uid != uint32(os.Geteuid()) {
		return false
	}
	if gid == uint32(os.Getegid()) {
		return true
	}
	groups, err := os.Getgroups()
	if err != nil {
		return false
	}
	for _, g := range groups {
		if gid == uint32(g) {
			return true
		}
	}
	return false
}
