package engine

import (
	"rewrap/checkpoint"
)

// HowUnknown, in a census: nobody found out what a wrapped key is under, whatever
// it says of itself.
const HowUnknown = "unknown"

// Under is where a census puts the key as it was found; how is how the rewrapper
// knows.
func (k *KeyEvent) Under(how string) checkpoint.Holder {
	if k.Outcome != Rewrapped && k.Outcome != Current && k.Outcome != Skipped {
		how = HowUnknown
	}
	return checkpoint.Holder{Key: k.From.ARN, Material: k.From.Material, How: how}
}

// add counts an item; how is how the rewrapper knows what keys are under. It
// returns where the census put its keys, and what it counted of them that is
// taken back if the item is tried again; a key that was rewrapped stays counted,
// as its line in the audit log stays.
func add(t *checkpoint.Tally, ev *Event, how string) (under checkpoint.Census, again checkpoint.KeyCounts) {
	t.Items.Seen++
	*field(&t.Items, ev.Outcome.String()) += 1
	if ev.Outcome == Skipped {
		if t.SkippedByReason == nil {
			t.SkippedByReason = make(map[string]int64)
		}
		t.SkippedByReason[ev.Reason]++
	}
	if ev.Unconditional {
		t.Unconditional++
	}
	if ev.owed() {
		t.Left++
	}
	for _, k := range ev.Keys {
		h := k.Under(how)
		switch k.Outcome {
		case Rewrapped:
			t.Keys.Rewrapped++
			h.Key, h.Material = k.To.ARN, k.To.Material
			if k.Newer {
				t.Newer++
			}
		case Current:
			again.Current++
		}
		if k.Deduplicated {
			again.Deduplicated++
		}
		if under == nil {
			under = make(checkpoint.Census)
		}
		under[h]++
	}
	if t.Census == nil {
		t.Census = make(checkpoint.Census)
	}
	for h, n := range under {
		t.Census[h] += n
	}
	t.Keys.Current += again.Current
	t.Keys.Deduplicated += again.Deduplicated
	return under, again
}

// retract takes back what was counted when the item was owed, because it is
// counted anew.
func retract(t *checkpoint.Tally, o *checkpoint.Owed) {
	t.Items.Seen--
	t.Left--
	*field(&t.Items, o.Outcome) -= 1
	if o.Outcome == Skipped.String() {
		if t.SkippedByReason[o.Reason]--; t.SkippedByReason[o.Reason] == 0 {
			delete(t.SkippedByReason, o.Reason)
		}
	}
	t.Keys.Current -= o.Keys.Current
	t.Keys.Deduplicated -= o.Keys.Deduplicated
	for h, n := range o.Under {
		if t.Census[h] -= n; t.Census[h] == 0 {
			delete(t.Census, h)
		}
	}
}

func field(i *checkpoint.Items, outcome string) *int64 {
	switch outcome {
	case "rewrapped":
		return &i.Rewrapped
	case "current":
		return &i.Current
	case "foreign":
		return &i.Foreign
	case "skipped":
		return &i.Skipped
	case "gone":
		return &i.Gone
	}
	return &i.Failed
}
