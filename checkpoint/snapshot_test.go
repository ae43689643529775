package checkpoint

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"rewrap/checkpoint/account"
)

func TestOwedJSON(t *testing.T) {
	t.Parallel()
	got, err := appendLine(nil, Owed{ID: "a<b", Error: "e", Reason: "r", Attempts: 2, Outcome: "failed", Cursor: "c", Journal: -1}, maxLine)
	want := `{"id":"a<b","error":"e","reason":"r","attempts":2,"outcome":"failed","cursor":"c","keys":{"rewrapped":0,"current":0,"deduplicated":0},"journal":-1}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s (%v)\nwant %s", got, err, want)
	}
}

// TestSnapshotRoundTrip writes and reads arbitrary snapshots.
func TestSnapshotRoundTrip(t *testing.T) {
	t.Parallel()
	check := func(s Snapshot, seed uint64) bool {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s.Format = snapshotFormat
		s.Pass, s.Session = 1+rnd.IntN(9), 1+rnd.IntN(9)
		s.Began, s.Saved = time.Unix(rnd.Int64N(1<<34), 5).UTC(), time.Unix(0, 0).UTC()
		s.JournalFrom = headerLen + rnd.Int64N(1<<40)
		s.JournalLen = s.JournalFrom + rnd.Int64N(1<<40)
		s.AuditLen, s.FailuresLen = rnd.Int64N(1<<62), rnd.Int64N(1<<62)
		for i := range s.Retries {
			s.Retries[i] = Retry{retryFile(1 + rnd.IntN(99)), rnd.Int64(), rnd.Int64()}
		}
		if s.Tally.SkippedByReason == nil {
			s.Tally.SkippedByReason = account.Reasons{}
		}
		for h, n := range s.Tally.Census {
			if n == 0 {
				delete(s.Tally.Census, h)
			}
		}
		if len(s.Tally.Census) == 0 {
			s.Tally.Census = nil
		}
		if !reflect.DeepEqual(s.Clone(), s) {
			t.Errorf("clone differs: %+v", s)
		}
		data, err := encodeSnapshot(s)
		if err != nil {
			t.Error(err)
			return false
		}
		got, err := decodeSnapshot("file", data)
		if err != nil || !reflect.DeepEqual(*got, s) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got, s)
			return false
		}
		return true
	}
	if err := quick.Check(func(a, b, c string, n uint8, seed uint64) bool {
		s := Snapshot{Tool: valid(a), PassState: PassState{Result: valid(b)}, Learned: valid(c), Targets: map[string]string{valid(a): valid(b)}}
		for i := range int(n % 4) {
			x := strings.Repeat(valid(c), i)
			s.Job = append(s.Job, Field{valid(a), x, i%2 == 0})
			s.Spans = append(s.Spans, SpanState{x, valid(b), valid(a), i%2 == 0})
			s.Parked = append(s.Parked, Parked{x, valid(b), valid(a)})
			s.Retries = append(s.Retries, Retry{})
			s.Tally.Items.Seen += int64(n)
			if s.Tally.Census == nil {
				s.Tally.Census = account.Census{}
			}
			s.Tally.Census[account.Holder{Key: x, Material: valid(b), How: "kms"}] = int64(n)
		}
		return check(s, seed)
	}, nil); err != nil {
		t.Error(err)
	}
}

func valid(s string) string { return strings.ToValidUTF8(s, "<&>\u2028") }

// TestSnapshotFlippedBytes changes every bit of a snapshot: none may be
// believed, but for the spelling of what stands around it.
func TestSnapshotFlippedBytes(t *testing.T) {
	t.Parallel()
	s := Snapshot{Job: testJob, PassState: PassState{Pass: 1, Session: 2}, FileState: FileState{JournalFrom: 16, JournalLen: 16}, Spans: []SpanState{{ID: "0", After: "photos/2024"}}}
	data, err := encodeSnapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	want, err := decodeSnapshot("file", data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			flipped := bytes.Clone(data)
			flipped[i] ^= 1 << bit
			got, err := decodeSnapshot("file", flipped)
			if err != nil {
				if !errors.As(err, new(*CorruptError)) && !errors.As(err, new(*VersionError)) {
					t.Fatalf("byte %d: %v", i, err)
				}
			} else if !reflect.DeepEqual(got, want) {
				t.Fatalf("byte %d, bit %d: believed %s", i, bit, flipped)
			}
		}
	}
	for i := range data[:len(data)-1] {
		if _, err := decodeSnapshot("file", data[:i]); !errors.As(err, new(*CorruptError)) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func FuzzSnapshot(f *testing.F) {
	wrap := func(snapshot string) []byte {
		return []byte(`{"format":1,"crc32c":"` + snapshotSum([]byte(snapshot)) + `","snapshot":` + snapshot + `}`)
	}
	f.Add(`{"pass":1,"session":1,"journal_from":16,"journal_len":16}`)
	f.Add(`{"pass":1,"session":2,"journal_from":16,"journal_len":16,"retries":[{"file":"failures.2.jsonl","offset":3}],"tally":{"census":[{"key":"k","keys":2}]}}`)
	f.Add(`{"pass":1,"session":2,"journal_from":16,"journal_len":16,"retries":[{"file":"../../etc/passwd"}]}`)
	f.Add(`null`)
	f.Add(`{"pass":-1}`)
	f.Fuzz(func(t *testing.T, snapshot string) {
		for _, data := range [][]byte{[]byte(snapshot), wrap(snapshot)} {
			s, err := decodeSnapshot("file", data)
			if err != nil {
				if !errors.As(err, new(*CorruptError)) && !errors.As(err, new(*VersionError)) {
					t.Fatal(err)
				}
				continue
			}
			for _, r := range s.Retries {
				if strings.ContainsAny(r.File, "/\\") {
					t.Fatalf("retry file %q", r.File)
				}
			}
			again, err := encodeSnapshot(*s)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decodeSnapshot("file", again); err != nil {
				t.Fatal(err)
			}
		}
	})
}
