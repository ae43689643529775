package emulatortest_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/bench/emulator"
	. "rewrap/bench/emulator/emulatortest"
)

func TestWorld(t *testing.T) {
	w := New(t, emulator.Options{})
	if n := w.Emulator.Counters(); len(n) != 0 {
		t.Errorf("requests in a new world: %v", n)
	}
	arn := w.Key("alias/a")
	old := w.Material(arn)
	w.Fill("alias/a", 3)
	w.Check(arn, 3, old)
	blob := w.Seal(arn, "secret", nil)
	if newer := w.Rotate(arn); newer == old || w.Material("alias/a") != newer {
		t.Errorf("rotated from %s to %s", old, newer)
	}
	w.Check(arn, 3, old)
	if secret, material := w.Open("", blob, nil); secret != "secret" || material != old {
		t.Errorf("opens to %q under %s", secret, material)
	}
	w.Put("k", "v")
	if got := w.Get("k"); got != "v" || *w.Head("k").ContentLength != 1 {
		t.Errorf("got %q", got)
	}
}

func TestClock(t *testing.T) {
	w := New(t, emulator.Options{RotationDelay: time.Hour})
	arn := w.Key("")
	old, began := w.Material(arn), w.Clock.Now()
	if w.Rotate(arn) != old || w.Clock.Now() != began {
		t.Error("the clock does not stand still")
	}
	if err := w.Clock.Sleep(t.Context(), time.Hour); err != nil || w.Material(arn) == old {
		t.Errorf("after an hour the rotation is not complete: %v", err)
	}
	running := New(t, emulator.Options{Now: time.Now})
	running.Clock.Pass(time.Hour)
	if d := time.Until(running.Clock.Now()); d < 59*time.Minute || d > time.Hour {
		t.Errorf("the clock is %v ahead", d)
	}
}

func TestHookAndCalls(t *testing.T) {
	w := New(t, emulator.Options{Hook: Fails("kms:CreateKey", 400, "LimitExceededException")})
	if _, err := w.KMS.CreateKey(t.Context(), &kms.CreateKeyInput{}); err == nil {
		t.Error("the hook of the options is not called")
	}
	w.Hook(nil)
	arn := w.Key("")
	if n := w.Calls("kms:CreateKey"); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	w.Describe(arn)
	w.Forget()
	w.Describe(arn)
	if a, b := w.Calls("kms:DescribeKey"), w.Calls("kms:DescribeKey"); a != 1 || b != 0 {
		t.Errorf("%d calls and then %d, want 1 and 0", a, b)
	}
	w.Hook(Both(Fails("s3:GetObject", 500, "InternalError"), JSON(func(op string, in Object) string {
		if op == "kms:DisableKey" {
			return "KMSInternalException"
		}
		in["KeyId"] = arn
		return ""
	}, func(op string, _, out Object) { out["KeyMetadata"].(Object)["Arn"] = op })))
	if got := *w.Describe("alias/absent").Arn; got != "kms:DescribeKey" {
		t.Errorf("request and answer were not changed: %q", got)
	}
	if _, err := w.KMS.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &arn}); err == nil {
		t.Error("DisableKey does not fail")
	}
	w.Put("k", "v") // passes both
}

func TestRefusals(t *testing.T) {
	w := New(t, emulator.Options{})
	w.Hook(Ignores("s3:PutObject", "If-None-Match"))
	for range 2 {
		w.Put("k", "v", func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
	}
	w.Hook(Fails("s3:GetObject", 503, "SlowDown"))
	get := &s3.GetObjectInput{Bucket: &w.Bucket, Key: aws.String("k")}
	_, err := w.S3.GetObject(t.Context(), get)
	if message := w.Refused(err, 503, "SlowDown"); message != "made up" {
		t.Errorf("the message is %q", message)
	}
	if n := w.Calls("s3:GetObject"); n != 1 {
		t.Errorf("%d requests: the client has tried again", n)
	}
	w.Hook(nil)
	get.Key = aws.String("none")
	if _, err := w.S3.GetObject(t.Context(), get); Code(err) != "NoSuchKey" || Code(context.Canceled) != "" {
		t.Errorf("the code of %v is %q", err, Code(err))
	}
}

func TestAt(t *testing.T) {
	server := httptest.NewServer(emulator.New(emulator.Options{}))
	t.Cleanup(server.Close)
	w := At(t, server.URL)
	w.Put("k", "v")
	t.Run("subtest", func(t *testing.T) {
		if got := w.For(t).Get("k"); got != "v" {
			t.Errorf("got %q", got)
		}
	})
}

func TestRegions(t *testing.T) {
	home := New(t, emulator.Options{})
	abroad := home.In("eu-west-1")
	if abroad.URL == home.URL || home.In("eu-west-1").URL != abroad.URL || home.In(Region) != home {
		t.Error("not one world for each Region")
	}
	if abroad.Clock.Pass(time.Hour); home.Clock.Now() != abroad.Clock.Now() {
		t.Error("the Regions differ in time")
	}
	abroad.Key("alias/a")
	home.Key("alias/a") // is another alias
}

func TestThrough(t *testing.T) {
	w := New(t, emulator.Options{})
	w.Put("k", "v")
	w.Through(w.Emulator.Client(), "http://emulator")
	if got := w.Get("k"); got != "v" {
		t.Errorf("in process: %q", got)
	}
	other := New(t, emulator.Options{})
	w.Through(nil, other.URL)
	other.Put("k", "other")
	if got := w.Get("k"); got != "other" {
		t.Errorf("over the socket of another: %q", got)
	}
}
