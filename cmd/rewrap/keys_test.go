package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/bench/emulator"
	"rewrap/cmd/rewrap/internal/keyadmin"
)

// about gives a hook the request's body, and lets it answer by an error code;
// "" lets the request through.
func about(answer func(op, body string) (code string)) func(string, http.ResponseWriter, *http.Request, http.Handler) {
	return func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		body, _ := io.ReadAll(r.Body)
		if code := answer(op, string(body)); code != "" {
			emulator.Fail(rw, r, http.StatusBadRequest, code, "made up")
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		next.ServeHTTP(rw, r)
	}
}

func (w *world) make(in kms.CreateKeyInput) string {
	w.t.Helper()
	out, err := w.kms.CreateKey(w.t.Context(), &in)
	if err != nil {
		w.t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.Arn)
}

func (e ended) keys(t testing.TB) keysReport {
	t.Helper()
	var r keysReport
	if err := json.Unmarshal([]byte(e.out), &r); err != nil {
		t.Fatalf("no JSON object: %v\n%s", err, e.out)
	}
	return r
}

func (e ended) shows(t testing.TB, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(e.out, p) {
			t.Errorf("standard output lacks %q:\n%s", p, e.out)
		}
	}
}

func TestKeysShowsEveryKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	app := w.key("alias/app")
	material := w.rotate(app)
	must(t)(w.kms.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: &app, RotationPeriodInDays: aws.Int32(180)}))
	w.make(kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	w.make(kms.CreateKeyInput{Origin: types.OriginTypeExternal})
	w.make(kms.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
	w.make(kms.CreateKeyInput{KeySpec: types.KeySpecHmac384, KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
	off, dead := w.make(kms.CreateKeyInput{}), w.make(kms.CreateKeyInput{})
	must(t)(w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &off}))
	must(t)(w.kms.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &dead, PendingWindowInDays: aws.Int32(7)}))
	must(t)(w.kms.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/s3")})) // makes it

	e := w.run("keys").want(t, exitOK, "")
	e.shows(t, "  180 days\n", "next rotation ", "on demand 1 of 25 used", "\n    alias/app\n", "\n    "+material[:12]+"  CURRENT      ", "  ON_DEMAND\n", "NON_CURRENT  of no rotation\n",
		"multi-Region primary, no replicas", "imported", "PendingImport", "asymmetric", "RSA_2048", "HMAC_384, GENERATE_VERIFY_MAC",
		"Disabled", "PendingDeletion", "KMS deletes it on ", "symmetric:", "90 to 2560 days", "multi-Region:")
	if strings.Contains(e.out, "AWS managed") || e.errors != "" {
		t.Errorf("%s\n%s", e.out, e.errors)
	}
	w.run("keys", "--all").want(t, exitOK, "").shows(t, "alias/aws/s3", "AWS rotates it every year")
	w.run("keys", "alias/aws/s3").want(t, exitOK, "").shows(t, "  365 days\n")

	r := w.run("keys", "--json").want(t, exitOK, "").keys(t)
	if len(r.Keys) != 7 || r.Read != 7 || len(r.RotationUnknown) != 0 || len(r.WithoutRotation) != 2 {
		t.Errorf("%+v", r)
	}
	if k := r.Keys[0]; k.ARN != app || k.Kind != keyadmin.KindSymmetric || k.CurrentMaterial != material || k.Rotation.PeriodDays != 180 || len(k.Materials) != 2 {
		t.Errorf("%+v", k)
	}
	if w.emu.Counters()["kms:RotateKeyOnDemand"] != 1 || w.emu.Counters()["kms:Decrypt"]+w.emu.Counters()["kms:ReEncrypt"] != 0 {
		t.Errorf("%v", w.emu.Counters())
	}
}

func table(t *testing.T, require bool, all ...keyadmin.Key) string {
	t.Helper()
	r := reportOf(keyadmin.Overview{Keys: all, Notice: "aliases are not shown: \x1b[2J"})
	var b strings.Builder
	if err := r.print(&b, require); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), unicode.IsControl) {
			t.Errorf("a control character in %q", line)
		}
	}
	return b.String()
}

func TestKeysTable(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:kms:us-east-1:111122223333:key/"
	at := time.Date(2027, 3, 4, 5, 6, 7, 0, time.UTC)
	on := &keyadmin.Rotation{Enabled: true, PeriodDays: 365, Next: at}
	long := strings.Repeat("0123456789abcdef", 4)
	for name, c := range map[string]struct {
		k    keyadmin.Key
		says []string
	}{
		"not read":         {keyadmin.Key{ARN: arn + "1", Aliases: []string{"alias/x"}, Error: "no\nway"}, []string{"\n1    ?     ?      ?\n    alias/x\n    not read: no\\nway\n"}},
		"named, not read":  {keyadmin.Key{Given: "alias/x", Error: "no"}, []string{"\nalias/x  ?     ?      ?\n", "rotation not known: alias/x\n"}},
		"part not read":    {keyadmin.Key{ARN: arn + "1", Kind: keyadmin.KindSymmetric, Unread: []string{"rotation: denied"}}, []string{"  ?\n", "    on demand ? used\n", "not read: rotation: denied", "rotation not known: " + arn + "1\n"}},
		"imported":         {keyadmin.Key{ARN: arn + "1", Kind: keyadmin.KindImported, Versions: keyadmin.Versions{Rotation: &keyadmin.Rotation{}, OnDemand: &keyadmin.OnDemand{Used: 3, Limit: 25}}, Dates: keyadmin.Dates{ValidTo: at}}, []string{"  -\n", "    on demand 3 of 25 used\n", "its imported material expires on 2027-03-04;"}},
		"rotates never":    {keyadmin.Key{ARN: arn + "1", Kind: keyadmin.KindHMAC, Dates: keyadmin.Dates{Created: at}}, []string{"  -\n", "    created 2027-03-04\n"}},
		"AWS managed":      {keyadmin.Key{ARN: arn + "1", Kind: keyadmin.KindAWSManaged, Versions: keyadmin.Versions{Rotation: on}}, []string{"  365 days\n", "    next rotation 2027-03-04\n"}},
		"no list":          {keyadmin.Key{ARN: arn + "1", Kind: keyadmin.KindSymmetric, Versions: keyadmin.Versions{Rotation: on, CurrentMaterial: long}}, []string{"\n    0123456789ab  CURRENT\n"}},
		"no period":        {keyadmin.Key{ARN: arn + "1", Kind: keyadmin.KindSymmetric, Versions: keyadmin.Versions{Rotation: &keyadmin.Rotation{Enabled: true}}}, []string{"  on\n"}},
		"under way":        {keyadmin.Key{ARN: arn + "1", Kind: keyadmin.KindSymmetric, Versions: keyadmin.Versions{Rotation: &keyadmin.Rotation{Pending: at}}}, []string{"a rotation on demand is under way since 2027-03-04 05:06:07 UTC"}},
		"hostile":          {keyadmin.Key{ARN: arn + "1\n2", Kind: keyadmin.KindSymmetric, Description: keyadmin.Description{State: "Ena\nbled\t"}, Versions: keyadmin.Versions{Rotation: on}, Aliases: []string{"alias/x\ny\x1b"}}, []string{`  Ena\nbled\t  `, `alias/x\ny\x1b`}},
		"hostile place":    {keyadmin.Key{ARN: "arn:aws:kms:us\x1b:1\n:key/1", Kind: keyadmin.KindSymmetric, Versions: keyadmin.Versions{Rotation: &keyadmin.Rotation{}}}, []string{`no automatic rotation: arn:aws:kms:us\x1b:1\n:key/1`}},
		"expires, pending": {keyadmin.Key{ARN: arn + "1", Kind: keyadmin.KindImported, Versions: keyadmin.Versions{Materials: []keyadmin.Material{{ID: long, State: "PENDING_ROTATION", ImportState: "IMPORTED", ValidTo: at}}}}, []string{"\n    0123456789ab  PENDING_ROTATION  IMPORTED  expires 2027-03-04\n"}},
		"replica": {keyadmin.Key{ARN: arn + "mrk-1", Kind: keyadmin.KindSymmetric, Versions: keyadmin.Versions{Rotation: &keyadmin.Rotation{}}, MultiRegion: &keyadmin.MultiRegion{Type: "REPLICA", Primary: "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"}},
			[]string{"no automatic rotation: " + arn + "mrk-1, a replica; turn it on at its primary key arn:aws:kms:eu-west-1:111122223333:key/mrk-1\n"}},
	} {
		out := table(t, true, c.k, c.k)
		for _, says := range append(c.says, `aliases are not shown: \x1b[2J`) {
			if !strings.Contains(out, says) {
				t.Errorf("%s lacks %q:\n%s", name, says, out)
			}
		}
	}
}

// TestKeysTableFits: whatever kinds of keys there are, what is no error fits a
// terminal, and what is copied is whole: ids and aliases, and ARNs where the id
// does not say which key is meant.
func TestKeysTableFits(t *testing.T) {
	t.Parallel()
	const id, other = "0123abcd-0123-0123-0123-0123456789ab", "arn:aws:kms:ap-southeast-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"
	at := time.Date(2027, 3, 4, 5, 6, 7, 0, time.UTC)
	long := strings.Repeat("0123456789abcdef", 4)
	aliases := []string{"alias/production/payments/ledger", "alias/production/payments/ledger-of-last-year", "alias/" + strings.Repeat("long", 20)}
	k := keyadmin.Key{
		ARN: "arn:aws:kms:us-east-1:111122223333:key/" + id, Aliases: aliases,
		Description: keyadmin.Description{
			Manager: "CUSTOMER", Spec: "SYMMETRIC_DEFAULT", Usage: "ENCRYPT_DECRYPT", Origin: "EXTERNAL_KEY_STORE",
			State: "PendingDeletion", KeyStore: "cks-1234567890abcdef0",
		},
		Dates: keyadmin.Dates{Created: at, Deletion: at, ValidTo: at},
		Versions: keyadmin.Versions{
			Rotation: &keyadmin.Rotation{Enabled: true, PeriodDays: 2560, Next: at, Pending: at}, OnDemand: &keyadmin.OnDemand{Used: 25, Limit: 25},
			Materials: []keyadmin.Material{{ID: long, State: "PENDING_MULTI_REGION_IMPORT_AND_ROTATION", ImportState: "PENDING_IMPORT", ValidTo: at}, {ID: long, State: "NON_CURRENT", Type: "ON_DEMAND", Date: at, ImportState: "IMPORTED", ValidTo: at}},
		},
		MultiRegion: &keyadmin.MultiRegion{Type: "PRIMARY", Replicas: []string{other, other, other, other, other, other}},
	}
	var all []keyadmin.Key
	for _, kind := range []keyadmin.Kind{keyadmin.KindSymmetric, keyadmin.KindImported, keyadmin.KindCustomStore, keyadmin.KindAsymmetric, keyadmin.KindHMAC, keyadmin.KindAWSManaged} {
		k.Kind = kind
		all = append(all, k)
	}
	elsewhere := k
	elsewhere.ARN = other
	for _, out := range []string{table(t, false, all...), table(t, false, k, elsewhere)} {
		for line := range strings.Lines(out) {
			if line = strings.TrimSuffix(line, "\n"); len(line) > 80 && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%d columns: %s", len(line), line)
			}
		}
		for _, whole := range append(aliases, "\n"+id+"  ", "2560 days\n", "created 2027-03-04, next rotation 2027-03-04, on demand 25 of 25 used\n") {
			if !strings.Contains(out, whole) {
				t.Errorf("lacks %q:\n%s", whole, out)
			}
		}
	}
	if out := table(t, false, k, elsewhere); !strings.Contains(out, "    "+other+"\n") || !strings.Contains(out, "    "+k.ARN+"\n") {
		t.Errorf("of keys of two Regions the ARNs:\n%s", out)
	}
}

// An endpoint's odd names reach neither the table's columns nor the terminal.
func TestKeysOfOddEndpoint(t *testing.T) {
	t.Parallel()
	var answers sync.Map
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if a, ok := answers.Load(strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")); ok {
			io.WriteString(rw, a.(string))
		}
	}))
	t.Cleanup(srv.Close)
	w := worldAt(t, srv.URL)
	answers.Store("ListKeys", `{}`)
	if e := w.run("keys").want(t, exitFailed, "is no KMS"); e.out != "" {
		t.Error(e.out)
	}
	const arn = "arn:aws:kms:us-east-1:111122223333:key/1"
	answers.Store("ListKeys", `{"Keys":[{"KeyArn":"`+arn+`","KeyId":"1"}]}`)
	answers.Store("ListAliases", `{"Aliases":[{"AliasName":"alias/x\ny","TargetKeyId":"1"}]}`)
	answers.Store("DescribeKey", `{"KeyMetadata":{"Arn":"`+arn+`","KeyId":"1","KeySpec":"SYMMETRIC_DEFAULT","KeyState":"Ena\nbled"}}`)
	answers.Store("GetKeyRotationStatus", `{}`)
	answers.Store("ListKeyRotations", `{"Rotations":[]}`)
	w.run("keys").want(t, exitOK, "").shows(t, `Ena\nbled`, `alias/x\ny`)
	answers.Store("ListKeys", `{"Keys":[]}`)
	w.run("keys").want(t, exitOK, "").shows(t, "no customer managed keys")
}

func TestKeysSaysHowFar(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	for range 8 {
		w.make(kms.CreateKeyInput{})
	}
	e := w.run("keys", "--json", "--kms-rps", "5").want(t, exitOK, " of 8 keys looked at")
	if len(e.keys(t).Keys) != 8 || strings.Contains(e.errors, "8 of 8") {
		t.Errorf("%s", e.errors)
	}
	if e := w.run("keys"); e.errors != "" {
		t.Errorf("%s", e.errors)
	}
}

func TestKeysVerdict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		without, unknown int
		says             string
	}{
		{0, 0, ""},
		{1, 0, "1 customer key does not rotate by itself: rewrap keys enable-rotation KEY turns it on"},
		{2, 1, "2 customer keys do not rotate by themselves: rewrap keys enable-rotation KEY turns it on; the rotation of 1 key could not be looked at"},
		{0, 2, "the rotation of 2 keys could not be looked at"},
	} {
		r := keysReport{WithoutRotation: make([]string, c.without), RotationUnknown: make([]string, c.unknown)}
		err := r.verdict(true)
		if (err == nil) != (c.says == "") || err != nil && (err.Error() != c.says || exitCode(err) != exitNotOn) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// One that cannot be reached, and one that does not exist, do not hide the
// others.
func TestKeysNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.key("alias/ok")
	w.run("keys", "alias/ok", "alias/none", "alias/aws/s3").want(t, exitFailed, "").shows(t, "alias/ok\n", "not read: DescribeKey for alias/none", "there is no such key yet: alias/aws/s3")
	if n := w.emu.Counters()["kms:DescribeKey"]; n != 2 {
		t.Errorf("%d calls of DescribeKey: AWS makes a key of its own when it is asked for by its alias", n)
	}
}

func TestKeysPagesAndPace(t *testing.T) {
	t.Parallel()
	const n = 130
	w := newWorld(t, emulator.Options{Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if op == "kms:ListKeys" { // KMS may give fewer than it is asked for
			body, _ := io.ReadAll(r.Body)
			small := strings.Replace(string(body), `"Limit":1000`, `"Limit":50`, 1)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(small)), int64(len(small))
		}
		next.ServeHTTP(rw, r)
	}})
	for range n {
		w.make(kms.CreateKeyInput{})
	}
	r := w.run("keys", "--json", "--kms-rps", "max").want(t, exitOK, "").keys(t)
	if len(r.Keys) != n || r.Read != n || len(r.WithoutRotation) != n {
		t.Errorf("%d keys", len(r.Keys))
	}
	if c := w.emu.Counters(); c["kms:ListKeys"] != 3 || c["kms:DescribeKey"] != n || c["kms:ListAliases"] != 1 {
		t.Errorf("%v", c)
	}
}

func TestKeysDenied(t *testing.T) {
	t.Parallel()
	var dark atomic.Value
	dark.Store("nothing")
	w := newWorld(t, emulator.Options{Hook: about(func(op, body string) string {
		if op == "kms:DescribeKey" && strings.Contains(body, dark.Load().(string)) {
			return "AccessDeniedException"
		}
		return ""
	})})
	good := w.key("alias/good")
	bad := w.key("alias/bad")
	id := bad[strings.LastIndexByte(bad, '/')+1:]
	dark.Store(id)
	must(t)(w.kms.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: &good}))

	e := w.run("keys").want(t, exitOK, "")
	e.shows(t, "  365 days\n", "not read: DescribeKey for "+bad+": AccessDeniedException", "Allow kms:DescribeKey on "+bad, "alias/bad")
	w.run("keys", good, id).want(t, exitFailed, "Allow kms:DescribeKey on ").shows(t, "  365 days\n", "not read: ")
	w.run("keys", bad).want(t, exitFailed, "Allow kms:DescribeKey")
	w.run("keys", "alias/none").want(t, exitFailed, "Check the name")
	w.run("keys", bad, "alias/none").want(t, exitFailed, "none of 2 keys")
	// What was not seen is not vouched for.
	w.run("keys", "--require-rotation").want(t, exitNotOn, "rewrap: the rotation of 1 key could not be looked at\n").shows(t, "rotation not known: "+bad)
	w.run("keys", "--require-rotation", good).want(t, exitOK, "")
	if e := w.run("keys", "--require-rotation", "--json"); len(e.keys(t).RotationUnknown) != 1 {
		t.Errorf("%s", e.out)
	}
	dark.Store("") // everything
	w.run("keys").want(t, exitFailed, "none of 2 keys could be read")
}

func TestKeysRequireRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	w.run("keys", "--require-rotation").want(t, exitOK, "").shows(t, "no customer managed keys")
	a, b := w.key("alias/a"), w.key("alias/b")
	dying := w.make(kms.CreateKeyInput{})
	must(t)(w.kms.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &dying, PendingWindowInDays: aws.Int32(7)}))
	w.make(kms.CreateKeyInput{Origin: types.OriginTypeExternal})
	w.make(kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
	must(t)(w.kms.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: &a}))

	w.run("keys").want(t, exitOK, "")
	e := w.run("keys", "--require-rotation").want(t, exitNotOn, "rewrap: 1 customer key does not rotate by itself: rewrap keys enable-rotation KEY turns it on\n")
	e.shows(t, "no automatic rotation: "+b+"\n")
	if r := w.run("keys", "--require-rotation", "--json").want(t, exitNotOn, "").keys(t); !slices.Equal(r.WithoutRotation, []string{b}) {
		t.Errorf("%v", r.WithoutRotation)
	}
	w.run("keys", "enable-rotation", "alias/b").want(t, exitOK, "").shows(t, b+": rotation is on: every 365 days, next ", "(it was: off)")
	w.run("keys", "--require-rotation").want(t, exitOK, "")
	w.run("keys", "enable-rotation", "alias/b", "--period", "90").want(t, exitOK, "").shows(t, "every 90 days", "(it was: every 365 days, next ")
	w.run("keys", "enable-rotation", b).want(t, exitOK, "").shows(t, "unchanged", "every 90 days")
	must(t)(w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &a}))
	w.run("keys", "--require-rotation").want(t, exitOK, "")
	off := w.make(kms.CreateKeyInput{})
	must(t)(w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &off}))
	w.run("keys", "enable-rotation", off).want(t, exitFailed, "enable-key")
	w.run("keys", "--require-rotation").want(t, exitNotOn, "").shows(t, "no automatic rotation: "+off)
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{RotationDelay: 1500 * time.Millisecond})
	arn := w.key("alias/a")
	old := w.material(arn)
	w.run("keys", "rotate", "alias/a", "--wait").want(t, exitUsage, "--yes")
	if w.emu.Counters()["kms:RotateKeyOnDemand"] != 0 {
		t.Error("rotated without being told to")
	}
	e := w.run("keys", "rotate", "alias/a", "--wait", "--yes").want(t, exitOK, "0 of 25 rotations on demand used so far")
	now := w.material(arn)
	e.shows(t, "current key material is "+now+" (it was "+old+"), 1 of 25")
	e.want(t, exitOK, "waiting for the new key material").want(t, exitOK, "rewrap run SOURCE --from "+arn)
	if now == old {
		t.Error("it did not wait")
	}

	// Without --wait, and again while it is under way.
	w.run("keys", "rotate", arn, "--yes").want(t, exitOK, "1 of 25").shows(t, "rotation begun, 2 of 25 used")
	w.run("keys", "rotate", arn, "--wait", "--yes").want(t, exitOK, "no other is started").shows(t, "2 of 25")
	if n := w.emu.Counters()["kms:RotateKeyOnDemand"]; n != 2 {
		t.Errorf("%d rotations were asked for", n)
	}
}

// Without the id of the key material there is no telling when to end.
func TestKeysRotateOfNoMaterial(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		rw.WriteHeader(rec.Code)
		io.WriteString(rw, strings.Replace(rec.Body.String(), `"CurrentKeyMaterialId"`, `"Other"`, 1))
	}})
	arn := w.key("alias/a")
	w.run("keys", "rotate", arn, "--yes", "--wait", "--timeout", "3s").want(t, exitFailed, "leave --wait out")
	if n := w.emu.Counters()["kms:RotateKeyOnDemand"]; n != 0 {
		t.Error("it was rotated")
	}
	w.run("keys", "rotate", arn, "--yes").want(t, exitOK, "not named by the endpoint").shows(t, "1 of 25")
}

func TestKeysChangesAsJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	a, b := w.key("alias/a"), w.key("alias/b")
	old := w.material(a)
	object := func(args ...string) map[string]any {
		t.Helper()
		e := w.run(append([]string{"keys", "--json"}, args...)...).want(t, exitOK, "")
		var v map[string]any
		if err := json.Unmarshal([]byte(e.out), &v); err != nil || strings.Count(e.out, "\n") != 1 {
			t.Fatalf("%v: %s", err, e.out)
		}
		return v
	}
	r := object("enable-rotation", "alias/a", "--period", "100")
	if now, was := r["rotation"].(map[string]any), r["was"].(map[string]any); r["key"] != a || r["changed"] != true || now["period_days"] != 100. || was["enabled"] != false {
		t.Errorf("%v", r)
	}
	if r := object("enable-rotation", "alias/a"); r["changed"] != false {
		t.Errorf("%v", r)
	}
	r = object("rotate", "alias/a", "--yes", "--wait")
	if r["key"] != a || r["changed"] != true || r["complete"] != true || r["was"] != old || r["current_material"] != w.material(a) || r["on_demand"].(map[string]any)["used"] != 1. {
		t.Errorf("%v", r)
	}
	r = object("move-alias", "alias/a", "--to", b, "--yes")
	if r["alias"] != "alias/a" || r["changed"] != true || r["key"] != b || r["was"] != a {
		t.Errorf("%v", r)
	}
	if r := object("move-alias", "alias/a", "--to", b, "--yes"); r["changed"] != false || r["was"] != b {
		t.Errorf("%v", r)
	}
}

func TestKeysRotateTimesOutAndStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{RotationDelay: time.Hour})
	arn := w.key("alias/a")
	w.run("keys", "rotate", arn, "--wait", "--yes", "--timeout", "1200ms").want(t, exitFailed, "no new key material within 1.2s. The rotation of "+arn+" was begun")
	w.run("keys", arn).want(t, exitOK, "").shows(t, "a rotation on demand is under way since ", "1 of 25")
	e := w.run("keys", "rotate", arn, "--yes").want(t, exitOK, "no other is started")
	if e.shows(t, "unchanged, a rotation is under way, 1 of 25 used; KMS encrypts under "+w.material(arn)); strings.Contains(e.out, "begun") {
		t.Error(e.out)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := w.command(ctx, "keys", "rotate", arn, "--wait", "--yes")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	from := w.emu.Counters()["kms:DescribeKey"]
	go func() {
		for w.emu.Counters()["kms:DescribeKey"] < from+2 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	w.wait(cmd).want(t, exitFailed, "interrupted by SIGINT. The rotation of "+arn)
}

// Interrupted while the request is on its way, it says what the key says, and
// does not ask to be run again.
func TestKeysRotateInterrupted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		done bool
		code int
		says string
		out  string
	}{
		{true, exitOK, "", "rotation begun, 1 of 25 used"},
		{false, exitFailed, "no sign that the rotation was begun", ""},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w := newWorld(t, emulator.Options{RotationDelay: time.Hour, Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
			if op != "kms:RotateKeyOnDemand" {
				next.ServeHTTP(rw, r)
				return
			}
			if c.done {
				next.ServeHTTP(httptest.NewRecorder(), r)
			}
			cancel()
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}})
		arn := w.key("alias/a")
		cmd := w.command(ctx, "keys", "rotate", arn, "--yes")
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // where it ends well it is the context's error
		e := ended{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
		e.want(t, c.code, c.says).shows(t, c.out)
	}
}

// TestKeysChangeInterrupted: a change that was on its way when a signal came
// may have been made or not. That is said, with what it was before, and the same
// command again is what exit 75 promises: it makes the change, or says that it
// was made.
func TestKeysChangeInterrupted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op   string
		args []string
		says string
		made [2]string // what the second run says: first where KMS heard nothing
	}{
		{"kms:UpdateAlias", []string{"move-alias", "alias/a", "--to", "alias/b", "--yes"},
			"it is not known whether alias/a was moved from KEY_A to KEY_B; the same command again moves it, or says that it names that key: interrupted by SIGINT",
			[2]string{"alias/a: names KEY_B (it was KEY_A)", "alias/a: unchanged, it names KEY_B already"}},
		{"kms:EnableKeyRotation", []string{"enable-rotation", "alias/a", "--period", "100"},
			"it is not known whether KEY_A rotates every 100 days now (it was: off); the same command again sees to it, or says that it does: interrupted by SIGINT",
			[2]string{"rotation is on: every 100 days", "unchanged, rotation was on already: every 100 days"}},
	} {
		for i, done := range []bool{false, true} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var over atomic.Bool
			w := newWorld(t, emulator.Options{Hook: func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
				if op != c.op || over.Load() {
					next.ServeHTTP(rw, r)
					return
				}
				if done {
					next.ServeHTTP(httptest.NewRecorder(), r)
				}
				over.Store(true)
				cancel()
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}})
			arns := strings.NewReplacer("KEY_A", w.key("alias/a"), "KEY_B", w.key("alias/b"))
			cmd := w.command(ctx, append([]string{"keys"}, c.args...)...)
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
			w.wait(cmd).want(t, exitStopped, "rewrap: "+arns.Replace(c.says)+"\n")
			w.run(append([]string{"keys"}, c.args...)...).want(t, exitOK, "").shows(t, arns.Replace(c.made[i]))
		}
	}
}

func TestKeysRotateRefused(t *testing.T) {
	t.Parallel()
	var code atomic.Value
	code.Store("")
	w := newWorld(t, emulator.Options{Hook: about(func(op, _ string) string {
		if op == "kms:RotateKeyOnDemand" {
			return code.Load().(string)
		}
		return ""
	})})
	full, arn := w.key("alias/full"), w.key("alias/a")
	for range 25 {
		w.rotate(full)
	}
	asked := w.emu.Counters()["kms:RotateKeyOnDemand"]
	w.run("keys", "rotate", "alias/full", "--yes").want(t, exitFailed, "has been rotated on demand 25 times")
	if n := w.emu.Counters()["kms:RotateKeyOnDemand"]; n != asked {
		t.Error("a 26th rotation was asked for")
	}
	for _, c := range []struct{ code, says string }{
		{"LimitExceededException", "25 rotations on demand that a key has in its life are used up"},
		{"ConflictException", "less than 20 minutes off"},
		{"UnsupportedOperationException", "this kind of key"},
		{"KMSInvalidStateException", "state of the key"},
		{"AccessDeniedException", "Allow kms:RotateKeyOnDemand on " + arn},
		{"ExpiredTokenException", "Get new credentials"},
	} {
		code.Store(c.code)
		from := w.emu.Counters()["kms:RotateKeyOnDemand"]
		e := w.run("keys", "rotate", "alias/a", "--yes", "--wait").want(t, exitFailed, c.says)
		if strings.Count(e.errors, "\n") != 2 {
			t.Errorf("%s: not one line of error:\n%s", c.code, e.errors)
		}
		if n := w.emu.Counters()["kms:RotateKeyOnDemand"] - from; n != 1 {
			t.Errorf("%s: sent %d times", c.code, n)
		}
	}
	hmac := w.make(kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
	w.run("keys", "rotate", hmac, "--yes").want(t, exitFailed, "cannot rotate")
	must(t)(w.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &arn}))
	w.run("keys", "rotate", arn, "--yes").want(t, exitFailed, "aws kms enable-key")
	w.run("keys", "rotate", "alias/aws/s3", "--yes").want(t, exitFailed, "managed by AWS")
}

func TestKeysMoveAlias(t *testing.T) {
	t.Parallel()
	var limit atomic.Bool
	w := newWorld(t, emulator.Options{Hook: about(func(op, _ string) string {
		if op == "kms:UpdateAlias" && limit.Load() {
			return "LimitExceededException"
		}
		return ""
	})})
	a, b := w.key("alias/app"), w.key("alias/b")
	w.run("keys", "move-alias", "alias/app", "--to", b).want(t, exitUsage, "--yes")
	e := w.run("keys", "move-alias", "alias/app", "--to", "alias/b", "--yes").want(t, exitOK, "next: rewrap run SOURCE --from "+a+" --to "+b)
	e.shows(t, "alias/app: names "+b+" (it was "+a+")\n")
	w.run("keys", "move-alias", "alias/app", "--to", b, "--yes").want(t, exitOK, "").shows(t, "unchanged")
	w.run("keys", b).want(t, exitOK, "").shows(t, "alias/app, alias/b")
	r, ecc := w.make(kms.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt}), w.make(kms.CreateKeyInput{KeySpec: types.KeySpecRsa3072, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
	must(t)(w.kms.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/rsa"), TargetKeyId: &r}))
	if e := w.run("keys", "move-alias", "alias/rsa", "--to", ecc, "--yes").want(t, exitOK, "rewrap cannot move that"); strings.Contains(e.errors, "rewrap run") {
		t.Error(e.errors)
	}
	limit.Store(true) // the SDK would take it for a throttle, and try without end
	w.run("keys", "move-alias", "alias/app", "--to", a, "--yes").want(t, exitFailed, "Service Quotas")
	if n := w.emu.Counters()["kms:UpdateAlias"]; n != 3 {
		t.Errorf("UpdateAlias was sent %d times", n)
	}
}

func TestKeysUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	arn := w.key("alias/a")
	w.emu.ResetCounters()
	for _, c := range []struct {
		says string
		args []string
	}{
		{"no subcommand", []string{"keys", "enable-rotatoin", arn}},
		{"is empty", []string{"keys", ""}},
		{"has spaces", []string{"keys", "alias/a b"}},
		{"unknown flag", []string{"keys", "--nope"}},
		{"requests a second", []string{"keys", "--kms-rps", "0"}},
		{"give one KEY", []string{"keys", "enable-rotation"}},
		{"give one KEY", []string{"keys", "enable-rotation", arn, arn}},
		{"90 to 2560", []string{"keys", "enable-rotation", arn, "--period", "89"}},
		{"90 to 2560", []string{"keys", "enable-rotation", arn, "--period", "2561"}},
		{"90 to 2560", []string{"keys", "enable-rotation", arn, "--period", "0"}},
		{"--period \"year\": it takes 90 to 2560 days", []string{"keys", "enable-rotation", arn, "--period", "year"}},
		{"\"app\" is no key: ", []string{"keys", "enable-rotation", "app"}},
		{"\"app\" is no key: ", []string{"keys", "rotate", "app", "--yes"}},
		{"\"sym\" is no alias: it is alias/NAME", []string{"keys", "move-alias", "sym", "--to", arn, "--yes"}},
		{"give one KEY", []string{"keys", "rotate", "--yes"}},
		{"more than 0", []string{"keys", "rotate", arn, "--yes", "--wait", "--timeout", "0s"}},
		{"is for --wait", []string{"keys", "rotate", arn, "--yes", "--timeout", "1m"}},
		{"--to KEY", []string{"keys", "move-alias", "alias/a", "--yes"}},
		{"is no alias", []string{"keys", "move-alias", arn, "--to", arn, "--yes"}},
		{"belongs to AWS", []string{"keys", "move-alias", "alias/aws/s3", "--to", arn, "--yes"}},
	} {
		e := w.run(c.args...).want(t, exitUsage, c.says)
		if e.out != "" || strings.Count(e.errors, "\n") != 1 {
			t.Errorf("%v: %s%s", c.args, e.out, e.errors)
		}
	}
	if n := len(w.emu.Counters()); n != 0 {
		t.Errorf("wrong usage made requests: %v", w.emu.Counters())
	}
}
