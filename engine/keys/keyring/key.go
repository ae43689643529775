package keyring

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
	"google.golang.org/protobuf/proto"

	"rewrap/checkpoint/account"
)

const (
	statusEnabled   = tinkpb.KeyStatusType_ENABLED
	statusDisabled  = tinkpb.KeyStatusType_DISABLED
	statusDestroyed = tinkpb.KeyStatusType_DESTROYED
)

// key is one key of a keyring.
type key struct {
	id      uint32
	status  tinkpb.KeyStatusType
	version account.KeyVersion
	prefix  []byte // empty: RAW
	least   int    // the length of a blob that holds nothing

	// One of the two is set; neither if the key is not enabled.
	gcm   cipher.AEAD // AES-GCM that draws its own nonces
	other tink.AEAD
}

// grown returns b without its content, with room for n bytes.
func grown(b []byte, n int) []byte { return slices.Grow(b[:0], n) }

func (k *key) usable() bool { return k.gcm != nil || k.other != nil }

// open puts the data key into dst[:0], and returns it. After an error dst holds
// nothing of it.
func (k *key) open(dst, blob, ad []byte) ([]byte, error) {
	if len(blob) < k.least {
		return dst, ErrOpen
	}
	if k.gcm != nil {
		dst = grown(dst, len(blob)-k.least)
		plain, err := k.gcm.Open(dst, nil, blob[len(k.prefix):], ad)
		if err != nil {
			return dst, ErrOpen
		}
		return plain, nil
	}
	plain, err := k.other.Decrypt(blob, ad)
	if err != nil {
		return dst, err
	}
	dst = append(grown(dst, len(plain)), plain...)
	clear(plain)
	return dst, nil
}

// emptiest writes to room, as far as it goes, the key's prefix and then zero
// bytes. All blobs of the key begin with the prefix and have any bytes after it;
// in base64 zero bytes need none of the characters in which the alphabets
// differ. So no blob of the key with this length assumes less about base64.
func (k *key) emptiest(room []byte) []byte {
	blob := append(room, k.prefix...)
	blob = blob[:cap(room)]
	clear(blob[len(k.prefix):])
	return blob
}

// seal appends the wrapped data key to dst.
func (k *key) seal(dst, plain, ad []byte) ([]byte, error) {
	if k.gcm != nil {
		return k.gcm.Seal(append(dst, k.prefix...), nil, plain, ad), nil
	}
	blob, err := k.other.Encrypt(plain, ad)
	if err != nil {
		return dst, err
	}
	return append(dst, blob...), nil
}

// newKeyring makes a keyring of a keyset that was checked.
func newKeyring(name string, ks *tinkpb.Keyset) (*Keyring, error) {
	r := &Keyring{name: name, strangers: make(map[prefix]account.KeyVersion)}
	for _, pb := range ks.Key {
		k, err := newKey(name, pb)
		if err != nil {
			return nil, err
		}
		if k.id == ks.PrimaryKeyId {
			r.primary = k
		}
		switch {
		case len(k.prefix) > 0:
			r.prefixed = append(r.prefixed, k)
		case !k.usable():
			r.closed = k
		case k == r.primary:
			r.raw = append([]*key{k}, r.raw...)
		default:
			r.raw = append(r.raw, k)
		}
	}
	return r, nil
}

func version(name string, id uint32) account.KeyVersion {
	return account.KeyVersion{ARN: "keyring:" + name, Material: strconv.FormatUint(uint64(id), 10)}
}

// newKey makes a key ready for use. An enabled key has to be an AEAD that
// tink-go knows, as tink-go's own aead.New demands. A key that is not enabled may
// be of any type; a destroyed key may have no content at all.
func newKey(name string, pb *tinkpb.Keyset_Key) (*key, error) {
	k := &key{id: pb.KeyId, status: pb.Status, version: version(name, pb.KeyId)}
	switch pb.OutputPrefixType {
	case tinkpb.OutputPrefixType_TINK:
		k.prefix = binary.BigEndian.AppendUint32([]byte{tinkStart}, k.id)
	case tinkpb.OutputPrefixType_CRUNCHY, tinkpb.OutputPrefixType_LEGACY:
		k.prefix = binary.BigEndian.AppendUint32([]byte{legacyStart}, k.id)
	}
	if k.status != statusEnabled {
		return k, nil
	}

	handle, err := handleOf(pb)
	if err != nil {
		return nil, unusable(name, pb, err)
	}
	if k.other, err = aead.New(handle); err != nil {
		return nil, unusable(name, pb, err)
	}
	empty, err := k.other.Encrypt(nil, nil)
	if err != nil {
		return nil, unusable(name, pb, err)
	}
	if k.least = len(empty); !bytes.HasPrefix(empty, k.prefix) {
		return nil, unusable(name, pb, fmt.Errorf("its ciphertexts do not begin with its prefix"))
	}
	entry, err := handle.Primary()
	if err != nil {
		return nil, unusable(name, pb, err)
	}
	// aead.New accepts only nonces of 12 and tags of 16 bytes. That is the
	// format of NewGCMWithRandomNonce too, in the same order.
	if gcm, ok := entry.Key().(*aesgcm.Key); ok {
		raw := gcm.KeyBytes().Data(insecuresecretdataaccess.Token{})
		defer clear(raw)
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, unusable(name, pb, err)
		}
		if k.gcm, err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, unusable(name, pb, err)
		}
		k.other = nil
	}
	return k, nil
}

// handleOf makes a keyset of the one key. tink-go would refuse a whole keyset
// for one destroyed key without material, which tinkey leaves behind; so each key
// gets a keyset of its own.
func handleOf(pb *tinkpb.Keyset_Key) (*keyset.Handle, error) {
	one, err := proto.Marshal(&tinkpb.Keyset{PrimaryKeyId: pb.KeyId, Key: []*tinkpb.Keyset_Key{pb}})
	if err != nil {
		return nil, err
	}
	defer clear(one)
	return insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(one)))
}

// unusable is the error for an enabled key that cannot be used. tink-go's
// reasons name types, versions and sizes, and never key material.
func unusable(name string, pb *tinkpb.Keyset_Key, err error) error {
	return fmt.Errorf("%s: key %d of type %s cannot be used, though it is enabled: %w", name, pb.KeyId, shortType(pb.GetKeyData().GetTypeUrl()), err)
}

// shortType is the last part of a key type's URL: "AesGcmKey".
func shortType(url string) string {
	if url == "" {
		return "none"
	}
	return url[strings.LastIndexAny(url, "./")+1:]
}
