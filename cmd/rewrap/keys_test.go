package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/bench/emulator"
	"rewrap/cmd/rewrap/internal/keyadmin"
)

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
		"under way":        {keyadmin.Key{ARN: arn + "1", Kind: keyadmin.KindSymmetric, Versions: keyadmin.Versions{Rotation: &keyadmin.Rotation{Pending: at}}}, []string{"a rotation on demand has been under way since 2027-03-04 05:06:07 UTC"}},
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

func TestKeysSaysHowFar(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{})
	for range 8 {
		must(t)(w.KMS.CreateKey(t.Context(), &kms.CreateKeyInput{}))
	}
	e := w.run("keys", "--json", "--kms-rps", "5").want(t, exitOK, " of 8 keys looked at")
	if len(e.keys(t).Keys) != 8 || strings.Contains(e.errors, "8 of 8") {
		t.Errorf("want 8 keys, and no notice for the last of them:\n%s", e.errors)
	}
	if e := w.run("keys"); e.errors != "" {
		t.Errorf("it is quick, and says how far it is:\n%s", e.errors)
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
			t.Errorf("%d keys do not rotate and %d are not known: %v, want %q", c.without, c.unknown, err, c.says)
		}
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
		must(t)(w.KMS.CreateKey(t.Context(), &kms.CreateKeyInput{}))
	}
	r := w.run("keys", "--json", "--kms-rps", "max").want(t, exitOK, "").keys(t)
	if len(r.Keys) != n || r.Read != n || len(r.WithoutRotation) != n {
		t.Errorf("%d keys, %d read, %d without rotation, want %d of each", len(r.Keys), r.Read, len(r.WithoutRotation), n)
	}
	if c := w.Emulator.Counters(); c["kms:ListKeys"] != 3 || c["kms:DescribeKey"] != n || c["kms:ListAliases"] != 1 {
		t.Errorf("%v, want 3 pages, %d descriptions and 1 list of aliases", c, n)
	}
}

// A wait that is interrupted says that the rotation goes on.
func TestKeysRotateWaitInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{RotationDelay: time.Hour})
	arn := w.Key("alias/a")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := w.command(ctx, "keys", "rotate", arn, "--wait", "--yes")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	from := w.Emulator.Counters()["kms:DescribeKey"]
	go func() {
		for w.Emulator.Counters()["kms:DescribeKey"] < from+2 && ctx.Err() == nil {
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
		arn := w.Key("alias/a")
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
			"it is not known whether alias/a was moved from KEY_A to KEY_B. Run the same command again to be sure: interrupted by SIGINT",
			[2]string{"alias/a: names KEY_B (it was KEY_A)", "alias/a: unchanged, it names KEY_B already"}},
		{"kms:EnableKeyRotation", []string{"enable-rotation", "alias/a", "--period", "100"},
			"it is not known whether KEY_A rotates every 100 days now (it was: off). Run the same command again to be sure: interrupted by SIGINT",
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
			arns := strings.NewReplacer("KEY_A", w.Key("alias/a"), "KEY_B", w.Key("alias/b"))
			cmd := w.command(ctx, append([]string{"keys"}, c.args...)...)
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
			w.wait(cmd).want(t, exitStopped, "rewrap: "+arns.Replace(c.says)+"\n")
			w.run(append([]string{"keys"}, c.args...)...).want(t, exitOK, "").shows(t, arns.Replace(c.made[i]))
		}
	}
}
