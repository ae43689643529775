package keyadmin_test

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
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/bench/emulator/emulatortest"
	"rewrap/cmd/rewrap/internal/keyadmin"
	"rewrap/sources"
)

func (w *world) admin() *keyadmin.Admin {
	return &keyadmin.Admin{
		Client: func(region string) keyadmin.API {
			if region == "" {
				region = home
			}
			return w.In(region).KMS
		},
		Sleep: w.Clock.Sleep,
	}
}

func (w *world) look(names ...string) keyadmin.Overview {
	w.Helper()
	c, err := w.admin().Look(w.Context(), names, true)
	w.OK(err)
	return c
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

func TestLookKinds(t *testing.T) {
	w := newWorld(t, 0)
	for _, c := range []struct {
		kind keyadmin.Kind
		in   sdk.CreateKeyInput
		as   object
		asks bool // for its rotation
	}{
		{keyadmin.KindSymmetric, sdk.CreateKeyInput{}, nil, true},
		{keyadmin.KindSymmetric, sdk.CreateKeyInput{MultiRegion: aws.Bool(true)}, nil, true},
		{keyadmin.KindImported, sdk.CreateKeyInput{Origin: types.OriginTypeExternal}, nil, true},
		{keyadmin.KindCustomStore, sdk.CreateKeyInput{}, object{"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": "cks-1"}, false},
		{keyadmin.KindCustomStore, sdk.CreateKeyInput{}, object{"Origin": "EXTERNAL_KEY_STORE"}, false},
		{keyadmin.KindAsymmetric, sdk.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt}, nil, false},
		{keyadmin.KindAsymmetric, sdk.CreateKeyInput{KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify}, nil, false},
		{keyadmin.KindHMAC, sdk.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac}, nil, false},
		{keyadmin.KindAWSManaged, sdk.CreateKeyInput{}, object{"KeyManager": "AWS"}, true},
	} {
		arn := w.KeyOf("", c.in)
		w.describes(arn, c.as, nil)
		w.calls("GetKeyRotationStatus")
		got := w.look(arn).Keys[0]
		if got.Kind != c.kind || got.Error != "" || len(got.Unread) > 0 {
			t.Errorf("%v %v: %+v", c.in, c.as, got)
		}
		if !strings.HasPrefix(got.Rule, c.kind.Rule()) || c.kind.Rule() == "" {
			t.Errorf("%s: the rule is %q", c.kind, got.Rule)
		}
		if asked := w.calls("GetKeyRotationStatus") > 0; asked != c.asks || asked != (got.Rotation != nil) {
			t.Errorf("%s: asked for its rotation: %v, which is %v", c.kind, asked, got.Rotation)
		}
		if owes := got.OwesRotation(); owes != (c.kind == keyadmin.KindSymmetric) {
			t.Errorf("%s: owes rotation: %v", c.kind, owes)
		}
	}
}

func TestLookTellsMaterials(t *testing.T) {
	w := newWorld(t, time.Hour)
	arn := w.key()
	w.Alias("alias/b", arn)
	w.Alias("alias/a", arn)
	first := w.Material(arn)
	w.rotate(arn)
	w.Clock.Pass(2 * time.Hour)
	second := w.Material(arn)
	w.rotate(arn) // under way

	k := w.look("alias/a").Keys[0]
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
func TestLookPages(t *testing.T) {
	w := newWorld(t, 0)
	const n = 60
	arn := w.key()
	for range 7 {
		w.rotate(arn)
	}
	for i := range n {
		w.Alias(fmt.Sprintf("alias/%02d", i), arn)
		w.key()
	}
	w.hook(func(_, op string, in object) string {
		if strings.HasPrefix(op, "List") {
			in["Limit"] = 3
		}
		return ""
	}, nil)
	w.calls("DescribeKey")
	c := w.look()
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
	if !slices.IsSortedFunc(c.Keys[1:], func(a, b keyadmin.Key) int { return strings.Compare(a.ARN, b.ARN) }) {
		t.Error("keys without aliases are not sorted")
	}
}

func TestLookGoesOnPastOneKey(t *testing.T) {
	w := newWorld(t, 0)
	good, dark, dim := w.key(), w.key(), w.key()
	w.Alias("alias/dark", dark)
	w.hook(func(_, op string, in object) string {
		if in["KeyId"] == dark && op == "DescribeKey" || in["KeyId"] == dim && op == "ListKeyRotations" || in["KeyId"] == nil && op == "ListAliases" {
			return "AccessDeniedException"
		}
		return ""
	}, nil)
	c := w.look()
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
		_, err := w.admin().Look(t.Context(), nil, false)
		runError(t, err, 0)
		_, err = w.admin().Look(t.Context(), []string{good}, false)
		if ended := code == "ExpiredTokenException"; ended != errors.Is(err, sources.ErrCredentials) || ended != (err != nil) {
			t.Errorf("%s: %v", code, err)
		}
	}
	// One that was named does not take the others with it.
	far := w.In(abroad).Key("")
	silent := func(says string) {
		t.Helper()
		_, err := w.admin().Look(t.Context(), nil, false)
		contains(t, err, says)
		c := w.look(good, far)
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
	w.KMS = emulatortest.KMSClient(deaf.URL, home, nil)
	silent("could not be reached")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.admin().Look(ctx, []string{far}, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Something that is no KMS has no keys, which is not the same as none.
func TestLookOfNoKMS(t *testing.T) {
	w := newWorld(t, 0)
	arn := w.key()
	w.hook(nil, func(_, _ string, _, out object) { clear(out) })
	_, err := w.admin().Look(t.Context(), nil, false)
	contains(t, err, "ListKeys", "is no KMS")
	if k := w.look(arn).Keys[0]; !strings.Contains(k.Error, "is no KMS") {
		t.Errorf("%+v", k)
	}
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	w.KMS = emulatortest.KMSClient(page.URL, home, nil)
	_, err = w.admin().Look(t.Context(), nil, false)
	contains(t, err, "what answers at "+page.URL+" is no KMS: HTTP 404", "AWS_ENDPOINT_URL_KMS")
}

// AWS makes the key of an alias of its own when DescribeKey is given that
// alias.
func TestLookMakesNoKey(t *testing.T) {
	w := newWorld(t, 0)
	place := "arn:aws:kms:us-east-1:111122223333:"
	w.Alias("alias/mine", w.key())
	w.hook(nil, func(_, op string, _, out object) { // as AWS lists them
		if op == "ListAliases" {
			out["Aliases"] = append(out["Aliases"].([]any), object{"AliasName": "alias/aws/sqs", "AliasArn": place + "alias/aws/sqs"})
		}
	})
	for _, name := range []string{"alias/aws/sqs", "alias/aws/s3", place + "alias/aws/s3"} {
		if k := w.look(name).Keys[0]; !strings.Contains(k.Error, "there is no such key yet: "+name) {
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
	if c := w.look(); len(c.Keys) != 1 || len(c.Keys[0].Aliases) != 1 {
		t.Errorf("%+v", c.Keys)
	}

	// One that is there is read, and has no rotations on demand.
	w.hook(nil, nil)
	out, err := w.KMS.DescribeKey(t.Context(), &sdk.DescribeKeyInput{KeyId: aws.String("alias/aws/s3")})
	must(t, out, err)
	for _, name := range []string{"alias/aws/s3", strings.Join(strings.SplitN(*out.KeyMetadata.Arn, ":", 6)[:5], ":") + ":alias/aws/s3"} {
		k := w.look(name).Keys[0]
		if k.Error != "" || k.ARN != *out.KeyMetadata.Arn || k.Given != name || k.Kind != keyadmin.KindAWSManaged || k.OnDemand != nil || len(k.Materials) == 0 {
			t.Errorf("%s: %+v", name, k)
		}
	}
}

// What waits for its rotation comes before the current material, and the
// others follow by date.
func TestLookOrdersMaterials(t *testing.T) {
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
	for _, m := range w.look(arn).Keys[0].Materials {
		order = append(order, m.ID)
	}
	if !slices.Equal(order, []string{"next", "now", "newer", "old", "first"}) {
		t.Errorf("%v", order)
	}
}

func TestOwesRotation(t *testing.T) {
	for state, owes := range map[string]bool{"Enabled": true, "Disabled": true, "Updating": true, "PendingDeletion": false, "PendingReplicaDeletion": false} {
		k := keyadmin.Key{Kind: keyadmin.KindSymmetric, Description: keyadmin.Description{State: state}}
		if k.OwesRotation() != owes {
			t.Errorf("%s: %v", state, !owes)
		}
	}
}

func TestLookTellsProgress(t *testing.T) {
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
	c, err := a.Look(t.Context(), nil, false)
	must(t, c, err)
	if calls.Load() != 20 || most.Load() != 20 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestLookCallsTheKeysRegion(t *testing.T) {
	w := newWorld(t, 0)
	far := w.In(abroad).Key("")
	if k := w.look(far).Keys[0]; k.Error != "" || k.ARN != far || k.OnDemand == nil {
		t.Errorf("%+v", k)
	}
}
