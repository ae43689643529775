// Package keys is the joint between wrapped keys and what moves them from one
// key version to another. The rooms below it, and they alone, may ever hold a
// raw data key: [rewrap/engine/keys/kms] holds none unless the job asks for
// proof by opening, and [rewrap/engine/keys/keyring] holds one for the time of a
// call.
package keys

import (
	"context"

	"rewrap/engine/envelope"
)

// Rewrapper turns an old wrapped key into a new one.
type Rewrapper interface {
	// Rewrap returns the same data key wrapped under the target, or says that
	// it is there already (Current, and then there is no Blob). It changes
	// nothing anywhere, not even the wrapped key that it was given, and the
	// answer is the caller's to keep and to change. Equal wrapped keys get
	// answers that are alike, though not always the same blob. It may be
	// called from many goroutines at once.
	//
	// Errors: [envelope.ErrForeign] where the wrapped key is under none of the
	// source keys; *[sources.RunError] for a cause that other wrapped keys
	// would meet as well; the cause of the context's end; any other error
	// concerns this wrapped key alone. From, Calls and Misses may be set beside
	// an error, as far as they are known.
	//
	// A rewrapper that is no service makes new blobs until one assumes as little
	// as can be, see [envelope.WrappedKey.Assumes]; one that is a service makes one
	// blob, and does not ask.
	Rewrap(ctx context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error)
	Traits() Traits
}

// Traits are what the caller of a rewrapper has to know about its kind.
type Traits struct {
	How     string // [account.HowKMS], [account.HowKeyring]: how it knows what a wrapped key is under
	Service bool   // every call goes to a service: the calls for one item are made side by side
	Opens   int    // calls that open a wrapped key, with which a run checks each key that it moves and a look does not; 2 with --verify=open, else 0
}
