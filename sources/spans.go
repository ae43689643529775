package sources

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Range is the Data of a span in sources whose listing order is one of
// strings: the strings s with After < s <= Until. It is a part of the
// checkpoint's format, so names and meaning stay.
type Range struct {
	After string `json:"after,omitempty"`
	Until string `json:"until,omitempty"` // "": no end
}

// RangeOf reads a span that [SpansBetween] made. An error is a [RunError].
func RangeOf(s Span) (Range, error) {
	var r Range
	if err := json.Unmarshal([]byte(s.Data), &r); err != nil {
		return r, &RunError{
			Where: "store: list",
			Err:   fmt.Errorf("span %s: %w", s.ID, err),
			Hint:  "The checkpoint is not one of this source; start with a new --state",
		}
	}
	return r, nil
}

// SpansBetween are the spans that the borders part. The borders are in the
// listing order, and valid UTF-8.
func SpansBetween(borders []string) ([]Span, error) {
	spans := make([]Span, 0, len(borders)+1)
	for i := range len(borders) + 1 {
		var r Range
		if i > 0 {
			r.After = borders[i-1]
		}
		if i < len(borders) {
			r.Until = borders[i]
		}
		data, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		spans = append(spans, Span{ID: strconv.Itoa(i), Data: string(data)})
	}
	return spans, nil
}

// SpansOf cuts a listing into at most want spans with about as many of the
// names in each. The names are in the listing order, and valid UTF-8.
func SpansOf(names []string, want int) ([]Span, error) {
	n := min(want, len(names))
	var borders []string
	for i := 1; i < n; i++ {
		borders = append(borders, names[i*len(names)/n])
	}
	return SpansBetween(borders)
}
