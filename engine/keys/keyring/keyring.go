// Package keyring re-wraps data keys locally, with the keys of a Tink keyset
// whose primary key is the latest version. No key service is called for a
// wrapped key; one is called once to open a keyring file that is encrypted.
//
// It reads and writes the format of Tink's AEAD primitive: an output prefix of
// five bytes, 01 and the key's id as a big-endian number (Tink "Wire format",
// Tink output prefix), or no prefix at all (RAW), and then the ciphertext of the
// key's own type. So a blob names the version that wrapped it, and a data key
// under the primary key is known as current without any cryptography. Blobs
// without a prefix name no version: their key is found by trying.
//
// AES-GCM has a way of its own here that allocates nothing; every other AEAD
// key type goes through tink-go.
//
// Raw data keys exist for the time of one call, in buffers that are zeroed
// before they are used again. The keys of the keyring live as long as the
// [Keyring]. Copies that the Go runtime, the JSON decoder and tink-go made on
// the way are out of reach.
//
// AES-GCM takes random nonces, so one key must not wrap more than 2^32 data
// keys (NIST SP 800-38D, 8.3); beyond that, rotate the keyring between runs.
package keyring

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/sources"
)

// What can be wrong with one wrapped key. The errors of [Keyring.Rewrap] wrap
// one of these, or envelope.ErrForeign where the blob names a key that the
// keyring does not hold.
var (
	// ErrOpen: the key that wrapped the blob is known, or might be one of the
	// keys without prefix, and does not open it. An AEAD cannot say why.
	ErrOpen = errors.New("does not open: damaged, or bound to other associated data")
	// ErrDisabled: the key that wrapped the blob is disabled in the keyring.
	ErrDisabled = errors.New("the key is disabled")
	// ErrDestroyed: the key that wrapped the blob is marked as destroyed.
	ErrDestroyed = errors.New("the key is destroyed")
	// ErrContext: the wrapped key has an encryption context. That is KMS's; a
	// keyring binds by associated data.
	ErrContext = errors.New("a keyring binds by associated data, not by an encryption context")
)

// Keyring is an opened keyring. Made by [Open]; it does not follow changes of
// its file. Safe for concurrent use.
type Keyring struct {
	name        string
	primary     *key
	prefixed    []*key
	raw         []*key // enabled keys without prefix, the primary first, then in the keyring's order
	closed      *key   // a key without prefix that is not enabled: no blob shows that it is under it
	openCurrent bool
	buffers     sync.Pool // of *buffers

	mu        sync.Mutex
	strangers map[prefix]account.KeyVersion // named by blobs, and not in the keyring
}

// maxStrangers bounds how many keys outside of the keyring are counted apart:
// random bytes name as many keys as there are items.
const maxStrangers = 64

// stranger returns the version of a key that the keyring does not hold; the zero
// version once there are too many of them.
func (r *Keyring) stranger(p prefix) account.KeyVersion {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.strangers[p]
	if !ok && len(r.strangers) < maxStrangers {
		v = version(r.name, p.id())
		r.strangers[p] = v
	}
	return v
}

// prefix is the beginning of a Tink ciphertext: a byte for the kind of prefix,
// and the id of the key.
type prefix [5]byte

const (
	tinkStart   = 1 // OutputPrefixType TINK
	legacyStart = 0 // OutputPrefixType CRUNCHY, LEGACY
)

func (p prefix) id() uint32 { return binary.BigEndian.Uint32(p[1:]) }

// prefixOf returns the prefix of a blob; false if the blob cannot begin with one.
func prefixOf(blob []byte) (p prefix, ok bool) {
	if len(blob) < len(p) || blob[0] > tinkStart {
		return p, false
	}
	return prefix(blob), true
}

// buffers hold a data key while it is moved.
type buffers struct {
	plain, again []byte
	free         []byte // memory for new blobs; it lives as long as one of them does
}

// keep is the most that a buffer may hold when it waits to be used again. Data
// keys have 16 to 64 bytes; small secrets up to 4 KiB, as with KMS.
const keep = 16 << 10

func (r *Keyring) take() *buffers {
	if b, ok := r.buffers.Get().(*buffers); ok {
		return b
	}
	return new(buffers)
}

// give zeroes the buffers to their full capacity: an open that failed may have
// left something behind the length.
func (r *Keyring) give(b *buffers) {
	clear(b.plain[:cap(b.plain)])
	clear(b.again[:cap(b.again)])
	if cap(b.plain) <= keep && cap(b.again) <= keep {
		r.buffers.Put(b)
	}
}

// slab is how much memory for new blobs is taken at once.
const slab = 32 << 10

// room returns an empty slice that alone owns its capacity of n bytes.
func (b *buffers) room(n int) []byte {
	if n > slab/8 {
		return make([]byte, 0, n)
	}
	if len(b.free) < n {
		b.free = make([]byte, slab)
	}
	room := b.free[:0:n]
	b.free = b.free[n:]
	return room
}

// Target is the version that all wrapped keys are moved to: the primary key. ARN
// is the keyring's name, Material the key's id as a decimal number.
func (r *Keyring) Target() account.KeyVersion { return r.primary.version }

// Targets is Target as the checkpoint keeps it, by ARN.
func (r *Keyring) Targets() map[string]string {
	return map[string]string{r.primary.version.ARN: r.primary.version.Material}
}

// Traits implements [keys.Rewrapper].
func (r *Keyring) Traits() keys.Traits { return keys.Traits{How: account.HowKeyring} }

// Rewrap moves one wrapped key onto the primary key. With AES-GCM it allocates
// nothing in the long run: new blobs are cut from slabs.
//
// A [sources.RunError] says that a new wrap did not open to the same data key,
// which no item can cause; every other error concerns this wrapped key alone.
// From is set beside it if the blob names a key. Safe for concurrent use.
func (r *Keyring) Rewrap(ctx context.Context, w envelope.WrappedKey) (envelope.Rewrapped, error) {
	if ctx.Err() != nil {
		return envelope.Rewrapped{}, context.Cause(ctx)
	}
	if len(w.Context) > 0 {
		return envelope.Rewrapped{}, fmt.Errorf("%w; give what binds it as associated data", ErrContext)
	}
	p, ok := prefixOf(w.Blob)
	var named *key // of this keyring
	if ok {
		named = r.named(p)
	}
	blob, from, err := r.rewrap(named, w)
	switch {
	case err != nil && named != nil:
		return envelope.Rewrapped{From: named.version}, err
	case err != nil:
		return envelope.Rewrapped{}, err
	case from == nil:
		return r.nobody(p, ok)
	}
	return envelope.Rewrapped{Blob: blob, From: from.version, To: r.primary.version, Current: from == r.primary}, nil
}

// rewrap opens the blob, seals the data key anew, and opens the new blob as a
// proof before it is handed out. The proof adds a bit more than a third to the
// time of the first two.
//
// It returns the key that the blob is under. If that is nil without an error,
// the blob names no key of the keyring, and no key without prefix opens it.
func (r *Keyring) rewrap(named *key, w envelope.WrappedKey) ([]byte, *key, error) {
	// A blob of a key without prefix may begin with the primary key's prefix by
	// chance. If there are such keys, the blob has to be opened.
	if named == r.primary && named != nil && len(r.raw) == 0 && !r.openCurrent {
		if len(w.Blob) < named.least {
			return nil, nil, r.unopened(named)
		}
		return nil, named, nil
	}

	b := r.take()
	defer r.give(b)
	from, err := r.open(b, named, w.Blob, w.AssociatedData)
	if err != nil || from == nil || from == r.primary {
		return nil, from, err
	}

	out, err := r.seal(b, w)
	if err != nil {
		return nil, nil, &sources.RunError{Err: fmt.Errorf("key %d of %s does not wrap: %w", r.primary.id, r.name, err)}
	}
	b.again, err = r.primary.open(b.again, out, w.AssociatedData)
	if err != nil || subtle.ConstantTimeCompare(b.plain, b.again) != 1 {
		clear(out)
		return nil, nil, &sources.RunError{
			Err:  fmt.Errorf("a data key that was wrapped under key %d of %s does not open to what it was; nothing was replaced", r.primary.id, r.name),
			Hint: "Suspect this machine's memory or processor; run the same command on another one.",
		}
	}
	return out, from, nil
}

// maxSeals bounds how often a data key is sealed until a blob assumes as little
// as can be. Of short blobs every tenth to hundredth does, and of longer ones
// fewer.
const maxSeals = 1000

// seal wraps the data key in b.plain under the primary key, in memory of its own.
// It seals again, with another nonce, until the blob assumes as little as can be
// (see [envelope.WrappedKey.Assumes]). If none did, it returns the last one, since
// the caller can write that one too.
func (r *Keyring) seal(b *buffers, w envelope.WrappedKey) ([]byte, error) {
	room := b.room(r.primary.least + len(b.plain))
	least, tries := 0, 1
	if w.Assumes != nil {
		least, tries = w.Assumes(r.primary.emptiest(room)), maxSeals
	}
	for {
		out, err := r.primary.seal(room, b.plain, w.AssociatedData)
		if tries--; err != nil || tries <= 0 || w.Assumes(out) <= least {
			return out, err
		}
		room = out[:0]
	}
}

// open finds the key that opens the blob, and leaves the data key in b.plain. If
// it returns nil without an error, the blob names no key of the keyring, and no
// key without prefix opens it.
func (r *Keyring) open(b *buffers, named *key, blob, ad []byte) (*key, error) {
	var err error
	if named != nil && named.usable() {
		if b.plain, err = named.open(b.plain, blob, ad); err == nil {
			return named, nil
		}
	}
	for _, k := range r.raw {
		if b.plain, err = k.open(b.plain, blob, ad); err == nil {
			return k, nil
		}
	}
	if named != nil {
		return nil, r.unopened(named)
	}
	return nil, nil
}

// named returns the key of the keyring that writes this prefix, or nil.
func (r *Keyring) named(p prefix) *key {
	for _, k := range r.prefixed { // few, and then faster than a map
		if prefix(k.prefix) == p {
			return k
		}
	}
	return nil
}

// nobody is the answer about a blob that names no key of the keyring and that no
// key opens. ok says that the blob begins with the prefix p.
func (r *Keyring) nobody(p prefix, ok bool) (envelope.Rewrapped, error) {
	known := "not a Tink ciphertext with a key id"
	if ok {
		known = fmt.Sprintf("%s has no key %d", r.name, p.id())
	}
	switch {
	case r.closed != nil:
		return envelope.Rewrapped{}, fmt.Errorf("%s, so it may be under a key without prefix: %w", known, r.unopened(r.closed))
	case len(r.raw) > 0:
		return envelope.Rewrapped{}, fmt.Errorf("%s, and no key without prefix opens it: %w", known, ErrOpen)
	case ok:
		return envelope.Rewrapped{From: r.stranger(p)}, fmt.Errorf("%s: %w", known, envelope.ErrForeign)
	}
	return envelope.Rewrapped{}, fmt.Errorf("%s: %w", known, envelope.ErrForeign)
}

// unopened is the error for a blob that names a key and that the key does not
// open.
func (r *Keyring) unopened(k *key) error {
	why := ErrOpen
	switch k.status {
	case statusDisabled:
		why = fmt.Errorf("%w: enable it to move the wrapped keys under it", ErrDisabled)
	case statusDestroyed:
		why = fmt.Errorf("%w: the wrapped keys under it are lost unless another copy of the keyring holds it", ErrDestroyed)
	}
	return fmt.Errorf("key %d of %s: %w", k.id, r.name, why)
}
