package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"rewrap/bench/emulator"
	"rewrap/checkpoint/account"
)

// ring is a keyring in the clear, made and rotated by rewrap, whose keys
// tink-go wraps with, whatever their status.
type ring struct {
	w    *world
	file string
}

func (w *world) ring(file string, templates ...string) ring {
	w.t.Helper()
	for i, template := range templates {
		verb := "create"
		if i > 0 {
			verb = "rotate"
		}
		w.run("keyring", verb, file, "--template", template).want(w.t, exitOK, "")
	}
	return ring{w, file}
}

func (r ring) path() string { return filepath.Join(r.w.dir, r.file) }

func (r ring) read() *tinkpb.Keyset {
	r.w.t.Helper()
	text, err := os.ReadFile(r.path())
	if err != nil {
		r.w.t.Fatal(err)
	}
	ks := new(tinkpb.Keyset)
	if err := protojson.Unmarshal(text, ks); err != nil {
		r.w.t.Fatal(err)
	}
	return ks
}

func (r ring) edit(edit func(*tinkpb.Keyset)) {
	r.w.t.Helper()
	ks := r.read()
	edit(ks)
	text, err := protojson.Marshal(ks)
	if err != nil {
		r.w.t.Fatal(err)
	}
	if err := os.WriteFile(r.path(), text, 0o600); err != nil {
		r.w.t.Fatal(err)
	}
}

// aead is tink-go's with key i alone.
func (r ring) aead(i int) tink.AEAD {
	r.w.t.Helper()
	k := proto.CloneOf(r.read().Key[i])
	k.Status = tinkpb.KeyStatusType_ENABLED
	one, err := proto.Marshal(&tinkpb.Keyset{PrimaryKeyId: k.KeyId, Key: []*tinkpb.Keyset_Key{k}})
	if err != nil {
		r.w.t.Fatal(err)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(one)))
	if err != nil {
		r.w.t.Fatal(err)
	}
	a, err := aead.New(h)
	if err != nil {
		r.w.t.Fatal(err)
	}
	return a
}

// wrap is what tink-go writes with key i.
func (r ring) wrap(i int, secret, ad string) []byte {
	r.w.t.Helper()
	blob, err := r.aead(i).Encrypt([]byte(secret), []byte(ad))
	if err != nil {
		r.w.t.Fatal(err)
	}
	return blob
}

// damaged is the blob with its last bit turned.
func damaged(blob []byte) []byte {
	blob[len(blob)-1] ^= 1
	return blob
}

// TestKeyringVouch: the prefix of a current blob is enough for plan and run;
// verify and inspect vouch for what they see, and so open it.
func TestKeyringVouch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	r := w.ring("ring.json", "AES256_GCM")
	root := w.tree(map[string][]byte{"good": r.wrap(0, "secret", "good"), "damaged": damaged(r.wrap(0, "secret", "damaged")), "moved": r.wrap(0, "secret", "its old name")})
	before := files(t, root)
	args := []string{"--format", "raw", "--keyring", "ring.json", "--associated-data", "{name}"}
	do := func(what ...string) ended { return w.run(append(what, args...)...) }

	if p := do("plan", "vault", "--json").want(t, exitOK, "").plan(t); p.Outcomes["current"] != 3 {
		t.Errorf("plan: %v", p.Outcomes)
	}
	if s := do("run", "vault", "--yes", "--json").want(t, exitOK, "").summary(t); s.Items.Current != 3 {
		t.Errorf("run: %+v", s.Items)
	}
	if s := do("verify", "vault", "--json").want(t, exitNotOn, "does not open").summary(t); s.Items.Current != 1 || s.Items.Failed != 2 {
		t.Errorf("verify: %+v", s.Items)
	}
	wants(t, do("inspect", "vault/good").want(t, exitOK, "").out, "current")
	for _, name := range []string{"damaged", "moved"} {
		wants(t, do("inspect", "vault/"+name).want(t, exitFailed, "could not be told").out, "does not open")
	}
	if !maps.Equal(before, files(t, root)) {
		t.Error("the tree was changed")
	}
}

// TestKeyringStrangers: of blobs that another keyring wrapped it is said which
// key they name, and nothing of --from.
func TestKeyringStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	other := w.ring("other.json", "AES256_GCM")
	w.ring("ring.json", "AES256_GCM")
	w.tree(map[string][]byte{"a": other.wrap(0, "secret", ""), "b": other.wrap(0, "secret", "")})
	id := strconv.FormatUint(uint64(other.read().PrimaryKeyId), 10)
	args := []string{"vault", "--format", "raw", "--keyring", "ring.json"}
	for _, verb := range [][]string{{"run", "--yes"}, {"verify"}, {"plan"}} {
		e := w.run(append(verb, args...)...).want(t, exitFailed, "the keyring does not hold")
		wants(t, e.out, "keyring:ring.json", id)
		if strings.Contains(e.errors, "--from") {
			t.Errorf("%s", e.errors)
		}
	}
	wants(t, w.run("inspect", "vault/a", "--format", "raw", "--keyring", "ring.json").want(t, exitFailed, "foreign").out, "foreign: ring.json has no key "+id)

	// Named, and not known; what was opened is.
	w.run("keyring", "rotate", "ring.json").want(t, exitOK, "")
	r := ring{w, "ring.json"}
	w.tree(map[string][]byte{"old": r.wrap(0, "secret", ""), "new": r.wrap(1, "secret", ""), "damaged": damaged(r.wrap(0, "secret", ""))})
	material := func(i int) string { return strconv.FormatUint(uint64(r.read().Key[i].KeyId), 10) }
	found := w.run(append([]string{"verify", "--state", "verified", "--json"}, args...)...).want(t, exitNotOn, "").summary(t)
	want := account.Census{
		{Key: "keyring:ring.json", Material: id, How: "unknown"}: 2, {Key: "keyring:ring.json", Material: material(0), How: "unknown"}: 1,
		{Key: "keyring:ring.json", Material: material(0), How: "keyring"}: 1, {Key: "keyring:ring.json", Material: material(1), How: "keyring"}: 1,
	}
	if !maps.Equal(found.Census, want) {
		t.Errorf("%v, want %v", found.Census, want)
	}
	findings, err := os.ReadFile(filepath.Join(w.dir, "verified", findingsFile))
	if err != nil || strings.Count(string(findings), `"how":"keyring"`) != 1 || strings.Count(string(findings), `"how":"unknown"`) != 1 {
		t.Errorf("%s, %v", findings, err)
	}
	done := w.run(append([]string{"run", "--yes", "--json"}, args...)...).want(t, exitRemaining, "").summary(t)
	if got := done.Census[account.Holder{Key: "keyring:ring.json", Material: material(1), How: "keyring"}]; got != 2 {
		t.Errorf("%v", done.Census)
	}
}

// TestKeyringLost: what may be under a key without prefix that is disabled or
// destroyed is not done with.
func TestKeyringLost(t *testing.T) {
	t.Parallel()
	for status, say := range map[tinkpb.KeyStatusType]string{tinkpb.KeyStatusType_DISABLED: "enable it", tinkpb.KeyStatusType_DESTROYED: "another copy of the keyring"} {
		w := newWorld(t, emulator.Options{})
		r := w.ring("ring.json", "AES256_GCM_RAW", "AES256_GCM")
		w.tree(map[string][]byte{"old": r.wrap(0, "secret", ""), "new": r.wrap(1, "secret", "")})
		r.edit(func(ks *tinkpb.Keyset) {
			if ks.Key[0].Status = status; status == tinkpb.KeyStatusType_DESTROYED {
				ks.Key[0].KeyData = nil // as tinkey leaves it
			}
		})
		args := []string{"vault", "--format", "raw", "--keyring", "ring.json", "--json"}
		if s := w.run(append([]string{"run", "--yes"}, args...)...).want(t, exitRemaining, say).summary(t); s.Items.Current != 1 || s.Items.Failed != 1 {
			t.Errorf("%v: %+v", status, s.Items)
		}
		w.run(append([]string{"verify"}, args...)...).want(t, exitNotOn, say)
	}
}

// TestKeyringInTree: the job's own keyring is no item, by whatever name it is
// called, nor what a change of it leaves.
func TestKeyringInTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	r := w.ring("ring.json", "AES256_GCM_RAW", "AES256_GCM")
	root := w.tree(map[string][]byte{"a": r.wrap(0, "secret", ""), "keys/ring.json.lock": nil, "keys/ring.json.new": []byte("left")})
	if err := os.Rename(r.path(), filepath.Join(root, "keys/ring.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("vault/keys/ring.json", r.path()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ring.json", "vault/keys/ring.json", filepath.Join(root, "keys/ring.json")} {
		s := w.run("run", "vault", "--yes", "--json", "--format", "raw", "--keyring", name, "--state", filepath.Base(filepath.Dir(name))+".state").want(t, exitOK, "").summary(t)
		if s.Items.Seen != 1 {
			t.Errorf("%s: %+v", name, s.Items)
		}
	}
}

// TestKeyringIdentity: a job is the same by whatever path its keyring is named,
// and another one with another keyring of the same file name.
func TestKeyringIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	for _, folder := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(w.dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := w.ring("a/ring.json", "AES256_GCM", "AES256_GCM")
	w.ring("b/ring.json", "AES256_GCM")
	w.tree(map[string][]byte{"k": r.wrap(1, "secret", "")})
	run := func(name string, more ...string) ended {
		return w.run(append([]string{"run", "vault", "--yes", "--json", "--format", "raw", "--keyring", name}, more...)...)
	}
	first := run("a/ring.json").want(t, exitOK, "").summary(t)
	for _, name := range []string{"./a/../a/ring.json", r.path()} {
		if s := run(name).want(t, exitOK, "").summary(t); s.State != first.State {
			t.Errorf("%s: %s, and was %s", name, s.State, first.State)
		}
	}
	if s := run("b/ring.json").want(t, exitFailed, "does not hold").summary(t); s.State == first.State {
		t.Errorf("two jobs with the state %s", s.State)
	}
	run("b/ring.json", "--state", first.State).want(t, exitFailed, "keyring")
}

// TestKeyringPlan: what plan foresees of a tree that holds everything that a
// keyring can meet is what run then counts.
func TestKeyringPlan(t *testing.T) {
	t.Parallel()
	for name, templates := range map[string][]string{
		"all with prefix":  {"AES256_GCM", "CHACHA20_POLY1305", "AES256_GCM"},
		"one without":      {"AES256_GCM", "AES128_GCM_RAW", "AES256_GCM"},
		"the primary does": {"AES256_GCM", "AES256_GCM", "AES256_GCM_RAW"},
	} {
		w := newWorld(t, emulator.Options{})
		r, other := w.ring("ring.json", templates...), w.ring("other.json", "AES256_GCM")
		tree := map[string][]byte{"text": []byte("no key at all, but longer than nothing!"), "empty": nil}
		for i := range 20 {
			at := fmt.Sprintf("%02d", i)
			tree["disabled"+at], tree["stale"+at], tree["current"+at] = r.wrap(0, "secret", "ad"), r.wrap(1, "secret", "ad"), r.wrap(2, "secret", "ad")
			tree["unknown"+at], tree["damaged"+at] = other.wrap(0, "secret", "ad"), damaged(r.wrap(1, "secret", "ad"))
			tree["damaged current"+at], tree["damaged disabled"+at] = damaged(r.wrap(2, "secret", "ad")), damaged(r.wrap(0, "secret", "ad"))
		}
		root := w.tree(tree)
		w.run("keyring", "disable", "ring.json", strconv.FormatUint(uint64(r.read().Key[0].KeyId), 10)).want(t, exitOK, "")
		before := files(t, root)
		w.emu.ResetCounters()
		args := []string{"vault", "--format", "raw", "--keyring", "ring.json", "--associated-data", "ad", "--json"}
		p := w.run(append([]string{"plan"}, args...)...).want(t, exitOK, "").plan(t)
		if !maps.Equal(before, files(t, root)) {
			t.Errorf("%s: plan changed the tree", name)
		}
		s := w.run(append([]string{"run", "--yes"}, args...)...).want(t, exitRemaining, "").summary(t)
		i := s.Items
		did := map[string]int64{"rewrapped": i.Rewrapped, "current": i.Current, "foreign": i.Foreign, "skipped": i.Skipped, "gone": i.Gone, "failed": i.Failed}
		maps.DeleteFunc(did, func(_ string, n int64) bool { return n == 0 })
		if !p.Whole || !maps.Equal(p.Outcomes, did) || p.Items != i.Seen {
			t.Errorf("%s: planned %v of %d, and run did %v of %d", name, p.Outcomes, p.Items, did, i.Seen)
		}
		var keys, stale int64
		for _, k := range p.Keys {
			if keys += k.Keys; k.State == "stale" {
				stale += k.Keys
			}
		}
		if did := s.Keys.Rewrapped; stale != did || did != 20 {
			t.Errorf("%s: %d stale keys were planned, and %d rewrapped", name, stale, did)
		}
		for _, n := range s.Census {
			keys -= n
		}
		if keys != 0 {
			t.Errorf("%s: the plan and the census differ by %d keys: %+v, %v", name, keys, p.Keys, s.Census)
		}
		if n := w.emu.Counters(); p.KMS.Requests+s.KMS.Requests+n["kms:Decrypt"]+n["kms:ReEncrypt"] != 0 {
			t.Errorf("%s: KMS was called: %v", name, n)
		}
		t.Log(name, did)
	}
}
