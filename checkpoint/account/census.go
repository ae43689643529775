package account

import (
	"cmp"
	"encoding/json"
	"slices"
)

// The ways in which it is known what a wrapped key is under.
const (
	HowKMS     = "kms"     // KMS named the key and its material
	HowKeyring = "keyring" // the wrapped key names a key of the keyring, or was opened by it
	// HowUnknown: nobody found out, whatever the wrapped key says of itself.
	HowUnknown = "unknown"
)

// Holder is what wrapped keys are under: a key, its key material, and how that
// is known ("kms", "keyring", "head", "date", "unknown").
type Holder struct {
	Key      string `json:"key"`
	Material string `json:"material"`
	How      string `json:"how"`
}

// Compare orders holders by key, material and how.
func (h Holder) Compare(o Holder) int {
	return cmp.Or(cmp.Compare(h.Key, o.Key), cmp.Compare(h.Material, o.Material), cmp.Compare(h.How, o.How))
}

// Census counts the wrapped keys under each holder. In JSON it is an array of
// rows in the order of [Holder.Compare]; rows that count nothing are left out.
type Census map[Holder]int64

// Add counts the keys of other too.
func (c *Census) Add(other Census) { c.add(other, 1) }

func (c *Census) add(other Census, times int64) {
	if *c == nil && len(other) > 0 {
		*c = make(Census, len(other))
	}
	for h, n := range other {
		if (*c)[h] += times * n; (*c)[h] == 0 {
			delete(*c, h)
		}
	}
}

type censusRow struct {
	Holder
	Keys int64 `json:"keys"`
}

// MarshalJSON implements [json.Marshaler].
func (c Census) MarshalJSON() ([]byte, error) {
	rows := make([]censusRow, 0, len(c))
	for h, n := range c {
		if n != 0 {
			rows = append(rows, censusRow{h, n})
		}
	}
	slices.SortFunc(rows, func(a, b censusRow) int { return a.Compare(b.Holder) })
	return json.Marshal(rows)
}

// UnmarshalJSON implements [json.Unmarshaler]. Rows of one holder are added up.
func (c *Census) UnmarshalJSON(data []byte) error {
	var rows []censusRow
	if err := json.Unmarshal(data, &rows); err != nil {
		return err
	}
	*c = nil
	for _, r := range rows {
		if *c == nil {
			*c = make(Census, len(rows))
		}
		(*c)[r.Holder] += r.Keys
	}
	return nil
}
