package checkpoint

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"rewrap/checkpoint/account"
)

// Owed is a line of failures.jsonl: an item that is not done, because it
// failed, or because it was skipped while its key is old or unknown. The JSON
// names id, error, reason and attempts are a contract with those who read the
// file.
type Owed struct {
	ID       string         `json:"id"`
	Error    string         `json:"error"`
	Reason   string         `json:"reason"`
	Attempts int            `json:"attempts"`
	Outcome  string         `json:"outcome"`
	Name     string         `json:"name,omitempty"` // the name that patterns match; "": the same as ID
	Cursor   string         `json:"cursor"`
	Under    account.Census `json:"under,omitempty"` // its keys' rows in the census
	// Keys is the part of the tally's keys that is taken back when the item is
	// tried again and counted anew.
	Keys account.KeyCounts `json:"keys"`
	// Journal is the offset of the newest frame of the undo journal about the
	// item, if the edit in it may have landed unnoticed; -1: there is none.
	Journal int64 `json:"journal"`
	// Known is the offset up to which the account knows of the journal's other
	// frames about the item; 0: there is none.
	Known int64 `json:"known,omitempty"`
}

// Counted is what the sums hold of the item, as [account.Tally.Retract] takes
// it back.
func (o Owed) Counted() account.Counted {
	return account.Counted{Outcome: o.Outcome, Reason: o.Reason, Under: o.Under, Keys: o.Keys}
}

// SetCounted keeps what [account.Tally.Count] has counted of the item.
func (o *Owed) SetCounted(c account.Counted) {
	o.Outcome, o.Reason, o.Under, o.Keys = c.Outcome, c.Reason, c.Under, c.Keys
}

// OwedAt is an [Owed] and its place in a retry file.
type OwedAt struct {
	Owed
	Next int64 // the offset after the line: Retry.Offset once the item is settled
}

// Retry is a file of [Owed] lines of an earlier session, and the offset of
// the first line whose item is not settled yet.
type Retry struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"` // of the file, in bytes; set by Open
}

func (s *State) checkRetries(retries []Retry) error {
	for _, r := range retries {
		if err := checkOwed(filepath.Join(s.dir, r.File), max(r.Offset, r.Size)); err != nil {
			return err
		}
	}
	return nil
}

const owedLost = "The list of items to try again is lost. Restore the file from a copy, or begin a new pass: rewrap run … --restart looks at every item again"

// checkOwed returns a *CorruptError for a file of owed items that has lost
// some of its first size bytes. A run that went on without them would forget
// items.
func checkOwed(name string, size int64) error {
	info, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return &CorruptError{name, 0, "it is missing. " + owedLost}
	}
	if err != nil {
		return err
	}
	if info.Size() < size {
		return &CorruptError{name, info.Size(), fmt.Sprintf("it ends here, and %d bytes had been durable. %s", size, owedLost)}
	}
	return nil
}

// readOwed yields the lines of a retry file from r.Offset on. otherJournal says
// that the lines name frames of a journal that is lost. The journal that is
// there may have other frames at those offsets, so the offsets are taken out.
func readOwed(dir string, r Retry, otherJournal bool) iter.Seq2[OwedAt, error] {
	return func(yield func(OwedAt, error) bool) {
		name := filepath.Join(dir, r.File)
		f, err := os.Open(name)
		if err != nil {
			yield(OwedAt{}, err)
			return
		}
		defer f.Close()
		if _, err := f.Seek(r.Offset, io.SeekStart); err != nil {
			yield(OwedAt{}, err)
			return
		}
		in := bufio.NewReaderSize(f, 1<<16)
		var line []byte
		for off := r.Offset; ; {
			line, err = readLine(in, line[:0])
			if errors.Is(err, io.EOF) && len(line) == 0 {
				return
			}
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, ErrTooLarge) {
				yield(OwedAt{}, fmt.Errorf("read %s: %w", name, err))
				return
			}
			var o OwedAt
			if err == nil {
				err = json.Unmarshal(line, &o.Owed)
			} else if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // the line was cut short
			}
			if err != nil {
				yield(OwedAt{}, &CorruptError{name, off, fmt.Sprintf("the line is not an owed item (%v). %s", err, owedLost)})
				return
			}
			off += int64(len(line))
			o.Next = off
			if otherJournal {
				o.Journal, o.Known = -1, 0
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// readLine appends the next line to buf, with its line break. With io.EOF the
// line has no line break.
func readLine(in *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		part, err := in.ReadSlice('\n')
		buf = append(buf, part...)
		if len(buf) > maxLine+1 {
			return buf, ErrTooLarge
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return buf, err
		}
	}
}
