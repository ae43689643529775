package keys_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/engine/keys"
	"rewrap/sources"
)

func (w *world) admin() *keys.Admin {
	return &keys.Admin{
		Client: func(region string) keys.AdminAPI {
			if region == "" {
				region = home
			}
			return w.apis[region]
		},
		Sleep: w.clock.sleep,
	}
}

func (w *world) census(names ...string) keys.Census {
	w.t.Helper()
	c, err := w.admin().Census(w.t.Context(), names, true)
	return must(w.t, c, err)
}

func (w *world) make(in sdk.CreateKeyInput) string {
	w.t.Helper()
	out, err := w.api().CreateKey(w.t.Context(), &in)
	return *must(w.t, out, err).KeyMetadata.Arn
}

// describes changes what DescribeKey and ListKeyRotations say of one key, for
// kinds of keys that the service of these tests does not make.
func (w *world) describes(arn string, metadata object, rotations []any) {
	w.hook(nil, func(_, op string, in, out object) {
		if in["KeyId"] != arn {
			return
		}
		switch op {
		case "DescribeKey":
			for name, v := range metadata {
				out["KeyMetadata"].(object)[name] = v
			}
		case "ListKeyRotations":
			if rotations != nil {
				out["Rotations"] = rotations
			}
		}
	})
}

func TestCensusKinds(t *testing.T) {
	w := newWorld(t, 0)
	for _, c := range []struct {
		kind keys.Kind
		in   sdk.CreateKeyInput
		as   object
		asks bool // for its rotation
	}{
		{keys.KindSymmetric, sdk.CreateKeyInput{}, nil, true},
		{keys.KindSymmetric, sdk.CreateKeyInput{MultiRegion: aws.Bool(true)}, nil, true},
		{keys.KindImported, sdk.CreateKeyInput{Origin: types.OriginTypeExternal}, nil, true},
		{keys.KindCustomStore, sdk.CreateKeyInput{}, object{"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": "cks-1"}, false},
		{keys.KindCustomStore, sdk.CreateKeyInput{}, object{"Origin": "EXTERNAL_KEY_STORE"}, false},
		{keys.KindAsymmetric, sdk.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt}, nil, false},
		{keys.KindAsymmetric, sdk.CreateKeyInput{KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify}, nil, false},
		{keys.KindHMAC, sdk.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac}, nil, false},
		{keys.KindAWSManaged, sdk.CreateKeyInput{}, object{"KeyManager": "AWS"}, true},
	} {
		arn := w.make(c.in)
		w.describes(arn, c.as, nil)
		w.calls("GetKeyRotationStatus")
		got := w.census(arn).Keys[0]
		if got.Kind != c.kind || got.Error != "" || len(got.Unread) > 0 {
			t.Errorf("%v %v: %+v", c.in, c.as, got)
		}
		if !strings.HasPrefix(got.Rule, c.kind.Rule()) || c.kind.Rule() == "" {
			t.Errorf("%s: the rule is %q", c.kind, got.Rule)
		}
		if asked := w.calls("GetKeyRotationStatus") > 0; asked != c.asks || asked != (got.Rotation != nil) {
			t.Errorf("%s: asked for its rotation: %v, which is %v", c.kind, asked, got.Rotation)
		}
		if owes := got.OwesRotation(); owes != (c.kind == keys.KindSymmetric) {
			t.Errorf("%s: owes rotation: %v", c.kind, owes)
		}
	}
}

func TestCensusTellsMaterials(t *testing.T) {
	w := newWorld(t, time.Hour)
	arn := w.key()
	w.alias("alias/b", arn)
	w.alias("alias/a", arn)
	first := w.material(arn)
	w.rotate(arn)
	w.clock.sleep(t.Context(), 2*time.Hour)
	second := w.material(arn)
	w.rotate(arn) // under way

	k := w.census("alias/a").Keys[0]
	if k.Given != "alias/a" || k.ARN != arn || !slices.Equal(k.Aliases, []string{"alias/a", "alias/b"}) || k.CurrentMaterial != second {
		t.Errorf("%+v", k)
	}
	if len(k.Materials) != 2 || k.Materials[0].ID != second || k.Materials[0].State != "CURRENT" || k.Materials[0].Type != "ON_DEMAND" ||
		k.Materials[0].Date.IsZero() || k.Materials[1].ID != first || !k.Materials[1].Date.IsZero() {
		t.Errorf("materials: %+v", k.Materials)
	}
	if k.OnDemand == nil || k.OnDemand.Used != 2 || k.OnDemand.Limit != 25 || k.Rotation.Pending.IsZero() || k.Rotation.Enabled {
		t.Errorf("on demand %+v, rotation %+v", k.OnDemand, k.Rotation)
	}
}

// The pages are made small on the way, which KMS may do of itself.
func TestCensusPages(t *testing.T) {
	w := newWorld(t, 0)
	const n = 60
	arn := w.key()
	for range 7 {
		w.rotate(arn)
	}
	for i := range n {
		w.alias(fmt.Sprintf("alias/%02d", i), arn)
		w.key()
	}
	w.hook(func(_, op string, in object) string {
		if strings.HasPrefix(op, "List") {
			in["Limit"] = 3
		}
		return ""
	}, nil)
	w.calls("DescribeKey")
	c := w.census()
	if len(c.Keys) != n+1 || w.calls("DescribeKey") != n+1 {
		t.Fatalf("%d keys", len(c.Keys))
	}
	k := c.Keys[0] // those with aliases come first
	if k.ARN != arn || len(k.Aliases) != n || len(k.Materials) != 8 || k.OnDemand.Used != 7 {
		t.Errorf("%d aliases, %d materials, %+v", len(k.Aliases), len(k.Materials), k.OnDemand)
	}
	if calls := w.calls("ListAliases"); calls != n/3 {
		t.Errorf("%d calls of ListAliases for the whole account", calls)
	}
	if !slices.IsSortedFunc(c.Keys[1:], func(a, b keys.KeyInfo) int { return strings.Compare(a.ARN, b.ARN) }) {
		t.Error("keys without aliases are not sorted")
	}
}

func TestCensusGoesOnPastOneKey(t *testing.T) {
	w := newWorld(t, 0)
	good, dark, dim := w.key(), w.key(), w.key()
	w.alias("alias/dark", dark)
	w.hook(func(_, op string, in object) string {
		if in["KeyId"] == dark && op == "DescribeKey" || in["KeyId"] == dim && op == "ListKeyRotations" || in["KeyId"] == nil && op == "ListAliases" {
			return "AccessDeniedException"
		}
		return ""
	}, nil)
	c := w.census()
	if !strings.Contains(c.Notice, "kms:ListAliases on *") {
		t.Errorf("notice: %q", c.Notice)
	}
	for _, k := range c.Keys {
		switch k.ARN {
		case good:
			if k.Error != "" || len(k.Unread) != 0 || k.OnDemand == nil {
				t.Errorf("%+v", k)
			}
		case dark:
			if !strings.Contains(k.Error, "Allow kms:DescribeKey on "+dark) || strings.Contains(k.Error, "across accounts") || k.Kind != "" {
				t.Errorf("%+v", k)
			}
		case dim:
			if k.Error != "" || len(k.Unread) != 1 || !strings.Contains(k.Unread[0], "Allow kms:ListKeyRotations on "+dim) || !strings.Contains(k.Unread[0], "not allowed across accounts") || k.Rotation == nil || k.OnDemand != nil {
				t.Errorf("%+v", k)
			}
		}
	}

	// What meets every key alike ends it.
	for _, code := range []string{"ExpiredTokenException", "AccessDeniedException"} {
		w.hook(func(_, op string, in object) string {
			if op == "ListKeys" || code == "ExpiredTokenException" && op == "DescribeKey" {
				return code
			}
			return ""
		}, nil)
		_, err := w.admin().Census(t.Context(), nil, false)
		runError(t, err, 0)
		_, err = w.admin().Census(t.Context(), []string{good}, false)
		if ended := code == "ExpiredTokenException"; ended != errors.Is(err, sources.ErrCredentials) || ended != (err != nil) {
			t.Errorf("%s: %v", code, err)
		}
	}
	// One that was named does not take the others with it.
	far := w.keyIn(abroad)
	silent := func(says string) {
		t.Helper()
		_, err := w.admin().Census(t.Context(), nil, false)
		contains(t, err, says)
		c := w.census(good, far)
		if k := c.Keys[0]; !strings.Contains(k.Error, says) || k.Given != good {
			t.Errorf("%+v", k)
		}
		if k := c.Keys[1]; k.Error != "" || k.ARN != far {
			t.Errorf("%+v", k)
		}
	}
	w.hook(func(region, _ string, _ object) string {
		if region == home {
			return "ThrottlingException"
		}
		return ""
	}, nil)
	silent("quota")
	w.hook(nil, nil)
	deaf := httptest.NewServer(nil)
	deaf.Close()
	w.apis[home] = sdkClient(deaf.URL, home)
	silent("could not be reached")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.admin().Census(ctx, []string{far}, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Something that is no KMS has no keys, which is not the same as none.
func TestCensusOfNoKMS(t *testing.T) {
	w := newWorld(t, 0)
	arn := w.key()
	w.hook(nil, func(_, _ string, _, out object) { clear(out) })
	_, err := w.admin().Census(t.Context(), nil, false)
	contains(t, err, "ListKeys", "is no KMS")
	if k := w.census(arn).Keys[0]; !strings.Contains(k.Error, "is no KMS") {
		t.Errorf("%+v", k)
	}
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	w.apis[home] = sdkClient(page.URL, home)
	_, err = w.admin().Census(t.Context(), nil, false)
	contains(t, err, "what answers at "+page.URL+" is no KMS: HTTP 404", "AWS_ENDPOINT_URL_KMS")
}

// AWS makes the key of an alias of its own when DescribeKey is given that
// alias.
func TestCensusMakesNoKey(t *testing.T) {
	w := newWorld(t, 0)
	place := "arn:aws:kms:us-east-1:111122223333:"
	w.alias("alias/mine", w.key())
	w.hook(nil, func(_, op string, _, out object) { // as AWS lists them
		if op == "ListAliases" {
			out["Aliases"] = append(out["Aliases"].([]any), object{"AliasName": "alias/aws/sqs", "AliasArn": place + "alias/aws/sqs"})
		}
	})
	for _, name := range []string{"alias/aws/sqs", "alias/aws/s3", place + "alias/aws/s3"} {
		if k := w.census(name).Keys[0]; !strings.Contains(k.Error, "there is no such key yet: "+name) {
			t.Errorf("%+v", k)
		}
		for _, change := range []func() error{
			func() error { _, err := w.admin().PlanRotation(t.Context(), name); return err },
			func() error { _, _, _, err := w.admin().EnableRotation(t.Context(), name, 0); return err },
			func() error { _, err := w.admin().PlanAliasMove(t.Context(), "alias/mine", name); return err },
		} {
			contains(t, change(), "managed by AWS", name)
		}
	}
	if n := w.calls("DescribeKey"); n != 0 {
		t.Errorf("%d calls of DescribeKey", n)
	}
	if c := w.census(); len(c.Keys) != 1 || len(c.Keys[0].Aliases) != 1 {
		t.Errorf("%+v", c.Keys)
	}

	// One that is there is read, and has no rotations on demand.
	w.hook(nil, nil)
	out, err := w.api().DescribeKey(t.Context(), &sdk.DescribeKeyInput{KeyId: aws.String("alias/aws/s3")})
	must(t, out, err)
	for _, name := range []string{"alias/aws/s3", strings.Join(strings.SplitN(*out.KeyMetadata.Arn, ":", 6)[:5], ":") + ":alias/aws/s3"} {
		k := w.census(name).Keys[0]
		if k.Error != "" || k.ARN != *out.KeyMetadata.Arn || k.Given != name || k.Kind != keys.KindAWSManaged || k.OnDemand != nil || len(k.Materials) == 0 {
			t.Errorf("%s: %+v", name, k)
		}
	}
}

// What waits for its rotation comes before the current material, and the
// others follow by date.
func TestCensusOrdersMaterials(t *testing.T) {
	w := newWorld(t, 0)
	arn := w.key()
	material := func(id, state string, date float64) object {
		m := object{"KeyMaterialId": id, "KeyMaterialState": state}
		if date > 0 {
			m["RotationDate"], m["RotationType"] = date, "AUTOMATIC"
		}
		return m
	}
	w.describes(arn, nil, []any{
		material("first", "NON_CURRENT", 0), material("old", "NON_CURRENT", 1.6e9), material("now", "CURRENT", 1.8e9),
		material("newer", "NON_CURRENT", 1.7e9), material("next", "PENDING_ROTATION", 0),
	})
	var order []string
	for _, m := range w.census(arn).Keys[0].Materials {
		order = append(order, m.ID)
	}
	if !slices.Equal(order, []string{"next", "now", "newer", "old", "first"}) {
		t.Errorf("%v", order)
	}
}

func TestOwesRotation(t *testing.T) {
	for state, owes := range map[string]bool{"Enabled": true, "Disabled": true, "Updating": true, "PendingDeletion": false, "PendingReplicaDeletion": false} {
		k := keys.KeyInfo{Kind: keys.KindSymmetric, State: state}
		if k.OwesRotation() != owes {
			t.Errorf("%s: %v", state, !owes)
		}
	}
}

func TestCensusTellsProgress(t *testing.T) {
	w := newWorld(t, 0)
	for range 20 {
		w.key()
	}
	a := w.admin()
	var calls, most atomic.Int32
	a.Progress = func(done, of int) {
		calls.Add(1)
		if of != 20 {
			t.Errorf("of %d", of)
		}
		if done == 20 {
			most.Store(20)
		}
	}
	c, err := a.Census(t.Context(), nil, false)
	must(t, c, err)
	if calls.Load() != 20 || most.Load() != 20 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestCensusCallsTheKeysRegion(t *testing.T) {
	w := newWorld(t, 0)
	far := w.keyIn(abroad)
	if k := w.census(far).Keys[0]; k.Error != "" || k.ARN != far || k.OnDemand == nil {
		t.Errorf("%+v", k)
	}
}

// A rotation is one of 25: where its answer is lost, the key is asked, and the
// request not repeated.
func TestBeginRotationOnce(t *testing.T) {
	for name, c := range map[string]struct {
		fails  func(begun int, forward func()) (status int, code string) // 0: the connection drops
		sent   int
		used   int
		begins bool
	}{
		"answered":                     {func(_ int, do func()) (int, string) { do(); return 200, "" }, 1, 1, true},
		"answer lost":                  {func(_ int, do func()) (int, string) { do(); return 0, "" }, 1, 1, true},
		"500 after it was done":        {func(_ int, do func()) (int, string) { do(); return 500, "KMSInternalException" }, 1, 1, true},
		"500 and not done":             {func(_ int, do func()) (int, string) { return 500, "KMSInternalException" }, 1, 0, false},
		"connection lost and not done": {func(_ int, do func()) (int, string) { return 0, "" }, 1, 0, false},
		"used up":                      {func(_ int, do func()) (int, string) { return 400, "LimitExceededException" }, 1, 0, false},
		"conflict":                     {func(_ int, do func()) (int, string) { return 400, "ConflictException" }, 1, 0, false},
		"throttled at first": {func(n int, do func()) (int, string) {
			if n < 3 {
				return 400, "ThrottlingException"
			}
			do()
			return 200, ""
		}, 3, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0) // a rotation is complete at once: a second one would count
			arn := w.key()
			direct := w.apis[home]
			var sent atomic.Int32
			front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				status, code := c.fails(int(sent.Add(1)), func() { w.rotate(arn) })
				if status == 0 {
					panic(http.ErrAbortHandler)
				}
				rw.WriteHeader(status)
				fmt.Fprintf(rw, `{"__type":%q,"message":"made up"}`, code)
			}))
			t.Cleanup(front.Close)
			// A client that would repeat anything.
			eager := sdk.New(direct.Options(), func(o *sdk.Options) {
				o.BaseEndpoint = &front.URL
				o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 5, time.Millisecond })
			})
			a := &keys.Admin{Client: func(string) keys.AdminAPI { return split{direct, eager} }, Sleep: w.clock.sleep}
			p, err := a.PlanRotation(t.Context(), arn)
			must(t, p, err)
			err = a.BeginRotation(t.Context(), p)
			if (err == nil) != c.begins {
				t.Errorf("%v", err)
			}
			if err != nil && c.used == 0 {
				if run := runError(t, err, 0); strings.Contains(run.Hint, "retries") {
					t.Errorf("it was not tried again: %s", run.Hint)
				}
			}
			if n := int(sent.Load()); n != c.sent {
				t.Errorf("sent %d times", n)
			}
			if k := w.census(arn).Keys[0]; k.OnDemand.Used != c.used {
				t.Errorf("%d rotations used", k.OnDemand.Used)
			}
		})
	}
}

// split sends RotateKeyOnDemand another way than all else.
type split struct {
	*sdk.Client
	rotations *sdk.Client
}

func (s split) RotateKeyOnDemand(ctx context.Context, in *sdk.RotateKeyOnDemandInput, o ...func(*sdk.Options)) (*sdk.RotateKeyOnDemandOutput, error) {
	return s.rotations.RotateKeyOnDemand(ctx, in, o...)
}

func TestAwaitRotation(t *testing.T) {
	w := newWorld(t, 100*time.Second)
	arn := w.key()
	a := w.admin()
	p, err := a.PlanRotation(t.Context(), arn)
	must(t, p, err)
	must(t, 0, a.BeginRotation(t.Context(), p))
	again, err := a.PlanRotation(t.Context(), arn)
	must(t, again, err)
	if again.Since.IsZero() || again.Used != 1 {
		t.Errorf("under way: %+v", again)
	}
	w.calls("RotateKeyOnDemand")
	must(t, 0, a.BeginRotation(t.Context(), again))
	if n := w.calls("RotateKeyOnDemand"); n != 0 {
		t.Error("a second rotation was begun")
	}
	began, looks := w.clock.now(), 0
	material, err := a.AwaitRotation(t.Context(), again, func() { looks++ })
	must(t, material, err)
	if material == p.Key.CurrentMaterial || material != w.material(arn) {
		t.Errorf("material %s", material)
	}
	if d := w.clock.now().Sub(began); d < 100*time.Second || d > 106*time.Second || looks < 5 {
		t.Errorf("waited %v with %d looks", d, looks)
	}
	if p, err = a.PlanRotation(t.Context(), arn); err != nil || p.Used != 1 {
		t.Errorf("%+v %v", p, err)
	}

	// A key that stops to serve is not waited for.
	must(t, 0, a.BeginRotation(t.Context(), p))
	w.disable(arn)
	_, err = a.AwaitRotation(t.Context(), p, nil)
	contains(t, err, "in state Disabled", "enable-key")
}

// Where the process is told to end while the request is on its way, the key is
// asked all the same.
func TestBeginRotationInterrupted(t *testing.T) {
	w := newWorld(t, time.Hour)
	arn := w.key()
	p, err := w.admin().PlanRotation(t.Context(), arn)
	must(t, p, err)
	ctx, cancel := context.WithCancel(t.Context())
	w.hook(nil, func(_, op string, _, _ object) {
		if op == "RotateKeyOnDemand" {
			cancel()
			time.Sleep(100 * time.Millisecond) // the client leaves before the answer
		}
	})
	if err := w.admin().BeginRotation(ctx, p); err != nil {
		t.Errorf("%v", err)
	}
}

// The answers of a plan are of one time: a rotation that is complete between
// two of them is seen before and after.
func TestPlanRotationReadsOneTime(t *testing.T) {
	w := newWorld(t, 0)
	arn := w.key()
	a := w.admin()
	var once atomic.Bool
	w.hook(nil, func(_, op string, _, _ object) {
		if op == "DescribeKey" && once.CompareAndSwap(false, true) {
			w.kms.ServeHTTP(httptest.NewRecorder(), rotateRequest(arn))
		}
	})
	p, err := a.PlanRotation(t.Context(), arn)
	must(t, p, err)
	w.hook(nil, nil)
	if now := w.material(arn); p.Key.CurrentMaterial != now || p.Used != 1 {
		t.Errorf("%d used, current %s, and it is %s", p.Used, p.Key.CurrentMaterial, now)
	}
	w.describes(arn, nil, []any{object{"KeyMaterialId": "m1", "KeyMaterialState": "CURRENT"}})
	_, err = a.PlanRotation(t.Context(), arn)
	contains(t, err, "two key materials", "m1", "look again")
}

func rotateRequest(arn string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(fmt.Sprintf(`{"KeyId":%q}`, arn)))
	r.Header.Set("X-Amz-Target", "TrentService.RotateKeyOnDemand")
	return r
}

func TestPlanRotationRefuses(t *testing.T) {
	w := newWorld(t, 0)
	arn := w.key()
	primary := "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"
	external := object{"Origin": "EXTERNAL"}
	for _, c := range []struct {
		as        object
		rotations []any
		says      []string
	}{
		{object{"KeyManager": "AWS"}, nil, []string{"managed by AWS"}},
		{object{"Origin": "EXTERNAL_KEY_STORE"}, nil, []string{"custom store", "cannot rotate", "new key"}},
		{object{"KeySpec": "RSA_2048"}, nil, []string{"asymmetric, RSA_2048", "cannot rotate"}},
		{object{"KeySpec": "HMAC_256"}, nil, []string{"cannot rotate"}},
		{object{"KeyState": "PendingDeletion"}, nil, []string{"PendingDeletion", "cancel-key-deletion"}},
		{object{"KeyState": "Disabled"}, nil, []string{"Disabled", "enable-key"}},
		{object{"MultiRegion": true, "MultiRegionConfiguration": object{"MultiRegionKeyType": "REPLICA", "PrimaryKey": object{"Arn": primary}}}, nil, []string{"replica", "Give the primary key: " + primary}},
		{external, nil, []string{"no new material", "import-key-material"}},
		{external, []any{object{"KeyMaterialId": "m1", "KeyMaterialState": "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"}}, []string{"m1", "every replica"}},
		{external, []any{object{"KeyMaterialId": "m1", "KeyMaterialState": "PENDING_ROTATION"}}, nil},
		{nil, used(25), []string{"25 times", "move-alias", "with material made by KMS can still rotate by itself"}},
		{object{"KeyState": "Updating"}, nil, nil},
		{nil, used(24), nil},
	} {
		w.describes(arn, c.as, c.rotations)
		_, err := w.admin().PlanRotation(t.Context(), arn)
		if c.says == nil && err != nil {
			t.Errorf("%v %v: %v", c.as, c.rotations, err)
		}
		contains(t, err, c.says...)
		if c.says != nil {
			runError(t, err, 0)
		}
	}
}

func used(n int) (rotations []any) {
	for i := range n {
		rotations = append(rotations, object{"KeyMaterialId": fmt.Sprint(i), "KeyMaterialState": "NON_CURRENT", "RotationType": "ON_DEMAND", "RotationDate": 1.7e9 + float64(i)})
	}
	return rotations
}

func TestEnableRotation(t *testing.T) {
	w := newWorld(t, 0)
	arn := w.key()
	w.alias("alias/a", arn)
	for _, c := range []struct {
		days         int
		before, want int // 0: off
		calls        int
	}{{0, 0, 365, 1}, {0, 365, 365, 0}, {180, 365, 180, 1}, {0, 180, 180, 0}, {180, 180, 180, 0}, {90, 180, 90, 1}, {2560, 90, 2560, 1}} {
		w.calls("EnableKeyRotation")
		k, before, after, err := w.admin().EnableRotation(t.Context(), "alias/a", c.days)
		must(t, 0, err)
		if k.ARN != arn || before.PeriodDays != c.before || before.Enabled != (c.before > 0) || after.PeriodDays != c.want || after.Next.IsZero() {
			t.Errorf("%+v: %+v %+v", c, before, after)
		}
		if n := w.calls("EnableKeyRotation"); n != c.calls {
			t.Errorf("%+v: %d calls", c, n)
		}
	}
	// What was asked for is said where it cannot be read back.
	for _, stale := range []object{{"KeyRotationEnabled": true, "RotationPeriodInDays": 2560}, {"KeyRotationEnabled": false}} {
		w.hook(nil, func(_, op string, _, out object) {
			if op == "GetKeyRotationStatus" {
				clear(out)
				for name, v := range stale {
					out[name] = v
				}
			}
		})
		_, before, after, err := w.admin().EnableRotation(t.Context(), arn, 400)
		must(t, 0, err)
		if after != (keys.Rotation{Enabled: true, PeriodDays: 400}) || before.PeriodDays == 400 {
			t.Errorf("%+v %+v", before, after)
		}
	}
	w.hook(nil, nil)
	for _, days := range []int{-1, 1, 89, 2561} {
		_, _, _, err := w.admin().EnableRotation(t.Context(), arn, days)
		var u *keys.UsageError
		if !errors.As(err, &u) {
			t.Errorf("%d days: %v", days, err)
		}
	}
	w.describes(arn, object{"Origin": "EXTERNAL"}, nil)
	_, _, _, err := w.admin().EnableRotation(t.Context(), arn, 0)
	contains(t, err, "imported material", "rotate on demand")
	w.hook(func(_, op string, _ object) string {
		if op == "EnableKeyRotation" {
			return "AccessDeniedException"
		}
		return ""
	}, nil)
	_, _, _, err = w.admin().EnableRotation(t.Context(), arn, 100)
	contains(t, err, "Allow kms:EnableKeyRotation on "+arn)
}

func TestMoveAlias(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	w.alias("alias/app", a)
	w.alias("alias/b", b)
	arnOf := func(name string) string { return strings.Join(strings.SplitN(a, ":", 6)[:5], ":") + ":" + name }
	move := func(alias, to string) (keys.AliasMove, error) {
		m, err := w.admin().PlanAliasMove(t.Context(), alias, to)
		if err == nil {
			err = w.admin().MoveAlias(t.Context(), m)
		}
		return m, err
	}
	names := func(arn string) {
		t.Helper()
		if k := w.census("alias/app").Keys[0]; k.ARN != arn {
			t.Errorf("alias/app names %s", k.ARN)
		}
	}
	id := func(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
	for _, c := range []struct{ alias, to, want string }{
		{"alias/app", b, b}, {"alias/app", id(a), a}, {arnOf("alias/app"), "alias/b", b}, {arnOf("alias/app"), id(a), a},
	} {
		m, err := move(c.alias, c.to)
		must(t, m, err)
		if m.Alias != "alias/app" || m.Done() {
			t.Errorf("%+v", m)
		}
		names(c.want)
	}
	w.calls("UpdateAlias")
	if m, err := move("alias/app", a); err != nil || !m.Done() || w.calls("UpdateAlias") != 0 {
		t.Errorf("a move to where it is: %+v %v", m, err)
	}

	dead, off := w.key(), w.key()
	w.scheduleDeletion(dead)
	w.disable(off)
	rsa := w.make(sdk.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
	mac := w.make(sdk.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
	for to, says := range map[string]string{
		w.keyIn(abroad): "is not there", dead: "PendingDeletion", off: "in state Disabled", rsa: "same type", mac: "same type",
		"alias/none": "rewrap keys lists",
	} {
		_, err := move("alias/app", to)
		contains(t, err, says)
		runError(t, err, 0)
	}
	for _, alias := range []string{a, "app", "alias/aws/s3", arnOf("alias/aws/s3"), ""} {
		_, err := move(alias, b)
		var u *keys.UsageError
		if !errors.As(err, &u) {
			t.Errorf("%q: %v", alias, err)
		}
	}
	names(a)
	for _, c := range []struct {
		as   object
		says string
	}{
		{object{"KeyManager": "AWS"}, "managed by AWS"},
		{object{"KeyUsage": "KEY_AGREEMENT"}, "same type and usage"},
	} {
		w.describes(b, c.as, nil)
		_, err := move("alias/app", b)
		contains(t, err, c.says)
	}
	names(a)
	w.hook(func(_, op string, _ object) string {
		if op == "UpdateAlias" {
			return "AccessDeniedException"
		}
		return ""
	}, nil)
	_, err := move("alias/app", b)
	contains(t, err, "kms:UpdateAlias on the alias")
	if runError(t, err, 0); strings.Contains(err.Error(), "not known") {
		t.Errorf("what was refused was not done: %v", err)
	}

	// An answer that leaves it open.
	w.hook(func(_, op string, _ object) string {
		if op == "UpdateAlias" {
			return "KMSInternalException"
		}
		return ""
	}, nil)
	_, err = move("alias/app", b)
	contains(t, err, "not known whether alias/app was moved from "+a+" to "+b, "KMS itself has trouble")
	runError(t, err, 0)
}
