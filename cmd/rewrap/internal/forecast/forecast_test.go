package forecast

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"rewrap/sources"
)

// TestScaling: what is scaled up adds up.
func TestScaling(t *testing.T) {
	t.Parallel()
	got := apportion(map[string]int64{"a": 1, "b": 1, "c": 1, "d": 4}, 100)
	if want := map[string]int64{"a": 15, "b": 14, "c": 14, "d": 57}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := apportion(map[string]int64(nil), 5); len(got) != 0 {
		t.Errorf("%v out of nothing", got)
	}
}

// TestSampleIsUniform: each item has the same chance, whatever its place.
func TestSampleIsUniform(t *testing.T) {
	t.Parallel()
	const n, k = 20_000, 2_000
	s, again := sample{size: k}, sample{size: k}
	for i := range n {
		s.meet(sources.Ref{ID: fmt.Sprintf("p/%05d", i)}, true)
		again.meet(sources.Ref{ID: fmt.Sprintf("p/%05d", n-1-i)}, true)
	}
	refs := s.refs()
	if len(refs) != k || s.inScope != n || !slices.Equal(refs, again.refs()) {
		t.Fatalf("%d of %d, or another sample in another order", len(refs), s.inScope)
	}
	var tenths [10]int
	for _, r := range refs {
		var i int
		if _, err := fmt.Sscanf(r.ID, "p/%d", &i); err != nil {
			t.Fatal(err)
		}
		tenths[i*10/n]++
	}
	for i, got := range tenths { // 200 each; the standard deviation is 13
		if got < 140 || got > 260 {
			t.Errorf("tenth %d of the names has %d of %d", i, got, k)
		}
	}
}
