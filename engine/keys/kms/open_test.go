package kms_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/engine/envelope"
	"rewrap/engine/keys/kms"
	"rewrap/sources"
)

func (w *world) openFails(c kms.Config) error {
	w.Helper()
	_, err := kms.Open(w.Context(), w.config(c))
	if err == nil {
		w.Fatalf("opened: %+v", c)
	}
	return err
}

func TestOpenFindsKeys(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	w.Alias("alias/a", a)
	k := w.open(kms.Config{From: []string{"alias/a", a}, To: b})
	from := k.From()
	want := kms.Key{Given: "alias/a", ARN: a, Material: w.Material(a), Spec: "SYMMETRIC_DEFAULT", Origin: "AWS_KMS", Manager: "CUSTOMER"}
	if len(from) != 1 || from[0] != want {
		t.Errorf("From: %+v", from)
	}
	if to := k.To(); to == nil || to.ARN != b || to.Given != b || to.Material != w.Material(b) {
		t.Errorf("To: %+v", to)
	}
	if k := w.open(kms.Config{}); k.To() != nil || k.From() != nil || len(k.Targets()) != 0 {
		t.Error("keys from nowhere")
	}
}

func TestDefaults(t *testing.T) {
	w := newWorld(t, 0)
	a := w.key()
	k, err := kms.Open(t.Context(), kms.Config{Client: w.config(kms.Config{}).Client, From: []string{a}})
	must(t, k, err)
	if r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil)}); !r.Current {
		t.Errorf("got %+v", r)
	}
}

func TestUsageErrors(t *testing.T) {
	w := newWorld(t, 0)
	a, b, far := w.key(), w.key(), w.In(abroad).Key("")
	w.Alias("alias/a", a)
	m := w.Material(a)
	for name, x := range map[string]struct {
		c     kms.Config
		parts []string
	}{
		"same key":            {kms.Config{From: []string{b, "alias/a"}, To: a}, []string{"leave --to out", a}},
		"same key, material":  {kms.Config{From: []string{a + "@" + m}, To: a}, []string{"leave --to out"}},
		"target material":     {kms.Config{From: []string{a}, To: b + "@" + m}, []string{"--to"}},
		"no material":         {kms.Config{From: []string{a + "@"}}, []string{"KEY@MATERIAL", "rewrap keys KEY --json"}},
		"short material":      {kms.Config{From: []string{a + "@abc"}}, []string{"KEY@MATERIAL"}},
		"upper-case material": {kms.Config{From: []string{a + "@" + strings.Repeat("A", 64)}}, []string{"KEY@MATERIAL"}},
		"no key":              {kms.Config{From: []string{""}}, []string{"KEY@MATERIAL"}},
		"material alone":      {kms.Config{From: []string{"@" + m}}, []string{"KEY@MATERIAL"}},
		"two Regions":         {kms.Config{From: []string{a}, To: far}, []string{home, abroad}},
	} {
		err := w.openFails(x.c)
		var usage *kms.UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v", name, err)
		}
		contains(t, err, x.parts...)
	}
	if _, err := kms.ParseVerify("perhaps"); err == nil {
		t.Error("--verify=perhaps")
	}
	for _, v := range []kms.Verify{kms.VerifyNone, kms.VerifyAnswer, kms.VerifyOpen} {
		if got, err := kms.ParseVerify(v.String()); got != v || err != nil {
			t.Errorf("%v: %v, %v", v, got, err)
		}
	}
}

func TestUnusableKeys(t *testing.T) {
	w := newWorld(t, 0)
	a := w.key()
	off, dying := w.key(), w.key()
	w.Disable(off)
	w.scheduleDeletion(dying)
	out, err := w.KMS.CreateKey(t.Context(), &sdk.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
	rsa := *must(t, out, err).KeyMetadata.Arn
	gone := strings.Replace(a, a[strings.LastIndex(a, "/")+1:], "12345678-1234-1234-1234-123456789012", 1)
	for name, x := range map[string][]string{
		off:                 {"Disabled", "enable-key", off},
		dying:               {"PendingDeletion", "cancel-key-deletion", dying},
		rsa:                 {"asymmetric", "SYMMETRIC_DEFAULT", rsa},
		gone:                {"not found", gone, home},
		"alias/gone":        {"not found", "alias/gone", "AWS_REGION"},
		"*not*a*key*at*all": {"not found", "*not*a*key*at*all"},
	} {
		contains(t, runError(t, w.openFails(kms.Config{From: []string{name}, To: a}), 1), x...)
		contains(t, runError(t, w.openFails(kms.Config{From: []string{a}, To: name}), 1), x...)
	}
	w.hook(func(_, op string, _ object) string {
		if op == "DescribeKey" {
			return "AccessDeniedException"
		}
		return ""
	}, nil)
	contains(t, runError(t, w.openFails(kms.Config{To: a}), 5), "kms:DescribeKey", a)
}

func TestAWSManagedKey(t *testing.T) {
	w := newWorld(t, 0)
	a := w.key()
	managed, err := w.Emulator.KMS().ManagedKey("alias/aws/s3")
	must(t, managed, err)
	for _, name := range []string{managed, "alias/aws/s3"} {
		for _, c := range []kms.Config{{From: []string{a}, To: name}, {From: []string{name}, To: a}, {From: []string{name}}} {
			err := w.openFails(c)
			runError(t, err, 1)
			contains(t, err, name, "AWS managed key", "customer managed key")
		}
	}

	// Where only an item records it: not the run's affair, whichever call
	// finds out. Access that is denied to an ordinary key still is.
	for _, c := range []kms.Config{{}, {To: a}} {
		for _, name := range []string{managed, "alias/aws/s3"} {
			k := w.open(c)
			other := w.seal(w.key(), nil)
			_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: other, KeyID: name})
			itemError(t, err)
			contains(t, err, name, "AWS managed key", "customer managed key")
			if c.To == "" {
				continue
			}
			// The record may be out of date.
			if r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: name}); !r.Current {
				t.Errorf("got %+v", r)
			}
			if w.calls("DescribeKey") > 1 {
				t.Error("the key was looked up again")
			}
		}
	}
}

func TestKeyNotFoundNamesTheRegion(t *testing.T) {
	w := newWorld(t, 0)
	hint := func(region string) string {
		err := w.openFails(kms.Config{To: "alias/nope", Region: region})
		if strings.Contains(err.Error(), "..") {
			t.Errorf("two full stops: %v", err)
		}
		return runError(t, err, 1).Hint
	}
	if got, want := hint(home), "There is no key alias/nope in Region us-east-1 of this account:"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q", got)
	}
	if got, want := hint(""), "There is no key alias/nope in this account:"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q", got)
	}
}

// States that the emulator's keys do not get into.
func TestKeyStates(t *testing.T) {
	w := newWorld(t, 0)
	a := w.key()
	for state, hint := range map[string]string{
		"PendingImport":          "import-key-material",
		"Unavailable":            "connect-custom-key-store",
		"PendingReplicaDeletion": "replica",
		"Creating":               "again",
		"SomethingNew":           "describe-key",
	} {
		w.hook(nil, func(_, op string, _, out object) {
			if op == "DescribeKey" {
				out["KeyMetadata"].(object)["KeyState"] = state
			}
		})
		contains(t, runError(t, w.openFails(kms.Config{To: a}), 1), state, hint)
	}
	w.hook(nil, func(_, op string, _, out object) {
		if op == "DescribeKey" {
			out["KeyMetadata"].(object)["KeyState"] = "Updating"
		}
	})
	w.open(kms.Config{To: a})
	w.hook(nil, func(_, op string, _, out object) {
		if op == "DescribeKey" {
			out["KeyMetadata"].(object)["KeyUsage"] = "GENERATE_VERIFY_MAC"
		}
	})
	contains(t, runError(t, w.openFails(kms.Config{To: a}), 1), "GENERATE_VERIFY_MAC", "ENCRYPT_DECRYPT")
}

func TestPreflight(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	var code string
	var pairs []string
	w.hook(func(_, op string, in object) string {
		if op != "ReEncrypt" {
			return ""
		}
		if in["DryRun"] != true || in["CiphertextBlob"] != nil {
			t.Errorf("not a dry run: %v", in)
		}
		pairs = append(pairs, in["SourceKeyId"].(string)+" "+in["DestinationKeyId"].(string))
		return code
	}, nil)
	w.open(kms.Config{From: []string{a}, To: b})
	if len(pairs) != 2 || pairs[0] != a+" "+b || pairs[1] != b+" "+b {
		t.Errorf("tried %q", pairs)
	}
	for _, code = range []string{"DisabledException", "KMSInvalidStateException"} {
		runError(t, w.openFails(kms.Config{From: []string{a}, To: b}), 1)
	}
	code = "ExpiredTokenException"
	if err := w.openFails(kms.Config{From: []string{a}, To: b}); !errors.Is(err, sources.ErrCredentials) {
		t.Error(err)
	}
	for _, code = range []string{"InvalidCiphertextException", "ValidationException", "UnsupportedOperationException", "NotFoundException"} {
		w.open(kms.Config{From: []string{a}, To: b})
	}
	if w.noticed("kms:ReEncryptFrom") {
		t.Error("a notice too early")
	}
	code = "AccessDeniedException"
	w.open(kms.Config{From: []string{a}, To: b})
	if !w.noticed("kms:ReEncryptFrom") || !w.noticed(a) {
		t.Errorf("notices: %q", w.notices)
	}
}

func TestRotationIsWaitedFor(t *testing.T) {
	const delay = 100 * time.Second
	w := newWorld(t, delay)
	a, b := w.key(), w.key()
	old := w.Material(b)
	w.rotate(b)
	began := w.Clock.Now()
	k := w.open(kms.Config{From: []string{a}, To: b})
	if waited := w.Clock.Now().Sub(began); waited < delay-2*time.Second || waited > delay+10*time.Second {
		t.Errorf("waited %s", waited)
	}
	if got := k.Targets()[b]; got == old || got != w.Material(b) || k.To().Material != got {
		t.Errorf("target material %s, before the rotation %s", got, old)
	}
	if n := len(w.notices); n < 3 || n > 5 || !w.noticed("waiting for the rotation of "+b) {
		t.Errorf("%d notices: %q", n, w.notices)
	}

	// A key that only an item names is waited for just the same.
	blob := w.seal(a, nil)
	old = w.Material(a)
	w.rotate(a)
	k = w.open(kms.Config{})
	if r := w.rewrap(k, envelope.WrappedKey{Blob: blob, KeyID: a}); r.Current || r.From.Material != old || r.To.Material == old {
		t.Errorf("got %+v", r)
	}
	// A source is not: what matters of it is not current.
	w.rotate(a)
	began = w.Clock.Now()
	w.open(kms.Config{From: []string{a}, To: b})
	if w.Clock.Now() != began {
		t.Error("waited for the rotation of a source key")
	}
}

// The end of the rotation is seen up to half a minute before the new material.
func TestRotationSettles(t *testing.T) {
	w := newWorld(t, 100*time.Second)
	b := w.key()
	old := w.Material(b)
	w.rotate(b)
	var ended time.Time
	w.hook(nil, func(_, op string, _, out object) {
		switch op {
		case "GetKeyRotationStatus":
			if out["OnDemandRotationStartDate"] == nil && ended.IsZero() {
				ended = w.Clock.Now()
			}
		case "DescribeKey":
			if ended.IsZero() || w.Clock.Now().Sub(ended) < 25*time.Second {
				out["KeyMetadata"].(object)["CurrentKeyMaterialId"] = old
			}
		}
	})
	if got := w.open(kms.Config{To: b}).Targets()[b]; got == old {
		t.Error("pinned to the material from before the rotation")
	}
	// A rotation that came to nothing is not waited for any longer.
	w.rotate(b)
	ended = time.Time{}
	w.hook(nil, func(_, op string, _, out object) {
		if op == "DescribeKey" {
			out["KeyMetadata"].(object)["CurrentKeyMaterialId"] = old
		}
	})
	if got := w.open(kms.Config{To: b}).Targets()[b]; got != old {
		t.Errorf("pinned to %s", got)
	}
}

func TestRotationWaitEnds(t *testing.T) {
	w := newWorld(t, time.Hour)
	b := w.key()
	w.rotate(b)
	began := w.Clock.Now()
	contains(t, runError(t, w.openFails(kms.Config{To: b}), 1), "rotation", b, "15m")
	if waited := w.Clock.Now().Sub(began); waited < 15*time.Minute || waited > 16*time.Minute {
		t.Errorf("waited %s", waited)
	}
	// Not permitted to look: on without.
	w.hook(func(_, op string, _ object) string {
		if op == "GetKeyRotationStatus" {
			return "AccessDeniedException"
		}
		return ""
	}, nil)
	w.open(kms.Config{To: b})
}

func TestResume(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	w.Alias("alias/to", b)
	blob := w.seal(a, nil)
	pinned := w.open(kms.Config{From: []string{a}, To: "alias/to"}).Targets()
	if k := w.open(kms.Config{From: []string{a}, To: "alias/to", Pinned: pinned}); k.Targets()[b] != pinned[b] {
		t.Errorf("targets %v", k.Targets())
	}
	w.rotate(b)
	err := w.openFails(kms.Config{From: []string{a}, To: "alias/to", Pinned: pinned})
	var moved *kms.MovedError
	if !errors.As(err, &moved) || moved.Key != "alias/to" || moved.Was != pinned[b] || moved.Is != w.Material(b) {
		t.Errorf("got %v", err)
	}
	contains(t, err, "--restart", pinned[b], w.Material(b))

	// The alias points elsewhere.
	c := w.key()
	_, err = w.KMS.UpdateAlias(t.Context(), &sdk.UpdateAliasInput{AliasName: aws.String("alias/to"), TargetKeyId: &c})
	must(t, 0, err)
	err = w.openFails(kms.Config{From: []string{a}, To: "alias/to", Pinned: pinned})
	if !errors.As(err, &moved) || moved.Was != b || moved.Is != c {
		t.Errorf("got %v", err)
	}
	contains(t, err, "--restart", b, c)

	// A key that only items name: found out at first sight.
	k := w.open(kms.Config{})
	w.rewrap(k, envelope.WrappedKey{Blob: blob, KeyID: a})
	pinned = k.Targets()
	w.rewrap(w.open(kms.Config{Pinned: pinned}), envelope.WrappedKey{Blob: blob, KeyID: a})
	w.rotate(a)
	_, err = w.open(kms.Config{Pinned: pinned}).Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, KeyID: a})
	runError(t, err, 1)
	if !errors.As(err, &moved) || moved.Key != a {
		t.Errorf("got %v", err)
	}
	contains(t, err, "--restart")
	// One that the pass has not met yet is new.
	w.rewrap(w.open(kms.Config{Pinned: map[string]string{c: w.Material(c)}}), envelope.WrappedKey{Blob: blob, KeyID: a})
}

func TestKeysInTwoRegions(t *testing.T) {
	w := newWorld(t, 0)
	a, far := w.key(), w.In(abroad).Key("")
	k := w.open(kms.Config{From: []string{a, far}})
	for _, arn := range []string{a, far} {
		if r := w.rewrap(k, envelope.WrappedKey{Blob: w.seal(arn, nil), KeyID: arn}); !r.Current || r.From.ARN != arn {
			t.Errorf("got %+v", r)
		}
	}
	// An item whose recorded key is out of the target's reach.
	_, err := w.open(kms.Config{To: a}).Rewrap(t.Context(), envelope.WrappedKey{Blob: w.seal(far, nil), KeyID: far})
	contains(t, runError(t, err, 50), home, abroad)
}

// The emulator makes no replicas, so the front says that two keys are.
func TestReplicaIsUsed(t *testing.T) {
	w := newWorld(t, 0)
	multi := func(region string) string {
		out, err := w.In(region).KMS.CreateKey(t.Context(), &sdk.CreateKeyInput{MultiRegion: aws.Bool(true)})
		return *must(t, out, err).KeyMetadata.Arn
	}
	primary, replica, to := multi(home), multi(abroad), w.In(abroad).Key("")
	w.hook(nil, func(region, op string, _, out object) {
		if op == "DescribeKey" && region == home {
			out["KeyMetadata"].(object)["MultiRegionConfiguration"] = object{
				"MultiRegionKeyType": "PRIMARY",
				"PrimaryKey":         object{"Arn": primary, "Region": home},
				"ReplicaKeys":        []object{{"Arn": replica, "Region": abroad}},
			}
		}
	})
	wk := envelope.WrappedKey{Blob: w.seal(replica, nil), KeyID: primary}
	for _, c := range []kms.Config{{From: []string{primary}, To: to}, {To: to}} {
		if r := w.rewrap(w.open(c), wk); r.From.ARN != replica || r.To.ARN != to {
			t.Errorf("got %+v", r)
		}
	}
	var usage *kms.UsageError
	if err := w.openFails(kms.Config{From: []string{primary}, To: replica}); !errors.As(err, &usage) {
		t.Errorf("a key to its own replica: %v", err)
	}
}
