package engine

import (
	"slices"

	"rewrap/checkpoint"
)

// line is one order of items with a watermark: a span of the listing, or a list
// of failures of an earlier session. Its queue holds the items beyond the
// watermark, in order.
type line struct {
	mark   watermark
	queue  []*item
	listed bool // the listing reached its end
	done   bool // everything in the line is settled, parked or owed
}

// watermark is where the snapshot keeps how far a line is settled.
type watermark interface {
	// pass moves the watermark behind the item.
	pass(s *checkpoint.Snapshot, it *item)
	// done notes that the whole line is behind it.
	done(s *checkpoint.Snapshot)
}

// spanMark is the index of a span in the snapshot.
type spanMark int

func (m spanMark) pass(s *checkpoint.Snapshot, it *item) { s.Spans[m].After = string(it.ref.Cursor) }
func (m spanMark) done(s *checkpoint.Snapshot)           { s.Spans[m].Done = true }

// owedMark is the name of a file of failures. Its place among the retries of
// the snapshot changes when an earlier file is done with.
type owedMark string

func (m owedMark) at(s *checkpoint.Snapshot) int {
	return slices.IndexFunc(s.Retries, func(r checkpoint.Retry) bool { return r.File == string(m) })
}

func (m owedMark) pass(s *checkpoint.Snapshot, it *item) { s.Retries[m.at(s)].Offset = it.next }

func (m owedMark) done(s *checkpoint.Snapshot) {
	i := m.at(s)
	s.Retries = slices.Delete(s.Retries, i, i+1)
}
