package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/bench/emulator"
)

func (e ended) inspection(t testing.TB) inspection {
	t.Helper()
	var in inspection
	d := json.NewDecoder(strings.NewReader(e.out))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		t.Fatalf("%v\n%s%s", err, e.out, e.errors)
	}
	return in
}

func (w *world) put(key string, body []byte, meta map[string]string) {
	w.t.Helper()
	must(w.t)(w.s3.PutObject(w.t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(body), Metadata: meta}))
}

// wants holds the text against what has to stand in it.
func wants(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in\n%s", p, text)
		}
	}
}

// withholds wants no spelling of the blob or the secret to be anywhere.
func (e ended) withholds(t testing.TB, blobs ...[]byte) {
	t.Helper()
	for _, b := range blobs {
		for _, s := range []string{string(b), hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b)} {
			if strings.Contains(e.out+e.errors, s) {
				t.Errorf("a secret or a wrapped key was printed:\n%s%s", e.out, e.errors)
			}
		}
	}
}

// TestInspectObject: what is in one object of the S3 Encryption Client, without
// any key, and then which key it is under.
func TestInspectObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	other := w.key("alias/b")
	old := w.rotate(arn) // so that the old material has a name that is known here
	w.fill("alias/a", 1)
	head, err := w.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String(name(0))})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := base64.StdEncoding.DecodeString(head.Metadata["x-amz-key-v2"])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(blob)
	item := "s3://" + bucket + "/" + name(0)

	before := w.emu.Counters()
	e := w.run("inspect", item, "--json").want(t, exitOK, "")
	for op, n := range w.emu.Counters() {
		if n > before[op] && (strings.HasPrefix(op, "kms:") || strings.Contains(op, "Put") || strings.Contains(op, "Copy")) {
			t.Errorf("to look took %s", op)
		}
	}
	in := e.inspection(t)
	if in.Item != item || in.Format != "s3ec-v2" || in.Size != aws.ToInt64(head.ContentLength) || in.Asked || len(in.Keys) != 1 {
		t.Fatalf("%s", e.out)
	}
	k := in.Keys[0]
	if k.Locator != "x-amz-key-v2" || k.Length != len(blob) || k.SHA256 != hex.EncodeToString(sum[:]) || k.RecordedKey != "" || k.State != "" || k.Under != nil {
		t.Errorf("%s", e.out)
	}
	if want := map[string]string{"tenant": "test", "aws:x-amz-cek-alg": "AES/GCM/NoPadding"}; !maps.Equal(k.Context, want) {
		t.Errorf("context %v", k.Context)
	}
	e.withholds(t, blob, payload(0))

	ask := func(args ...string) inspectedKey {
		t.Helper()
		e := w.run(append([]string{"inspect", item, "--json"}, args...)...).want(t, exitOK, "")
		e.withholds(t, blob)
		return e.inspection(t).Keys[0]
	}
	if k := ask("--from", "alias/a"); k.State != stateCurrent || k.Under == nil || k.Under.ARN != arn || k.Under.Material != old || k.Target != nil {
		t.Errorf("%+v", k)
	}
	current := w.rotate(arn)
	if k := ask("--from", "alias/a"); k.State != stateStale || k.Under.Material != old || k.Target == nil || k.Target.Material != current {
		t.Errorf("%+v", k)
	}
	if k := ask("--from", "alias/a", "--to", "alias/b"); k.State != stateStale || k.Under.ARN != arn || k.Target.ARN != other {
		t.Errorf("%+v", k)
	}
	e = w.run("inspect", item, "--from", "alias/a").want(t, exitOK, "")
	wants(t, e.out, item, "s3ec-v2", "tenant = test", arn+", key material "+old, "stale: the target is "+arn+", key material "+current)
	e.withholds(t, blob)
	e = w.run("inspect", item, "--from", "alias/b").want(t, exitFailed, "no wrapped key of the item is under a key that was named")
	wants(t, e.out, "foreign: under none of the keys")
	w.check("alias/a", 1, old) // it stayed where it was
	if left, err := os.ReadDir(w.dir); err != nil || len(left) > 0 {
		t.Errorf("inspect left %v behind, %v", left, err)
	}

	// KMS that does not answer for the key is said, beside what is known.
	must(t)(w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("bound"), Metadata: map[string]string{
		"x-amz-key-v2": head.Metadata["x-amz-key-v2"], "x-amz-iv": head.Metadata["x-amz-iv"], "x-amz-wrap-alg": "kms+context",
		"x-amz-cek-alg": "AES/GCM/NoPadding", "x-amz-matdesc": `{"tenant":"another"}`}}))
	e = w.run("inspect", "s3://"+bucket+"/bound", "--from", "alias/a").want(t, exitFailed, "where they are: 1 of 1")
	wants(t, e.out, "tenant = another", "unknown: KMS cannot open the wrapped key")
}

// TestInspectNothing: items that are not there, foreign or broken, each with a
// line that says so, and nothing that a terminal would obey.
func TestInspectNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.put("plain", []byte("x"), nil)
	w.put("damaged", nil, map[string]string{"x-amz-key-v2": "***", "x-amz-iv": "AAAA", "x-amz-wrap-alg": "kms+context"})
	w.put("half", nil, map[string]string{"x-amz-iv": "AAAA"})
	w.put("rsa", nil, map[string]string{"x-amz-key-v2": "AAAA", "x-amz-iv": "AAAA", "x-amz-wrap-alg": "RSA-OAEP-SHA1"})
	w.put("elsewhere", nil, map[string]string{"x-amz-unencrypted-content-length": "7"})
	w.put("odd\x1b[31m\u202ename", nil, map[string]string{
		"x-amz-key-v2": "AAAA", "x-amz-iv": "AAAA", "x-amz-wrap-alg": "kms", "x-amz-matdesc": `{"kms_cmk_id":"alias/\u001b[2J","a\nb":"c\u202ed"}`,
	})
	root := w.tree(map[string][]byte{"empty": nil, "doc.json": []byte(`{"k":7}`), "broken.json": []byte(`{"k":`), "d/x": []byte("AAAA"), `a\x0a`: nil})
	if err := os.Symlink("empty", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	s3url := "s3://" + bucket + "/"
	for _, c := range []struct {
		args    []string
		code    int
		message string
	}{
		{[]string{s3url + "none"}, exitFailed, "there is no item s3://bucket/none"},
		{[]string{s3url + "none\x1b[0m\n"}, exitFailed, `there is no item s3://bucket/none\x1b[0m\n`},
		{[]string{s3url + "plain"}, exitFailed, "foreign: s3://bucket/plain holds no wrapped key in any format that is looked for (see rewrap formats)"},
		{[]string{s3url + "rsa", "--format", "s3ec"}, exitFailed, "the data key was wrapped by a key of the owner's"},
		{[]string{s3url + "rsa"}, exitFailed, "the data key was wrapped by a key of the owner's"},
		{[]string{s3url + "damaged"}, exitFailed, "x-amz-key-v2 is not standard base64"},
		{[]string{s3url + "half"}, exitFailed, "a part is missing"},
		{[]string{s3url + "elsewhere"}, exitFailed, "(instruction-file)"},
		{[]string{"s3://no-such-bucket/key"}, exitFailed, "no-such-bucket"},
		{[]string{"vault/none", "--format", "raw"}, exitFailed, "there is no file vault/none"},
		{[]string{"vault/link", "--format", "raw"}, exitFailed, "symbolic link"},
		{[]string{"vault/empty", "--format", "raw"}, exitFailed, "the item is empty"},
		{[]string{"vault/doc.json", "--json-field", "/none"}, exitFailed, "doc.json holds no wrapped key in the format json: no wrapped key at any of the given JSON Pointers"},
		{[]string{"vault/broken.json", "--json-field", "/k"}, exitFailed, "broken.json"},
		{[]string{`vault/a\x0a`, "--format", "raw"}, exitUsage, "look at a copy"},
		{[]string{"vault/d/x"}, exitUsage, "--format raw"},
		{[]string{"vault/d/x", "--format", "raw", "--root", "vault/e"}, exitUsage, "not below --root"},
		{[]string{"vault", "--format", "raw"}, exitUsage, "is a directory"},
		{[]string{s3url}, exitUsage, "is a bucket"},
		{[]string{"s3://bucket"}, exitUsage, "is a bucket"},
		{[]string{"s3://B/key"}, exitUsage, "no bucket name"},
		{[]string{"ftp://bucket/key"}, exitUsage, "unknown scheme"},
		{[]string{s3url + "plain", "--root", "vault"}, exitUsage, "--root is for files"},
		{[]string{s3url + "plain", "--from", ""}, exitUsage, "--from: the value is empty"},
		{[]string{""}, exitUsage, "ITEM is empty"},
		{nil, exitUsage, "give one ITEM"},
	} {
		e := w.run(append([]string{"inspect"}, c.args...)...).want(t, c.code, c.message)
		if e.out != "" || strings.Count(e.errors, "\n") != 1 {
			t.Errorf("%q: not one line on standard error and nothing else:\n%s%s", c.args, e.out, e.errors)
		}
	}
	e := w.run("inspect", s3url+"odd\x1b[31m\u202ename").want(t, exitOK, "")
	wants(t, e.out, `odd\x1b[31m\u202ename`, `recorded key  alias/\x1b[2J`, `a\nb = c\u202ed`)
	if strings.ContainsAny(e.out, "\x1b\u202e") {
		t.Errorf("%q", e.out)
	}
}

// TestInspectFile: without AWS, then with KMS, then with a keyring.
func TestInspectFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	blobs := [][]byte{w.encrypt("alias/a", "one secret", map[string]string{"tenant": "x"}), w.encrypt("alias/a", "two secrets", map[string]string{"tenant": "y"})}
	doc := func(i int, id string) string {
		return `{"id":"` + id + `","key":"` + base64.StdEncoding.EncodeToString(blobs[i]) + `"}`
	}
	bound := w.encrypt("alias/a", "bound", map[string]string{"file": "d/one\n.key"})
	w.tree(map[string][]byte{"two.json": []byte(doc(0, "x") + "\n" + doc(1, "y") + "\n"), "d/one\n.key": bound})
	current := w.rotate(arn)

	offline := func(args ...string) ended {
		cmd := w.command(t.Context(), args...)
		cmd.Env = append(cmd.Env, "AWS_REGION=", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_ENDPOINT_URL=http://127.0.0.1:1")
		return w.wait(cmd)
	}
	lines := []string{"inspect", "vault/two.json", "--json-field", "/key", "--context", "tenant={field:id}", "--json"}
	e := offline(lines...).want(t, exitOK, "")
	in := e.inspection(t)
	if in.Format != "json-lines" || in.Item != filepath.Join(w.dir, "vault/two.json") || len(in.Keys) != 2 {
		t.Fatalf("%s", e.out)
	}
	for i, want := range []string{"line 1:/key x", "line 2:/key y"} {
		if k := in.Keys[i]; k.Locator+" "+k.Context["tenant"] != want || k.Length != len(blobs[i]) || k.State != "" {
			t.Errorf("%+v", k)
		}
	}
	e.withholds(t, blobs...)
	e = w.run(append(slices.Clone(lines), "--from", "alias/a")...).want(t, exitOK, "")
	for _, k := range e.inspection(t).Keys {
		if k.State != stateStale || k.Under.ARN != arn || k.Target.Material != current {
			t.Errorf("%+v", k)
		}
	}
	e.withholds(t, append(blobs, []byte("one secret"), []byte("two secrets"))...)

	// The name that a context refers to counts from --root.
	raw := []string{"inspect", "vault/d/one\n.key", "--format", "raw", "--context", "file={name}", "--from", "alias/a"}
	w.run(raw...).want(t, exitFailed, "could not be told")
	e = w.run(append(raw, "--root", "vault")...).want(t, exitOK, "")
	wants(t, e.out, "raw-binary", `file = d/one\n.key`, "stale: the target is")
	e = w.run("inspect", "file://"+filepath.Join(w.dir, "vault/d/one%0A.key"), "--format", "raw", "--json").want(t, exitOK, "")
	if in := e.inspection(t); in.Keys[0].Length != len(bound) || in.Item != filepath.Join(w.dir, "vault/d/one\n.key") {
		t.Errorf("%s", e.out)
	}

	offline("keyring", "create", "ring.json").want(t, exitOK, "")
	w.tree(map[string][]byte{
		"stranger": []byte("\x01\x00\x00\x00\x07 wrapped by some other keyring"),
		"ours":     w.sealed("ring.json", "a secret", "app ours"),
	})
	args := func(name string) []string {
		return []string{"inspect", "vault/" + name, "--format", "raw", "--keyring", "ring.json", "--associated-data", "app {name}"}
	}
	e = offline(args("stranger")...).want(t, exitFailed, "no wrapped key of the item is under a key that was named")
	wants(t, e.out, "associated data  app stranger", "state            foreign")
	e = offline(append(args("ours"), "--json")...).want(t, exitOK, "")
	before := e.inspection(t).Keys[0]
	if before.State != stateCurrent || before.Under == nil || before.AssociatedData != "app ours" {
		t.Errorf("%s", e.out)
	}
	offline("keyring", "rotate", "ring.json").want(t, exitOK, "")
	e = offline(append(args("ours"), "--json")...).want(t, exitOK, "")
	if k := e.inspection(t).Keys[0]; k.State != stateStale || *k.Under != *before.Under || k.Target == nil || *k.Target == *k.Under {
		t.Errorf("%s", e.out)
	}
	e.withholds(t, []byte("a secret"))
}

// sealed is what Tink's AES-GCM writes with the primary key of a keyring in
// the clear.
func (w *world) sealed(ring, secret, ad string) []byte {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, ring))
	if err != nil {
		w.t.Fatal(err)
	}
	var keyset struct {
		Key []struct {
			KeyID   uint32
			KeyData struct{ Value []byte }
		}
	}
	if err := json.Unmarshal(data, &keyset); err != nil {
		w.t.Fatal(err)
	}
	k := keyset.Key[0]
	block, err := aes.NewCipher(k.KeyData.Value[len(k.KeyData.Value)-32:]) // AesGcmKey ends in its key_value
	if err != nil {
		w.t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		w.t.Fatal(err)
	}
	return gcm.Seal(binary.BigEndian.AppendUint32([]byte{1}, k.KeyID), nil, []byte(secret), []byte(ad))
}

// TestInspectInterrupted: a signal ends it, as it ends everything else.
func TestInspectInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{KMSLatency: 5 * time.Second})
	r := w.begin("inspect", "s3://"+bucket+"/key", "--from", "alias/a")
	r.until("s3:HeadBucket", 1)
	must(t)(nil, r.cmd.Process.Signal(os.Interrupt))
	r.wait().want(t, exitStopped, "interrupted by SIGINT")
}

// TestFormats: what is said of the formats is what the program takes.
func TestFormats(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: t.TempDir(), url: "http://127.0.0.1:1"}
	w.tree(nil)
	if err := os.Mkdir(filepath.Join(w.dir, "vault"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := w.run("formats").want(t, exitOK, "").out
	var list []formatInfo
	if err := json.Unmarshal([]byte(w.run("formats", "--json").want(t, exitOK, "").out), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list {
		names = append(names, f.Name)
		wants(t, text, f.Name, f.What, f.Found, f.Records, f.Context, f.Example)
		args := strings.Fields(strings.ReplaceAll(strings.TrimPrefix(f.Example, "rewrap "), "'", ""))
		w.run(append(args, "--print-job")...).want(t, exitOK, "")
		w.run(append(args, "--format", f.Name, "--print-job")...).want(t, exitOK, "")
	}
	// The refusal of an unknown format names all that there are.
	w.run("run", "s3://bucket/", "--format", "none", "--yes").want(t, exitUsage, "it is "+strings.Join(names, ", ")+" or auto")
	w.run("formats", "more").want(t, exitUsage, "")
}
