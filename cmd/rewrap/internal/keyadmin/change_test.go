package keyadmin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/cmd/rewrap/internal/keyadmin"
)

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
			direct := w.In(home).KMS
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
			a := &keyadmin.Admin{Client: func(string) keyadmin.API { return split{direct, eager} }, Sleep: w.Clock.Sleep}
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
			if k := w.look(arn).Keys[0]; k.OnDemand.Used != c.used {
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
	began, looks := w.Clock.Now(), 0
	material, err := a.AwaitRotation(t.Context(), again, func() { looks++ })
	must(t, material, err)
	if material == p.Key.CurrentMaterial || material != w.Material(arn) {
		t.Errorf("material %s", material)
	}
	if d := w.Clock.Now().Sub(began); d < 100*time.Second || d > 106*time.Second || looks < 5 {
		t.Errorf("waited %v with %d looks", d, looks)
	}
	if p, err = a.PlanRotation(t.Context(), arn); err != nil || p.Used != 1 {
		t.Errorf("%+v %v", p, err)
	}

	// A key that stops to serve is not waited for.
	must(t, 0, a.BeginRotation(t.Context(), p))
	w.Disable(arn)
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
			w.Emulator.KMS().ServeHTTP(httptest.NewRecorder(), rotateRequest(arn))
		}
	})
	p, err := a.PlanRotation(t.Context(), arn)
	must(t, p, err)
	w.hook(nil, nil)
	if now := w.Material(arn); p.Key.CurrentMaterial != now || p.Used != 1 {
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
	w.Alias("alias/a", arn)
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
		if after != (keyadmin.Rotation{Enabled: true, PeriodDays: 400}) || before.PeriodDays == 400 {
			t.Errorf("%+v %+v", before, after)
		}
	}
	w.hook(nil, nil)
	for _, days := range []int{-1, 1, 89, 2561} {
		_, _, _, err := w.admin().EnableRotation(t.Context(), arn, days)
		var u *keyadmin.UsageError
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

// move plans and makes a move of an alias.
func (w *world) move(alias, to string) (keyadmin.AliasMove, error) {
	m, err := w.admin().PlanAliasMove(w.Context(), alias, to)
	if err == nil {
		err = w.admin().MoveAlias(w.Context(), m)
	}
	return m, err
}

// names checks which key alias/app names.
func (w *world) names(arn string) {
	w.Helper()
	if k := w.look("alias/app").Keys[0]; k.ARN != arn {
		w.Errorf("alias/app names %s", k.ARN)
	}
}

func TestMoveAlias(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	w.Alias("alias/app", a)
	w.Alias("alias/b", b)
	arnOf := func(name string) string { return strings.Join(strings.SplitN(a, ":", 6)[:5], ":") + ":" + name }
	id := func(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
	for _, c := range []struct{ alias, to, want string }{
		{"alias/app", b, b}, {"alias/app", id(a), a}, {arnOf("alias/app"), "alias/b", b}, {arnOf("alias/app"), id(a), a},
	} {
		m, err := w.move(c.alias, c.to)
		must(t, m, err)
		if m.Alias != "alias/app" || m.Done() {
			t.Errorf("%+v", m)
		}
		w.names(c.want)
	}
	w.calls("UpdateAlias")
	if m, err := w.move("alias/app", a); err != nil || !m.Done() || w.calls("UpdateAlias") != 0 {
		t.Errorf("a move to where it is: %+v %v", m, err)
	}
}

func TestMoveAliasRefuses(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	w.Alias("alias/app", a)
	dead, off := w.key(), w.key()
	w.scheduleDeletion(dead)
	w.Disable(off)
	rsa := w.KeyOf("", sdk.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
	mac := w.KeyOf("", sdk.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
	for to, says := range map[string]string{
		w.In(abroad).Key(""): "is not there", dead: "PendingDeletion", off: "in state Disabled", rsa: "same type", mac: "same type",
		"alias/none": "rewrap keys lists",
	} {
		_, err := w.move("alias/app", to)
		contains(t, err, says)
		runError(t, err, 0)
	}
	for _, alias := range []string{a, "app", "alias/aws/s3", strings.Replace(a, a[strings.Index(a, "key/"):], "alias/aws/s3", 1), ""} {
		_, err := w.move(alias, b)
		var u *keyadmin.UsageError
		if !errors.As(err, &u) {
			t.Errorf("%q: %v", alias, err)
		}
	}
	w.names(a)
	for _, c := range []struct {
		as   object
		says string
	}{
		{object{"KeyManager": "AWS"}, "managed by AWS"},
		{object{"KeyUsage": "KEY_AGREEMENT"}, "same type and usage"},
	} {
		w.describes(b, c.as, nil)
		_, err := w.move("alias/app", b)
		contains(t, err, c.says)
	}
	w.names(a)
	w.hook(func(_, op string, _ object) string {
		if op == "UpdateAlias" {
			return "AccessDeniedException"
		}
		return ""
	}, nil)
	_, err := w.move("alias/app", b)
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
	_, err = w.move("alias/app", b)
	contains(t, err, "not known whether alias/app was moved from "+a+" to "+b, "KMS itself has trouble")
	runError(t, err, 0)
}
