package report

import (
	"slices"
	"strings"
	"testing"

	"rewrap/checkpoint/account"
)

// One of a kind is said in the singular.
func TestSummaryTable(t *testing.T) {
	t.Parallel()
	s := Summary{Tally: account.Tally{Newer: 1}, KMS: Asked{Requests: 1}, Store: Transfer{Asked: Asked{Requests: 1000}}, State: "state"}
	var b strings.Builder
	if err := s.Print(&b, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"  1 key is under newer material", "  1 request, 0 throttled\n", "  1,000 requests, 0 throttled, "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the summary lacks %q:\n%s", want, b.String())
		}
	}
}

// The census says no more than was found out, and the same each time.
func TestCensusTable(t *testing.T) {
	t.Parallel()
	tally := account.Tally{Census: account.Census{
		{Key: "keyring:a.json", Material: "7", How: "unknown"}: 3,
		{How: "unknown"}: 3,
		{Key: "arn:b", Material: "m", How: "kms"}:     3,
		{Key: "arn:b", Material: "n", How: "kms"}:     3,
		{Key: "arn:b", Material: "m", How: "unknown"}: 3,
		{Key: "arn:c", Material: "m", How: "kms"}:     1234,
	}}
	want := []string{
		"1,234 under arn:c material m",
		"3 under an unknown key",
		"3 under arn:b material m",
		"3 under an unknown key (arn:b material m is named but not confirmed)",
		"3 under arn:b material n",
		"3 under an unknown key (keyring:a.json material 7 is named but not confirmed)",
	}
	for range 20 {
		var b strings.Builder
		TallyTable(&b, tally)
		var got []string
		for line := range strings.Lines(b.String()) {
			if row, ok := strings.CutPrefix(strings.TrimSpace(line), "census"); ok {
				got = append(got, strings.TrimSpace(row))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
