package sources_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/quick"

	"rewrap/sources"
)

// TestAppendJSON holds what is written by hand against encoding/json, which
// reads it back.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	// The fields that have a JSON. testing/quick cannot make the function of a
	// Rewrite.
	type kept struct {
		Meta    map[string][]byte
		Splices []sources.Splice
		Store   *sources.StoreKey
	}
	same := func(k kept) bool {
		e := sources.Edit{Meta: k.Meta, Splices: k.Splices, Store: k.Store}
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.AppendJSON([]byte("before"))
		return err == nil && bytes.Equal(got, append([]byte("before"), want...))
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
	for _, k := range []kept{
		{},
		{Meta: map[string][]byte{"a": nil, "<b>\n": {0xff}}},
		{Splices: []sources.Splice{{}}},
		{Store: &sources.StoreKey{Mode: "aws:kms", Key: "<arn>"}},
		{Store: &sources.StoreKey{}, Meta: map[string][]byte{"a": {}}},
		{Splices: []sources.Splice{{Off: 1 << 40, Del: 2, Ins: []byte{}}, {Off: 1 << 41, Ins: []byte("x")}}, Meta: map[string][]byte{"a": {}}},
		{Store: &sources.StoreKey{Mode: "aws:kms", Key: "<key>"}, Meta: map[string][]byte{"a": {}}},
	} {
		if !same(k) {
			t.Errorf("%+v", k)
		}
	}
}

// TestSpans: the data of spans is kept in checkpoints, so it is written as it
// always was.
func TestSpans(t *testing.T) {
	t.Parallel()
	spans, err := sources.SpansOf([]string{"a", "b/", "c", "<d>", "e"}, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []sources.Span{
		{ID: "0", Data: `{"until":"b/"}`},
		{ID: "1", Data: `{"after":"b/","until":"\u003cd\u003e"}`},
		{ID: "2", Data: `{"after":"\u003cd\u003e"}`},
	}
	if !slices.Equal(spans, want) {
		t.Errorf("got %v, want %v", spans, want)
	}
	if r, err := sources.RangeOf(spans[1]); err != nil || r != (sources.Range{After: "b/", Until: "<d>"}) {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, names := range [][]string{nil, {"a"}} {
		if spans, err := sources.SpansOf(names, 8); err != nil || !slices.Equal(spans, []sources.Span{{ID: "0", Data: "{}"}}) {
			t.Errorf("of %v: %v, %v", names, spans, err)
		}
	}
	var run *sources.RunError
	if _, err := sources.RangeOf(sources.Span{ID: "0", Data: "a-m"}); !errors.As(err, &run) || run.Hint == "" {
		t.Errorf("a span of another source: %v", err)
	}
}

// TestLife: what may be done when.
func TestLife(t *testing.T) {
	t.Parallel()
	var l sources.Life
	want := func(look, write bool) {
		t.Helper()
		if err := l.May(sources.Look); (err == nil) != look {
			t.Errorf("looking: %v, want it allowed: %v", err, look)
		}
		if err := l.May(sources.Write); (err == nil) != write {
			t.Errorf("writing: %v, want it allowed: %v", err, write)
		}
	}
	want(false, false)
	l.Begun(sources.Look)
	want(true, false)
	l.Begun(sources.Write)
	want(true, true)
	l.Begun(sources.Look)
	want(true, true)
	if err := errors.Join(l.MayBegin(), l.Close()); err != nil {
		t.Error(err)
	}
	l.Begun(sources.Write)
	want(false, false)
	if l.MayBegin() == nil || l.Close() == nil {
		t.Error("a closed source can be begun or closed again")
	}
}
