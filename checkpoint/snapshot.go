package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rewrap/checkpoint/account"
)

// Snapshot is everything that a run needs to go on: what the job is, how far
// its pass has come, and what was counted on the way. It is small whatever the
// number of items, and [State.Commit] replaces it as a whole.
//
// [PassState] and [FileState] group fields for readers. In JSON their fields
// stand beside the others.
type Snapshot struct {
	Format int     `json:"-"`    // of checkpoint.json; written around the snapshot
	Tool   string  `json:"tool"` // Options.Version of the process that saved it
	Job    []Field `json:"job"`

	PassState

	// Targets maps a key's ARN to the id of the key material that was
	// current when the pass began.
	Targets map[string]string `json:"targets"`
	// Learned is how the job writes base64 where an item does not show it. It is
	// learned once, before the first write, and later passes keep it. Its text
	// means nothing to this package. "": nothing was learned.
	Learned string      `json:"learned,omitempty"`
	Spans   []SpanState `json:"spans"` // nil until the engine has set them
	// Retries are the failures of earlier sessions that are still to be
	// tried again, oldest first.
	Retries []Retry `json:"retries"`
	// Parked are the items that a watermark has passed though they are not
	// settled.
	Parked []Parked      `json:"parked"`
	Tally  account.Tally `json:"tally"`

	FileState
}

// PassState is which pass and session a snapshot is of, and how the pass ended.
type PassState struct {
	Pass    int       `json:"pass"`    // from 1; one more with every pass over all items
	Session int       `json:"session"` // from 1; one more with every Open
	Began   time.Time `json:"began"`   // of the pass
	Saved   time.Time `json:"saved"`   // of this snapshot

	// Result is "" while the run goes on, else "complete", "remaining",
	// "stopped" or "failed".
	Result string `json:"result"`
	// Ended says that the pass is over and was reported, and that nothing is
	// left to go on with: the next Open begins a new pass. Set by [State.End].
	Ended bool `json:"ended,omitempty"`
}

// FileState is what a snapshot says about the other files of the directory.
// Places and lengths are in bytes.
type FileState struct {
	// Unsettled are the offsets of those frames of the undo journal whose item
	// is not settled: the edit may be in the item although nothing counts it.
	// The same goes for every frame from JournalFrom on.
	Unsettled   []int64 `json:"unsettled,omitempty"`
	JournalFrom int64   `json:"journal_from"`
	// JournalBegan is the session that began a new journal because the old one
	// was lost; 0: none did. Items that were owed before it name frames of the
	// old journal. Set by Open.
	JournalBegan int `json:"journal_began,omitempty"`
	// The lengths of the part of each file that belongs to this snapshot. The
	// journal was durable up to its length, and may have grown since. Open cuts
	// the other two back to theirs. Set by Commit.
	JournalLen  int64 `json:"journal_len"`
	AuditLen    int64 `json:"audit_len"`
	FailuresLen int64 `json:"failures_len"`
}

// SpanState is a span of the source's listing order and how far it is
// settled.
type SpanState struct {
	ID    string `json:"id"`
	Data  string `json:"data,omitempty"`  // the source's own
	After string `json:"after,omitempty"` // the watermark: every item up to this cursor is settled, parked or owed
	Done  bool   `json:"done"`            // the listing came to its end, and all of it is settled, parked or owed
}

// Parked is an item that a watermark has passed and that is not settled.
type Parked struct {
	ID     string `json:"id"`
	Name   string `json:"name,omitempty"` // the name that patterns match; "": the same as ID
	Cursor string `json:"cursor"`
}

// Clone is a deep copy.
func (s Snapshot) Clone() Snapshot {
	s.Job = slices.Clone(s.Job)
	s.Targets = maps.Clone(s.Targets)
	s.Spans = slices.Clone(s.Spans)
	s.Retries = slices.Clone(s.Retries)
	s.Parked = slices.Clone(s.Parked)
	s.Unsettled = slices.Clone(s.Unsettled)
	s.Tally = s.Tally.Clone()
	return s
}

// snapshotFormat is the newest format of checkpoint.json that this package knows.
const snapshotFormat = 1

// wrapping is checkpoint.json. It has a checksum because a watermark with a
// flipped bit would leave items out, and nobody would notice.
type wrapping struct {
	Format   int             `json:"format"`
	CRC32C   string          `json:"crc32c"` // of the bytes of Snapshot, in hex
	Snapshot json.RawMessage `json:"snapshot"`
}

func encodeSnapshot(s Snapshot) ([]byte, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(wrapping{snapshotFormat, snapshotSum(data), data})
	return append(out, '\n'), err
}

func snapshotSum(data []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli))
}

func readSnapshot(dir string) (*Snapshot, error) {
	name := filepath.Join(dir, snapshotFile)
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return decodeSnapshot(name, data)
}

func decodeSnapshot(name string, data []byte) (*Snapshot, error) {
	corrupt := func(off int64, format string, args ...any) error {
		return &CorruptError{name, off, fmt.Sprintf(format, args...) + ". rewrap run … --restart sets it aside and begins again at the first item: " +
			"what is on target already is recognised, and the undo journal and the audit log are kept"}
	}
	var w wrapping
	if err := json.Unmarshal(data, &w); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, corrupt(syntax.Offset, "it is not JSON (%v)", err)
		}
		return nil, corrupt(0, "it is not a snapshot (%v)", err)
	}
	off := int64(max(bytes.Index(data, w.Snapshot), 0))
	switch {
	case w.Format > snapshotFormat:
		return nil, &VersionError{name, w.Format, snapshotFormat}
	case w.Format < 1:
		return nil, corrupt(0, "it names no format")
	case !strings.EqualFold(snapshotSum(w.Snapshot), w.CRC32C):
		return nil, corrupt(off, "its checksum does not fit")
	}
	var s Snapshot
	if err := json.Unmarshal(w.Snapshot, &s); err != nil {
		return nil, corrupt(off, "it is not a snapshot (%v)", err)
	}
	s.Format = w.Format
	if s.Pass < 1 || s.Session < 1 || s.JournalFrom < headerLen || s.JournalLen < s.JournalFrom || s.AuditLen < 0 || s.FailuresLen < 0 {
		return nil, corrupt(off, "its numbers cannot be")
	}
	for _, r := range s.Retries {
		if !isRetryFile(r.File) || r.Offset < 0 || r.Size < 0 {
			return nil, corrupt(off, "it names %q as a retry file", r.File)
		}
	}
	return &s, nil
}
