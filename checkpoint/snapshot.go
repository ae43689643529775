package checkpoint

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"rewrap/checkpoint/account"
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
	Parked []Parked      `json:"parked"`
	Tally  account.Tally `json:"tally"`

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

// Owed is a line of failures.jsonl: an item that is not done, because it
// failed, or was skipped while its key is old or unknown. The first four
// names of its JSON are a contract.
type Owed struct {
	ID       string         `json:"id"`
	Error    string         `json:"error"`
	Reason   string         `json:"reason"`
	Attempts int            `json:"attempts"`
	Outcome  string         `json:"outcome"`
	Cursor   string         `json:"cursor"`
	Under    account.Census `json:"under,omitempty"` // what its keys are under, as the census counted them
	// Keys is what the tally counted of its keys that will be counted anew
	// when the item is tried again.
	Keys    account.KeyCounts `json:"keys"`
	Journal int64             `json:"journal"` // offset of the undo journal's newest frame about it, if that edit may have landed unnoticed; -1: none
	// Known is the offset up to which the account knows of the undo journal's
	// other frames about it; 0: none.
	Known int64 `json:"known,omitempty"`
}

// OwedAt is an [Owed] and its place in a retry file.
type OwedAt struct {
	Owed
	Next int64 // the offset after the line: Retry.Offset once the item is settled
}

// AuditLine is a line of audit.jsonl: one wrapped key that changed.
type AuditLine struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	account.KeyChange
	RevisionBefore string `json:"revision_before"`
	RevisionAfter  string `json:"revision_after"`
}

// Entry is a frame of the undo journal: an edit that is about to be made, and
// how to take it back.
type Entry struct {
	ID      string              `json:"id"`
	Time    time.Time           `json:"time"`
	Rev     string              `json:"rev"` // the revision that the edit is made on
	Keys    []account.KeyChange `json:"keys,omitempty"`
	Inverse json.RawMessage     `json:"inverse,omitempty"` // the edit that undoes it; opaque here
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
