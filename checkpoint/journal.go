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

	// writing is full while one Append writes and syncs a batch, for all the
	// Appends that wait for that batch.
	writing chan struct{}

	mu      sync.Mutex
	open    *batch // the one that frames are added to
	size    int64  // where the next frame will begin
	durable int64  // the length that was synced
	err     error  // the first error; every later Append fails with it
}

// batch is a group of frames that is synced at once.
type batch struct {
	chunks [][]byte      // of frames, each one write
	done   chan struct{} // closed when err is set
	err    error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// chunkMax is how many bytes of frames are gathered for one write. A larger
// frame, which may be of a million keys, is written as it is, without a copy.
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

// beginJournal makes a journal without frames, whole or not at all: every
// journal has its header, also after a crash in here.
func beginJournal(fs durable.FS, dir string) error {
	return replaceFile(fs, dir, journalFile, journalHeader())
}

// openJournal opens the journal and cuts off the frames that a crash has torn.
// It looks at the frames from the offset from; everything before is known to be
// durable. If some of that is missing, or damaged behind it, the journal is left
// as it is and the error is a *CorruptError. A journal without frames is opened
// in any case, since it holds nothing that could be kept.
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
	// A process may have written the last frames and been killed before it
	// could sync them. From here on they count as durable.
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

// Append adds a frame and returns its offset. The frame is durable when Append
// returns without error. Frames of callers that come at the same time are synced
// together. If ctx is done before the frame has its place in the file, the frame
// is not added; later Append waits for the disk, whatever ctx says.
//
// After an error of the disk it is not known which part of the file is durable,
// so every later Append fails with the same error. The frames whose Append had
// returned before are safe, and the next Open cuts off the rest. ErrNotUTF8 and
// ErrTooLarge concern this entry alone.
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

// flush writes and syncs b while the next batch takes in frames. Its caller
// has filled writing. A process that dies in here loses frames whose Append has
// not returned, and no item was changed before its Append returned.
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
				// Most often the disk is full, so the space of the group is given
				// back. If that fails, the next Open does it.
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

// Size is the offset of the next frame, behind the frames that wait to be
// written. No later Append returns less.
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

// Entries yields the entries that are durable at this moment, oldest first, from
// the frame at offset from on (0: the first). An error ends it: of the disk, or
// a *CorruptError. Entries behind damage are not looked for.
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

// Items is [Journal.Entries] for callers that only need the items. It reads the
// beginning of each entry, and does not notice damage in the rest.
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
	e, _, err := j.entry(off, end, nil) // for its error
	return e.ID, next, err
}

func (j *Journal) entry(off, end int64, buf []byte) (Entry, []byte, error) {
	payload, _, err := readFrame(j.f, off, end, buf)
	if err != nil {
		return Entry{}, nil, j.frameError(off, err)
	}
	var e Entry
	if err := json.Unmarshal(payload, &e); err != nil {
		// The checksum fits, so the bytes are as they were written.
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

// close waits for the batch that is being written. Appends that wait behind it
// fail.
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
