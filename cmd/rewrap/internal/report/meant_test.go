package report

import "testing"

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"from", "form", 1}, {"from", "from", 0}, {"workers", "worker", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}} {
		if got := distance(tc.a, tc.b); got != tc.want || distance(tc.b, tc.a) != got {
			t.Errorf("%q to %q: %d, should be %d", tc.a, tc.b, got, tc.want)
		}
	}
}
