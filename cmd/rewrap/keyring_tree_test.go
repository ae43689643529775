package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"rewrap/bench/emulator"
)

// ring is a keyring in the clear, made and rotated by rewrap, whose keys
// tink-go wraps with, whatever their status.
type ring struct {
	w    *world
	file string
}

func (w *world) ring(file string, templates ...string) ring {
	w.Helper()
	for i, template := range templates {
		verb := "create"
		if i > 0 {
			verb = "rotate"
		}
		w.run("keyring", verb, file, "--template", template).want(w.TB, exitOK, "")
	}
	return ring{w, file}
}

func (r ring) path() string { return filepath.Join(r.w.dir, r.file) }

func (r ring) read() *tinkpb.Keyset {
	r.w.Helper()
	text, err := os.ReadFile(r.path())
	if err != nil {
		r.w.Fatal(err)
	}
	ks := new(tinkpb.Keyset)
	if err := protojson.Unmarshal(text, ks); err != nil {
		r.w.Fatal(err)
	}
	return ks
}

// aead is tink-go's with key i alone.
func (r ring) aead(i int) tink.AEAD {
	r.w.Helper()
	k := proto.CloneOf(r.read().Key[i])
	k.Status = tinkpb.KeyStatusType_ENABLED
	one, err := proto.Marshal(&tinkpb.Keyset{PrimaryKeyId: k.KeyId, Key: []*tinkpb.Keyset_Key{k}})
	if err != nil {
		r.w.Fatal(err)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(one)))
	if err != nil {
		r.w.Fatal(err)
	}
	a, err := aead.New(h)
	if err != nil {
		r.w.Fatal(err)
	}
	return a
}

// wrap is what tink-go writes with key i.
func (r ring) wrap(i int, secret, ad string) []byte {
	r.w.Helper()
	blob, err := r.aead(i).Encrypt([]byte(secret), []byte(ad))
	if err != nil {
		r.w.Fatal(err)
	}
	return blob
}

// damaged is the blob with its last bit turned.
func damaged(blob []byte) []byte {
	blob[len(blob)-1] ^= 1
	return blob
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
		w.Emulator.ResetCounters()
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
		if n := w.Emulator.Counters(); p.KMS.Requests+s.KMS.Requests+n["kms:Decrypt"]+n["kms:ReEncrypt"] != 0 {
			t.Errorf("%s: KMS was called: %v", name, n)
		}
		t.Log(name, did)
	}
}
