package engine

import (
	"slices"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/sources"
)

// landed recognises our own edits that nobody was told of: the answer was lost,
// or the process was killed before it came. The keys of such an edit are on
// target now, and it was this job that moved them, so they count as rewrapped.
func (r *reading) landed(v sources.View) error {
	for i := range r.ev.Keys {
		if r.ev.Keys[i].Outcome == account.Current {
			return r.recognise(v)
		}
	}
	return nil // no key is as an edit of ours left it, so no entry has to be read
}

func (r *reading) recognise(v sources.View) error {
	var at map[string]int // the keys by their locators
	for e, err := range r.mayHaveLanded {
		if err != nil {
			return err
		}
		if !r.mover.Landed(v, e) {
			continue
		}
		if at == nil {
			at = make(map[string]int, len(r.ev.Keys))
			for i := range r.ev.Keys {
				at[r.ev.Keys[i].Locator] = i
			}
		}
		for _, c := range e.Keys {
			i, ok := at[c.Locator]
			if !ok || r.ev.Keys[i].Outcome != account.Current {
				continue // a newer edit of ours has the same answer
			}
			k := &r.ev.Keys[i]
			k.Outcome = account.Rewrapped
			k.From = account.KeyVersion{ARN: c.KeyFrom, Material: c.MaterialFrom}
			r.recovered = append(r.recovered, i)
			r.ev.Changes = append(r.ev.Changes, c)
		}
		r.ev.RevBefore, r.ev.RevAfter = e.Rev, v.Rev
		r.ev.Recovered = true
		r.intent = -1
	}
	return nil
}

// mayHaveLanded yields the edits that may be in the item, newest first.
func (e *errand) mayHaveLanded(yield func(checkpoint.Entry, error) bool) {
	for _, entry := range slices.Backward(e.tried) {
		if !yield(entry, nil) {
			return
		}
	}
	if e.earlier != nil {
		e.earlier(yield)
	}
}
