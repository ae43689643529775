package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// The names of the key templates are tinkey's.
var templates = map[string]func() *tinkpb.KeyTemplate{
	"AES128_GCM":                 aead.AES128GCMKeyTemplate,
	"AES256_GCM":                 aead.AES256GCMKeyTemplate,
	"AES128_GCM_SIV":             aead.AES128GCMSIVKeyTemplate,
	"AES256_GCM_SIV":             aead.AES256GCMSIVKeyTemplate,
	"AES128_CTR_HMAC_SHA256":     aead.AES128CTRHMACSHA256KeyTemplate,
	"AES256_CTR_HMAC_SHA256":     aead.AES256CTRHMACSHA256KeyTemplate,
	"CHACHA20_POLY1305":          aead.ChaCha20Poly1305KeyTemplate,
	"XCHACHA20_POLY1305":         aead.XChaCha20Poly1305KeyTemplate,
	"XAES_256_GCM_192_BIT_NONCE": aead.XAES256GCM192BitNonceKeyTemplate,
	"XAES_256_GCM_160_BIT_NONCE": aead.XAES256GCM160BitNonceKeyTemplate,
}

// rawSuffix asks for a key without output prefix.
const rawSuffix = "_RAW"

// Templates are the names that [Create] and [Rotate] know. Each may have the
// suffix _RAW, for a key whose ciphertexts have no prefix and so do not say
// which key they are under.
func Templates() []string { return slices.Sorted(maps.Keys(templates)) }

// Sentinels of [Create], [Rotate] and [SetStatus], beside those of [Open],
// ErrLocked, and ErrDestroyed where the status of such a key should change.
var (
	ErrTemplate = errors.New("no such key template")
	ErrExists   = errors.New("already exists, and a keyring is never overwritten")
	ErrNoKey    = errors.New("no such key in the keyring")
	ErrPrimary  = errors.New("the primary key stays enabled: rotate first, so that another one is primary")
)

// Create writes a new keyring with one key, and returns the key's id. The file
// is encrypted if w can encrypt, else in the clear with mode 0600.
func Create(ctx context.Context, path, template string, w Wrapping) (id uint32, err error) {
	t, err := templateOf(template)
	if err != nil {
		return 0, err
	}
	err = update(path, func(f *file) ([]byte, error) {
		if f != nil {
			return nil, fmt.Errorf("%s %w", path, ErrExists)
		}
		k, err := newFor(&tinkpb.Keyset{}, func() (*tinkpb.Keyset_Key, error) { return generate(t) })
		if err != nil {
			return nil, err
		}
		id = k.KeyId
		ks := &tinkpb.Keyset{PrimaryKeyId: id, Key: []*tinkpb.Keyset_Key{k}}
		defer wipe(ks)
		return encode(ctx, path, ks, w.Encrypt != nil, w)
	})
	return id, err
}

// Rotate adds a key to a keyring, makes it the primary one, and returns its id.
// The old keys stay as they are. template "": a key like the primary one.
//
// Every reader must have the new keyring before anything is wrapped under its
// new key.
func Rotate(ctx context.Context, path, template string, w Wrapping) (id uint32, err error) {
	var t *tinkpb.KeyTemplate
	if template != "" {
		if t, err = templateOf(template); err != nil {
			return 0, err
		}
	}
	err = change(ctx, path, w, func(ks *tinkpb.Keyset) error {
		k, err := newFor(ks, func() (*tinkpb.Keyset_Key, error) {
			if t == nil {
				return generateLike(find(ks, ks.PrimaryKeyId))
			}
			return generate(t)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		ks.Key = append(ks.Key, k)
		ks.PrimaryKeyId, id = k.KeyId, k.KeyId
		return nil
	})
	return id, err
}

// SetStatus enables or disables a key that is not the primary one. The key
// itself stays in the file, so that disabling can be undone.
func SetStatus(ctx context.Context, path string, id uint32, enabled bool, w Wrapping) error {
	return change(ctx, path, w, func(ks *tinkpb.Keyset) error {
		k := find(ks, id)
		switch {
		case k == nil:
			return fmt.Errorf("%s, key %d: %w", path, id, ErrNoKey)
		case k.Status == statusDestroyed:
			return fmt.Errorf("%s, key %d: %w", path, id, ErrDestroyed)
		case enabled:
			k.Status = statusEnabled
		case id == ks.PrimaryKeyId:
			return fmt.Errorf("%s, key %d: %w", path, id, ErrPrimary)
		default:
			k.Status = statusDisabled
		}
		return nil
	})
}

// Info is what a keyring file says about itself, without any key material.
type Info struct {
	File      string    `json:"file"`
	Encrypted bool      `json:"encrypted"`
	Primary   uint32    `json:"primary"`
	Keys      []KeyInfo `json:"keys"`
}

// KeyInfo is what a keyring file says about a key.
type KeyInfo struct {
	ID      uint32 `json:"id"`
	Type    string `json:"type"`   // "AesGcmKey"
	Status  string `json:"status"` // ENABLED, DISABLED, DESTROYED
	Prefix  string `json:"prefix"` // TINK, CRUNCHY, LEGACY, RAW
	Primary bool   `json:"primary"`
}

// List reads what a keyring file says about its keys. An encrypted file says it
// in the clear beside the keys, and not authenticated.
func List(path string) (Info, error) {
	f, err := read(path)
	if err != nil {
		return Info{}, err
	}
	info := Info{File: path, Encrypted: f.encrypted != nil}
	about := f.encrypted.GetKeysetInfo()
	if f.clear != nil {
		defer wipe(f.clear)
		if err := check(f.clear); err != nil {
			return Info{}, fmt.Errorf("%s: %w: %w", path, ErrUnusable, err)
		}
		about = infoOf(f.clear)
	}
	if about == nil {
		return Info{}, fmt.Errorf("%s is encrypted, and its writer left out what keys are in it (keysetInfo)", path)
	}
	info.Primary = about.GetPrimaryKeyId()
	for _, k := range about.GetKeyInfo() {
		info.Keys = append(info.Keys, KeyInfo{
			ID: k.KeyId, Type: shortType(k.TypeUrl), Status: k.Status.String(),
			Prefix: k.OutputPrefixType.String(), Primary: k.KeyId == info.Primary,
		})
	}
	return info, nil
}

func infoOf(ks *tinkpb.Keyset) *tinkpb.KeysetInfo {
	info := &tinkpb.KeysetInfo{PrimaryKeyId: ks.PrimaryKeyId}
	for _, k := range ks.Key {
		info.KeyInfo = append(info.KeyInfo, &tinkpb.KeysetInfo_KeyInfo{
			TypeUrl: k.GetKeyData().GetTypeUrl(), Status: k.Status, KeyId: k.KeyId, OutputPrefixType: k.OutputPrefixType,
		})
	}
	return info
}

func find(ks *tinkpb.Keyset, id uint32) *tinkpb.Keyset_Key {
	for _, k := range ks.Key {
		if k.KeyId == id {
			return k
		}
	}
	return nil
}

func templateOf(name string) (*tinkpb.KeyTemplate, error) {
	base, raw := strings.CutSuffix(name, rawSuffix)
	t := templates[base]
	if t == nil {
		return nil, fmt.Errorf("%w: %q; they are %s, each with or without %s", ErrTemplate, name, strings.Join(Templates(), ", "), rawSuffix)
	}
	kt := t()
	if raw {
		kt.OutputPrefixType = tinkpb.OutputPrefixType_RAW
	}
	return kt, nil
}

// newFor makes keys until one has an id that suits the keyring. Ids are random,
// and must differ within a keyring.
//
// Every blob that a key wraps begins with the key's id. base64 has two alphabets:
// one has + and / where the other has - and _. If the id needed one of these
// characters, every blob of the key would, and each would read differently in
// the two alphabets. So such an id is not taken. The rest of a blob is random;
// [Keyring.Rewrap] can then seal again until a blob needs none of these
// characters, and writes blobs that both alphabets read alike.
func newFor(ks *tinkpb.Keyset, generate func() (*tinkpb.Keyset_Key, error)) (*tinkpb.Keyset_Key, error) {
	for {
		k, err := generate()
		if err != nil {
			return nil, err
		}
		if find(ks, k.KeyId) == nil && neutral(binary.BigEndian.AppendUint32([]byte{tinkStart}, k.KeyId)) {
			return k, nil
		}
	}
}

// neutral says that blobs with the prefix can read the same in both alphabets of
// base64.
func neutral(prefix []byte) bool {
	return !strings.ContainsAny(base64.StdEncoding.EncodeToString(prefix), "+/")
}

// Neutral says that the blobs of the primary key can read the same in both
// alphabets of base64, so that [Keyring.Rewrap] finds such ones. It is so of every
// primary key that this package made.
func (r *Keyring) Neutral() bool { return neutral(r.primary.prefix) }

// generate makes a key from a template, with tink-go.
func generate(t *tinkpb.KeyTemplate) (*tinkpb.Keyset_Key, error) {
	handle, err := keyset.NewHandle(t)
	if err != nil {
		return nil, fmt.Errorf("a key cannot be made: %w", err)
	}
	return onlyKey(handle)
}

// generateLike makes a key of another one's type, sizes and prefix.
func generateLike(like *tinkpb.Keyset_Key) (*tinkpb.Keyset_Key, error) {
	cannot := func(err error) error {
		return fmt.Errorf("a key like %d, of type %s, cannot be made; name a template: %w", like.KeyId, shortType(like.GetKeyData().GetTypeUrl()), err)
	}
	old, err := handleOf(like)
	if err != nil {
		return nil, cannot(err)
	}
	entry, err := old.Primary()
	if err != nil {
		return nil, cannot(err)
	}
	m := keyset.NewManager()
	id, err := m.AddNewKeyFromParameters(entry.Key().Parameters())
	if err != nil {
		return nil, cannot(err)
	}
	if err := m.SetPrimary(id); err != nil {
		return nil, cannot(err)
	}
	handle, err := m.Handle()
	if err != nil {
		return nil, cannot(err)
	}
	return onlyKey(handle)
}

func onlyKey(handle *keyset.Handle) (*tinkpb.Keyset_Key, error) {
	var buf bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&buf)); err != nil {
		return nil, fmt.Errorf("a key cannot be made: %w", err)
	}
	defer clear(buf.Bytes())
	ks := new(tinkpb.Keyset)
	if err := proto.Unmarshal(buf.Bytes(), ks); err != nil {
		return nil, fmt.Errorf("a key cannot be made: %w", err)
	}
	return ks.Key[0], nil
}

// change edits the keyset of a file that exists, and leaves it encrypted or in
// the clear as it was.
func change(ctx context.Context, path string, w Wrapping, edit func(*tinkpb.Keyset) error) error {
	return update(path, func(f *file) ([]byte, error) {
		if f == nil {
			return nil, fmt.Errorf("there is no keyring %s; rewrap keyring create makes one: %w", path, fs.ErrNotExist)
		}
		ks, err := f.keyset(ctx, w)
		if err != nil {
			return nil, err
		}
		defer wipe(ks)
		if err := edit(ks); err != nil {
			return nil, err
		}
		return encode(ctx, path, ks, f.encrypted != nil, w)
	})
}

// encode returns the file's new content, after it has read it back: a keyset
// that Tink would refuse, or that the key service does not decrypt, must not
// replace a keyring.
func encode(ctx context.Context, path string, ks *tinkpb.Keyset, encrypted bool, w Wrapping) ([]byte, error) {
	var m proto.Message = ks
	if encrypted {
		plain, err := proto.Marshal(ks)
		if err != nil {
			return nil, err
		}
		defer clear(plain)
		blob, err := w.Encrypt(ctx, plain, w.Context)
		if err != nil {
			return nil, fmt.Errorf("%s cannot be encrypted, so nothing was written: %w", path, err)
		}
		m = &tinkpb.EncryptedKeyset{EncryptedKeyset: blob, KeysetInfo: infoOf(ks)}
	}
	// As tink-go's JSON writer does, with line breaks for people.
	text, err := protojson.MarshalOptions{EmitUnpopulated: true, Multiline: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	back := &file{path: path}
	if err := back.parse(text); err != nil {
		return nil, err
	}
	again, err := back.keyset(ctx, w)
	if err != nil {
		return nil, err
	}
	defer wipe(again)
	if !proto.Equal(ks, again) {
		return nil, fmt.Errorf("%s: the new keyring does not read back as it was written, so nothing was written", path)
	}
	if _, err := newKeyring(path, again); err != nil {
		return nil, err
	}
	return slices.Concat(text, []byte("\n")), nil
}
