package main

import (
	"slices"
	"testing"
)

func TestWords(t *testing.T) {
	t.Parallel()
	got := []string{items(0), items(1), items(1234), many(1, "request"), are(1, "key"), are(1000, "key"), size(1023), size(5 << 20)}
	if !slices.Equal(got, []string{"0 items", "1 item", "1,234 items", "1 request", "1 key is", "1,000 keys are", "1023 B", "5.0 MiB"}) {
		t.Errorf("%q", got)
	}
}
