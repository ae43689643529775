package account

import (
	"encoding/json"
	"maps"
)

// Tally counts how the items and keys of a pass ended, over all its sessions.
// Its JSON is that of the summary of a run.
type Tally struct {
	Items           Items   `json:"items"`
	SkippedByReason Reasons `json:"skipped_by_reason"`
	Unconditional   int64   `json:"unconditional"` // items changed by a write that the store could not make conditional
	// Left counts the items that are still under an old or an unknown key:
	// they failed, or were skipped. Each is listed among the owed.
	Left   int64     `json:"left"`
	Keys   KeyCounts `json:"keys"`
	Census Census    `json:"census"`
	Newer  int64     `json:"newer"` // keys that ended on newer key material than the target
	// Assumed counts the new keys whose base64 alphabet or padding was assumed.
	Assumed int64 `json:"base64_assumed"`
}

// Add counts what other counted too. Tallies of disjoint sets of items add up
// to the tally of all of them.
func (t *Tally) Add(other Tally) {
	t.Items.add(other.Items)
	for reason, n := range other.SkippedByReason {
		t.SkippedByReason.add(reason, n)
	}
	t.Unconditional += other.Unconditional
	t.Left += other.Left
	t.Keys.add(other.Keys, 1)
	t.Census.Add(other.Census)
	t.Newer += other.Newer
	t.Assumed += other.Assumed
}

// Clone is a deep copy.
func (t Tally) Clone() Tally {
	t.SkippedByReason = maps.Clone(t.SkippedByReason)
	t.Census = maps.Clone(t.Census)
	return t
}

// Items counts outcomes. Seen is the sum of all the others.
type Items struct {
	Seen      int64 `json:"seen"`
	Rewrapped int64 `json:"rewrapped"`
	Current   int64 `json:"current"`
	Foreign   int64 `json:"foreign"`
	Skipped   int64 `json:"skipped"`
	Gone      int64 `json:"gone"`
	Failed    int64 `json:"failed"`
}

// Count adds n items that ended with the outcome of that name (see
// [Outcome.String]). n may be negative.
func (i *Items) Count(outcome string, n int64) {
	i.Seen += n
	switch outcome {
	case "rewrapped":
		i.Rewrapped += n
	case "current":
		i.Current += n
	case "foreign":
		i.Foreign += n
	case "skipped":
		i.Skipped += n
	case "gone":
		i.Gone += n
	default:
		i.Failed += n
	}
}

func (i *Items) add(o Items) {
	i.Seen += o.Seen
	i.Rewrapped += o.Rewrapped
	i.Current += o.Current
	i.Foreign += o.Foreign
	i.Skipped += o.Skipped
	i.Gone += o.Gone
	i.Failed += o.Failed
}

// KeyCounts counts wrapped keys. Deduplicated of them cost no call of the key
// service.
type KeyCounts struct {
	Rewrapped    int64 `json:"rewrapped"`
	Current      int64 `json:"current"`
	Deduplicated int64 `json:"deduplicated"`
}

func (k *KeyCounts) add(o KeyCounts, times int64) {
	k.Rewrapped += times * o.Rewrapped
	k.Current += times * o.Current
	k.Deduplicated += times * o.Deduplicated
}

// Reasons counts items by reason. In JSON it is an object, also when nil.
type Reasons map[string]int64

func (r *Reasons) add(reason string, n int64) {
	if *r == nil {
		*r = make(Reasons)
	}
	if (*r)[reason] += n; (*r)[reason] == 0 {
		delete(*r, reason)
	}
}

// MarshalJSON implements [json.Marshaler].
func (r Reasons) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]int64(r))
}

// Item is how one item ended, as far as the sums want to know.
type Item struct {
	Outcome       Outcome
	Reason        string // failed, skipped: one stable word
	Owed          bool   // still under an old or an unknown key
	Unconditional bool   // written without a condition on the revision
	Keys          []KeyEvent
}

// Counted is what the sums hold of an item that is owed. It is taken back when
// the item is tried again and counted anew.
type Counted struct {
	Outcome string
	Reason  string
	Under   Census // the rows that its keys have in the census
	// Keys leaves out the rewrapped: a key that was moved stays counted, as its
	// line in the audit log stays.
	Keys KeyCounts
}

// Count adds one item.
func (t *Tally) Count(it Item) {
	t.Items.Count(it.Outcome.String(), 1)
	if it.Outcome == Skipped {
		t.SkippedByReason.add(it.Reason, 1)
	}
	if it.Unconditional {
		t.Unconditional++
	}
	if it.Owed {
		t.Left++
	}
	if t.Census == nil && len(it.Keys) > 0 {
		t.Census = make(Census)
	}
	for i := range it.Keys {
		k := &it.Keys[i]
		t.Census[k.row()]++
		t.Keys.add(k.counts(), 1)
		if k.Outcome != Rewrapped {
			continue
		}
		t.Keys.Rewrapped++
		if k.Newer {
			t.Newer++
		}
		if k.Assumed {
			t.Assumed++
		}
	}
}

// row is the key's row in the census: where it is now.
func (k *KeyEvent) row() Holder {
	h := k.Under()
	if k.Outcome == Rewrapped {
		h.Key, h.Material = k.To.ARN, k.To.Material
	}
	return h
}

// counts is what is counted of the key each time that its item is tried.
func (k *KeyEvent) counts() (n KeyCounts) {
	if k.Outcome == Current {
		n.Current = 1
	}
	if k.Deduplicated {
		n.Deduplicated = 1
	}
	return n
}

// Counted is what [Tally.Count] counted of the item that [Tally.Retract] takes
// back.
func (it Item) Counted() Counted {
	c := Counted{Outcome: it.Outcome.String(), Reason: it.Reason}
	for i := range it.Keys {
		if c.Under == nil {
			c.Under = make(Census)
		}
		c.Under[it.Keys[i].row()]++
		c.Keys.add(it.Keys[i].counts(), 1)
	}
	return c
}

// Retract takes an owed item out of the sums, because it is counted anew.
func (t *Tally) Retract(c Counted) {
	t.Items.Count(c.Outcome, -1)
	t.Left--
	if c.Outcome == Skipped.String() {
		t.SkippedByReason.add(c.Reason, -1)
	}
	t.Keys.add(c.Keys, -1)
	t.Census.add(c.Under, -1)
}
