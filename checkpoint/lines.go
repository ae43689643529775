package checkpoint

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"unicode/utf8"

	"rewrap/checkpoint/durable"
)

// appendLine appends v to b as JSON on one line of at most most bytes, without
// the escaping of < and >. After an error it returns b as it was.
func appendLine(b []byte, v any, most int) ([]byte, error) {
	out := b
	if a, ok := v.(appender); ok {
		var err error
		if out, err = a.appendJSON(out); err != nil {
			return b, err
		}
	} else {
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return b, err
		}
		out = append(out, text.Bytes()[:text.Len()-1]...)
	}
	if len(out)-len(b) > most {
		return b, ErrTooLarge
	}
	return out, nil
}

// lines is a file of JSON lines that only grows. A crash may leave any part of
// the lines that were written since the last snapshot, and Open cuts all of them
// off.
type lines struct {
	f    durable.File
	name string

	mu     sync.Mutex // sync overlaps the rest
	w      *bufio.Writer
	line   []byte // the last one; its memory is used again
	size   int64  // of the file and the buffer
	synced int64
	err    error // the first error; it stays, since after a failed write or sync it is not known what the file holds
}

// openLines opens a file that has been cut to size, or makes an empty one.
func openLines(fs durable.FS, dir, name string, size int64) (*lines, error) {
	f, err := fs.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &lines{f: f, name: f.Name(), w: bufio.NewWriterSize(f, 1<<16), size: size, synced: size}, nil
}

func (l *lines) add(v any) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if l.line, err = appendLine(l.line[:0], v, maxLine); err != nil {
		return err
	}
	l.line = append(l.line, '\n')
	if _, err := l.w.Write(l.line); err != nil {
		return l.fail("write", err)
	}
	l.size += int64(len(l.line))
	return nil
}

// flush writes the buffer to the file and returns the file's length.
func (l *lines) flush() (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	if err := l.w.Flush(); err != nil {
		return 0, l.fail("write", err)
	}
	return l.size, nil
}

// sync makes the first size bytes durable; flush has written them before.
func (l *lines) sync(size int64) error {
	l.mu.Lock()
	err, synced := l.err, l.synced
	l.mu.Unlock()
	if err != nil || size <= synced {
		return err
	}
	err = l.f.Sync() // without mu: Audit and Owe do not wait for the disk
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return l.fail("sync", err)
	}
	l.synced = size
	return nil
}

func (l *lines) fail(what string, err error) error {
	if l.err == nil {
		l.err = fmt.Errorf("%s %s: %w", what, l.name, err)
	}
	return l.err
}

func (l *lines) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = errClosed
	}
	return l.f.Close()
}

// cutFile shortens a file to size, durably, if it is longer. With size 0 the
// file may be missing.
func cutFile(fs durable.FS, name string, size int64) error {
	info, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) && size == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := fs.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if info.Size() > size {
		err = f.Truncate(size)
	}
	if err == nil {
		// Also where nothing was cut: an Open may have cut the file and been
		// killed before it synced it.
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cut %s: %w", name, err)
	}
	return nil
}

// wholeLines is the length of a file up to the end of its last whole line; 0
// if the file does not exist.
func wholeLines(name string) (int64, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 1<<16)
	for end := info.Size(); end > 0; {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, fmt.Errorf("read %s: %w", name, unexpected(err))
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// checkText refuses texts that JSON would change: a cursor that came back as
// another one would be a false watermark.
func checkText(what string, texts ...string) error {
	for _, t := range texts {
		if !utf8.ValidString(t) {
			return fmt.Errorf("%s: %q is %w", what, t, ErrNotUTF8)
		}
	}
	return nil
}
