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

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/bench/emulator"
)

// tree writes files below the world's folder.
func (w *world) tree(files map[string][]byte) string {
	w.t.Helper()
	root := filepath.Join(w.dir, "vault")
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o640); err != nil {
			w.t.Fatal(err)
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

func (w *world) encrypt(key, secret string, context map[string]string) []byte {
	w.t.Helper()
	out, err := w.kms.Encrypt(w.t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte(secret), EncryptionContext: context})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.CiphertextBlob
}

// opens wants a blob to open to the secret, under the material.
func (w *world) opens(blob []byte, key, secret, material string, context map[string]string) {
	w.t.Helper()
	out, err := w.kms.Decrypt(w.t.Context(), &kms.DecryptInput{KeyId: &key, CiphertextBlob: blob, EncryptionContext: context})
	switch {
	case err != nil:
		w.t.Errorf("%s: %v", secret, err)
	case string(out.Plaintext) != secret || *out.KeyMaterialId != material:
		w.t.Errorf("%s: opens to %q under %s", secret, out.Plaintext, *out.KeyMaterialId)
	}
}

// TestDirectoryRaw: files that are one KMS blob each, bound to their names;
// killed on the way.
func TestDirectoryRaw(t *testing.T) {
	t.Parallel()
	const n = 200
	// Slow enough for the checkpoint to move on between the kills.
	w := newWorld(t, emulator.Options{KMSLatency: 5 * time.Millisecond})
	arn := w.key("alias/a")
	in := make(map[string][]byte)
	name := func(i int) string { return fmt.Sprintf("d%d/key %d\n.bin", i%7, i) }
	bound := func(i int) map[string]string { return map[string]string{"file": name(i), "app": "test"} }
	for i := range n {
		in[name(i)] = w.encrypt("alias/a", fmt.Sprint("secret ", i), bound(i))
		if i%2 == 1 {
			in[name(i)] = []byte(base64.StdEncoding.EncodeToString(in[name(i)]) + "\n")
		}
	}
	in["notes.txt"] = []byte("no key at all, but longer than nothing!")
	root := w.tree(in)
	material := w.rotate(arn)
	args := []string{"run", "vault", "--format", "raw", "--from", "alias/a", "--context", "file={name}", "--context", "app=test",
		"--exclude", "*.txt", "--yes", "--json", "--kms-rps", "max", "--workers", "1", "--base64", "std"}
	kills := 0
	for kills < 20 {
		e, killed := w.killAfter("kms:ReEncrypt", 80, args...)
		if !killed {
			if s := e.want(t, exitOK, "").summary(t); s.Items.Rewrapped != n || s.Items.Seen != n {
				t.Errorf("%s", e.out)
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
	arn := w.key("alias/a")
	blob := func(secret string) string {
		return base64.StdEncoding.EncodeToString(w.encrypt("alias/a", secret, map[string]string{"tenant": secret}))
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
	material := w.rotate(arn)
	s := w.run("run", "vault", "--json-field", "/tenants/*/key", "--context", "tenant={field:id}", "--from", "alias/a", "--yes", "--json", "--kms-rps", "max").
		want(t, exitOK, "").summary(t)
	if s.Items.Rewrapped != 2 || s.Keys.Rewrapped != 302 {
		t.Errorf("%+v", s)
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

// TestDirectoryJSONBroken: what is no wrapped key fails alone, in lines that
// are one string each.
func TestDirectoryJSONBroken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	quoted := func(secret string) string {
		return `"` + base64.StdEncoding.EncodeToString(w.encrypt("alias/a", secret, nil)) + `"`
	}
	lines := []string{quoted("0"), "7", `""`, `"broken!"`, quoted("4")}
	root := w.tree(map[string][]byte{"lines": []byte(strings.Join(lines, "\n")), "one": []byte(quoted("one")), "object": []byte(`{"a":1}`)})
	material := w.rotate(arn)
	args := []string{"vault", "--format", "json", "--json-field", "", "--from", "alias/a", "--base64", "std"}
	e := w.run(append([]string{"run", "--yes", "--json"}, args...)...).want(t, exitRemaining, "2 items failed")
	if s := e.summary(t); s.Items.Failed != 2 || s.Items.Rewrapped != 1 || s.Keys.Rewrapped != 3 {
		t.Errorf("%s", e.out)
	}
	failed, err := filepath.Glob(filepath.Join(w.dir, ".rewrap", "*", "failures.jsonl"))
	if err != nil || len(failed) != 1 {
		t.Fatal(failed, err)
	}
	report, err := os.ReadFile(failed[0])
	for _, want := range []string{
		`"line 2: a number, where a string with a wrapped key should be; and 2 more of its wrapped keys failed"`,
		`"an object, where a string with a wrapped key should be"`,
	} {
		if err != nil || !strings.Contains(string(report), want) {
			t.Errorf("failures.jsonl lacks %s: %s, %v", want, report, err)
		}
	}
	out := files(t, root)
	got := strings.Split(out["lines"], "\n")
	if len(got) != 5 || got[1] != lines[1] || got[2] != lines[2] || got[3] != lines[3] || out["object"] != `{"a":1}` {
		t.Errorf("%q", out)
	}
	for text, secret := range map[string]string{got[0]: "0", got[4]: "4", out["one"]: "one"} {
		blob, err := base64.StdEncoding.DecodeString(strings.Trim(text, `"`))
		if err != nil {
			t.Fatal(err)
		}
		w.opens(blob, arn, secret, material, nil)
	}
	w.run(append([]string{"verify"}, args...)...).want(t, exitNotOn, "2 items are not on target")
	in := w.run("inspect", "vault/lines", "--json-field", "", "--from", "alias/a", "--json").want(t, exitFailed, "where they are: 3 of 5").inspection(t)
	if k := in.Keys[1]; k.Locator != "line 2" || k.State != stateUnknown || k.Error == "" || k.SHA256 != "" || in.Keys[4].State != stateCurrent {
		t.Errorf("%+v", in.Keys)
	}
	w.tree(map[string][]byte{"text/note.txt": []byte("not a key, but a note\n"), "text/key": w.encrypt("alias/a", "key", nil)})
	w.run("run", "vault/text", "--format", "raw", "--from", "alias/a", "--yes").want(t, exitRemaining, "the item looks like text that is not base64")
	w.run("inspect", "vault/text/note.txt", "--format", "raw", "--from", "alias/a").want(t, exitFailed, "could not be told")
	w.run("run", "vault", "--format", "JSON", "--json-field", "/k", "--from", "alias/a", "--yes").want(t, exitUsage, `--format "JSON": it is s3ec, raw, json or auto`)
	w.run("run", "vault", "--format", "s3ec", "--from", "alias/a", "--yes").want(t, exitUsage, "--format s3ec is for objects of S3")
	// An empty pointer is the document; an empty value of another flag is a variable that was not set.
	w.run("run", "vault", "--json-field", "", "--from", "", "--yes").want(t, exitUsage, "--from: the value is empty")
}

// TestDirectoryJSONUnmet: a field that is nowhere is said, by whoever saw all
// that there is.
func TestDirectoryJSONUnmet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	in := make(map[string][]byte)
	for i := range 20 {
		in[fmt.Sprint(i)] = fmt.Appendf(nil, `{"cache":{"key":%q,"nil":null}}`, base64.StdEncoding.EncodeToString(w.encrypt("alias/a", fmt.Sprint(i), nil)))
	}
	w.tree(in)
	w.rotate(arn)
	args := []string{"vault", "--json-field", "/cache/key", "--json-field", "/cache/kye", "--json-field", "/cache/nil", "--json-field", "/*/key", "--json-field", "/*/key", "--from", "alias/a", "--base64", "std"}
	do := func(command ...string) []string { return append(command, args...) }
	says := func(e ended, kye string) {
		t.Helper()
		for _, unmet := range []string{"kye", "nil"} {
			if line := "rewrap: --json-field /cache/" + unmet + " was found in " + kye + "\n"; kye != "" && !strings.Contains(e.errors, line) {
				t.Errorf("lacks %q:\n%s", line, e.errors)
			}
		}
		if n := strings.Count(e.errors, "was found in"); kye == "" && n > 0 || kye != "" && n != 2 {
			t.Errorf("%d fields:\n%s", n, e.errors)
		}
	}
	says(w.run(do("plan")...).want(t, exitOK, ""), "no item")
	says(w.run(do("plan", "--sample", "5")...).want(t, exitOK, ""), "none of the 5 items that were looked into")
	says(w.run(do("run", "--yes", "--max-items", "3")...).want(t, exitStopped, ""), "")
	says(w.run(do("run", "--yes")...).want(t, exitOK, ""), "") // resumed: others were seen before
	says(w.run(do("run", "--yes")...).want(t, exitOK, ""), "no item")
	says(w.run(do("verify")...).want(t, exitOK, ""), "no item")
	// One that is refused unseen may hold it. Not so one that is not on target.
	w.rotate(arn)
	says(w.run(do("verify")...).want(t, exitNotOn, ""), "no item")
	large := filepath.Join(w.tree(map[string][]byte{"large": nil}), "large")
	must(t)(nil, os.Truncate(large, 65<<20))
	says(w.run(do("verify")...).want(t, exitNotOn, "too-large"), "")
	says(w.run(do("run", "--yes")...).want(t, exitRemaining, "too-large"), "")
	must(t)(nil, os.Remove(large))
	for _, command := range []string{"run", "plan", "verify"} {
		args := []string{command, "vault", "--json-field", "/cache/kye", "--from", "alias/a"}
		if command == "run" {
			args = append(args, "--yes")
		}
		w.run(args...).want(t, exitFailed, "--json-field")
	}
}

// TestDirectoryKeyring: without AWS, from the command line alone.
func TestDirectoryKeyring(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	offline := func(args ...string) ended {
		cmd := w.command(t.Context(), args...)
		cmd.Env = append(cmd.Env, "AWS_REGION=", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_ENDPOINT_URL=http://127.0.0.1:1")
		return w.wait(cmd)
	}
	offline("keyring", "create", "ring.json").want(t, exitOK, "")
	root := w.tree(map[string][]byte{"not-ours": []byte("\x01\x00\x00\x00\x07 wrapped by some other keyring, or by none")})
	run := []string{"run", "vault", "--format", "raw", "--keyring", "ring.json", "--associated-data", "{name}", "--yes", "--json"}
	offline(run...).want(t, exitFailed, "Check --keyring")
	before := files(t, root)
	offline("keyring", "rotate", "ring.json").want(t, exitOK, "")
	offline(run...).want(t, exitFailed, "Check --keyring")
	if got := files(t, root); got["not-ours"] != before["not-ours"] || len(got) != 1 {
		t.Errorf("%v", got)
	}
	if err := os.Chmod(filepath.Join(w.dir, "ring.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	offline(run...).want(t, exitFailed, "chmod 600")
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
		arn = w.key(alias)
		in, bare = make(map[string][]byte), make(map[string][]byte)
		for i := 0; i < n || len(bare) > 0 && len(bare) < 12; i++ {
			name := fmt.Sprint(i)
			text := []byte(e.EncodeToString(w.encrypt(alias, "secret "+name, nil)))
			if i < n {
				in["all/"+name] = text
			}
			if !strings.ContainsAny(string(text), "-_") && len(bare) < 12 {
				bare["bare/"+name], in["bare/"+name] = text, text
			}
		}
	}
	root := w.tree(in)
	material := w.rotate(arn)
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
