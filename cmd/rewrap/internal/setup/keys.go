package setup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"rewrap/checkpoint"
	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/engine/keys"
	"rewrap/engine/keys/keyring"
	"rewrap/engine/keys/kms"
	"rewrap/sources/cloud"
)

// Keys are the opened keys of a job: KMS, or a local keyring.
type Keys struct {
	Rewrapper keys.Rewrapper
	KMS       *kms.KMS         // nil: the job re-wraps locally
	Local     *keyring.Keyring // nil: the job re-wraps with KMS
	ring      job.Keyring
}

// openKeys opens the keys for a command. pinned are the targets that the pass
// began with.
func openKeys(ctx context.Context, j job.Keys, c job.Command, pinned map[string]string, clients *cloud.Cloud, say Say) (Keys, error) {
	if j.Keyring.File != "" {
		local, err := openKeyring(ctx, j, c, pinned, clients)
		return Keys{Rewrapper: local, Local: local, ring: j.Keyring}, err
	}
	verify, err := kms.ParseVerify(j.Verify)
	if err != nil {
		return Keys{}, err
	}
	k, err := kms.Open(ctx, kms.Config{
		Client: func(region string) kms.API { return clients.KMS(region) },
		From:   j.From, To: j.To, Verify: verify, Region: clients.Region(), Pinned: pinned,
		// A forecast tries the keys in the order of a run, so that it counts the
		// calls that a run makes.
		Look: c != job.Run, TargetFirst: c == job.Verify, Notice: say.line,
	})
	return Keys{Rewrapper: k, KMS: k}, err
}

// openKeyring opens the keyring of the job, and compares its primary key with
// the one that the pass began with.
func openKeyring(ctx context.Context, j job.Keys, c job.Command, pinned map[string]string, clients *cloud.Cloud) (*keyring.Keyring, error) {
	wrapping, err := Wrapping(clients, j.Keyring.KMS, j.Keyring.Context, "keyring-")
	if err != nil {
		return nil, err
	}
	// A local call costs nothing, so verify also opens the wrapped keys whose key
	// id says that they are on target.
	opens := c == job.Verify || j.Verify == "open"
	k, err := keyring.Open(ctx, j.Keyring.File, keyring.Options{Wrapping: wrapping, OpenCurrent: opens})
	if err != nil {
		return nil, KeyringError(err, "keyring-")
	}
	for name, is := range k.Targets() {
		if was, ok := pinned[name]; ok && was != is {
			return nil, &kms.MovedError{Key: name, Was: was, Is: is}
		}
	}
	return k, nil
}

// Targets are the keys that wrapped keys end at, as the checkpoint keeps them.
func (k Keys) Targets() map[string]string {
	if k.Local != nil {
		return k.Local.Targets()
	}
	return k.KMS.Targets()
}

// From are the source keys in an order of their own, since the order in which
// they are tried is no part of the job.
func (k Keys) From() []kms.Key {
	if k.KMS == nil {
		return nil
	}
	from := k.KMS.From()
	slices.SortFunc(from, func(a, b kms.Key) int {
		return cmp.Or(strings.Compare(a.Given, b.Given), strings.Compare(a.Only, b.Only))
	})
	return from
}

// To is the target key; nil: each wrapped key's own key.
func (k Keys) To() *kms.Key {
	if k.KMS == nil {
		return nil
	}
	return k.KMS.To()
}

// identity is the part of [Session.Identity] that is about keys. A job is the same
// if its keys have the same names: an alias may point to another key when the
// next pass begins, but not within a pass.
func (k Keys) identity() (fields []checkpoint.Field) {
	if k.Local != nil {
		return []checkpoint.Field{{Name: "keyring", Value: k.ring.Path()}}
	}
	key := func(name string, k kms.Key) {
		given := k.Given
		if k.Only != "" {
			given += "@" + k.Only
		}
		fields = append(fields, checkpoint.Field{Name: name + " " + given, Value: k.ARN, Moves: true})
	}
	for _, from := range k.From() {
		key("from", from)
	}
	if to := k.To(); to != nil {
		key("to", *to)
	} else {
		fields = append(fields, checkpoint.Field{Name: "to", Value: "each wrapped key's own key"})
	}
	return fields
}

// Lines name the keys for people, as pairs of a label and a line.
func (k Keys) Lines() (rows [][2]string) {
	if k.Local != nil {
		return [][2]string{{"keyring", fmt.Sprintf("%s, primary key %s", k.ring.File, k.Local.Target().Material)}}
	}
	for _, from := range k.KMS.From() {
		rows = append(rows, [2]string{"from", report.KeyLine(from.Given, from.ARN, report.OrElse(from.Only, from.Material))})
	}
	to := "each wrapped key's own key, its current key material"
	if key := k.KMS.To(); key != nil {
		to = report.KeyLine(key.Given, key.ARN, key.Material)
	}
	return append(rows, [2]string{"to", to})
}
