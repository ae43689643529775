package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Wrapping is how an encrypted keyring file is opened and written. The functions
// call a key service with a key that is already chosen. Decrypt has to name the
// key in the call. Otherwise someone who can write the file could replace it with
// a keyring of their own, under another key that the caller may use.
type Wrapping struct {
	// Context is the encryption context that the file is bound to. A file that
	// tink-go-awskms wrote with associated data has the one pair
	// "associatedData", with the data in hexadecimal.
	Context map[string]string
	// Both nil: the file is in the clear. For reading alone Decrypt is enough.
	// If there is a Decrypt, a file in the clear is refused: it may have been
	// put in the place of the encrypted one.
	Decrypt, Encrypt func(ctx context.Context, in []byte, context map[string]string) (out []byte, err error)
}

// Options of [Open].
type Options struct {
	Wrapping
	// Name is what the keyring is called in key versions. "": the file's name
	// without its folder.
	Name string
	// OpenCurrent opens blobs under the primary key as well, instead of
	// believing their prefix. So damage and wrong associated data are found
	// there too.
	OpenCurrent bool
}

// Sentinels of [Open], [Create], [Rotate], [SetStatus] and [List]; wrapped
// errors say which file and what to do.
var (
	// ErrMode: users other than its owner can read or change a keyring in the
	// clear.
	ErrMode = errors.New("a keyring in the clear must be its owner's alone")
	// ErrEncrypted: the file is encrypted, and no way to decrypt it was given.
	ErrEncrypted = errors.New("the keyring is encrypted by a key service")
	// ErrClear: the file is in the clear, and a way to decrypt it was given.
	ErrClear = errors.New("the keyring is in the clear, though it should be encrypted by a key service")
	// ErrNotKeyring: the file is no Tink keyset in JSON.
	ErrNotKeyring = errors.New("not a Tink keyset in JSON (tinkey convert-keyset makes one of a binary keyset)")
	// ErrUnusable: the file is a Tink keyset that Tink itself would refuse.
	ErrUnusable = errors.New("the Tink keyset cannot be used")
)

// maxFile bounds what is read of a keyring file: a keyset has about 200 bytes a
// key.
const maxFile = 1 << 20

// Open reads a keyring: a Tink keyset in JSON, in the clear and then with mode
// 0600 or stricter, or encrypted by a key service.
//
// Every enabled key has to be of a type that tink-go can use as an AEAD.
func Open(ctx context.Context, path string, o Options) (*Keyring, error) {
	f, err := read(path)
	if err != nil {
		return nil, err
	}
	ks, err := f.keyset(ctx, o.Wrapping)
	if err != nil {
		return nil, err
	}
	defer wipe(ks)
	if o.Name == "" {
		o.Name = filepath.Base(path)
	}
	r, err := newKeyring(o.Name, ks)
	if err != nil {
		return nil, err
	}
	r.openCurrent = o.OpenCurrent
	return r, nil
}

// file is a keyring file as it was read: one of clear and encrypted.
type file struct {
	path      string
	info      fs.FileInfo
	clear     *tinkpb.Keyset
	encrypted *tinkpb.EncryptedKeyset
}

func read(path string) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the keyring cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for ever
		return nil, fmt.Errorf("the keyring cannot be read: %s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the keyring cannot be read: %w", err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("the keyring cannot be read: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("the keyring cannot be read: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: %w: it has more than %d bytes", path, ErrUnusable, maxFile)
	}
	out := &file{path: path, info: info}
	if err := out.parse(text); err != nil {
		return nil, err
	}
	if perm := info.Mode().Perm(); out.clear != nil && perm&^0o600 != 0 && runtime.GOOS != "windows" {
		wipe(out.clear)
		return nil, fmt.Errorf("%s has mode %04o: %w (chmod 600 %s)", path, perm, ErrMode, path)
	}
	return out, nil
}

// parse tells the two kinds of file apart. The decoder's own errors are not
// passed on, since they quote the text, which may be a key.
func (f *file) parse(text []byte) error {
	var fields struct {
		A present `json:"encryptedKeyset"`
		B present `json:"encrypted_keyset"`
	}
	if err := json.Unmarshal(text, &fields); err != nil {
		return fmt.Errorf("%s: %w", f.path, ErrNotKeyring)
	}
	var to proto.Message
	if fields.A || fields.B {
		f.encrypted = new(tinkpb.EncryptedKeyset)
		to = f.encrypted
	} else {
		f.clear = new(tinkpb.Keyset)
		to = f.clear
	}
	if err := protojson.Unmarshal(text, to); err != nil {
		wipe(f.clear)
		return fmt.Errorf("%s: %w", f.path, ErrNotKeyring)
	}
	return nil
}

// present says whether a field is there. Its content is not copied, since it may
// be a key.
type present bool

// UnmarshalJSON implements [json.Unmarshaler].
func (p *present) UnmarshalJSON([]byte) error { *p = true; return nil }

// keyset returns the checked keyset of the file. The caller wipes it.
func (f *file) keyset(ctx context.Context, w Wrapping) (*tinkpb.Keyset, error) {
	ks := f.clear
	switch {
	case f.clear != nil && w.Decrypt != nil:
		wipe(ks)
		return nil, fmt.Errorf("%s: %w", f.path, ErrClear)
	case f.encrypted != nil && w.Decrypt == nil:
		return nil, fmt.Errorf("%s: %w: name the key", f.path, ErrEncrypted)
	case f.encrypted != nil:
		plain, err := w.Decrypt(ctx, f.encrypted.EncryptedKeyset, w.Context)
		defer clear(plain)
		if err != nil {
			return nil, fmt.Errorf("%s cannot be decrypted: %w", f.path, err)
		}
		ks = new(tinkpb.Keyset)
		if err := proto.Unmarshal(plain, ks); err != nil {
			wipe(ks)
			return nil, fmt.Errorf("%s: what it decrypts to is no Tink keyset", f.path)
		}
	}
	if err := check(ks); err != nil {
		wipe(ks)
		return nil, fmt.Errorf("%s: %w: %w", f.path, ErrUnusable, err)
	}
	return ks, nil
}

// check applies Tink's own rules to a keyset (tink-go, keyset.Validate), except
// that it accepts a destroyed key without key data, which tinkey leaves behind.
func check(ks *tinkpb.Keyset) error {
	if len(ks.Key) == 0 {
		return errors.New("there is no key in it")
	}
	seen := make(map[uint32]bool, len(ks.Key))
	for _, k := range ks.Key {
		if seen[k.GetKeyId()] {
			return fmt.Errorf("two keys have the id %d", k.GetKeyId())
		}
		seen[k.GetKeyId()] = true
		switch k.GetOutputPrefixType() {
		case tinkpb.OutputPrefixType_TINK, tinkpb.OutputPrefixType_CRUNCHY, tinkpb.OutputPrefixType_LEGACY, tinkpb.OutputPrefixType_RAW:
		default:
			return fmt.Errorf("key %d has the output prefix type %v, which no AEAD has", k.GetKeyId(), k.GetOutputPrefixType())
		}
		switch k.GetStatus() {
		case statusEnabled, statusDisabled, statusDestroyed:
		default:
			return fmt.Errorf("key %d has the status %v", k.GetKeyId(), k.GetStatus())
		}
	}
	i := slices.IndexFunc(ks.Key, func(k *tinkpb.Keyset_Key) bool { return k.KeyId == ks.PrimaryKeyId })
	if i < 0 {
		return fmt.Errorf("the primary key %d is not in it", ks.PrimaryKeyId)
	}
	if s := ks.Key[i].Status; s != statusEnabled {
		return fmt.Errorf("the primary key %d is %v", ks.PrimaryKeyId, s)
	}
	return nil
}

// wipe zeroes the key material of a keyset that is done with.
func wipe(ks *tinkpb.Keyset) {
	for _, k := range ks.GetKey() {
		clear(k.GetKeyData().GetValue())
	}
}
