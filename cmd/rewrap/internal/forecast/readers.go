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

func readersOf(keys setup.Keys, found []Group) []Readers {
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
			r.First = "No change needed: KMS finds the key material itself."
		case r.Pins == "no":
			r.First = "The item records no key, so readers decrypt with any key that they may use. Allow them kms:Decrypt on the new key first. A client that is configured with one key id needs the new one."
		case r.Pins == "some":
			r.First = "The item records the old key (kms_cmk_id) in its encryption context, which does not change. Allow readers kms:Decrypt on the new key first. Try one item first with clients that take their key from that record or from their configuration."
		default:
			r.First = "Allow readers kms:Decrypt on the new key first. An application that passes a key id to Decrypt, or stores one beside the blob, needs the new one."
		}
		list = append(list, r)
	}
	return list
}
