package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"rewrap/checkpoint/account"
)

// print writes the plan for people.
func (p *plan) print(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	about := ""
	if !p.Whole {
		about = "about "
	}
	fmt.Fprintf(&b, "a run would do this in %s\n", oneLine(p.Source))
	row("items", "%s listed, %s looked into", count(p.Items), count(p.Sampled))
	for _, o := range []account.Outcome{account.Rewrapped, account.Current, account.Foreign, account.Skipped, account.Failed, account.Gone} {
		if n := p.Outcomes[o.String()]; n > 0 {
			row(o.String(), "%s%s", about, count(n))
		}
	}
	for _, reason := range sortedKeys(p.SkippedByReason) {
		row("skipped", "%s%s %s", about, count(p.SkippedByReason[reason]), reason)
	}
	for _, k := range p.Keys {
		at := orElse(k.Key, "an unknown key")
		if k.Material != "" {
			at += " material " + short(k.Material)
		}
		row("keys", "%s%s %s %s under %s", about, count(k.Keys), k.Format, k.State, at)
	}
	for _, way := range sortedKeys(p.Ways) {
		assumed := ""
		if p.WaysAssumed {
			assumed = ", assumed"
		}
		row("way", "%s%s by %s%s", about, count(p.Ways[way]), way, assumed)
	}
	if p.Unconditional > 0 {
		row("way", "%s%s of them where the store cannot see a concurrent change of metadata alone", about, count(p.Unconditional))
	}
	for i, f := range []forecast{p.KMS, p.Store} {
		if f.Requests == 0 {
			continue
		}
		name := []string{"kms", "store"}[i]
		var parts []string
		for _, op := range sortedKeys(f.By) {
			parts = append(parts, count(f.By[op])+" "+op)
		}
		at := "no ceiling"
		if s := f.atCeiling(); s != "" {
			at = fmt.Sprintf("%s at %g a second", s, f.Ceiling)
		}
		few := about
		if f.AtMost {
			few = "at most "
		}
		row(name, "%s%s (%s), %s, %s", few, many(f.Requests, "request"), strings.Join(parts, ", "), amount("", f.Dollars), at)
	}
	if p.BytesIn+p.BytesOut > 0 {
		row("bytes", "%s%s in, %s out", about, size(p.BytesIn), size(p.BytesOut))
	}
	if p.KMS.Requests+p.Store.Requests > 0 { // a directory and a keyring cost nothing
		row("cost", "%s (%s)", amount(about, p.Dollars), p.Prices)
	}
	for _, f := range p.From {
		row("from", "%s", f)
	}
	for _, r := range p.Readers {
		row("readers", "%s: pins the key: %s. %s", r.Format, r.Pins, r.First)
	}
	for _, n := range p.Notes {
		row("note", "%s", n)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// readers says what those who open the items have to know before the key
// changes.
type readers struct {
	Format string `json:"format"`
	Pins   string `json:"pins_key"` // yes, no, some, as-configured
	First  string `json:"first"`    // what to configure before the run
}

func (se *session) readers(keys []planKeys) []readers {
	list := []readers{}
	for _, k := range keys {
		if k.State == "foreign" || k.State == "failed" || slices.ContainsFunc(list, func(r readers) bool { return r.Format == k.Format }) {
			continue
		}
		r := readers{Format: k.Format, Pins: "as-configured"}
		switch {
		case strings.HasSuffix(k.Format, " kms+context"):
			r.Pins = "no"
		case strings.HasSuffix(k.Format, " kms"):
			r.Pins = "some"
		}
		switch {
		case se.local != nil:
			r.First = "Give every reader the keyring with its new primary key first; keep the old key enabled until verify finds everything on target."
		case se.kms.To() == nil:
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
