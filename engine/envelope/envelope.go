// Package envelope is the vocabulary of formats: how items carry their wrapped
// keys. Each format is a package of its own below this one.
//
// A format is a pure function: from a view of an item to the wrapped keys in
// it, and from new wrapped keys to the edit that puts them there. It does no
// I/O, imports no SDK and remembers nothing between items. Every format passes
// the suite in engine/envelope/formattest, which is this page written as tests.
// Rewrappers (engine/keys) make the new wrapped keys; sources make the edits.
package envelope

import (
	"errors"
	"fmt"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope/b64"
	"rewrap/sources"
)

// Format is one way in which items carry wrapped keys. Safe for concurrent use.
type Format interface {
	Name() string

	// Head is how many bytes of a body Parse mostly needs, so that most items
	// are read once. 0: the metadata are enough.
	Head() int64

	// Parse finds the wrapped keys of an item. It returns [ErrForeign] if the
	// item is not of this format, a *[sources.ShortError] if it needs more of
	// the body, and a *[sources.SkipError] if the item is of this format but in
	// a form that cannot be re-wrapped. With any other error the item claims
	// the format and is broken. Parse never panics. Neither the envelope nor
	// an error keeps memory of v.
	Parse(v sources.View) (Envelope, error)
}

// Envelope is the answer of Parse: the wrapped keys of one item, and the way to
// replace them. Callers must not change it.
type Envelope struct {
	Format string       // the format's name with its variant: "s3ec-v2"
	Keys   []WrappedKey // in the item's own order, never empty

	// Fields are the places that the format was told to look at, as given, and
	// that are in the item. nil: it was told of none.
	Fields []string

	// Style is the base64 style that the wrapped keys of the item show together.
	// Zero: they show none, or the format leaves no choice.
	Style b64.Style

	// Replace makes the edit that puts new blobs in the place of the old. blobs
	// has an entry for each of Keys; nil, and the old blob itself, leave that
	// key as it is. Nothing but the blobs changes. Replace depends on nothing
	// but its argument and the item, and may be called at any time, from many
	// goroutines. The edit keeps no memory of blobs.
	Replace func(blobs [][]byte) (sources.Edit, error)
}

// WrappedKey is a data key, or another small secret, encrypted under a KMS key
// or a key-encryption key.
type WrappedKey struct {
	// Locator is where in the item the key stands, for the audit log: the name
	// of a metadata entry, or a JSON Pointer. It is unique in the item.
	Locator string
	Blob    []byte
	// KeyID is the key that the item itself records as the one that wrapped
	// the blob: id, ARN or alias. "" where the format records none. It is a
	// claim: the blob may be under another key by now.
	KeyID string
	// Context binds the blob (KMS: the encryption context). The new blob is
	// bound to exactly the same.
	Context map[string]string
	// AssociatedData binds a blob that a keyring wrapped, in the same way.
	AssociatedData []byte

	// Err says that no wrapped key stands at the place, or that its binding is
	// not known. The key fails without a call; the item's other keys are still
	// moved.
	Err error
	// Hint is added to the key service's refusal of the blob; mostly "".
	Hint string

	// Assumes says how much has to be assumed about the way base64 is written
	// here, to write a new blob: the alphabet, the padding, both (2) or neither
	// (0). nil: neither, whatever the blob. A keyring makes new blobs until one
	// assumes as little as can be. A key service's answer is taken as it is. No
	// blob of n bytes assumes less than n zero bytes.
	Assumes func(blob []byte) int
}

// Rewrapped is the answer of a rewrapper about one wrapped key.
type Rewrapped struct {
	Blob     []byte // the same data key wrapped under To; nil if Current
	From, To account.KeyVersion
	// Current says that the key is on target as it is: nothing has to change.
	Current bool
	// Newer says that To is newer key material than the target: the key was
	// rotated while the run went on.
	Newer bool
	// Deduplicated says that the answer was known from an equal wrapped key,
	// and cost no call.
	Deduplicated bool
	RequestID    string // the key service's id of the call

	// Calls and Misses are as in [account.KeyEvent]. Like From, they count
	// beside an error too.
	Calls, Misses int
}

// ErrForeign says: not mine. From a format: the item is not of this format.
// From a rewrapper: the blob is under none of the source keys.
var ErrForeign = errors.New("not under any of the source keys")

// CheckBlobs is for implementations of Replace. It is an error unless there is
// one blob for each key, none of them is empty, and the keys that get one are
// sound.
func CheckBlobs(keys []WrappedKey, blobs [][]byte) error {
	if len(blobs) != len(keys) {
		return fmt.Errorf("%d new wrapped keys for the item's %d", len(blobs), len(keys))
	}
	for i, b := range blobs {
		switch {
		case b == nil:
		case keys[i].Err != nil:
			return fmt.Errorf("%s: a new wrapped key for one that is broken: %w", keys[i].Locator, keys[i].Err)
		case len(b) == 0:
			return fmt.Errorf("%s: the new wrapped key is empty", keys[i].Locator)
		}
	}
	return nil
}
