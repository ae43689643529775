package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"rewrap/checkpoint/account"
	"rewrap/cmd/rewrap/internal/forecast"

	"rewrap/cmd/rewrap/internal/report"
)

// printPlan writes the plan for people.
func printPlan(w io.Writer, p *forecast.Plan) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, report.OneLine(fmt.Sprintf(format, args...)))
	}
	about := ""
	if !p.Whole {
		about = "about "
	}
	fmt.Fprintf(&b, "a run would do this in %s\n", report.OneLine(p.Source))
	row("items", "%s listed, %s looked into", report.Count(p.Items), report.Count(p.Sampled))
	for _, o := range []account.Outcome{account.Rewrapped, account.Current, account.Foreign, account.Skipped, account.Failed, account.Gone} {
		if n := p.Outcomes[o.String()]; n > 0 {
			row(o.String(), "%s%s", about, report.Count(n))
		}
	}
	for _, reason := range report.SortedKeys(p.SkippedByReason) {
		row("skipped", "%s%s %s", about, report.Count(p.SkippedByReason[reason]), reason)
	}
	for _, k := range p.Keys {
		at := report.OrElse(k.Key, "an unknown key")
		if k.Material != "" {
			at += " material " + report.Short(k.Material)
		}
		row("keys", "%s%s %s %s under %s", about, report.Count(k.Keys), k.Format, k.State, at)
	}
	for _, way := range report.SortedKeys(p.Ways) {
		assumed := ""
		if p.WaysAssumed {
			assumed = ", assumed"
		}
		row("way", "%s%s by %s%s", about, report.Count(p.Ways[way]), way, assumed)
	}
	if p.Unconditional > 0 {
		row("way", "%s%s of them with no check for concurrent changes of metadata, only of content", about, report.Count(p.Unconditional))
	}
	for i, f := range []forecast.Requests{p.KMS, p.Store} {
		if f.Requests == 0 {
			continue
		}
		name := []string{"kms", "store"}[i]
		var parts []string
		for _, op := range report.SortedKeys(f.By) {
			parts = append(parts, report.Count(f.By[op])+" "+op)
		}
		at := "no ceiling"
		if s := f.AtCeiling(); s != "" {
			at = fmt.Sprintf("%s at %g a second", s, f.Ceiling)
		}
		few := about
		if f.AtMost {
			few = "at most "
		}
		row(name, "%s%s (%s), %s, %s", few, report.Many(f.Requests, "request"), strings.Join(parts, ", "), amount("", f.Dollars), at)
	}
	if p.BytesIn+p.BytesOut > 0 {
		row("bytes", "%s%s in, %s out", about, report.Size(p.BytesIn), report.Size(p.BytesOut))
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

// amount is dollars for people.
func amount(about string, dollars float64) string {
	if dollars > 0 && dollars < 0.0001 {
		return "under $0.0001"
	}
	return fmt.Sprintf("%s$%.4f", about, dollars)
}
