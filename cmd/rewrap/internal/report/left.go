package report

import (
	"cmp"
	"maps"
	"slices"

	"rewrap/checkpoint/account"
	"rewrap/engine"
)

// Left remembers why items were left under an old or an unknown key, for the
// last lines of a command: of each reason how often, and one item.
type Left map[string]*leftFor

type leftFor struct {
	reason string
	items  int64
	unseen bool // one of them was not looked into
	id     string
	err    error
}

// shownReasons is how many reasons have a line of their own.
const shownReasons = 3

// Observe takes in how an item ended.
func (l Left) Observe(ev engine.Event) {
	switch {
	case ev.Outcome != account.Failed && ev.Outcome != account.Skipped, ev.Nothing, ev.Reason == engine.ReasonOldKey:
		return
	case l[ev.Reason] == nil:
		l[ev.Reason] = &leftFor{reason: ev.Reason, id: ev.Ref.ID, err: ev.Err}
	}
	l[ev.Reason].items++
	l[ev.Reason].unseen = l[ev.Reason].unseen || len(ev.Keys) == 0
}

// Unseen says whether an item was left before its wrapped keys were seen.
func (l Left) Unseen() bool {
	for _, r := range l {
		if r.unseen {
			return true
		}
	}
	return false
}

// Say prints a line for each of the reasons that came most often.
func (l Left) Say(say func(format string, args ...any)) {
	for i, r := range slices.SortedFunc(maps.Values(l), func(a, b *leftFor) int {
		return cmp.Or(cmp.Compare(b.items, a.items), cmp.Compare(a.reason, b.reason))
	}) {
		if i == shownReasons {
			say("left for %s more", Many(int64(len(l)-i), "reason"))
			return
		}
		say("left: %s for the reason %q, for example %s: %v", Items(r.items), r.reason, r.id, r.err)
	}
}
