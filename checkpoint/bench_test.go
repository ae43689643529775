package checkpoint

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"rewrap/checkpoint/account"
)

// BenchmarkJournalAppend is what an edit waits for before it is made, with 64
// workers.
func BenchmarkJournalAppend(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	e := Entry{
		ID: "photos/2024/01/0001.jpg", Rev: `"d41d8cd98f00b204e9800998ecf8427e"`,
		Keys:    []account.KeyChange{{Locator: "x-amz-key-v2", KeyFrom: "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"}},
		Inverse: json.RawMessage(`{"meta":{"x-amz-key-v2":"` + fmt.Sprintf("%0256d", 1) + `"}}`),
	}
	b.SetParallelism(32) // of GOMAXPROCS, 2 where the numbers are kept
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := s.Journal().Append(b.Context(), e); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkCommit is a snapshot of a run with 64 spans and a thousand parked
// items.
func BenchmarkCommit(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	snap := s.Snapshot()
	for i := range 64 {
		snap.Spans = append(snap.Spans, SpanState{ID: fmt.Sprint(i), Data: fmt.Sprintf("%032d", i), After: fmt.Sprintf("photos/2024/%08d.jpg", i)})
	}
	for i := range 1000 {
		snap.Parked = append(snap.Parked, Parked{ID: fmt.Sprintf("photos/2024/%08d.jpg", i), Cursor: fmt.Sprintf("photos/2024/%08d.jpg", i)})
	}
	for b.Loop() {
		c, err := s.Cut()
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Commit(snap, c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOwe is a failed item's way into failures.jsonl.
func BenchmarkOwe(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	o := Owed{ID: "photos/2024/01/0001.jpg", Error: "access denied", Reason: "denied", Outcome: "failed"}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Owe(o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAudit is a line of the audit log.
func BenchmarkAudit(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	sum := fmt.Sprintf("%064x", 1)
	a := AuditLine{
		ID: "photos/2024/01/0001.jpg", Time: time.Now().UTC(), RevisionBefore: `"d41d8cd98f00b204e9800998ecf8427e"`, RevisionAfter: `"d41d8cd98f00b204e9800998ecf8427e"`,
		KeyChange: account.KeyChange{Locator: "x-amz-key-v2", KeyFrom: "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", MaterialFrom: sum,
			KeyTo: "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", MaterialTo: sum, SHA256Before: sum, SHA256After: sum},
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Audit(a); err != nil {
			b.Fatal(err)
		}
	}
}
