package checkpoint

import (
	"encoding/json"
	"time"

	"rewrap/checkpoint/account"
)

// Entry is a frame of the undo journal: an edit that is about to be made, and
// how to undo it.
type Entry struct {
	ID   string              `json:"id"`
	Time time.Time           `json:"time"`
	Rev  string              `json:"rev"` // the revision that the edit is made on
	Keys []account.KeyChange `json:"keys,omitempty"`
	// Inverse is the edit that undoes this one. Its content means nothing to
	// this package.
	Inverse json.RawMessage `json:"inverse,omitempty"`
	// Version is the id under which the store itself keeps the item as it was
	// before the edit. Then there is no Inverse.
	Version string `json:"version,omitempty"`
}

// EntryAt is an [Entry] and its place in the journal.
type EntryAt struct {
	Entry
	Offset int64 // where its frame begins
	Next   int64 // where the next one does
}

// ItemAt is the item that an entry of the journal is about, and the entry's
// place.
type ItemAt struct {
	ID     string
	Offset int64 // where its frame begins
}

// AuditLine is a line of audit.jsonl: one wrapped key that changed.
type AuditLine struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	account.KeyChange
	RevisionBefore string `json:"revision_before"`
	RevisionAfter  string `json:"revision_after"`
}
