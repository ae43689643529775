package checkpoint

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Snapshot is all that a run has to know to go on: what the job is, how far
// its pass has come, and what was counted on the way. It is small whatever
// the number of items, and is replaced as a whole by [State.Commit].
type Snapshot struct {
	Format int     `json:"-"`    // of checkpoint.json; written around the snapshot
	Tool   string  `json:"tool"` // Options.Version of the process that saved it
	Job    []Field `json:"job"`

	Pass    int       `json:"pass"`    // from 1; one more with every pass over all items
	Session int       `json:"session"` // from 1; one more with every Open
	Began   time.Time `json:"began"`   // of the pass
	Saved   time.Time `json:"saved"`   // of this snapshot

	// Result is "" while the run goes on, else "complete", "remaining",
	// "stopped" or "failed".
	Result string `json:"result"`
	// Ended says that the pass is over, with nothing left to go on with, and
	// reported: the next Open begins a new pass. Set by [State.End].
	Ended bool `json:"ended,omitempty"`

	// Targets maps a key's ARN to the id of the key material that was
	// current when the pass began.
	Targets map[string]string `json:"targets"`
	Spans   []SpanState       `json:"spans"` // nil until the engine has set them
	// Retries are the failures of earlier sessions that are still to be
	// tried again, oldest first.
	Retries []Retry `json:"retries"`
	// Parked are the items that a watermark has passed though they are not
	// settled.
	Parked []Parked `json:"parked"`
	Tally  Tally    `json:"tally"`

	// Unsettled are the offsets of those frames of the undo journal whose item
	// is not settled, so that the edit in it may have landed unnoticed; and
	// from JournalFrom on every frame is taken for such a one.
	Unsettled   []int64 `json:"unsettled,omitempty"`
	JournalFrom int64   `json:"journal_from"`
	// JournalBegan is the session that began the journal anew because the
	// old one was lost; 0: none did. What was owed before it names frames of
	// the old one. Set by Open.
	JournalBegan int `json:"journal_began,omitempty"`
	// The lengths, in bytes, of what belongs to this snapshot: the journal's
	// was durable by then and may have grown since, the others are cut back
	// to them by Open. Set by Commit.
	JournalLen  int64 `json:"journal_len"`
	AuditLen    int64 `json:"audit_len"`
	FailuresLen int64 `json:"failures_len"`
}

// Field is one line of what makes a job this job: its source, its target, a
// filter. A name may come more than once.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Moves says that the value is not the operator's own but what his word
	// for it meant, such as the key that an alias points to. A new pass takes
	// another value in its place; a pass that goes on does not.
	Moves bool `json:"moves,omitempty"`
}

// SpanState is a span of the source's listing order and how far it is
// settled.
type SpanState struct {
	ID    string `json:"id"`
	Data  string `json:"data,omitempty"`  // the source's own
	After string `json:"after,omitempty"` // the watermark: every item up to this cursor is settled, parked or owed
	Done  bool   `json:"done"`            // the listing came to its end, and all of it is settled, parked or owed
}

// Retry is a file of [Owed] lines of an earlier session, and the offset of
// the first one that is not settled yet.
type Retry struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"` // of the file, in bytes; set by Open
}

// Parked is an item that a watermark has passed and that is not settled.
type Parked struct {
	ID     string `json:"id"`
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

// Tally counts what became of the items and keys of a pass, over all its
// sessions. Its JSON is that of the summary of a run.
type Tally struct {
	Items           Items   `json:"items"`
	SkippedByReason Reasons `json:"skipped_by_reason"`
	Unconditional   int64   `json:"unconditional"` // items changed by a write that the store could not make conditional
	// Left counts the items that failed, or were skipped though something in
	// them is under an old or an unknown key: each is among the owed.
	Left   int64     `json:"left"`
	Keys   KeyCounts `json:"keys"`
	Census Census    `json:"census"`
	Newer  int64     `json:"newer"` // keys that ended on newer key material than the target
}

// Clone is a deep copy.
func (t Tally) Clone() Tally {
	t.SkippedByReason = maps.Clone(t.SkippedByReason)
	t.Census = maps.Clone(t.Census)
	return t
}

// Items counts outcomes: Seen is the sum of all the others.
type Items struct {
	Seen      int64 `json:"seen"`
	Rewrapped int64 `json:"rewrapped"`
	Current   int64 `json:"current"`
	Foreign   int64 `json:"foreign"`
	Skipped   int64 `json:"skipped"`
	Gone      int64 `json:"gone"`
	Failed    int64 `json:"failed"`
}

// KeyCounts counts wrapped keys; Deduplicated of them cost no call of the key
// service.
type KeyCounts struct {
	Rewrapped    int64 `json:"rewrapped"`
	Current      int64 `json:"current"`
	Deduplicated int64 `json:"deduplicated"`
}

// Reasons counts by reason. In JSON it is an object, also when nil.
type Reasons map[string]int64

// MarshalJSON implements [json.Marshaler].
func (r Reasons) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]int64(r))
}

// Holder is what wrapped keys are under: a key, its key material, and how
// that is known ("kms", "keyring", "head", "date", "unknown").
type Holder struct {
	Key      string `json:"key"`
	Material string `json:"material"`
	How      string `json:"how"`
}

// Census counts the wrapped keys under each holder. In JSON it is an array of
// rows in the order of key, material and how; rows that count nothing are
// left out.
type Census map[Holder]int64

type censusRow struct {
	Holder
	Keys int64 `json:"keys"`
}

// MarshalJSON implements [json.Marshaler].
func (c Census) MarshalJSON() ([]byte, error) {
	rows := make([]censusRow, 0, len(c))
	for h, n := range c {
		if n != 0 {
			rows = append(rows, censusRow{h, n})
		}
	}
	slices.SortFunc(rows, func(a, b censusRow) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Material, b.Material), cmp.Compare(a.How, b.How))
	})
	return json.Marshal(rows)
}

// UnmarshalJSON implements [json.Unmarshaler]. Rows of one holder are added
// up.
func (c *Census) UnmarshalJSON(data []byte) error {
	var rows []censusRow
	if err := json.Unmarshal(data, &rows); err != nil {
		return err
	}
	*c = nil
	for _, r := range rows {
		if *c == nil {
			*c = make(Census, len(rows))
		}
		(*c)[r.Holder] += r.Keys
	}
	return nil
}

// Owed is a line of failures.jsonl: an item that is not done, because it
// failed, or was skipped while its key is old or unknown. The first four
// names of its JSON are a contract.
type Owed struct {
	ID       string `json:"id"`
	Error    string `json:"error"`
	Reason   string `json:"reason"`
	Attempts int    `json:"attempts"`
	Outcome  string `json:"outcome"`
	Cursor   string `json:"cursor"`
	Under    Census `json:"under,omitempty"` // what its keys are under, as the census counted them
	// Keys is what the tally counted of its keys that will be counted anew
	// when the item is tried again.
	Keys    KeyCounts `json:"keys"`
	Journal int64     `json:"journal"` // offset of the undo journal's newest frame about it, if that edit may have landed unnoticed; -1: none
	// Known is the offset up to which the account knows of the undo journal's
	// other frames about it; 0: none.
	Known int64 `json:"known,omitempty"`
}

// OwedAt is an [Owed] and its place in a retry file.
type OwedAt struct {
	Owed
	Next int64 // the offset after the line: Retry.Offset once the item is settled
}

// KeyChange is a wrapped key that is given a new wrapping.
type KeyChange struct {
	Locator      string `json:"locator"`
	KeyFrom      string `json:"key_from"`
	MaterialFrom string `json:"material_from"`
	KeyTo        string `json:"key_to"`
	MaterialTo   string `json:"material_to"`
	RequestID    string `json:"request_id"`
	SHA256Before string `json:"sha256_before"` // of the wrapped key, in hex
	SHA256After  string `json:"sha256_after"`
}

// AuditLine is a line of audit.jsonl: one wrapped key that changed.
type AuditLine struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	KeyChange
	RevisionBefore string `json:"revision_before"`
	RevisionAfter  string `json:"revision_after"`
}

// Entry is a frame of the undo journal: an edit that is about to be made, and
// how to take it back.
type Entry struct {
	ID      string          `json:"id"`
	Time    time.Time       `json:"time"`
	Rev     string          `json:"rev"` // the revision that the edit is made on
	Keys    []KeyChange     `json:"keys,omitempty"`
	Inverse json.RawMessage `json:"inverse,omitempty"` // the edit that undoes it; opaque here
}

// EntryAt is an [Entry] and its place in the journal.
type EntryAt struct {
	Entry
	Offset int64 // where its frame begins
	Next   int64 // where the next one does
}

// ItemAt is an entry of the journal by its place and the item that it is about.
type ItemAt struct {
	ID     string
	Offset int64 // where its frame begins
}
