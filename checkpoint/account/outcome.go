// Package account is the vocabulary of the sums: how items and wrapped keys
// end, and the tallies, censuses and key changes that are made of that. The
// sums of parts add up, so the parts of a job can be counted apart and merged.
//
// The package only counts. It reads nothing, writes nothing and imports
// nothing of the house, so every room may speak its words.
package account

// Outcome is how an item, or one wrapped key in it, ended.
type Outcome int

// The outcomes. An item takes the first of its keys' outcomes in this order.
const (
	Unsettled Outcome = iota // the run stopped first; the item is done again
	Failed
	Rewrapped
	Current // was on target already
	Foreign // under none of the source keys
	Skipped // recognised, and left as it is for a reason
	Gone    // deleted since it was listed
)

// String is the outcome's name in summaries, events and state files.
func (o Outcome) String() string {
	switch o {
	case Failed:
		return "failed"
	case Rewrapped:
		return "rewrapped"
	case Current:
		return "current"
	case Foreign:
		return "foreign"
	case Skipped:
		return "skipped"
	case Gone:
		return "gone"
	}
	return "unsettled"
}

// KeyEvent is how one wrapped key ended.
type KeyEvent struct {
	Locator  string // where in the item the key stands
	Outcome  Outcome
	From, To KeyVersion // To is set where the key moved, or would move
	How      string     // how From is known, see [Holder]

	Newer        bool // To is newer key material than the target
	Deduplicated bool // the answer was known from an equal wrapped key and cost no call
	Assumed      bool // the new key's base64 alphabet or padding was assumed: neither the old key nor its neighbours show it

	// Calls is how many calls of the key service the answer took. Misses of
	// them only found a key that the wrapped key is not under.
	Calls, Misses int
}

// Under is the row of the census for the key as it was found.
func (k *KeyEvent) Under() Holder {
	h := Holder{Key: k.From.ARN, Material: k.From.Material, How: k.How}
	switch k.Outcome {
	case Rewrapped, Current, Skipped:
	default:
		h.How = HowUnknown
	}
	return h
}
