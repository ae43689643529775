package sources_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"testing/quick"

	"rewrap/sources"
)

// TestAppendJSON holds what is written by hand against encoding/json, which
// reads it back.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	same := func(e sources.Edit) bool {
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.AppendJSON([]byte("before"))
		return err == nil && bytes.Equal(got, append([]byte("before"), want...))
	}
	parts := func(meta map[string][]byte, splices []sources.Splice, store *sources.StoreKey) bool {
		return same(sources.Edit{Meta: meta, Splices: splices, Store: store})
	}
	if err := quick.Check(parts, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
	for _, e := range []sources.Edit{
		{},
		{Meta: map[string][]byte{"a": nil, "<b>\n": {0xff}}},
		{Splices: []sources.Splice{{}}},
		{Store: &sources.StoreKey{Mode: "aws:kms", Key: "<arn>"}},
		{Store: &sources.StoreKey{}, Meta: map[string][]byte{"a": {}}},
		{Splices: []sources.Splice{{Off: 1 << 40, Del: 2, Ins: []byte{}}, {Off: 1 << 41, Ins: []byte("x")}}, Meta: map[string][]byte{"a": {}}},
	} {
		if !same(e) {
			t.Errorf("%+v", e)
		}
	}
}
