// Package attest writes what verify found: the attestation, and the list of
// items that are not on target.
package attest

import (
	"encoding/json"
	"fmt"
	"time"

	"rewrap/checkpoint"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/engine"
)

// File is the name of the attestation in the state directory.
const File = "attestation.json"

// Attestation is the census after a run: what was scanned, where every wrapped
// key is, what is left and why.
type Attestation struct {
	Statement string             `json:"statement"`
	Tool      string             `json:"tool"`
	Job       []checkpoint.Field `json:"job"`
	Targets   map[string]string  `json:"targets"` // key ARN to the key material that counts as on target
	Began     time.Time          `json:"began"`
	Ended     time.Time          `json:"ended"`
	Summary   report.Summary     `json:"summary"`
	Limits    []string           `json:"not_covered"`
}

// NotCovered lists what a scan of current objects says nothing about.
var NotCovered = []string{
	"noncurrent object versions, delete-marked objects and incomplete multipart uploads",
	"objects written while the scan ran, replicas and backups in other places",
	"data that the store itself encrypts with the key (SSE-KMS)",
	"foreign items: under no source key, or in a format that is not looked for",
}

// Statement is the result of a scan of the place, in words.
func Statement(rep engine.Report, place string) string {
	switch seen := rep.Items.Seen; {
	case seen == 0:
		return fmt.Sprintf("There is no item in %s.", place)
	case rep.Result == engine.ResultFailed:
		return fmt.Sprintf("Nothing was found under a source key or on target in %s of %s.", report.Items(seen), place)
	case rep.Left > 0:
		return fmt.Sprintf("Not shown to be on target: %s of %s in %s.", report.Count(rep.Left), report.Items(seen), place)
	}
	return fmt.Sprintf("Every listing of %s reached its end, and no wrapped key found there under a source key still has to move.", place)
}

// Keep writes the attestation and the findings into the state directory. It
// removes the old attestation first, since that refers to the old findings. A
// process that dies between the steps leaves no attestation, and no wrong one.
func (a Attestation) Keep(dir string, f *Findings) error {
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	if err := f.keep(); err != nil {
		return err
	}
	return checkpoint.WriteFile(dir, File, append(data, '\n'))
}
