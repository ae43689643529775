package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"rewrap/engine/keys"
)

var kindNames = map[keys.Kind]string{
	keys.KindCustomStore: "custom store", keys.KindHMAC: "HMAC", keys.KindAWSManaged: "AWS managed",
}

func kindName(k keys.Kind) string { return orElse(kindNames[k], string(k)) }

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// print writes a row for each key, with its details and key materials below
// it, and then the rule of each kind that there was.
func (r *keysReport) print(w io.Writer, require bool) error {
	var b strings.Builder
	if len(r.Keys) == 0 {
		b.WriteString("no customer managed keys in this account and Region\n")
	}
	where := commonPlace(r.Keys)
	if where != "" {
		fmt.Fprintf(&b, "%s\n", oneLine(where))
	}
	for i, row := range r.rows(where) {
		fmt.Fprintln(&b, row)
		if i > 0 {
			for _, line := range details(&r.Keys[i-1]) {
				fmt.Fprintf(&b, "    %s\n", oneLine(line))
			}
		}
	}
	r.legend(&b)
	if require {
		for i := range r.Keys {
			k := &r.Keys[i]
			if !slices.Contains(r.WithoutRotation, k.ARN) {
				continue
			}
			line := "no automatic rotation: " + k.ARN
			if k.Replica() {
				line += ", a replica; turn it on at its primary key " + k.MultiRegion.Primary
			}
			fmt.Fprintln(&b, oneLine(line))
		}
		for _, key := range r.RotationUnknown {
			fmt.Fprintln(&b, oneLine("rotation not known: "+key))
		}
	}
	if r.Notice != "" {
		fmt.Fprintln(&b, oneLine(r.Notice))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// rows is the table: its head, and a row for each key. They are laid out
// together and cut apart again, since what stands below a row would end the
// table's columns. What came from an endpoint may hold anything, so each cell
// is made fit for a line.
func (r *keysReport) rows(where string) []string {
	if len(r.Keys) == 0 {
		return nil
	}
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tKIND\tSTATE\tROTATION\tON DEMAND\tALIASES")
	for i := range r.Keys {
		k := &r.Keys[i]
		name := k.ARN
		if where != "" {
			name = name[strings.LastIndexByte(name, '/')+1:]
		}
		kind, state, rotation, onDemand := "?", "?", "?", "?"
		if k.Error == "" {
			kind, state, rotation, onDemand = kindName(k.Kind), k.State, rotationCell(k), onDemandCell(k)
		}
		cells := []string{orElse(name, k.Given), kind, state, rotation, onDemand, orElse(strings.Join(k.Aliases, ", "), "-")}
		for i := range cells {
			cells[i] = oneLine(cells[i])
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	_ = t.Flush()
	rows := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for i := range rows {
		rows[i] = strings.TrimRight(rows[i], " ")
	}
	return rows
}

// commonPlace is the account and Region that all keys are in; "" if there is
// no such.
func commonPlace(all []keys.KeyInfo) string {
	place := ""
	for _, k := range all {
		p := strings.Split(k.ARN, ":")
		if len(p) < 6 {
			return ""
		}
		here := fmt.Sprintf("account %s, Region %s", p[4], p[3])
		if place != "" && place != here {
			return ""
		}
		place = here
	}
	return place
}

func rotationCell(k *keys.KeyInfo) string {
	switch {
	case k.Rotation == nil && len(k.Unread) > 0:
		return "?"
	case k.Rotation == nil || k.Kind == keys.KindImported:
		return "-"
	case !k.Rotation.Enabled:
		return "off"
	}
	return rotationText(*k.Rotation)
}

// rotationText says a rotation in a few words, with what KMS tells of it.
func rotationText(r keys.Rotation) string {
	if !r.Enabled {
		return "off"
	}
	text := "on"
	if r.PeriodDays > 0 {
		text = fmt.Sprintf("every %d days", r.PeriodDays)
	}
	if !r.Next.IsZero() {
		text += ", next " + day(r.Next)
	}
	return text
}

func onDemandCell(k *keys.KeyInfo) string {
	switch {
	case k.OnDemand != nil:
		return fmt.Sprintf("%d of %d", k.OnDemand.Used, k.OnDemand.Limit)
	case k.Kind == keys.KindSymmetric || k.Kind == keys.KindImported:
		return "?"
	}
	return "-"
}

// details are the lines below a key's row.
func details(k *keys.KeyInfo) []string {
	if k.Error != "" {
		return []string{"not read: " + k.Error}
	}
	manager := map[string]string{"CUSTOMER": "customer managed", "AWS": "AWS managed"}[k.Manager]
	what := []string{orElse(manager, k.Manager), k.Spec, k.Usage, "origin " + k.Origin}
	if k.KeyStore != "" {
		what = append(what, "key store "+k.KeyStore)
	}
	if m := k.MultiRegion; m != nil && k.Replica() {
		what = append(what, "multi-Region replica of "+m.Primary)
	} else if m != nil {
		what = append(what, "multi-Region primary, "+replicaRegions(m.Replicas))
	}
	if !k.Created.IsZero() {
		what = append(what, "created "+day(k.Created))
	}
	lines := []string{strings.Join(what, ", ")}
	if !k.Deletion.IsZero() {
		lines = append(lines, "KMS deletes it on "+day(k.Deletion)+", and with it the way to what is wrapped under it")
	}
	if !k.ValidTo.IsZero() {
		lines = append(lines, "its imported material expires on "+day(k.ValidTo)+"; the key is unusable from then on until it is imported again")
	}
	if k.Rotation != nil && !k.Rotation.Pending.IsZero() {
		lines = append(lines, "a rotation on demand is under way since "+k.Rotation.Pending.UTC().Format(time.DateTime)+" UTC")
	}
	for _, m := range k.Materials {
		lines = append(lines, materialLine(m))
	}
	if len(k.Materials) == 0 && k.CurrentMaterial != "" {
		lines = append(lines, short(k.CurrentMaterial)+"  CURRENT")
	}
	for _, u := range k.Unread {
		lines = append(lines, "not read: "+u)
	}
	return lines
}

func replicaRegions(arns []string) string {
	if len(arns) == 0 {
		return "no replicas"
	}
	regions := make([]string, len(arns))
	for i, arn := range arns {
		regions[i] = arn
		if p := strings.Split(arn, ":"); len(p) == 6 {
			regions[i] = p[3]
		}
	}
	return "replicas in " + strings.Join(regions, " ")
}

func materialLine(m keys.Material) string {
	line := fmt.Sprintf("%-12s  %-11s", short(m.ID), m.State)
	switch {
	case !m.Date.IsZero():
		line += "  " + day(m.Date) + "  " + m.Type
	case strings.HasPrefix(m.State, "PENDING"):
	default:
		line += "  of no rotation"
	}
	if m.ImportState != "" {
		line += "  " + m.ImportState
	}
	if !m.ValidTo.IsZero() {
		line += "  expires " + day(m.ValidTo)
	}
	return strings.TrimRight(line, " ")
}

// legend is the rule of each kind that is in the table.
func (r *keysReport) legend(w io.Writer) {
	seen, multi := make(map[keys.Kind]bool), false
	for i := range r.Keys {
		seen[r.Keys[i].Kind] = true
		multi = multi || r.Keys[i].MultiRegion != nil
	}
	if len(r.Keys) > 0 {
		fmt.Fprintln(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, k := range []keys.Kind{keys.KindSymmetric, keys.KindImported, keys.KindCustomStore, keys.KindAsymmetric, keys.KindHMAC, keys.KindAWSManaged} {
		if seen[k] {
			fmt.Fprintf(t, "%s:\t%s\n", kindName(k), k.Rule())
		}
	}
	if multi {
		fmt.Fprintf(t, "multi-Region:\t%s\n", keys.MultiRegionRule)
	}
	_ = t.Flush()
}
