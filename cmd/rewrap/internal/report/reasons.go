package report

import (
	"cmp"
	"maps"
	"slices"

	"rewrap/checkpoint/account"
	"rewrap/engine"
)

// Reasons remembers why items failed or were skipped, for the last lines of a
// command: how often for each reason, and one item as an example. Items that are
// under no old key and no unknown one do not count. Neither do items that a
// command that only reads found under an old key.
type Reasons map[string]*reason

type reason struct {
	name   string
	items  int64
	unseen bool // one of the items failed before its wrapped keys were seen
	id     string
	err    error
}

// shownReasons is how many reasons have a line of their own.
const shownReasons = 3

// Observe takes in how an item ended.
func (r Reasons) Observe(ev engine.Event) {
	switch {
	case ev.Outcome != account.Failed && ev.Outcome != account.Skipped, ev.Nothing, ev.Reason == engine.ReasonOldKey:
		return
	case r[ev.Reason] == nil:
		r[ev.Reason] = &reason{name: ev.Reason, id: ev.Ref.ID, err: ev.Err}
	}
	r[ev.Reason].items++
	r[ev.Reason].unseen = r[ev.Reason].unseen || len(ev.Keys) == 0
}

// Unseen says whether an item failed or was skipped before its wrapped keys were
// seen.
func (r Reasons) Unseen() bool {
	for _, why := range r {
		if why.unseen {
			return true
		}
	}
	return false
}

// Say prints a line for each of the reasons that came most often.
func (r Reasons) Say(say func(format string, args ...any)) {
	for i, why := range slices.SortedFunc(maps.Values(r), func(a, b *reason) int {
		return cmp.Or(cmp.Compare(b.items, a.items), cmp.Compare(a.name, b.name))
	}) {
		if i == shownReasons {
			say("other items failed or were skipped for %s more", Many(int64(len(r)-i), "reason"))
			return
		}
		say("%s failed or skipped for the reason %q, for example %s: %v", Items(why.items), why.name, why.id, why.err)
	}
}
