package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"rewrap/bench/emulator/emulatortest"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// commands are the commands of scripts beside testscript's own. A command that
// cannot do its work fails the script. "key a" sets $a to the key's ARN, ${a.id}
// to its id and ${a.1} to the id of its first material.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"rewrap": rewrap, // rewrap ARG...

	// Keys of KMS.
	"key":     of(1, call.key),     // key NAME [FIELD=VALUE...]: with the alias alias/NAME
	"bare":    of(1, call.bare),    // bare NAME [FIELD=VALUE...]: without an alias
	"managed": of(1, call.managed), // managed NAME: the key of alias/aws/NAME
	"rotate":  of(1, call.rotate),  // rotate NAME [TIMES]
	"kms":     of(1, call.kms),     // kms OPERATION [FIELD=VALUE...]

	// Time and faults.
	"age":    of(0, call.age),    // age: an hour passes
	"fail":   of(2, call.fail),   // fail OPERATION CODE [PART OF THE REQUEST]: KMS answers with the error
	"answer": of(2, call.answer), // answer OPERATION JSON: KMS answers with it
	"mend":   of(0, call.mend),   // mend: takes fail and answer back

	// Items. An hour passes after each object that is written.
	"fill":    of(2, call.fill),    // fill NAME N [FROM]: objects p/00000, p/00001 ... of the S3 Encryption Client
	"check":   of(2, call.check),   // check MATERIAL N: opens the N objects and wants their keys under the material
	"put":     of(2, call.put),     // put KEY FILE [METADATA=VALUE...]
	"spoil":   of(1, call.spoil),   // spoil KEY: damages the object's wrapped key; a second time repairs it
	"relabel": of(2, call.relabel), // relabel KEY METADATA=VALUE...: changes metadata of the object
	"blob":    of(3, call.blob),    // blob FILE NAME SECRET [CONTEXT=VALUE...]: the file is the encrypted secret
	"seal":    of(1, call.seal),    // seal FILE...: replaces <<NAME SECRET CONTEXT=VALUE...>> by the encrypted secret
	"unseal":  of(1, call.unseal),  // unseal FILE...: prints it, with <<MATERIAL SECRET CONTEXT=VALUE...>> for each secret
	"wrap":    of(4, call.wrap),    // wrap FILE RING I SECRET [ASSOCIATED DATA]: tink-go encrypts it with key I of a keyring
	"status":  of(3, call.status),  // status RING I DISABLED|DESTROYED: of key I
	"damage":  of(1, call.damage),  // damage FILE: flips its last bit
	"large":   of(2, call.large),   // large FILE BYTES: a file with a hole

	// Files and requests.
	"edit":      of(3, call.edit),      // edit FILE OLD NEW: replaces a text
	"show":      of(1, call.show),      // show GLOB...: prints the files
	"ls":        of(1, call.ls),        // ls DIR: prints the mode and the name of each file
	"remember":  of(1, call.remember),  // remember DIR
	"unchanged": of(1, call.unchanged), // unchanged DIR: fails if a file is not as it was at remember
	"requests":  of(0, call.requests),  // requests [PREFIX...]: prints how many came in since the last forget
	"forget":    of(0, call.forget),    // forget
}

// call is one command of a script.
type call struct {
	*stage
	ts   *testscript.TestScript
	args []string
}

// of makes a command of a function that takes n arguments or more.
func of(n int, f func(call)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < n {
			ts.Fatalf("it takes %d arguments or more, and is not negated", n)
		}
		s := stageOf(ts)
		s.reseed()
		f(call{s, ts, args})
	}
}

// api calls an operation of KMS and returns the answer.
func (c call) api(operation string, fields ...string) (answer []byte) {
	in := make(map[string]any)
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		if in[k] = v; json.Valid([]byte(v)) {
			in[k] = json.RawMessage(v)
		}
	}
	body, err := json.Marshal(in)
	c.ts.Check(err)
	req, err := http.NewRequestWithContext(c.Context(), http.MethodPost, c.URL, bytes.NewReader(body))
	c.ts.Check(err)
	req.Header.Set("X-Amz-Target", "TrentService."+operation)
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	res, err := c.HTTP.Do(req)
	c.ts.Check(err)
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		c.ts.Fatalf("%s: %s %s %v", operation, res.Status, answer, err)
	}
	return answer
}

func (c call) key() {
	c.bare()
	c.api("CreateAlias", "AliasName=alias/"+c.args[0], "TargetKeyId="+c.ts.Getenv(c.args[0]))
}

func (c call) bare() { c.named(c.args[0], c.api("CreateKey", c.args[1:]...)) }

func (c call) managed() { c.named(c.args[0], c.api("DescribeKey", "KeyId=alias/aws/"+c.args[0])) }

// named gives the key in an answer of KMS its name in the script.
func (c call) named(name string, answer []byte) {
	var out struct{ KeyMetadata struct{ Arn, KeyID string } }
	c.ts.Check(json.Unmarshal(answer, &out))
	c.stage.name(c.ts, out.KeyMetadata.KeyID, name)
	c.ts.Setenv(name, out.KeyMetadata.Arn)
	c.ts.Setenv(name+".id", out.KeyMetadata.KeyID)
	c.learn(c.ts)
}

func (c call) rotate() {
	times := 1
	if len(c.args) > 1 {
		times = c.number(1)
	}
	for range times {
		c.api("RotateKeyOnDemand", "KeyId="+c.ts.Getenv(c.args[0]))
	}
	c.learn(c.ts)
}

func (c call) kms() { c.api(c.args[0], c.args[1:]...) }

func (c call) age() { c.Clock.Pass(time.Hour) }

// hooked adds a hook before the ones that the script has set already.
func (c call) hooked(h emulatortest.Hook) {
	if c.hook != nil {
		h = emulatortest.Both(h, c.hook)
	}
	c.hook = h
	c.Hook(h)
}

func (c call) mend() {
	c.hook = nil
	c.Hook(nil)
}

func (c call) fail() {
	part := strings.Join(c.args[2:], " ")
	c.hooked(emulatortest.JSON(func(op string, in emulatortest.Object) string {
		if op == c.args[0] && strings.Contains(fmt.Sprint(in), part) {
			return c.args[1]
		}
		return ""
	}, nil))
}

func (c call) answer() {
	c.hooked(emulatortest.On(c.args[0], func(_ string, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		_, _ = io.WriteString(w, c.args[1])
	}))
}

func (c call) number(i int) int {
	n, err := strconv.Atoi(c.args[i])
	c.ts.Check(err)
	return n
}

func (c call) fill() {
	from := 0
	if len(c.args) > 2 {
		from = c.number(2)
	}
	at := func(i int) string { return emulatortest.Name(from + i) }
	c.OK(c.Seed(c.ts.Getenv(c.args[0])).Fill(c.Context(), c.number(1), at, emulatortest.Payload))
	_, blob := c.metadata(at(0))
	c.hashed(blob, at(0))
	c.age()
}

func (c call) check() {
	key, _, _ := strings.Cut(c.args[0], ".")
	c.Check(c.ts.Getenv(key), c.number(1), c.ts.Getenv(c.args[0]))
}

func (c call) put() {
	c.Put(c.args[0], c.ts.ReadFile(c.args[1]), func(in *s3.PutObjectInput) { in.Metadata = pairs(c.args[2:]) })
	c.age()
}

func pairs(words []string) map[string]string {
	m := make(map[string]string)
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		m[k] = v
	}
	return m
}

// keyField is the metadata entry with the wrapped key of the S3 Encryption Client.
const keyField = "x-amz-key-v2"

func (c call) metadata(key string) (all map[string]string, blob []byte) {
	all = c.Head(key).Metadata
	blob, err := base64.StdEncoding.DecodeString(all[keyField])
	c.OK(err)
	return all, blob
}

func (c call) setMetadata(key string, all map[string]string) {
	_, err := c.S3.CopyObject(c.Context(), &s3.CopyObjectInput{Bucket: &c.Bucket, Key: &key, CopySource: aws.String(c.Bucket + "/" + key),
		MetadataDirective: types.MetadataDirectiveReplace, Metadata: all})
	c.OK(err)
	c.age()
}

func (c call) spoil() {
	all, blob := c.metadata(c.args[0])
	blob[0] ^= 0xff
	all[keyField] = base64.StdEncoding.EncodeToString(blob)
	c.setMetadata(c.args[0], all)
}

func (c call) relabel() {
	all, _ := c.metadata(c.args[0])
	maps.Copy(all, pairs(c.args[1:]))
	c.setMetadata(c.args[0], all)
}

// hashed names the hash of a wrapped key: rewrap prints the hash only.
func (c call) hashed(blob []byte, name string) {
	sum := sha256.Sum256(blob)
	c.names[hex.EncodeToString(sum[:])] = "sha256 of " + name
}

// secret is a plaintext that the script had encrypted.
type secret struct {
	text    string
	context map[string]string
}

func (sec secret) String() string {
	words := []string{sec.text}
	for _, k := range slices.Sorted(maps.Keys(sec.context)) {
		words = append(words, k+"="+sec.context[k])
	}
	return strings.Join(words, " ")
}

func (c call) encrypt(key, text string, context map[string]string) []byte {
	blob := c.Seal(c.ts.Getenv(key), text, context)
	c.sealed = append(c.sealed, secret{text, context})
	c.hashed(blob, text)
	return blob
}

// open names the secret in a blob and the material that the blob is under.
func (c call) open(blob []byte) string {
	for _, sec := range c.sealed {
		out, err := c.KMS.Decrypt(c.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: sec.context})
		if err == nil && string(out.Plaintext) == sec.text {
			return "<<" + c.names[*out.KeyMaterialId] + " " + sec.String() + ">>"
		}
	}
	return ""
}

func (c call) write(file string, data []byte) {
	file = c.ts.MkAbs(file)
	c.ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	c.ts.Check(os.WriteFile(file, data, 0o600))
}

func (c call) blob() { c.write(c.args[0], c.encrypt(c.args[1], c.args[2], pairs(c.args[3:]))) }

var sealedText = regexp.MustCompile(`<<[^>]+>>`)

func (c call) seal() {
	for _, file := range c.args {
		c.write(file, sealedText.ReplaceAllFunc([]byte(c.ts.ReadFile(file)), func(b []byte) []byte {
			words := strings.Fields(string(b[2 : len(b)-2]))
			return []byte(base64.StdEncoding.EncodeToString(c.encrypt(words[0], words[1], pairs(words[2:]))))
		}))
	}
}

var base64Text = regexp.MustCompile(`[A-Za-z0-9+/]{60,}={0,2}`)

func (c call) unseal() {
	c.learn(c.ts)
	for _, file := range c.args {
		text := c.ts.ReadFile(file)
		if is := c.open([]byte(text)); is != "" {
			text = is + "\n"
		}
		c.said("unseal", file, base64Text.ReplaceAllStringFunc(text, func(b string) string {
			blob, err := base64.StdEncoding.DecodeString(b)
			c.ts.Check(err)
			return c.open(blob)
		}))
	}
}

func (c call) said(command, arg, text string) {
	c.stage.say(c.ts, command, strings.Fields(arg), marked("> ", text, whole))
}

func (c call) ring(file string) *tinkpb.Keyset {
	ks := new(tinkpb.Keyset)
	c.ts.Check(protojson.Unmarshal([]byte(c.ts.ReadFile(file)), ks))
	return ks
}

func (c call) wrap() {
	k := proto.CloneOf(c.ring(c.args[1]).Key[c.number(2)-1])
	k.Status = tinkpb.KeyStatusType_ENABLED
	one, err := proto.Marshal(&tinkpb.Keyset{PrimaryKeyId: k.KeyId, Key: []*tinkpb.Keyset_Key{k}})
	c.ts.Check(err)
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(one)))
	c.ts.Check(err)
	a, err := aead.New(h)
	c.ts.Check(err)
	blob, err := a.Encrypt([]byte(c.args[3]), []byte(strings.Join(c.args[4:], " ")))
	c.ts.Check(err)
	c.hashed(blob, c.args[0])
	c.write(c.args[0], blob)
}

func (c call) status() {
	ks := c.ring(c.args[0])
	k := ks.Key[c.number(1)-1]
	if k.Status = tinkpb.KeyStatusType(tinkpb.KeyStatusType_value[c.args[2]]); k.Status == tinkpb.KeyStatusType_DESTROYED {
		k.KeyData = nil // as tinkey leaves it
	}
	text, err := protojson.Marshal(ks)
	c.ts.Check(err)
	c.write(c.args[0], text)
}

func (c call) damage() {
	data := []byte(c.ts.ReadFile(c.args[0]))
	data[len(data)-1] ^= 1
	c.write(c.args[0], data)
}

func (c call) large() {
	c.write(c.args[0], nil)
	c.ts.Check(os.Truncate(c.ts.MkAbs(c.args[0]), int64(c.number(1))))
}

func (c call) edit() {
	text := c.ts.ReadFile(c.args[0])
	if !strings.Contains(text, c.args[1]) {
		c.ts.Fatalf("%s lacks %q:\n%s", c.args[0], c.args[1], text)
	}
	c.write(c.args[0], []byte(strings.ReplaceAll(text, c.args[1], c.args[2])))
}

func (c call) show() {
	for _, glob := range c.args {
		files, err := filepath.Glob(c.ts.MkAbs(glob))
		c.ts.Check(err)
		if len(files) == 0 {
			c.ts.Fatalf("there is no %s", glob)
		}
		for _, file := range files {
			text, cut := c.ts.ReadFile(file), whole
			if filepath.Ext(file) == ".jsonl" { // items that are in work at once end in any order
				cut = members
				text = strings.Join(slices.Sorted(strings.Lines(text)), "")
			}
			c.stage.say(c.ts, "show", []string{file}, marked("> ", text, cut))
		}
	}
}

// tree returns the mode and the content of each file below a folder, without the
// files of the test itself.
func (c call) tree(dir string) map[string]string {
	all := make(map[string]string)
	c.ts.Check(filepath.WalkDir(c.ts.MkAbs(dir), func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(c.work, path)
		switch {
		case err != nil || rel == "said" || rel == "want":
			return err
		case rel == ".tmp":
			return fs.SkipDir
		case d.IsDir():
			all[rel] = "a folder"
			return nil
		}
		info, err := d.Info()
		c.ts.Check(err)
		data, _ := os.ReadFile(path)
		all[rel] = info.Mode().String() + " " + string(data)
		return nil
	}))
	return all
}

func (c call) ls() {
	var b strings.Builder
	all := c.tree(c.args[0])
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if mode, _, _ := strings.Cut(all[name], " "); mode != "a" {
			fmt.Fprintln(&b, mode, name)
		}
	}
	c.said("ls", c.args[0], b.String())
}

func (c call) remember() { c.trees[c.args[0]] = c.tree(c.args[0]) }

func (c call) unchanged() {
	if was, is := c.trees[c.args[0]], c.tree(c.args[0]); was == nil || !maps.Equal(was, is) {
		c.ts.Fatalf("it was %q, and is %q", was, is)
	}
}

func (c call) requests() {
	var b strings.Builder
	counters := c.Emulator.Counters()
	for _, op := range slices.Sorted(maps.Keys(counters)) {
		if len(c.args) == 0 || slices.ContainsFunc(c.args, func(p string) bool { return strings.HasPrefix(op, p) }) {
			fmt.Fprintln(&b, op, counters[op])
		}
	}
	c.said("requests", strings.Join(c.args, " "), b.String())
}

func (c call) forget() { c.Emulator.ResetCounters() }
