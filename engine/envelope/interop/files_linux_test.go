package interop

import (
	"bytes"
	"context"
	encoding "encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// wrapper is a key as those use it who write and read wrapped keys, in its
// newest version alone.
type wrapper struct {
	seal   func(ctx context.Context, plain, bound string) ([]byte, error)
	open   func(ctx context.Context, blob []byte, bound string) (string, error)
	rotate func()
	flags  func(bound string) []string // for rewrap
}

// byTink is tink-go with a keyring of rewrap's; nobody may ask KMS.
func byTink(t *testing.T, w *world) *wrapper {
	t.Helper()
	w.Hook(func(op string, rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		t.Errorf("%s, where there is a keyring", op)
		rw.WriteHeader(http.StatusBadRequest)
	})
	ring := filepath.Join(t.TempDir(), "ring.json")
	keyring := func(verb string) {
		if out, err := w.rewrap(t, "keyring", verb, ring).CombinedOutput(); err != nil {
			t.Fatalf("keyring %s: %v\n%s", verb, err, out)
		}
	}
	keyring("create")
	newest := primaryAlone(t, ring)
	return &wrapper{
		seal: func(_ context.Context, plain, bound string) ([]byte, error) {
			return newest.Encrypt([]byte(plain), []byte(bound))
		},
		open: func(_ context.Context, blob []byte, bound string) (string, error) {
			plain, err := newest.Decrypt(blob, []byte(bound))
			return string(plain), err
		},
		rotate: func() {
			keyring("rotate")
			newest = primaryAlone(t, ring)
		},
		flags: func(bound string) []string { return []string{"--keyring", ring, "--associated-data", bound} },
	}
}

// primaryAlone is tink-go with the primary key of a keyring and no other.
func primaryAlone(t *testing.T, ring string) tink.AEAD {
	t.Helper()
	text, err := os.ReadFile(ring)
	if err != nil {
		t.Fatal(err)
	}
	all, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	m := keyset.NewManagerFromHandle(all)
	for _, k := range all.KeysetInfo().KeyInfo {
		if k.KeyId == all.KeysetInfo().PrimaryKeyId {
			continue
		}
		if err := m.Delete(k.KeyId); err != nil {
			t.Fatal(err)
		}
	}
	one, err := m.Handle()
	if err != nil || one.Len() != 1 {
		t.Fatal(one, err)
	}
	a, err := aead.New(one)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// byKMS is KMS by its SDK.
func byKMS(t *testing.T, w *world) *wrapper {
	t.Helper()
	newest := w.Material(w.a)
	return &wrapper{
		seal: func(ctx context.Context, plain, bound string) ([]byte, error) {
			out, err := w.KMS.Encrypt(ctx, &kms.EncryptInput{KeyId: &w.a, Plaintext: []byte(plain), EncryptionContext: map[string]string{"for": bound}})
			if err != nil {
				return nil, err
			}
			return out.CiphertextBlob, nil
		},
		open: func(ctx context.Context, blob []byte, bound string) (string, error) {
			out, err := w.KMS.Decrypt(ctx, &kms.DecryptInput{KeyId: &w.a, CiphertextBlob: blob, EncryptionContext: map[string]string{"for": bound}})
			if err != nil {
				return "", err
			}
			if got := aws.ToString(out.KeyMaterialId); got != newest {
				return "", fmt.Errorf("under key material %s, want %s", got, newest)
			}
			return string(out.Plaintext), nil
		},
		rotate: func() { newest = w.rotate(w.a) },
		flags:  func(bound string) []string { return []string{"--from", "alias/a", "--context", "for=" + bound} },
	}
}

// Directories of wrapped keys that others wrote, with another program that
// replaces and removes files meanwhile: killed again and again, the same
// command moves every key, and changes and leaves nothing else.
func TestKilledFiles(t *testing.T) {
	files, keys := size(t, "INTEROP_FILES", 1000), size(t, "INTEROP_LINES", 10_000)
	// Both alphabets are in one folder, which a keyring can do with. With KMS what
	// shows neither is to be named; what is URL-safe is so long that it shows it.
	rawFlags, rawKMS := []string{"--format", "raw"}, []string{"--format", "raw", "--base64", "std"}
	// A killed run loses the calls for the items in work: few, here.
	lineFlags := []string{"--json-field", "/key", "--workers", "4"}
	for _, c := range []struct {
		name    string
		by      func(*testing.T, *world) *wrapper
		n       int
		compose func(*rand.Rand, string) version
		bound   string
		flags   []string
	}{
		{"raw by tink-go", byTink, files / 2, raw(0), "{name}", rawFlags},
		{"raw by KMS", byKMS, files / 2, raw(600), "{name}", rawKMS},
		{"lines by tink-go", byTink, keys - keys/10, lines, "{field:id}", lineFlags},
		{"lines by KMS", byKMS, keys / 10, lines, "{field:id}", lineFlags},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, rng := newWorld(t), seeded(t)
			by := c.by(t, w)
			tr := newTree(t, rng, c.n, c.compose)
			tr.write(t, by)
			by.rotate()
			tr.writeLate(t, by)
			tr.moved(t, by, newJobOn(t, w, tr.root, append(by.flags(c.bound), c.flags...)...))
		})
	}
}

// moved runs the job over the tree while it is killed and others write, and
// holds what is there then against what was.
func (tr *tree) moved(t *testing.T, by *wrapper, j job) {
	t.Helper()
	v := &victim{rng: rand.New(rand.NewPCG(tr.rng.Uint64(), 0)), most: len(tr.files) / 2}
	stop := watch(t, tr.root, func(name string) {
		if err := tr.interfere(name); err != nil {
			t.Error(err)
		}
		v.change()
	})
	defer stop()
	s := j.survive(t, v.start)
	stop()
	t.Logf("killed after %d changes", v.fates[:len(v.fates)-1])
	audit := j.audit(t)

	var left []*file
	replaced, keys, lines := 0, 0, 0
	for _, f := range tr.files {
		if f.replaced {
			replaced++
		}
		if !f.removed {
			left = append(left, f)
			keys += len(f.now.keys)
		}
		lines += len(audit[f.name])
	}
	removed := len(tr.files) - len(left)
	t.Logf("%d files with %d keys; %d were replaced and %d removed meanwhile: %+v", len(tr.files), keys, replaced, removed, s)
	if replaced == 0 {
		t.Error("nothing was replaced: this proves little")
	}
	i := s.Items
	if s.Result != "complete" || i.Seen < len(left) || i.Seen > len(tr.files) || i.Rewrapped+i.Current+i.Gone != i.Seen || i.Gone > removed || i.Current > replaced {
		t.Errorf("%s, %+v; want all of the %d files, or those of the %d removed ones that were met", s.Result, i, len(tr.files), removed)
	}
	if i.Rewrapped != len(audit) || s.Keys.Rewrapped != lines {
		t.Errorf("%d items and %d keys rewrapped; the audit log has %d lines about %d items", i.Rewrapped, s.Keys.Rewrapped, lines, len(audit))
	}

	// The other program's files may have come under the old key behind us.
	if s := j.once(t, 0); s.Items.Seen != len(left) || s.Items.Rewrapped+s.Items.Current != len(left) || s.Items.Rewrapped > replaced {
		t.Errorf("a second pass: %+v, want %d items, none rewrapped but of the %d that were replaced", s.Items, len(left), replaced)
	}
	before := tr.stat(t)
	if s := j.once(t, 0); s.Items.Current != len(left) || s.Keys.Current != keys || len(s.Census) != 1 || s.Census[0].Keys != keys {
		t.Errorf("a third pass: %+v, want %d items with %d keys current, under one key", s, len(left), keys)
	}
	if !maps.Equal(before, tr.stat(t)) {
		t.Error("a third pass wrote to the tree")
	}

	for _, f := range left {
		delete(before, f.name)
	}
	if len(before) > 0 {
		t.Errorf("names that ought not to be there: %q", slices.Collect(maps.Keys(before)))
	}
	each(t, left, func(ctx context.Context, f *file) error {
		lines := audit[f.name]
		if f.replaced {
			lines = nil
		}
		if err := tr.check(ctx, by, f, lines); err != nil {
			t.Errorf("%q: %v", f.name, err)
		}
		return nil
	})
}

// check holds a file against what was written there last: the wrapped keys
// are others, open by the newest version, and are those of the audit log.
// Nothing else has changed.
func (tr *tree) check(ctx context.Context, by *wrapper, f *file, audit []auditLine) error {
	path := filepath.Join(tr.root, f.name)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	blobs, err := f.now.blobs(string(text))
	if err != nil {
		return err
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != f.mode || !st.ModTime().Equal(f.mtime) {
		return fmt.Errorf("%v, of %v, was %v, of %v: %v", st.Mode(), st.ModTime(), f.mode, f.mtime, err)
	}
	after := map[string]string{}
	for _, line := range audit {
		after[line.Before] = line.After
	}
	if !f.replaced && (len(after) != len(blobs) || len(audit) != len(blobs)) {
		return fmt.Errorf("%d wrapped keys, and %d lines in the audit log", len(blobs), len(audit))
	}
	for i, blob := range blobs {
		k := f.now.keys[i]
		plain, err := by.open(ctx, blob, k.bound)
		if err != nil || plain != k.plain {
			return fmt.Errorf("wrapped key %d opens to %q, want %q: %v", i, plain, k.plain, err)
		}
		if !f.replaced && after[k.digest] != sum(blob) {
			return fmt.Errorf("the audit log has another wrapped key %d", i)
		}
	}
	return nil
}

// stat is what shows of a file when somebody writes it.
func (tr *tree) stat(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(tr.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		name, err := filepath.Rel(tr.root, path)
		all[name] = fmt.Sprint(st.Ino, st.Size, st.Mtim, st.Ctim)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// victim is a process that is killed after so many changes to the tree, while
// its workers are wherever they are.
type victim struct {
	rng   *rand.Rand
	most  int // changes that it may see
	fates []int

	mu   sync.Mutex
	cmd  *exec.Cmd
	left int
}

func (v *victim) start(cmd *exec.Cmd) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cmd, v.left = cmd, 1+v.rng.IntN(v.most)
	v.fates = append(v.fates, v.left)
	return cmd.Start()
}

func (v *victim) change() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.left--; v.left == 0 {
		v.cmd.Process.Kill()
	}
}

// watch tells of every name below root that is made, takes another's place, or
// is removed, in that very moment. No call comes after stop has returned.
func watch(t *testing.T, root string, see func(name string)) (stop func()) {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	folders := map[uint32]string{}
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		id, err := syscall.InotifyAddWatch(fd, path, syscall.IN_CREATE|syscall.IN_MOVED_TO|syscall.IN_DELETE)
		folders[uint32(id)], _ = filepath.Rel(root, path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return // it was closed
			}
			for event := buf[:n]; len(event) > 0; {
				name := event[syscall.SizeofInotifyEvent:][:encoding.NativeEndian.Uint32(event[12:])]
				see(filepath.Join(folders[encoding.NativeEndian.Uint32(event)], string(bytes.TrimRight(name, "\x00"))))
				event = event[syscall.SizeofInotifyEvent+len(name):]
			}
		}
	}()
	return func() {
		f.Close()
		<-done
	}
}
