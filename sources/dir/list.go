//go:build linux || darwin

package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// sample is the largest number of names of a folder from which Spans picks the
// borders.
const sample = 10_000

// Spans implements [sources.Source]: the names at the top, or, where there is
// one folder only, in that one, are cut into parts of about as many. The borders
// are written as IDs are, and stand in the order of comparePaths.
func (s *Source) Spans(ctx context.Context, want int) ([]sources.Span, error) {
	if err := s.life.May(sources.Look); err != nil {
		return nil, fmt.Errorf("listing %s: %w", s.name, err)
	}
	var names []string
	for path := ""; want > 1; {
		entries, err := s.some(ctx, path)
		if errors.Is(err, errUnreadable) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(entries) == 1 && entries[0].folder {
			path = join(path, entries[0].name)
			continue
		}
		for _, e := range entries {
			names = append(names, encodePath(join(path, e.name)))
		}
		break
	}
	return sources.SpansOf(names, want)
}

// some are the names in a folder, in order, or a random sample of them.
func (s *Source) some(ctx context.Context, path string) ([]entry, error) {
	w := walk{s: s, ctx: ctx}
	var entries []entry
	n := 0
	err := w.scan(path, func(e entry) {
		n++
		if len(entries) < sample {
			entries = append(entries, e)
		} else if i := rand.IntN(n); i < sample {
			entries[i] = e
		}
	})
	slices.SortFunc(entries, byName)
	return entries, err
}

// List implements [sources.Source]. The cursor is the ID.
//
// A folder that cannot be read is an item too, with a slash at the end of its
// name. It fails when it is read, so the job does not count as complete, and all
// other items are done.
//
// Names have to be in memory to be put in order. A big folder is listed in parts,
// and read again for each part: at most 131,072 names of each folder on the way
// down are in memory, however many there are.
func (s *Source) List(ctx context.Context, span sources.Span, after sources.Cursor) iter.Seq2[sources.Ref, error] {
	return func(yield func(sources.Ref, error) bool) {
		if err := s.life.May(sources.Look); err != nil {
			yield(sources.Ref{}, fmt.Errorf("listing %s: %w", s.name, err))
			return
		}
		r, err := sources.RangeOf(span)
		if err != nil {
			yield(sources.Ref{}, err)
			return
		}
		w := walk{s: s, ctx: ctx, until: decodePath(r.Until), item: func(path string) bool {
			id := encodePath(path)
			return yield(sources.Ref{ID: id, Name: id, Cursor: sources.Cursor(id)}, nil)
		}}
		from := decodePath(r.After)
		if c := decodePath(string(after)); comparePaths(c, from) > 0 {
			from = c
		}
		if err := w.folder("", from); err != nil && err != errStopped {
			yield(sources.Ref{}, err)
		}
	}
}

// errStopped ends a walk whose caller wants no more.
var errStopped = errors.New("stopped")

// errUnreadable: a folder cannot be listed.
var errUnreadable = errors.New("unreadable")

const (
	// stateFolder is the default place of state directories. Jobs that were begun
	// in a folder of the tree have left theirs there. Nothing in it is an item.
	stateFolder = ".rewrap"
	// gitName is the place of files that only git may change: a folder at the
	// top of a work tree, a file in a linked work tree or a submodule.
	gitName = ".git"
)

// walk goes through the tree in the listing order.
type walk struct {
	s     *Source
	ctx   context.Context
	until string                    // the last path; "": no end
	item  func(path string) bool    // false: stop
	left  func(folder, name string) // gets the temporary files; may be nil
}

type entry struct {
	name   string
	folder bool
}

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

// split is the names on the way to a folder.
func split(folder string) []string {
	if folder == "" {
		return nil
	}
	return strings.Split(folder, "/")
}

// folder walks everything in a folder that stands after a path, which is relative
// to the folder.
func (w *walk) folder(path, after string) error {
	first, rest, deeper := strings.Cut(after, "/")
	from, inclusive := first, true
	for {
		entries, more, err := w.names(path, from, inclusive, w.s.batch)
		if errors.Is(err, errUnreadable) && (after != "" || !inclusive) {
			// The folder could be read before. Its place in the listing has passed,
			// so it cannot be shown as an item any more.
			return &sources.RunError{Err: err, Where: whereRead, Hint: hintFolder + "; or begin anew with --restart, for which it is an item that fails"}
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := w.ctx.Err(); err != nil {
				return fmt.Errorf("listing %s: %w", filepath.Join(w.s.name, path), err)
			}
			p := join(path, e.name)
			if w.until != "" && comparePaths(p, w.until) > 0 {
				return errStopped
			}
			at := after != "" && e.name == first
			switch {
			case e.folder && at && deeper:
				err = w.below(p, rest, true)
			case e.folder:
				err = w.below(p, "", false)
			case at:
				// The file at the cursor, or one in the place of a folder that was there.
			case !w.item(p):
				err = errStopped
			}
			if err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		from, inclusive = entries[len(entries)-1].name, false
	}
}

// below walks a folder in a folder. begun says that the cursor is in it.
func (w *walk) below(path, after string, begun bool) error {
	err := w.folder(path, after)
	if !errors.Is(err, errUnreadable) {
		return err
	}
	// The folder is an item itself, which stands before all items in it.
	shut := path + "/"
	if !begun && (w.until != "" && comparePaths(shut, w.until) > 0 || !w.item(shut)) {
		return errStopped
	}
	return nil
}

// names are the first n names in a folder from a name on, in order. more says
// that there are others.
func (w *walk) names(path, from string, inclusive bool, n int) (entries []entry, more bool, _ error) {
	trim := func() {
		slices.SortFunc(entries, byName)
		entries = slices.Compact(entries) // a name that is renamed meanwhile may come twice
		if len(entries) > n {
			clear(entries[n:])
			entries, more = entries[:n], true
		}
	}
	err := w.scan(path, func(e entry) {
		switch {
		case e.name < from, e.name == from && !inclusive:
			return
		case more && e.name > entries[n-1].name:
			return
		}
		if entries = append(entries, e); len(entries) == 2*n {
			trim()
		}
	})
	trim()
	return entries, more, err
}

func byName(a, b entry) int { return strings.Compare(a.name, b.name) }

// scan shows the entries of a folder, in no order: folders and files of any
// kind, without symbolic links and without anything that is skipped. A folder
// that does not exist any more is empty. The error of a folder that cannot be
// listed is errUnreadable.
func (w *walk) scan(path string, show func(entry)) error {
	dir, err := w.s.folder(split(path), unix.O_RDONLY)
	if path != "" && is(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return w.fail(path, err)
	}
	defer dir.Close()
	for {
		if err := w.ctx.Err(); err != nil {
			return fmt.Errorf("listing %s: %w", filepath.Join(w.s.name, path), err)
		}
		chunk, err := dir.ReadDir(1024)
		for _, d := range chunk {
			name := d.Name()
			switch {
			case w.s.skip[join(path, name)], name == stateFolder && d.IsDir(), name == gitName:
			case isTemp(name):
				// It may be of any kind: whatever another writer puts in the place
				// of a file can come out of an exchange.
				if w.left != nil {
					w.left(path, name)
				}
			case d.Type()&fs.ModeSymlink != 0:
			default:
				show(entry{name, d.IsDir()})
			}
		}
		if err == io.EOF || path != "" && is(err, unix.ENOENT) { // removed meanwhile
			return nil
		}
		if err != nil {
			return w.fail(path, err)
		}
	}
}

const hintFolder = "Run as a user who may read the folder, and see whether its disk or server is in order"

// fail is the meaning of an error of listing a folder. It fails the folder alone
// if the folder is below the root and the next one may still be listed.
func (w *walk) fail(path string, err error) error {
	many := is(err, unix.EMFILE, unix.ENFILE, unix.ENOMEM)
	err = fmt.Errorf("listing %s: %w", filepath.Join(w.s.name, path), bare(err))
	if path != "" && !many {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	e := &sources.RunError{Err: err, Where: whereRead, Hint: hintFolder}
	if many {
		e.Hint = hintManyFiles
	}
	return e
}
