package account

import (
	"encoding/json"
	"testing"
)

// TestTallyJSON holds the names of the summary, which scripts hold on to.
func TestTallyJSON(t *testing.T) {
	t.Parallel()
	empty := `{"items":{"seen":0,"rewrapped":0,"current":0,"foreign":0,"skipped":0,"gone":0,"failed":0},` +
		`"skipped_by_reason":{},"unconditional":0,"left":0,"keys":{"rewrapped":0,"current":0,"deduplicated":0},"census":[],"newer":0,"base64_assumed":0}`
	full := `{"items":{"seen":6,"rewrapped":1,"current":1,"foreign":1,"skipped":1,"gone":1,"failed":1},` +
		`"skipped_by_reason":{"archived":1},"unconditional":2,"left":0,"keys":{"rewrapped":3,"current":4,"deduplicated":5},` +
		`"census":[{"key":"a","material":"m1","how":"kms","keys":2},{"key":"a","material":"m2","how":"head","keys":3},{"key":"b","material":"","how":"unknown","keys":1}],"newer":7,"base64_assumed":8}`
	tally := Tally{
		Items:           Items{6, 1, 1, 1, 1, 1, 1},
		SkippedByReason: Reasons{"archived": 1},
		Unconditional:   2,
		Keys:            KeyCounts{3, 4, 5},
		Census:          Census{{"b", "", "unknown"}: 1, {"a", "m2", "head"}: 3, {"a", "m1", "kms"}: 2, {"z", "", "kms"}: 0},
		Newer:           7,
		Assumed:         8,
	}
	for _, c := range []struct {
		t    Tally
		want string
	}{{Tally{}, empty}, {tally, full}} {
		got, err := json.Marshal(c.t)
		if err != nil || string(got) != c.want {
			t.Errorf("got  %s (%v)\nwant %s", got, err, c.want)
		}
	}
	// A summary embeds it, and keeps its own fields beside it.
	got, err := json.Marshal(struct {
		Result string `json:"result"`
		Tally
	}{"complete", Tally{}})
	if want := `{"result":"complete",` + empty[1:]; err != nil || string(got) != want {
		t.Errorf("got  %s (%v)\nwant %s", got, err, want)
	}
}

// TestAdd: parts that are counted apart add up to what is counted at once, and
// an item that is retracted leaves nothing behind.
func TestAdd(t *testing.T) {
	t.Parallel()
	key := func(o Outcome, arn, how string) KeyEvent {
		return KeyEvent{Outcome: o, From: KeyVersion{ARN: arn, Material: "m"}, To: KeyVersion{ARN: "new"}, How: how,
			Newer: o == Rewrapped, Deduplicated: o == Current, Assumed: o == Rewrapped}
	}
	items := []Item{
		{Outcome: Rewrapped, Unconditional: true, Keys: []KeyEvent{key(Rewrapped, "a", HowKMS), key(Current, "new", HowKMS)}},
		{Outcome: Failed, Reason: "key", Owed: true, Keys: []KeyEvent{key(Failed, "a", HowKMS), key(Current, "new", HowKeyring)}},
		{Outcome: Skipped, Reason: "archived", Owed: true, Keys: []KeyEvent{key(Skipped, "a", HowKMS)}},
		{Outcome: Skipped, Reason: "socket"}, {Outcome: Foreign, Keys: []KeyEvent{key(Foreign, "", HowKMS)}}, {Outcome: Gone}, {Outcome: Current},
	}
	text := func(t *testing.T, tally Tally) string {
		t.Helper()
		data, err := json.Marshal(tally)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var whole Tally
	for _, it := range items {
		whole.Count(it)
	}
	for cut := range len(items) + 1 {
		var first, second Tally
		for i, it := range items {
			if i < cut {
				first.Count(it)
			} else {
				second.Count(it)
			}
		}
		first.Add(second)
		if got, want := text(t, first), text(t, whole); got != want {
			t.Errorf("cut at %d:\ngot  %s\nwant %s", cut, got, want)
		}
	}
	for _, it := range items {
		if !it.Owed {
			continue
		}
		again := whole.Clone()
		again.Count(it)
		again.Retract(it.Counted())
		// Keys that moved stay counted: their lines in the audit log stay.
		if got, want := text(t, again), text(t, whole); got != want {
			t.Errorf("%v counted and retracted:\ngot  %s\nwant %s", it.Outcome, got, want)
		}
	}
}

// TestRetractUnknown: the lists of failures have no checksum, so an item may be
// taken out of sums that never had it.
func TestRetractUnknown(t *testing.T) {
	t.Parallel()
	var tally Tally
	tally.Retract(Counted{Outcome: "skipped", Reason: "archived", Under: Census{{Key: "a"}: 1}})
	if n := tally.Census[Holder{Key: "a"}]; n != -1 {
		t.Errorf("the census has %d keys, want -1", n)
	}
}
