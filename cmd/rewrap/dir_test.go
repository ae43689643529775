package main

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rewrap/bench/emulator"
)

// tree writes files below the world's folder.
func (w *world) tree(files map[string][]byte) string {
	w.Helper()
	root := filepath.Join(w.dir, "vault")
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o640); err != nil {
			w.Fatal(err)
		}
	}
	return root
}

// files is what is in a tree now.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		all[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// opens wants a blob to open to the secret, under the material.
func (w *world) opens(blob []byte, key, secret, material string, context map[string]string) {
	w.Helper()
	if got, under := w.Open(key, blob, context); got != secret || under != material {
		w.Errorf("%s: opens to %q under %s, want it under %s", secret, got, under, material)
	}
}

// TestDirectoryRaw: files that are one KMS blob each, bound to their names;
// killed on the way.
func TestDirectoryRaw(t *testing.T) {
	t.Parallel()
	const n = 200
	// Slow enough for the checkpoint to move on between the kills.
	w := newWorld(t, emulator.Options{KMSLatency: 5 * time.Millisecond})
	arn := w.Key("alias/a")
	in := make(map[string][]byte)
	name := func(i int) string { return fmt.Sprintf("d%d/key %d\n.bin", i%7, i) }
	bound := func(i int) map[string]string { return map[string]string{"file": name(i), "app": "test"} }
	for i := range n {
		in[name(i)] = w.Seal("alias/a", fmt.Sprint("secret ", i), bound(i))
		if i%2 == 1 {
			in[name(i)] = []byte(base64.StdEncoding.EncodeToString(in[name(i)]) + "\n")
		}
	}
	in["notes.txt"] = []byte("no key at all, but longer than nothing!")
	root := w.tree(in)
	material := w.Rotate(arn)
	args := []string{"run", "vault", "--format", "raw", "--from", "alias/a", "--context", "file={name}", "--context", "app=test",
		"--exclude", "*.txt", "--yes", "--json", "--kms-rps", "max", "--workers", "1", "--base64", "std"}
	kills := 0
	for kills < 20 {
		e, killed := w.killAfter("kms:ReEncrypt", 80, args...)
		if !killed {
			if s := e.want(t, exitOK, "").summary(t); s.Items.Rewrapped != n || s.Items.Seen != n {
				t.Errorf("%+v, want all %d rewrapped", s.Items, n)
			}
			break
		}
		kills++
	}
	if kills == 0 || kills == 20 {
		t.Errorf("%d kills", kills)
	}
	out := files(t, root)
	if len(out) != n+1 || out["notes.txt"] != string(in["notes.txt"]) {
		t.Errorf("%d files, %q", len(out), out["notes.txt"])
	}
	for i := range n {
		blob := []byte(out[name(i)])
		if i%2 == 1 {
			text := strings.TrimSuffix(out[name(i)], "\n")
			if text == out[name(i)] {
				t.Errorf("%q lost its line break", name(i))
			}
			var err error
			if blob, err = base64.StdEncoding.DecodeString(text); err != nil {
				t.Error(err)
			}
		}
		w.opens(blob, arn, fmt.Sprint("secret ", i), material, bound(i))
	}
	w.run("verify", "vault", "--format", "raw", "--from", "alias/a", "--context", "file={name}", "--context", "app=test", "--exclude", "*.txt").want(t, exitOK, "")
}

// TestDirectoryJSON: documents and lines in which nothing but the blobs
// changes.
func TestDirectoryJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.Key("alias/a")
	blob := func(secret string) string {
		return base64.StdEncoding.EncodeToString(w.Seal("alias/a", secret, map[string]string{"tenant": secret}))
	}
	document := func(b func(string) string) string {
		return "{ \"n\": 1.0e+2, \"tenants\": {\"x\": {\"id\":\"x\",\t\"key\":\"" + b("x") + "\"}, \"y\": {\"key\": \"" + b("y") + "\", \"id\": \"y\"}},\r\n \"n\":2 }"
	}
	line := func(b func(string) string, i int) string {
		return fmt.Sprintf(`{"i":%d,"tenants":{"t":{"id":"l%d","key":"%s"}}}`, i, i, b(fmt.Sprint("l", i)))
	}
	olds := make(map[string]string)
	old := func(secret string) string {
		if olds[secret] == "" {
			olds[secret] = blob(secret)
		}
		return olds[secret]
	}
	lines := func(b func(string) string) (s string) {
		for i := range 300 {
			s += line(b, i) + "\n"
		}
		return s
	}
	root := w.tree(map[string][]byte{"one.json": []byte(document(old)), "many.jsonl": []byte(lines(old))})
	material := w.Rotate(arn)
	s := w.run("run", "vault", "--json-field", "/tenants/*/key", "--context", "tenant={field:id}", "--from", "alias/a", "--yes", "--json", "--kms-rps", "max").
		want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != 2 || s.Keys.Rewrapped != 302 {
		t.Errorf("%+v, %+v, want 2 items and 302 keys rewrapped", s.Items, s.Keys)
	}
	out := files(t, root)
	news := make(map[string]string) // what stands where the old blobs stood
	take := func(text string) func(string) string {
		parts := strings.Split(text, `"key":`)[1:]
		i := -1
		return func(secret string) string {
			i++
			b := strings.Split(parts[i], `"`)[1]
			news[secret] = b
			return b
		}
	}
	if got := document(take(out["one.json"])); got != out["one.json"] {
		t.Errorf("more than the blobs changed:\n%s", out["one.json"])
	}
	if got := lines(take(out["many.jsonl"])); got != out["many.jsonl"] {
		t.Error("more than the blobs changed in the lines")
	}
	for secret, b := range news {
		raw, err := base64.StdEncoding.DecodeString(b)
		if err != nil || b == olds[secret] {
			t.Errorf("%s: %v", secret, err)
		}
		w.opens(raw, arn, secret, material, map[string]string{"tenant": secret})
	}
}

// TestBase64Auto: blobs that do not show their alphabet are written in the one
// that --base64 names, or else in the standard one. That is counted, and no item
// fails for it.
func TestBase64Auto(t *testing.T) {
	t.Parallel()
	const n = 300
	w := newWorld(t, emulator.Options{})
	e := base64.RawURLEncoding
	var arn, alias string
	var in, bare map[string][]byte
	for k := 0; len(bare) < 12; k++ { // blobs hold what belongs to the key, and of some keys all show the alphabet
		alias = fmt.Sprint("alias/", k)
		arn = w.Key(alias)
		in, bare = make(map[string][]byte), make(map[string][]byte)
		for i := 0; i < n || len(bare) > 0 && len(bare) < 12; i++ {
			name := fmt.Sprint(i)
			text := []byte(e.EncodeToString(w.Seal(alias, "secret "+name, nil)))
			if i < n {
				in["all/"+name] = text
			}
			if !strings.ContainsAny(string(text), "-_") && len(bare) < 12 {
				bare["bare/"+name], in["bare/"+name] = text, text
			}
		}
	}
	root := w.tree(in)
	material := w.Rotate(arn)
	readable := func(folder string, e *base64.Encoding) (assumed int64) {
		t.Helper()
		for name, text := range files(t, filepath.Join(root, folder)) {
			blob, err := e.DecodeString(text)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			w.opens(blob, arn, "secret "+name, material, nil)
			if !isBare(blob) {
				assumed++
			}
		}
		return assumed
	}
	args := []string{"--format", "raw", "--from", alias, "--yes", "--json", "--kms-rps", "max"}
	s := w.run(append([]string{"run", "vault/all", "--base64", "raw-url"}, args...)...).want(t, exitOK, "").summary(t)
	if readable("all", e); s.Assumed != 0 {
		t.Errorf("%d assumed, though --base64 says it", s.Assumed)
	}

	// Nothing shows the alphabet here.
	s = w.run(append([]string{"run", "vault/bare"}, args...)...).want(t, exitOK, "").summary(t)
	if n := readable("bare", base64.RawStdEncoding); n == 0 || s.Assumed != n || s.Items.Rewrapped != int64(len(bare)) {
		t.Errorf("%d of %d new blobs show the alphabet: %d assumed, %+v", n, len(bare), s.Assumed, s.Items)
	}
}
