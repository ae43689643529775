package checkpoint

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"unicode/utf8"

	"rewrap/checkpoint/durable"
)

// Journal is the undo journal of a state directory. All methods may be called
// from many goroutines at once.
type Journal struct {
	f    durable.File
	name string

	// writing is held, by putting something in, by the one Append that
	// writes and syncs a batch for all that wait for it.
	writing chan struct{}

	mu      sync.Mutex
	open    *batch // takes in frames
	size    int64  // where the next frame will begin
	durable int64  // what was synced
	err     error  // the first error; every later Append fails with it
}

// batch is a group of frames that is synced at once.
type batch struct {
	chunks [][]byte      // of frames, each one write
	done   chan struct{} // closed when err is set
	err    error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// chunkMax is up to where frames are gathered for one write. Larger ones are
// not copied once more: they may be of a million keys.
const chunkMax = 64 << 10

// add takes a frame, and keeps it.
func (b *batch) add(frame []byte) {
	seal(frame, len(b.chunks) == 0)
	if last := len(b.chunks) - 1; last >= 0 && len(b.chunks[last])+len(frame) <= chunkMax {
		b.chunks[last] = append(b.chunks[last], frame...)
		return
	}
	b.chunks = append(b.chunks, frame)
}

// beginJournal makes a journal without frames: whole or not at all, so that a
// journal always has its header.
func beginJournal(fs durable.FS, dir string) error {
	return replaceFile(fs, dir, journalFile, journalHeader())
}

// openJournal opens the journal and cuts off what a crash has torn. Frames
// are looked at from the offset from; everything before it is known to be
// durable. A journal that lacks or has lost some of that is left as it is,
// with a *CorruptError; but one that is as beginJournal makes it is opened,
// since there is nothing in it to be kept.
func openJournal(fs durable.FS, dir string, from int64) (_ *Journal, err error) {
	name := filepath.Join(dir, journalFile)
	f, err := fs.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if err := checkHeader(f, name, size); err != nil {
		return nil, err
	}
	if size < from && size > headerLen {
		return nil, &CorruptError{name, size, fmt.Sprintf("it ends here, and %d bytes had been durable", from)}
	}
	end, lost, err := findEnd(f, min(from, size), size)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if lost >= 0 {
		return nil, &CorruptError{name, end, fmt.Sprintf("the bytes up to %d are no frames, though they had been durable", lost)}
	}
	if end < size {
		if err := f.Truncate(end); err != nil {
			return nil, fmt.Errorf("cut %s: %w", name, err)
		}
	}
	// The last frames may have been written by a process that was killed
	// before it could sync them. From here on they are taken as durable.
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("sync %s: %w", name, err)
	}
	return &Journal{
		f:       f,
		name:    name,
		writing: make(chan struct{}, 1),
		open:    newBatch(),
		size:    end,
		durable: end,
	}, nil
}

func checkHeader(r io.ReaderAt, name string, size int64) error {
	head := make([]byte, min(size, headerLen))
	if _, err := r.ReadAt(head, 0); err != nil {
		return fmt.Errorf("read %s: %w", name, unexpected(err))
	}
	want := journalHeader()
	if int64(len(head)) < headerLen || string(head[:headerLen-1]) != journalMagic || head[headerLen-1] == 0 {
		return &CorruptError{name, 0, "it does not begin as an undo journal does"}
	}
	if v := head[headerLen-1]; v > want[headerLen-1] {
		return &VersionError{name, int(v), journalVersion}
	}
	return nil
}

// Append adds a frame and returns where it begins. It is durable when Append
// returns without error; frames of callers that come together are synced
// together. A context that is done before the frame has its place prevents
// it; after that Append waits for the disk, whatever the context says.
//
// After an error of the disk nobody knows what of the file is durable, so
// every later Append fails with the same error; what had returned before is
// safe, and the next Open cuts off the rest. ErrNotUTF8 and ErrTooLarge
// concern this entry alone.
func (j *Journal) Append(ctx context.Context, e Entry) (int64, error) {
	if !utf8.ValidString(e.ID) || !utf8.ValidString(e.Rev) || !utf8.ValidString(e.Version) {
		return 0, fmt.Errorf("journal entry of %q: id, revision or version is %w", e.ID, ErrNotUTF8)
	}
	frame, err := appendLine(make([]byte, frameHead, frameHead+256+512*len(e.Keys)+len(e.Inverse)), e, maxFrame)
	if err != nil {
		return 0, fmt.Errorf("journal entry of %q: %w", e.ID, err)
	}

	j.mu.Lock()
	if err := cmp.Or(j.err, ctx.Err()); err != nil {
		j.mu.Unlock()
		return 0, err
	}
	b := j.open
	off := j.size
	b.add(frame)
	j.size += int64(len(frame))
	j.mu.Unlock()

	select {
	case <-b.done: // another Append has written it
	case j.writing <- struct{}{}:
		j.flush(b)
		<-j.writing
	}
	return off, b.err
}

// flush writes and syncs b and lets the next batch fill meanwhile. Its caller
// holds writing. A process that dies in here loses frames whose Append has
// not returned, so nothing was changed on the strength of them.
func (j *Journal) flush(b *batch) {
	select {
	case <-b.done:
		return
	default:
	}
	j.mu.Lock()
	j.open = newBatch() // b was the open one: batches are written in order, one at a time
	err, start, written := j.err, j.durable, int64(0)
	j.mu.Unlock()

	if err == nil {
		for _, chunk := range b.chunks {
			if _, err = j.f.Write(chunk); err != nil {
				// A full disk, mostly: what was written of the group is given
				// back. If that fails the next Open does it.
				_ = j.f.Truncate(start)
				break
			}
			written += int64(len(chunk))
		}
		if err == nil {
			err = j.f.Sync()
		}
		if err != nil {
			err = fmt.Errorf("append to undo journal: %w", err)
		}
	}

	j.mu.Lock()
	if err == nil {
		j.durable += written
	} else if j.err == nil {
		j.err = err
	}
	j.mu.Unlock()
	b.err = err
	close(b.done)
}

// Size is where the next frame would begin, behind those that wait to be
// written: a later Append never returns less.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

func (j *Journal) durableSize() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable
}

const undoLost = "This costs the undo of the edit that it held, and nothing else: the item itself is safe"

// Entries yields the entries from the frame at offset from on (0: the first)
// that are durable at this moment, oldest first. Damage and errors of the
// disk end it; what lies behind damage is not looked for.
func (j *Journal) Entries(from int64) iter.Seq2[EntryAt, error] {
	return func(yield func(EntryAt, error) bool) {
		end := j.durableSize()
		var buf []byte
		for off := max(from, headerLen); off < end; {
			e, payload, err := j.entry(off, end, buf)
			if err != nil {
				yield(EntryAt{}, err)
				return
			}
			buf = payload
			at := EntryAt{e, off, off + frameHead + int64(len(payload))}
			if !yield(at, nil) {
				return
			}
			off = at.Next
		}
	}
}

// At returns the entry whose frame begins at offset, as Append returned it.
func (j *Journal) At(offset int64) (Entry, error) {
	e, _, err := j.entry(offset, j.durableSize(), nil)
	return e, err
}

// Items is [Journal.Entries] without what the entries say but for their items.
// It reads no more than their beginnings, and does not see damage behind these.
func (j *Journal) Items(from int64) iter.Seq2[ItemAt, error] {
	return func(yield func(ItemAt, error) bool) {
		end := j.durableSize()
		for off := max(from, headerLen); off < end; {
			id, next, err := j.item(off, end)
			if !yield(ItemAt{id, off}, err) || err != nil {
				return
			}
			off = next
		}
	}
}

// Item is the item of the entry whose frame begins at offset, read as
// [Journal.Items] does.
func (j *Journal) Item(offset int64) (id string, err error) {
	id, _, err = j.item(offset, j.durableSize())
	return id, err
}

func (j *Journal) item(off, end int64) (id string, next int64, err error) {
	_, n, _, err := readHead(j.f, off, end)
	if err != nil {
		return "", 0, j.frameError(off, err)
	}
	next = off + frameHead + int64(n)
	d := json.NewDecoder(io.NewSectionReader(j.f, off+frameHead, int64(n)))
	var t [3]json.Token // the id is the first member of every entry
	for i := range t {
		t[i], _ = d.Token() // nil beside an error
	}
	if id, ok := t[2].(string); ok && t[0] == json.Delim('{') && t[1] == "id" {
		return id, next, nil
	}
	e, _, err := j.entry(off, end, nil) // says what is wrong with it
	return e.ID, next, err
}

func (j *Journal) entry(off, end int64, buf []byte) (Entry, []byte, error) {
	payload, _, err := readFrame(j.f, off, end, buf)
	if err != nil {
		return Entry{}, nil, j.frameError(off, err)
	}
	var e Entry
	if err := json.Unmarshal(payload, &e); err != nil {
		// The checksum fits, so these bytes are what was written.
		return Entry{}, nil, &CorruptError{j.name, off, fmt.Sprintf("the frame is not an entry (%v). %s", err, undoLost)}
	}
	return e, payload, nil
}

func (j *Journal) frameError(off int64, err error) error {
	if errors.Is(err, errBadFrame) {
		return &CorruptError{j.name, off, "no intact frame begins here. " + undoLost}
	}
	return fmt.Errorf("read %s: %w", j.name, err)
}

// close waits for the batch that is being written; those behind it fail.
func (j *Journal) close() error {
	j.mu.Lock()
	if j.err == nil {
		j.err = errClosed
	}
	j.mu.Unlock()
	j.writing <- struct{}{}
	defer func() { <-j.writing }()
	return j.f.Close()
}
