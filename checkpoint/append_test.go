package checkpoint

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/quick"
	"time"

	"rewrap/checkpoint/account"
)

// TestAppendJSON holds the records that are written by hand against
// encoding/json.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	want := func(v any) string {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
		return string(bytes.TrimSuffix(b.Bytes(), []byte{'\n'}))
	}
	same := func(v appender) bool {
		got, err := v.appendJSON([]byte("before"))
		if w := "before" + want(v); err != nil || string(got) != w {
			t.Errorf("got  %s, %v\nwant %s", got, err, w)
			return false
		}
		return true
	}
	// Strings of testing/quick are of any runes; half of ours are plain.
	plain := func(r *rand.Rand, s *string) {
		if r.IntN(2) == 0 {
			b := make([]byte, r.IntN(20))
			for i := range b {
				b[i] = byte(r.IntN(256))
				if r.IntN(10) > 0 {
					b[i] = 'a' + b[i]%26
				}
			}
			*s = string(b)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	mix := func(v any) {
		fields := reflect.ValueOf(v).Elem()
		for i := range fields.NumField() {
			if f := fields.Field(i); f.Kind() == reflect.String {
				plain(r, f.Addr().Interface().(*string))
			}
		}
	}
	entry := func(id, rev, version string, at int64, keys []account.KeyChange, inverse map[string]int) bool {
		e := Entry{ID: id, Time: time.Unix(at%(1<<35), at%1e9), Rev: rev, Keys: keys, Version: version}
		if len(inverse) > 0 {
			e.Inverse, _ = json.Marshal(inverse)
		}
		mix(&e)
		for i := range e.Keys {
			mix(&e.Keys[i])
		}
		return same(e)
	}
	audit := func(a struct{ ID, Before, After string }, at int64, k account.KeyChange) bool {
		l := AuditLine{ID: a.ID, Time: time.Unix(at%(1<<35), at%1e9).UTC(), KeyChange: k, RevisionBefore: a.Before, RevisionAfter: a.After}
		mix(&l)
		mix(&l.KeyChange)
		return same(l)
	}
	for _, f := range []any{entry, audit} {
		if err := quick.Check(f, &quick.Config{MaxCount: 2000}); err != nil {
			t.Error(err)
		}
	}
	for c := range 0x100 {
		same(Entry{ID: string(rune(c)), Rev: string([]byte{'a', byte(c), 'z'}), Version: string([]byte{byte(c)})})
	}
	if _, err := (AuditLine{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}).appendJSON(nil); err == nil {
		t.Error("a time that JSON cannot hold is taken")
	}
}

// TestAppendJSONIsComplete fails when a field is added that nobody writes.
func TestAppendJSONIsComplete(t *testing.T) {
	t.Parallel()
	for v, n := range map[any]int{reflect.TypeFor[Entry](): 6, reflect.TypeFor[AuditLine](): 5, reflect.TypeFor[account.KeyChange](): 8} {
		if got := v.(reflect.Type).NumField(); got != n {
			t.Errorf("%v has %d fields; appendJSON knows %d", v, got, n)
		}
	}
}
