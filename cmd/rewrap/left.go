package main

import (
	"cmp"
	"maps"
	"slices"

	"rewrap/checkpoint/account"
	"rewrap/engine"
)

// left remembers why items were left under an old or an unknown key, for the
// last lines of a command: of each reason how often, and one item.
type left map[string]*leftFor

type leftFor struct {
	reason string
	items  int64
	unseen bool // one of them was not looked into
	id     string
	err    error
}

// shownReasons is for how many reasons there is a line.
const shownReasons = 3

func (l left) observe(ev engine.Event) {
	switch {
	case ev.Outcome != account.Failed && ev.Outcome != account.Skipped, ev.Nothing, ev.Reason == engine.ReasonOldKey:
		return
	case l[ev.Reason] == nil:
		l[ev.Reason] = &leftFor{reason: ev.Reason, id: ev.Ref.ID, err: ev.Err}
	}
	l[ev.Reason].items++
	l[ev.Reason].unseen = l[ev.Reason].unseen || len(ev.Keys) == 0
}

// unseen says whether an item was left before its wrapped keys were seen.
func (l left) unseen() bool {
	for _, r := range l {
		if r.unseen {
			return true
		}
	}
	return false
}

func (l left) say(say func(format string, args ...any)) {
	for i, r := range slices.SortedFunc(maps.Values(l), func(a, b *leftFor) int {
		return cmp.Or(cmp.Compare(b.items, a.items), cmp.Compare(a.reason, b.reason))
	}) {
		if i == shownReasons {
			say("left for %s more", many(int64(len(l)-i), "reason"))
			return
		}
		say("left: %s for the reason %q, for example %s: %v", items(r.items), r.reason, r.id, r.err)
	}
}
