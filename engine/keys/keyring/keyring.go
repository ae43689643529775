// Package keyring re-wraps data keys locally, with the keys of a Tink keyset
// whose primary key is the latest version. No key service is called for a
// wrapped key; one is called once to open a keyring file that is encrypted.
//
// What it writes is what Tink's AEAD primitive writes, and it reads what that
// writes: an output prefix of five bytes, 01 and the key's id as a big-endian
// number (Tink "Wire format", Tink output prefix), or no prefix at all (RAW),
// and then the ciphertext of the key's own type. So the version that wrapped a
// data key is read from the blob, and a data key under the primary key is known
// as current without any cryptography. Blobs without prefix tell nothing: their
// key is found by trying.
//
// AES-GCM has a way of its own here that allocates nothing; every other AEAD
// key type goes through tink-go.
//
// Raw data keys exist for the time of one call, in buffers that are zeroed
// before they are used again. The keys of the keyring live as long as the
// [Keyring] does. Copies that the Go runtime, the JSON decoder and tink-go made
// on the way are not in reach.
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

	"rewrap/engine/envelope"
	"rewrap/sources"
)

// What can be wrong with one wrapped key. The errors of [Keyring.Rewrap] and
// [Keyring.AppendRewrap] wrap one of these, or envelope.ErrForeign where the
// blob names a key that the keyring does not hold.
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
	prefixed    map[prefix]*key
	raw         []*key // enabled keys without prefix, the primary first, then in the keyring's order
	openCurrent bool
	buffers     sync.Pool // of *buffers
}

// prefix is what a Tink ciphertext begins with: a byte that says how, and the
// id of the key.
type prefix [5]byte

const (
	tinkStart   = 1 // OutputPrefixType TINK
	legacyStart = 0 // OutputPrefixType CRUNCHY, LEGACY
)

func (p prefix) id() uint32 { return binary.BigEndian.Uint32(p[1:]) }

// prefixOf is false where the blob cannot begin with a prefix.
func prefixOf(blob []byte) (p prefix, ok bool) {
	if len(blob) < len(p) || blob[0] > tinkStart {
		return p, false
	}
	return prefix(blob), true
}

// buffers hold a data key while it is moved.
type buffers struct{ plain, again []byte }

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

// Name is what the keyring calls itself in key versions: "keyring:NAME".
func (r *Keyring) Name() string { return r.name }

// Target is the version that everything is moved to: the primary key. ARN is
// the keyring's name, Material the key's id as a decimal number.
func (r *Keyring) Target() envelope.KeyVersion { return r.primary.version }

// Targets is Target as the checkpoint keeps it, by ARN.
func (r *Keyring) Targets() map[string]string {
	return map[string]string{r.primary.version.ARN: r.primary.version.Material}
}

// Rewrap moves one wrapped key onto the primary key; it has the form that the
// engine calls. One allocation a moved key, for the new blob.
//
// A [sources.RunError] says that a new wrap did not open to the same data key,
// which no item can cause; every other error is this wrapped key's.
func (r *Keyring) Rewrap(ctx context.Context, w envelope.WrappedKey) (envelope.Rewrapped, error) {
	if ctx.Err() != nil {
		return envelope.Rewrapped{}, context.Cause(ctx)
	}
	if len(w.Context) > 0 {
		return envelope.Rewrapped{}, fmt.Errorf("%w; give what binds it as associated data", ErrContext)
	}
	blob, from, err := r.rewrap(nil, w.Blob, w.AssociatedData)
	if err != nil {
		return envelope.Rewrapped{}, err
	}
	return envelope.Rewrapped{Blob: blob, From: from.version, To: r.primary.version, Current: from == r.primary}, nil
}

// AppendRewrap moves one blob onto the primary key, and appends the new blob to
// dst, which must not share memory with blob or associatedData. from is the
// version that blob is under; where that is [Keyring.Target] already, dst comes
// back as it was. Errors as in [Keyring.Rewrap], with dst as it was.
//
// With AES-GCM it allocates nothing where dst has room.
func (r *Keyring) AppendRewrap(dst, blob, associatedData []byte) (out []byte, from envelope.KeyVersion, err error) {
	out, k, err := r.rewrap(dst, blob, associatedData)
	if err != nil {
		return dst, envelope.KeyVersion{}, err
	}
	return out, k.version, nil
}

// rewrap costs one open, one seal, and one more open that proves the new blob
// before it is handed out: somewhat over a third on top of the first two.
func (r *Keyring) rewrap(dst, blob, ad []byte) ([]byte, *key, error) {
	var named *key // the key that the blob names, as far as it names one
	p, ok := prefixOf(blob)
	if ok {
		named = r.prefixed[p]
	}
	// Where there are keys without prefix, a blob of theirs may begin with the
	// primary's prefix by chance, so it has to be opened to be sure.
	if named == r.primary && named != nil && len(r.raw) == 0 && !r.openCurrent {
		if len(blob) < named.least {
			return dst, nil, r.unopened(named)
		}
		return dst, named, nil
	}

	b := r.take()
	defer r.give(b)
	from, err := r.open(b, named, blob, ad)
	switch {
	case err != nil:
		return dst, nil, err
	case from == nil && ok && len(r.raw) == 0:
		return dst, nil, fmt.Errorf("%s has no key %d: %w", r.name, p.id(), envelope.ErrForeign)
	case from == nil && len(r.raw) == 0:
		return dst, nil, fmt.Errorf("not a Tink ciphertext with a key id: %w", envelope.ErrForeign)
	case from == nil:
		return dst, nil, fmt.Errorf("tried the %d keys without prefix of %s, of which none may be the right one: %w", len(r.raw), r.name, ErrOpen)
	case from == r.primary:
		return dst, from, nil
	}

	out, err := r.primary.seal(dst, b.plain, ad)
	if err != nil {
		return dst, nil, &sources.RunError{Err: fmt.Errorf("key %d of %s does not wrap: %w", r.primary.id, r.name, err)}
	}
	b.again, err = r.primary.open(b.again, out[len(dst):], ad)
	if err != nil || subtle.ConstantTimeCompare(b.plain, b.again) != 1 {
		clear(out[len(dst):])
		return dst, nil, &sources.RunError{
			Err:  fmt.Errorf("a data key that was wrapped under key %d of %s does not open to what it was; nothing was replaced", r.primary.id, r.name),
			Hint: "Suspect this machine's memory or processor; run the same command on another one.",
		}
	}
	return out, from, nil
}

// open finds the key that opens the blob, and leaves the data key in b.plain.
// nil and no error: the blob names no key of the keyring, and no key without
// prefix opens it.
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

// unopened is the error for a blob that names a key and was not opened by it.
func (r *Keyring) unopened(k *key) error {
	why := ErrOpen
	switch k.status {
	case statusDisabled:
		why = fmt.Errorf("%w: enable it to move what is under it", ErrDisabled)
	case statusDestroyed:
		why = fmt.Errorf("%w: what is under it is lost unless another copy of the keyring holds it", ErrDestroyed)
	}
	return fmt.Errorf("key %d of %s: %w", k.id, r.name, why)
}
