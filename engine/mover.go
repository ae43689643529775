package engine

import (
	"context"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/sources"
)

// Mover decides, from a view of an item, which of its keys have to move and
// which edit moves them. Payload, store and undo are movers. All methods may be
// called from many goroutines at once.
type Mover interface {
	// Want is how much of an item is read at first.
	Want() sources.Want

	// Move finds and decides everything about the item at once. It changes
	// nothing anywhere, keeps nothing of v, and takes room before it holds
	// much.
	//
	// Errors: *sources.ShortError where it has to see more of the body,
	// *sources.SkipError where the item is left as it is, *sources.RunError
	// where the run itself is in doubt, and the context's. After any other
	// error the item counts as broken. The keys that were found come with
	// every error: a key whose outcome is Unsettled may be under any key.
	Move(ctx context.Context, v sources.View, room *Room) (Move, error)

	// Landed says whether an earlier edit is in the item as it was read: every
	// key that the entry names is there as the edit left it.
	Landed(v sources.View, e checkpoint.Entry) bool
}

// Move is all that a mover found in an item and decided about it.
type Move struct {
	Found

	// Changes are the keys that the edit moves, and Edit is the edit. Both are
	// empty where nothing has to change.
	Changes []account.KeyChange
	Edit    sources.Edit

	// Failure says that keys of the item failed. The edit moves the others;
	// the item counts as failed for the reason.
	Failure error
	Reason  string
}

// Found is what a mover found in an item.
type Found struct {
	Format string             // how the item carries its keys: "s3ec-v2"; "": no key was found
	Fields []string           // the places that the mover was told to look at, and that are in the item
	Keys   []account.KeyEvent // empty: the item is foreign
}

// outcome is the outcome of an item of which no key changed: the first of its
// keys' outcomes in the order of [account.Outcome].
func (f Found) outcome() account.Outcome {
	o := account.Foreign
	for i := range f.Keys {
		if k := f.Keys[i].Outcome; k != account.Unsettled && k < o {
			o = k
		}
	}
	return o
}

// Until says how far an item goes.
type Until int

const (
	Applied Until = iota // the edit is made: run
	Planned              // it is known how the edit would be made, and what that costs: plan
	Moved                // it is known what has to change: verify, inspect
)
