package main

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rewrap/bench/emulator"
	"rewrap/cmd/rewrap/internal/report"
)

// spellings are the variants of base64, strict so that they read nothing that
// they would not have written.
var spellings = []*base64.Encoding{
	base64.StdEncoding.Strict(), base64.RawStdEncoding.Strict(), base64.URLEncoding.Strict(), base64.RawURLEncoding.Strict(),
}

// spelling is a folder of wrapped keys in base64.
type spelling struct {
	root    string
	quoted  string // how an item holds its blob
	variant func(i int) int
}

func (w *world) spelled(folder, quoted string, blobs [][]byte, variant func(i int) int) spelling {
	w.Helper()
	in := make(map[string][]byte)
	for i, blob := range blobs {
		in[fmt.Sprintf("%s/%04d", folder, i)] = fmt.Appendf(nil, quoted, spellings[variant(i)].EncodeToString(blob))
	}
	return spelling{filepath.Join(w.tree(in), folder), quoted, variant}
}

// read reads each item in the variant in which it was written.
func (s spelling) read(t *testing.T) [][]byte {
	t.Helper()
	var blobs [][]byte
	before, after, _ := strings.Cut(s.quoted, "%s")
	all := files(t, s.root)
	for i, name := range slices.Sorted(maps.Keys(all)) {
		text := strings.TrimSuffix(strings.TrimPrefix(all[name], before), after)
		blob, err := spellings[s.variant(i)].DecodeString(text)
		if err != nil {
			t.Fatalf("%s %s is not as it was found: %v: %s", s.root, name, err, text)
		}
		blobs = append(blobs, blob)
	}
	return blobs
}

func cycle(i int) int { return i % len(spellings) }

func isBare(blob []byte) bool {
	return !strings.ContainsAny(base64.StdEncoding.EncodeToString(blob), "+/")
}

// TestBase64Keyring: where all variants lie in one folder, a keyring writes
// each blob back in its own, also the one blob of an item that does not show it.
func TestBase64Keyring(t *testing.T) {
	t.Parallel()
	const n = 300
	w := newWorld(t, emulator.Options{})
	r := w.ring("ring.json", "AES256_GCM")
	secret := func(i int) string { return strings.Repeat("s", 31+i%3) } // of blobs that are padded, with one = or two, or have no need to be
	blobs, bare := make([][]byte, n), 0
	for i := range blobs {
		if blobs[i] = r.wrap(0, secret(i), ""); isBare(blobs[i]) {
			bare++
		}
	}
	if bare < n/60 {
		t.Fatalf("only %d of %d blobs do not show their alphabet", bare, n)
	}
	w.run("keyring", "rotate", "ring.json").want(t, exitOK, "")
	primary := r.aead(1)
	misleading := func(i int) int { // all that show an alphabet show the standard one
		if isBare(blobs[i]) {
			return cycle(i)
		}
		return 0
	}
	for quoted, format := range map[string][]string{"%s": {"--format", "raw"}, `{"k":"%s"}`: {"--json-field", "/k"}} {
		for name, variant := range map[string]func(int) int{"cycle": cycle, "misleading": misleading} {
			folder := name + strings.ReplaceAll(format[1], "/", "-")
			s := w.spelled(folder, quoted, blobs, variant)
			args := append([]string{"run", "vault/" + folder, "--keyring", "ring.json", "--yes"}, format...)
			w.run(args...).want(t, exitOK, "")
			for i, blob := range s.read(t) {
				if got, err := primary.Decrypt(blob, nil); err != nil || string(got) != secret(i) {
					t.Errorf("%s %d: %q, %v", folder, i, got, err)
				}
			}
		}
	}
}

// TestBase64Mixed: blobs in all variants lie in one folder, and KMS answers with
// one new blob for each. A blob keeps the alphabet and the padding that it shows;
// what it does not show is standard and padded. Nothing fails, and what was
// assumed is counted.
func TestBase64Mixed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	var arn, alias string
	var blobs, bare [][]byte
	secret := func(i int) string { return strings.Repeat("s", 6+i%3) }
	for k := 0; len(bare) < 24; k++ { // blobs hold what belongs to the key, and of some keys all show the alphabet
		alias = fmt.Sprint("alias/", k)
		arn = w.Key(alias)
		blobs, bare = nil, nil
		for i := 0; i < 300 || len(bare) > 0 && len(bare) < 24; i++ {
			blob := w.Seal(alias, secret(i), nil)
			switch {
			case isBare(blob) && len(bare) < 24:
				bare = append(bare, blob)
			case len(blobs) < 300:
				blobs = append(blobs, blob)
			}
		}
	}
	blobs = append(blobs, bare...)
	material := w.Rotate(arn)
	mixed := w.spelled("mixed", "%s", blobs, cycle)
	kept := func(i int) int { // the variant of the new blob
		v := cycle(i)
		if isBare(blobs[i]) {
			v &^= 2 // standard
		}
		if len(blobs[i])%3 == 0 {
			v &^= 1 // padded
		}
		return v
	}
	args := []string{"run", "vault/mixed", "--format", "raw", "--from", alias, "--yes", "--json", "--kms-rps", "max"}
	s := w.run(args...).want(t, exitOK, "").summary(t)
	assumed, overhead := int64(0), len(w.Seal(alias, "s", nil))-1
	for i, blob := range (spelling{mixed.root, mixed.quoted, kept}).read(t) {
		w.opens(blob, arn, strings.Repeat("s", len(blobs[i])-overhead), material, nil)
		if isBare(blobs[i]) && !isBare(blob) || len(blobs[i])%3 == 0 && len(blob)%3 != 0 {
			assumed++
		}
	}
	if s.Items.Rewrapped != int64(len(blobs)) || assumed == 0 || s.Assumed != assumed {
		t.Errorf("%d assumed, want %d: %+v", s.Assumed, assumed, s.Items)
	}
}

// TestBase64Learned: the first items that show an alphabet settle it for blobs
// that show none, and a run that goes on keeps what the first one learned.
func TestBase64Learned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	var arn, alias string
	var shown []byte
	var bare [][]byte
	for k := 0; len(bare) < 12; k++ { // of some keys all blobs show the alphabet
		alias = fmt.Sprint("alias/", k)
		arn, bare = w.Key(alias), nil
		for range 200 {
			if blob := w.Seal(alias, "secret", nil); !isBare(blob) {
				shown = blob
			} else if len(bare) < 12 {
				bare = append(bare, blob)
			}
		}
	}
	material := w.Rotate(arn)
	url := func(int) int { return 3 }
	learned := w.spelled("learned", "%s", append(append([][]byte{bare[0], shown}, bare[1:]...), shown), url)
	args := []string{"run", "vault/learned", "--format", "raw", "--from", alias, "--yes", "--json"}
	first := w.run(append(args, "--max-items", "3")...).want(t, exitStopped, "").summary(t)
	second := w.run(args...).want(t, exitOK, "").summary(t)
	for _, blob := range learned.read(t) {
		w.opens(blob, arn, "secret", material, nil)
	}
	if first.Base64 == nil || *first.Base64 != (report.Base64{Style: "raw-url", How: report.Base64Shown}) ||
		second.Base64 == nil || *second.Base64 != (report.Base64{Style: "raw-url", How: report.Base64Earlier}) {
		t.Errorf("the first run learned %v, and the second goes by %v", first.Base64, second.Base64)
	}
	said := w.run(append(args, "--base64", "raw-url")...).want(t, exitOK, "").summary(t)
	if said.Base64 == nil || *said.Base64 != (report.Base64{Style: "raw-url", How: report.Base64Given}) {
		t.Errorf("--base64 says raw-url, and the summary %v", said.Base64)
	}
}
