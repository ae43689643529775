// Package envelope knows how items carry their wrapped keys.
//
// A format is a pure function: from a view of an item to the wrapped keys in
// it, and from new wrapped keys back to the edit that puts them there. No I/O,
// no context, no SDK: so formats are tested with golden vectors written by
// real clients, and fuzzed. What a wrapped key is turned into is the business
// of a rewrapper (engine/keys); how an edit is made is the source's.
package envelope

import (
	"errors"
	"fmt"

	"rewrap/checkpoint/account"
	"rewrap/sources"
)

// WrappedKey is a data key, or any small secret, encrypted under a KMS key or
// a key-encryption key.
type WrappedKey struct {
	// Locator says where in the item it stands, for the audit log: the
	// metadata name, a JSON Pointer.
	Locator string
	Blob    []byte
	// KeyID is the key that the item itself records as the one that wrapped
	// the blob: id, ARN or alias. "" where the format records none. It is a
	// claim: the blob may meanwhile be under another key.
	KeyID string
	// Context binds the blob (KMS: the encryption context). The new blob is
	// bound to exactly the same.
	Context map[string]string
	// AssociatedData binds a blob that is wrapped by a keyring, likewise.
	AssociatedData []byte

	// Err says that what stands there is no wrapped key, or that what binds it
	// is not known. It fails as if the key service had said so, which is not
	// asked; the item's other keys are none the worse for it.
	Err error
	// Hint is what to say beside the key service's refusal of the blob; mostly
	// "".
	Hint string
}

// Rewrapped is the answer of a rewrapper about one wrapped key.
type Rewrapped struct {
	// Blob is the same data key wrapped under To. nil if Current.
	Blob     []byte
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
}

// Format is one way in which items carry wrapped keys. Safe for concurrent
// use. It remembers nothing of the items but how their wrapped keys are
// written, where the next one does not show it ([Base64Shown]), and which of
// the places that it was told to look at there were ([Unmet]).
type Format interface {
	Name() string

	// Head is how much of a body Parse mostly wants to see, so that an item is
	// read once and not twice; 0: its metadata tell.
	Head() int64

	// Parse finds the wrapped keys of an item. It returns ErrForeign where
	// the item is not of this format, a *sources.ShortError where it has to see more
	// of the body, a *sources.SkipError where the item is of this format but in a
	// form that cannot be re-wrapped, and any other error where the item
	// claims the format and is broken. Parse never panics and never keeps v.
	Parse(v sources.View) (Envelope, error)
}

// Unmet are the places that f was told to look at and that were in none of the
// items that it has parsed.
func Unmet(f Format) []string {
	if u, ok := f.(interface{ Unmet() []string }); ok {
		return u.Unmet()
	}
	return nil
}

// Envelope is a parsed item.
type Envelope interface {
	// Format is the format's name, with its variant: "s3ec-v2".
	Format() string
	// Keys are the wrapped keys, in the item's own order. Never empty.
	Keys() []WrappedKey
	// Replace makes the edit that puts the new blobs in the place of the old.
	// new has an entry for each of Keys; nil leaves that key as it is.
	// Nothing but the blobs changes. A *LeftError comes with the edit of the
	// keys that it does not name.
	Replace(new []*Rewrapped) (sources.Edit, error)
}

// LeftError says which keys [Envelope.Replace] leaves as they are, since their
// new blobs cannot be written.
type LeftError struct {
	Keys []LeftKey // ascending
	// Soon says that what is not known yet other items may still show.
	Soon bool
}

// LeftKey is a key that is left, and why.
type LeftKey struct {
	Index int // in Keys
	Err   error
	// Fits says whether another new blob could be written; nil: none could.
	Fits func(blob []byte) bool
}

func (e *LeftError) Error() string {
	return fmt.Sprintf("%d new wrapped keys cannot be written, the first because: %v", len(e.Keys), e.Keys[0].Err)
}

// ErrForeign says: not mine. From a format: the item is not of this format.
// From a rewrapper: the blob is under none of the source keys.
var ErrForeign = errors.New("not under any of the source keys")

// Auto is the format that tries others: an item is of the one format that
// claims it. An item that none claims is foreign; one that several claim is
// broken rather than guessed at.
func Auto(formats ...Format) Format { return auto(formats) }

type auto []Format

func (a auto) Name() string { return "auto" }

func (a auto) Head() int64 {
	var most int64
	for _, f := range a {
		most = max(most, f.Head())
	}
	return most
}

func (a auto) Parse(v sources.View) (Envelope, error) {
	var (
		found   Envelope
		name    string
		short   *sources.ShortError
		foreign = ErrForeign // or what a format says beyond
	)
	for _, f := range a {
		e, err := f.Parse(v)
		var s *sources.ShortError
		switch {
		case errors.Is(err, ErrForeign):
			if foreign == ErrForeign {
				foreign = err
			}
			continue
		case errors.As(err, &s):
			if short == nil || s.Need > short.Need {
				short = s
			}
			continue
		case err != nil:
			return nil, err
		case found != nil:
			return nil, fmt.Errorf("claimed by two formats, %s and %s; name one with --format", name, f.Name())
		}
		found, name = e, f.Name()
	}
	switch {
	case short != nil:
		return nil, short
	case found == nil:
		return nil, foreign
	}
	return found, nil
}
