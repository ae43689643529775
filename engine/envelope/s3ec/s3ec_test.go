package s3ec_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/s3ec"
	"rewrap/sources"
)

func equalMeta(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

type vector struct {
	File    string            `json:"file"`
	SHA256  string            `json:"blob_sha256"`
	Key     string            `json:"key"`
	Context map[string]string `json:"encryption_context"`
}

func vectorView(t testing.TB, name string) sources.View {
	t.Helper()
	var object struct{ Metadata map[string]string }
	readJSON(t, name+".meta.json", &object)
	return formattest.View(name, object.Metadata, "")
}

// The KMS that made the blobs recorded under which key and context: Parse has
// to find exactly that in what the clients wrote.
func TestS3ECVectors(t *testing.T) {
	var vectors []vector
	readJSON(t, "wrapped-keys.json", &vectors)
	recordsKey := map[string]bool{"go1-v1-kms-cbc": true, "go1-v1-kms-gcm": true, "rb-v1-kms": true}
	tested := 0
	for _, want := range vectors {
		if strings.HasSuffix(want.File, ".instruction") {
			continue
		}
		tested++
		t.Run(want.File, func(t *testing.T) {
			v := vectorView(t, want.File)
			e, err := s3ec.New().Parse(v)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Format; got != "s3ec-v2" {
				t.Errorf("format %s", got)
			}
			if n := len(e.Keys); n != 1 {
				t.Fatalf("%d keys", n)
			}
			k := e.Keys[0]
			if sum := sha256.Sum256(k.Blob); hex.EncodeToString(sum[:]) != want.SHA256 {
				t.Error("another blob")
			}
			if !maps.Equal(k.Context, want.Context) {
				t.Errorf("context %v, want %v", k.Context, want.Context)
			}
			keyID := ""
			if recordsKey[want.File] {
				keyID = want.Key
			}
			if k.KeyID != keyID {
				t.Errorf("key %q, want %q", k.KeyID, keyID)
			}
			if k.Locator != "x-amz-key-v2" {
				t.Errorf("locator %q", k.Locator)
			}

			same, err := e.Replace([][]byte{k.Blob})
			if err != nil {
				t.Fatal(err)
			}
			if got := formattest.Apply(t, v, same); !equalMeta(got.Meta, v.Meta) {
				t.Error("the same blob put back changes the metadata")
			}
		})
	}
	if tested != 5 {
		t.Errorf("%d vectors tested, want 5", tested)
	}
}

func TestS3ECVectorInstructionFile(t *testing.T) {
	v := vectorView(t, "go1-v1-kms-gcm-instr.instruction")
	body, err := os.ReadFile(filepath.Join("testdata", "go1-v1-kms-gcm-instr.instruction"))
	if err != nil {
		t.Fatal(err)
	}
	v.Size = int64(len(body))
	var short *sources.ShortError
	if _, err := s3ec.New().Parse(v); !errors.As(err, &short) || short.Need != 16<<10 {
		t.Fatalf("without the body: %v, want a sources.ShortError of 16 KiB", err)
	}
	v.Head = body
	wantSkip(t, v, "instruction-file")

	// aws-sdk-go s3crypto leaves nothing at the object whose key is there.
	if _, err := s3ec.New().Parse(vectorView(t, "go1-v1-kms-gcm-instr")); !errors.Is(err, envelope.ErrForeign) {
		t.Errorf("the object beside it: %v, want foreign", err)
	}
}

func wantSkip(t *testing.T, v sources.View, reason string) {
	t.Helper()
	_, err := s3ec.New().Parse(v)
	var skip *sources.SkipError
	if !errors.As(err, &skip) || skip.Reason != reason {
		t.Errorf("%v, want skipped as %q", err, reason)
	}
}

const blob = "AQICAHhibG9iIG9mIGEgd3JhcHBlZCBrZXk="

// set is a complete set of one version, changed by pairs of name and value;
// the value "-" takes a name away.
func set(version int, pairs ...string) map[string]string {
	m := map[int]map[string]string{
		1: {"x-amz-key": blob, "x-amz-iv": "XA4+0jO4L5fxKmW2XA4+0g==", "x-amz-matdesc": `{"kms_cmk_id":"alias/old"}`},
		2: {"x-amz-key-v2": blob, "x-amz-iv": "XA4+0jO4L5fxKmW2", "x-amz-wrap-alg": "kms+context", "x-amz-cek-alg": "AES/GCM/NoPadding",
			"x-amz-tag-len": "128", "x-amz-matdesc": `{"aws:x-amz-cek-alg":"AES/GCM/NoPadding"}`},
		3: {"x-amz-3": blob, "x-amz-w": "12", "x-amz-c": "115", "x-amz-d": "ZA==", "x-amz-i": "aQ==", "x-amz-m": "",
			"x-amz-unencrypted-content-length": "", "x-amz-t": `{"aws:x-amz-cek-alg":"115"}`},
	}[version]
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "-" {
			delete(m, pairs[i])
		} else {
			m[pairs[i]] = pairs[i+1]
		}
	}
	return m
}

func TestS3ECParses(t *testing.T) {
	for _, c := range []struct {
		name            string
		meta            map[string]string
		format, locator string
		key             string
		context         map[string]string
	}{
		{"v1", set(1), "s3ec-v1", "x-amz-key", "alias/old", map[string]string{"kms_cmk_id": "alias/old"}},
		{"v1 with a wrap algorithm", set(1, "x-amz-wrap-alg", "kms"), "s3ec-v1", "x-amz-key", "alias/old", map[string]string{"kms_cmk_id": "alias/old"}},
		{"v2", set(2), "s3ec-v2", "x-amz-key-v2", "", map[string]string{"aws:x-amz-cek-alg": "AES/GCM/NoPadding"}},
		{"v2 kms", set(2, "x-amz-wrap-alg", "kms", "x-amz-matdesc", `{"kms_cmk_id":"k","a":"b"}`), "s3ec-v2", "x-amz-key-v2", "k", map[string]string{"kms_cmk_id": "k", "a": "b"}},
		{"v2 kms without a recorded key", set(2, "x-amz-wrap-alg", "kms", "x-amz-matdesc", `{}`), "s3ec-v2", "x-amz-key-v2", "", map[string]string{}},
		// With kms+context a user's own kms_cmk_id is context like any other.
		{"v2 kms+context records no key", set(2, "x-amz-matdesc", `{"kms_cmk_id":"k"}`), "s3ec-v2", "x-amz-key-v2", "", map[string]string{"kms_cmk_id": "k"}},
		{"v3", set(3), "s3ec-v3", "x-amz-3", "", map[string]string{"aws:x-amz-cek-alg": "115"}},
		{"v3 takes no context from x-amz-m", set(3, "x-amz-m", `{"a":"b"}`), "s3ec-v3", "x-amz-3", "", map[string]string{"aws:x-amz-cek-alg": "115"}},
		{"other metadata", set(2, "project", "x", "x-amz-meta-y", "z"), "s3ec-v2", "x-amz-key-v2", "", map[string]string{"aws:x-amz-cek-alg": "AES/GCM/NoPadding"}},
		{"context absent", set(2, "x-amz-matdesc", "-"), "s3ec-v2", "x-amz-key-v2", "", map[string]string{}},
		{"context empty", set(2, "x-amz-matdesc", ""), "s3ec-v2", "x-amz-key-v2", "", map[string]string{}},
		{"context null", set(2, "x-amz-matdesc", "null"), "s3ec-v2", "x-amz-key-v2", "", map[string]string{}},
		{"context with space and escapes", set(2, "x-amz-matdesc", " {\"a\\u0062\" : \"c\\n\\u2603\"}\t"), "s3ec-v2", "x-amz-key-v2", "", map[string]string{"ab": "c\n☃"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := s3ec.New().Parse(formattest.View("o", c.meta, ""))
			if err != nil {
				t.Fatal(err)
			}
			k := e.Keys[0]
			if e.Format != c.format || k.Locator != c.locator || k.KeyID != c.key || !maps.Equal(k.Context, c.context) {
				t.Errorf("%s, %s, key %q, context %q", e.Format, k.Locator, k.KeyID, k.Context)
			}
			if base64.StdEncoding.EncodeToString(k.Blob) != blob {
				t.Error("another blob")
			}
		})
	}
}

func TestS3ECForeign(t *testing.T) {
	for name, meta := range map[string]map[string]string{
		"no metadata":                 nil,
		"other metadata":              {"project": "x", "x-amz-id-2": "y"},
		"v1 raw":                      set(1, "x-amz-matdesc", `{"key":"local"}`),
		"v1 raw without a matdesc":    set(1, "x-amz-matdesc", "-"),
		"v2 AES/GCM":                  set(2, "x-amz-wrap-alg", "AES/GCM"),
		"v2 AESWrap":                  set(2, "x-amz-wrap-alg", "AESWrap"),
		"v2 RSA-OAEP-SHA1":            set(2, "x-amz-wrap-alg", "RSA-OAEP-SHA1"),
		"v2 RSA of V1":                set(2, "x-amz-wrap-alg", "RSA/ECB/OAEPWithSHA-256AndMGF1Padding"),
		"v2 raw, any matdesc":         set(2, "x-amz-wrap-alg", "AES/GCM", "x-amz-matdesc", "not JSON"),
		"v3 AES/GCM":                  set(3, "x-amz-w", "02"),
		"v3 RSA":                      set(3, "x-amz-w", "22"),
		"names are in lower case all": {"X-Amz-Key-V2": blob},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s3ec.New().Parse(formattest.View("o", meta, "")); !errors.Is(err, envelope.ErrForeign) {
				t.Errorf("%v, want foreign", err)
			}
		})
	}
}

// Broken items fail with the names that are wrong, and nothing else of the
// item: neither ErrForeign nor a skip, both of which would hide them.
func TestS3ECBroken(t *testing.T) {
	for _, c := range []struct {
		name string
		meta map[string]string
		says string
	}{
		{"v1 and v2", set(2, "x-amz-key", blob), "x-amz-key, x-amz-key-v2, x-amz-iv"},
		{"v2 and v3", set(3, "x-amz-key-v2", blob), "x-amz-key-v2, x-amz-3"},
		{"v3 with the IV of v2", set(3, "x-amz-iv", "aXY="), "x-amz-iv"},
		{"v1 without IV", set(1, "x-amz-iv", "-"), "x-amz-key"},
		{"v2 without IV", set(2, "x-amz-iv", "-"), "x-amz-key-v2"},
		{"v2 without key", set(2, "x-amz-key-v2", "-"), "x-amz-iv"},
		{"v3 without commitment", set(3, "x-amz-d", "-"), "x-amz-3, x-amz-i"},
		{"v3 without message id", set(3, "x-amz-i", "-"), "x-amz-3, x-amz-d"},
		{"v3 commitment alone", map[string]string{"x-amz-d": "ZA=="}, "x-amz-d"},
		{"only companions of v2", map[string]string{"x-amz-wrap-alg": "kms", "x-amz-matdesc": "{}"}, "x-amz-wrap-alg, x-amz-matdesc"},
		{"only companions of v3", map[string]string{"x-amz-c": "115"}, "x-amz-c"},
		{"companions and length", map[string]string{"x-amz-tag-len": "128", "x-amz-unencrypted-content-length": "1"}, "x-amz-tag-len"},
		{"v2 without wrap-alg", set(2, "x-amz-wrap-alg", "-"), "x-amz-wrap-alg is missing"},
		{"v2 unknown wrap-alg", set(2, "x-amz-wrap-alg", "KMS"), `x-amz-wrap-alg is "KMS"`},
		{"v3 without w", set(3, "x-amz-w", "-"), "x-amz-w is missing"},
		{"v3 unknown w", set(3, "x-amz-w", "kms+context"), `x-amz-w is "kms+context"`},
		{"v1 matdesc", set(1, "x-amz-matdesc", "{"), "x-amz-matdesc"},
		{"context twice", set(2, "x-amz-matdesc", `{"a":"b","a":"b"}`), "twice"},
		{"context twice by escape", set(2, "x-amz-matdesc", `{"a":"b","\u0061":"c"}`), "twice"},
		{"context number", set(2, "x-amz-matdesc", `{"a":1}`), "not a string"},
		{"context null value", set(2, "x-amz-matdesc", `{"a":null}`), "not a string"},
		{"context object", set(2, "x-amz-matdesc", `{"a":{}}`), "not a string"},
		{"context array", set(2, "x-amz-matdesc", `["a"]`), "not a JSON object"},
		{"context string", set(2, "x-amz-matdesc", `"a"`), "not a JSON object"},
		{"context and more", set(2, "x-amz-matdesc", `{} {}`), "follows"},
		{"context and garbage", set(2, "x-amz-matdesc", `{}x`), "follows"},
		{"null and garbage", set(2, "x-amz-matdesc", `null null`), "follows"},
		{"context cut off", set(2, "x-amz-matdesc", `{"a":"b"`), "not JSON"},
		{"context cut off at a name", set(2, "x-amz-matdesc", `{"a"`), "not JSON"},
		{"context closed by the wrong one", set(2, "x-amz-matdesc", `{"a":"b"]`), "not JSON"},
		{"context name not a string", set(2, "x-amz-matdesc", `{1:"b"}`), "not JSON"},
		{"context comma", set(2, "x-amz-matdesc", `{"a":"b",}`), "not JSON"},
		{"context not UTF-8", set(2, "x-amz-matdesc", "{\"a\":\"\xe9\"}"), "not UTF-8"},
		{"context in an unknown character set", set(2, "x-amz-matdesc", "=?koi8-r?B?e30=?="), "character set"},
		{"context of v3", set(3, "x-amz-t", `{"a":1}`), "x-amz-t"},
		{"key empty", set(2, "x-amz-key-v2", ""), "x-amz-key-v2 is empty"},
		{"key without padding", set(2, "x-amz-key-v2", strings.TrimRight(blob, "=")), "base64"},
		{"key for URLs", set(2, "x-amz-key-v2", "_-8="), "base64"},
		{"key in lines", set(2, "x-amz-key-v2", blob[:8]+"\r\n"+blob[8:]), "base64"},
		{"key with stray bits", set(2, "x-amz-key-v2", "AAF="), "base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := s3ec.New().Parse(formattest.View("o", c.meta, ""))
			if err == nil {
				t.Fatalf("parsed as %s", e.Format)
			}
			var short *sources.ShortError
			var skip *sources.SkipError
			if errors.Is(err, envelope.ErrForeign) || errors.As(err, &short) || errors.As(err, &skip) {
				t.Fatalf("%v: not said to be broken", err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q does not say %q", err, c.says)
			}
			if strings.Contains(err.Error(), blob[:16]) {
				t.Errorf("%q holds the blob", err)
			}
		})
	}
}

func TestS3ECInstruction(t *testing.T) {
	long := strings.Repeat(" ", 20<<10)
	for _, c := range []struct {
		name, id string
		meta     map[string]string
		body     string
		skip     bool
	}{
		{"plaintext length alone (Ruby)", "o", map[string]string{"x-amz-unencrypted-content-length": "10"}, "", true},
		{"content part of v3", "o", set(3, "x-amz-3", "-", "x-amz-w", "-", "x-amz-t", "-"), "", true},
		{"marker (Java), any suffix", "o.instr", map[string]string{"x-amz-crypto-instr-file": ""}, "", true},
		{"marker and the default suffix", "o.instruction", map[string]string{"x-amz-crypto-instr-file": ""}, "", true},
		{"v1", "o.instruction", nil, `{"x-amz-matdesc":"{}","x-amz-key":"` + blob + `"}`, true},
		{"v2", "o.instruction", nil, ` { "x-amz-tag-len": 128, "x-amz-key-v2": "` + blob + `" }`, true},
		{"v3", "o.instruction", nil, `{"x-amz-w":"12","x-amz-3":"` + blob + `"}`, true},
		{"longer than what is looked at", "o.instruction", nil, `{"x-amz-key-v2":"` + blob + `"` + long + "}", true},
		{"not at the top", "o.instruction", nil, `{"a":{"x-amz-key-v2":""}}`, false},
		{"only a value", "o.instruction", nil, `{"a":"x-amz-key-v2"}`, false},
		{"an array", "o.instruction", nil, `["x-amz-key-v2","x"]`, false},
		{"a text", "o.instruction", nil, "take two cups of flour", false},
		{"empty", "o.instruction", nil, "", false},
		{"another name", "o.instructions", nil, `{"x-amz-key-v2":"` + blob + `"}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := formattest.View(c.id, c.meta, c.body)
			v.Head = v.Head[:min(len(v.Head), 16<<10)]
			if c.skip {
				wantSkip(t, v, "instruction-file")
			} else if _, err := s3ec.New().Parse(v); !errors.Is(err, envelope.ErrForeign) {
				t.Errorf("%v, want foreign", err)
			}
		})
	}

	// An object that only bears such a name is an object.
	e, err := s3ec.New().Parse(formattest.View("o.instruction", set(2), "ciphertext"))
	if err != nil || e.Format != "s3ec-v2" {
		t.Errorf("an encrypted object named .instruction: %v", err)
	}
	// What has been read is enough as soon as it is all there is.
	v := formattest.View("o.instruction", nil, strings.Repeat("x", 100))
	v.Head = v.Head[:99]
	var short *sources.ShortError
	if _, err := s3ec.New().Parse(v); !errors.As(err, &short) {
		t.Errorf("99 of 100 bytes: %v, want a sources.ShortError", err)
	}
}

// S3 gives a value beyond ASCII back as encoded words of what it took for
// Latin-1; other stores do otherwise. The context is the writer's each time.
func TestS3ECContextEncodings(t *testing.T) {
	const json = `{"tenant":"Zoë – ☃"}`
	doubly := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			b.WriteRune(rune(s[i]))
		}
		return b.String()
	}
	b64 := func(s string) string { return "=?UTF-8?B?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?=" }
	twice := doubly(json)
	want := map[string]string{"tenant": "Zoë – ☃"}
	for name, c := range map[string]struct {
		value string
		want  map[string]string
	}{
		"as it was sent":                   {json, want},
		"S3, base64":                       {b64(twice), want},
		"S3, base64 in lower case":         {"=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(twice)) + "?=", want},
		"S3, two words":                    {b64(twice[:12]) + " " + b64(twice[12:]), want},
		"S3, a character over two words":   {b64(twice[:14]) + " " + b64(twice[14:]), want},
		"S3, quoted":                       {"=?UTF-8?Q?{=22tenant=22:=22Zo=C3=83=C2=AB=22}?=", map[string]string{"tenant": "Zoë"}},
		"encoded once, beyond Latin-1":     {b64(json), want},
		"encoded once, within Latin-1":     {b64(`{"tenant":"Zoë"}`), map[string]string{"tenant": "Zoë"}},
		"encoded once, low bytes in ASCII": {b64(`{"tenant":"Ł"}`), map[string]string{"tenant": "Ł"}},
		"ASCII that the writer encoded":    {b64(`{"a":"b"}`), map[string]string{"a": "b"}},
		"an encoded word inside of a text": {`{"a":"=?UTF-8?B?Yg==?="}`, map[string]string{"a": "=?UTF-8?B?Yg==?="}},
		"mojibake that the writer meant":   {`{"a":"ë"}`, map[string]string{"a": "ë"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := formattest.View("o", set(2, "x-amz-matdesc", c.value), "")
			e, err := s3ec.New().Parse(v)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Keys[0].Context; !maps.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			edit, err := e.Replace([][]byte{[]byte("new")})
			if err != nil {
				t.Fatal(err)
			}
			if len(edit.Meta) != 1 || edit.Meta["x-amz-key-v2"] == nil {
				t.Errorf("the edit changes more than the wrapped key: %q", edit.Meta)
			}
		})
	}
}

func TestS3ECReplace(t *testing.T) {
	for version, name := range map[int]string{1: "x-amz-key", 2: "x-amz-key-v2", 3: "x-amz-3"} {
		v := formattest.View("o", set(version), "")
		e, err := s3ec.New().Parse(v)
		if err != nil {
			t.Fatal(err)
		}
		edit, err := e.Replace([][]byte{[]byte{0xfb, 0xff}})
		if err != nil {
			t.Fatal(err)
		}
		if len(edit.Splices) != 0 || len(edit.Meta) != 1 || string(edit.Meta[name]) != "+/8=" {
			t.Errorf("version %d: edit %q, want %s set to +/8=", version, edit.Meta, name)
		}
		for what, leave := range map[string][]byte{"nil": nil, "the same": e.Keys[0].Blob} {
			if edit, err := e.Replace([][]byte{leave}); err != nil || !edit.Empty() {
				t.Errorf("%s: edit %q, error %v; want none", what, edit.Meta, err)
			}
		}
		for what, bad := range map[string][][]byte{"none": {}, "two": {nil, nil}, "empty": {{}}} {
			if _, err := e.Replace(bad); err == nil {
				t.Errorf("%s new keys taken for the one", what)
			}
		}
	}
}

func FuzzS3EC(f *testing.F) {
	for version := 1; version <= 3; version++ {
		m := set(version)
		f.Add("o", []byte(""), m["x-amz-key"], m["x-amz-key-v2"], m["x-amz-3"], m["x-amz-iv"], m["x-amz-d"], m["x-amz-i"],
			m["x-amz-wrap-alg"], m["x-amz-w"], m["x-amz-matdesc"], m["x-amz-t"], []byte("new"))
	}
	f.Add("o.instruction", []byte(`{"x-amz-3":1}`), "", "", "", "", "", "", "", "", "", "", []byte{})
	f.Add("o", []byte(""), "", blob, "", "aXY=", "", "", "kms", "", "=?UTF-8?B?eyJhIjoiw4PCqyJ9?=", "", []byte{0})
	conforming := harness(f)
	f.Fuzz(func(t *testing.T, id string, head []byte, key, keyV2, key3, iv, d, i, wrapAlg, w, matDesc, context string, blob []byte) {
		meta := map[string][]byte{}
		for name, value := range map[string]string{
			"x-amz-key": key, "x-amz-key-v2": keyV2, "x-amz-3": key3, "x-amz-iv": iv, "x-amz-d": d, "x-amz-i": i,
			"x-amz-wrap-alg": wrapAlg, "x-amz-w": w, "x-amz-matdesc": matDesc, "x-amz-t": context,
		} {
			if value != "" {
				meta[name] = []byte(value)
			}
		}
		v := sources.View{Ref: sources.Ref{ID: id, Name: id}, Size: int64(len(head)), Head: head, Meta: meta}
		formattest.Check(t, conforming, v)
		before := maps.Clone(meta)
		e, err := s3ec.New().Parse(v)
		if !equalMeta(meta, before) {
			t.Fatal("Parse changed the view")
		}
		if err != nil {
			return
		}
		k := e.Keys[0]
		same, err := e.Replace([][]byte{k.Blob})
		if err != nil {
			t.Fatal(err)
		}
		if !equalMeta(formattest.Apply(t, v, same).Meta, meta) {
			t.Fatal("the same blob put back changes the metadata")
		}
		if len(blob) == 0 {
			return
		}
		edit, err := e.Replace([][]byte{blob})
		if err != nil {
			t.Fatal(err)
		}
		again, err := s3ec.New().Parse(formattest.Apply(t, v, edit))
		if err != nil {
			t.Fatalf("what Replace made does not parse: %v", err)
		}
		k2 := again.Keys[0]
		if again.Format != e.Format || !bytes.Equal(k2.Blob, blob) || k2.KeyID != k.KeyID || k2.Locator != k.Locator || !maps.Equal(k2.Context, k.Context) {
			t.Fatal("after Replace more than the blob is another")
		}
	})
}
