package checkpoint

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"rewrap/checkpoint/account"
)

// golden is a copy of testdata/golden, the state directory of a job in its
// second session. It was written before Snapshot.Learned, Owed.Name,
// Parked.Name and Entry.Version were there.
func golden(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "golden"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestGoldenOpens: a run goes on with the state of an earlier version of the
// program, and loses nothing of it.
func TestGoldenOpens(t *testing.T) {
	t.Parallel()
	dir := golden(t)
	job := []Field{{Name: "source", Value: "file:///srv/vault"}, {Name: "format", Value: "raw"},
		{Name: "associated-data", Value: "{name}"}, {Name: "keyring", Value: "/srv/keys.json"}}
	s, err := Open(dir, Options{Job: job, Version: "new"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if w := s.Warnings(); w != nil {
		t.Errorf("warnings: %q", w)
	}

	snap := s.Snapshot()
	if snap.Pass != 1 || snap.Session != 3 || snap.Learned != "" || len(snap.Spans) != 8 || snap.Spans[0].After != "k1" || !snap.Spans[0].Done {
		t.Errorf("%+v", snap)
	}
	if want := []Parked{{ID: "k7", Cursor: "k7"}}; !reflect.DeepEqual(snap.Parked, want) {
		t.Errorf("parked are %+v", snap.Parked)
	}
	if want := (account.Items{Seen: 5, Rewrapped: 3, Failed: 2}); snap.Tally.Items != want || snap.Tally.Left != 2 || len(snap.Tally.Census) != 2 {
		t.Errorf("%+v", snap.Tally)
	}
	if want := (FileState{Unsettled: []int64{1738}, JournalFrom: 1738, JournalLen: 1984, AuditLen: 1470}); !reflect.DeepEqual(snap.FileState, want) {
		t.Errorf("%+v", snap.FileState)
	}

	if len(snap.Retries) != 2 {
		t.Fatalf("%+v", snap.Retries)
	}
	var owed []Owed
	for _, r := range snap.Retries {
		for o, err := range s.Owed(r) {
			if err != nil {
				t.Fatal(err)
			}
			owed = append(owed, o.Owed)
		}
	}
	failed := func(id string) Owed {
		return Owed{ID: id, Error: "raw: key 1388715381 of keys.json: does not open: damaged, or bound to other associated data", Reason: "key",
			Attempts: 1, Outcome: "failed", Cursor: id, Journal: -1, Under: account.Census{{Key: "keyring:keys.json", Material: "1388715381", How: "unknown"}: 1}}
	}
	skipped := Owed{ID: "k6", Error: "it is <locked>", Reason: "busy", Attempts: 1, Outcome: "skipped", Cursor: "k6",
		Under: account.Census{{Key: "1", How: "keyring"}: 1}, Keys: account.KeyCounts{Current: 1}, Journal: 1738, Known: 16}
	if want := []Owed{failed("k2"), failed("k1"), skipped}; !reflect.DeepEqual(owed, want) {
		t.Errorf("owed are %+v", owed)
	}

	var ids []string
	for e, err := range s.Journal().Entries(0) {
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Inverse) == 0 || e.Version != "" || len(e.Keys) != 1 {
			t.Errorf("%+v", e)
		}
		ids = append(ids, e.ID)
	}
	if want := []string{"k3", "k0", "k5", "k7"}; !reflect.DeepEqual(ids, want) {
		t.Errorf("the journal is of %q", ids)
	}
}

// TestGoldenRewritten: with nothing new to say, every record of the golden
// directory is written again byte by byte as it was, so an older program can
// go on with the directory too.
func TestGoldenRewritten(t *testing.T) {
	t.Parallel()
	dir := golden(t)
	want, err := os.ReadFile(filepath.Join(dir, snapshotFile))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := decodeSnapshot("golden", want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := encodeSnapshot(*snap); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}

	same := func(line []byte, record any) {
		t.Helper()
		if err := json.Unmarshal(line, record); err != nil {
			t.Fatal(err)
		}
		got, err := appendLine(nil, reflect.ValueOf(record).Elem().Interface(), maxLine)
		if err != nil || !bytes.Equal(got, line) {
			t.Errorf("got  %s, %v\nwant %s", got, err, line)
		}
	}
	n := 0
	for _, name := range []string{"failures.2.jsonl", failuresFile, auditFile} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			n++
			line = bytes.TrimSuffix(line, []byte{'\n'})
			if name == auditFile {
				same(line, new(AuditLine))
			} else {
				same(line, new(Owed))
			}
		}
	}
	journal, err := os.Open(filepath.Join(dir, journalFile))
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	for off := headerLen; off < snap.JournalLen; n++ {
		payload, _, err := readFrame(journal, off, snap.JournalLen, nil)
		if err != nil {
			t.Fatal(err)
		}
		same(payload, new(Entry))
		off += frameHead + int64(len(payload))
	}
	if n != 10 {
		t.Errorf("%d records", n)
	}
}

// TestNewFields writes every field that the golden directory does not have, and
// reads it in the next session.
func TestNewFields(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	off, err := s.Journal().Append(t.Context(), Entry{ID: "item", Rev: "1", Version: `v<1>"`})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Journal().Append(t.Context(), Entry{ID: "item", Version: "\xff"}); err == nil {
		t.Error("a version that is not UTF-8 was taken")
	}
	if err := s.Owe(Owed{ID: "k@1", Name: "k", Journal: off}); err != nil {
		t.Fatal(err)
	}
	if err := s.Owe(Owed{ID: "k@1", Name: "\xff"}); err == nil {
		t.Error("a name that is not UTF-8 was taken")
	}
	snap := s.Snapshot()
	snap.Learned = "url"
	snap.Parked = []Parked{{ID: "p@1", Name: "p", Cursor: "p"}}
	c, err := s.Cut()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(snap, c); err != nil {
		t.Fatal(err)
	}
	s.Close()

	s = mustOpen(t, dir)
	if got := s.Snapshot(); got.Learned != "url" || !reflect.DeepEqual(got.Parked, snap.Parked) {
		t.Errorf("%+v", got)
	}
	if e, err := s.Journal().At(off); err != nil || e.Version != `v<1>"` {
		t.Errorf("%+v, %v", e, err)
	}
	for o, err := range s.Owed(s.Snapshot().Retries[0]) {
		if err != nil || o.Name != "k" || o.ID != "k@1" {
			t.Errorf("%+v, %v", o, err)
		}
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	s.Close()

	// The style is of the job, not of the pass.
	s = mustOpen(t, dir)
	defer s.Close()
	if got := s.Snapshot(); got.Pass != 2 || got.Learned != "url" || got.Parked != nil {
		t.Errorf("%+v", got)
	}
}

// TestOwedCounted: the sums of an item that is counted, kept as owed and taken
// back are as they were before.
func TestOwedCounted(t *testing.T) {
	t.Parallel()
	item := account.Item{Outcome: account.Skipped, Reason: "locked", Owed: true, Keys: []account.KeyEvent{
		{Outcome: account.Current, From: account.KeyVersion{ARN: "a", Material: "1"}, How: account.HowKMS, Deduplicated: true},
		{Outcome: account.Failed, From: account.KeyVersion{ARN: "b"}}}}
	var sums account.Tally
	sums.Count(item)
	counted := item.Counted()
	var o Owed
	o.SetCounted(counted)
	line, err := appendLine(nil, o, maxLine)
	if err != nil {
		t.Fatal(err)
	}
	var read Owed
	if err := json.Unmarshal(line, &read); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(read.Counted(), counted) {
		t.Errorf("got  %+v\nwant %+v", read.Counted(), counted)
	}
	sums.Retract(read.Counted())
	if sums.Items != (account.Items{}) || sums.Left != 0 || sums.Keys != (account.KeyCounts{}) || len(sums.Census) != 0 {
		t.Errorf("%+v", sums)
	}
}
