package forecast

import (
	"slices"
	"strings"

	"rewrap/cmd/rewrap/internal/setup"
)

// Readers says what the readers of a format need before the key changes.
type Readers struct {
	Format string `json:"format"`
	Pins   string `json:"pins_key"` // yes, no, some, as-configured
	First  string `json:"first"`    // what to configure before the run
}

func readersOf(keys setup.Keys, found []Keys) []Readers {
	list := []Readers{}
	for _, k := range found {
		if k.State == "foreign" || k.State == "failed" || slices.ContainsFunc(list, func(r Readers) bool { return r.Format == k.Format }) {
			continue
		}
		r := Readers{Format: k.Format, Pins: "as-configured"}
		switch {
		case strings.HasSuffix(k.Format, " kms+context"):
			r.Pins = "no"
		case strings.HasSuffix(k.Format, " kms"):
			r.Pins = "some"
		}
		switch {
		case keys.Local != nil:
			r.First = "Give every reader the keyring with its new primary key first; keep the old key enabled until verify finds everything on target."
		case keys.To() == nil:
			r.First = "Nothing: each wrapped key stays under its own key, and KMS finds the key material by itself."
		case r.Pins == "no":
			r.First = "The item names no key, and readers decrypt with any key that they may use: allow them kms:Decrypt on the new key first. A client that is configured with one key id needs the new one."
		case r.Pins == "some":
			r.First = "The item records the key (kms_cmk_id), which is part of the encryption context and stays as it was. Allow readers kms:Decrypt on the new key first; clients that pick their key by that record or by configuration have to be tried on one item before."
		default:
			r.First = "Allow readers kms:Decrypt on the new key first; where the application passes a key id to Decrypt, or stores one beside the blob, it has to take the new one."
		}
		list = append(list, r)
	}
	return list
}
