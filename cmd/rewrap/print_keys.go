package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"rewrap/cmd/rewrap/internal/keyadmin"
	"rewrap/cmd/rewrap/internal/report"
)

var kindNames = map[keyadmin.Kind]string{
	keyadmin.KindCustomStore: "custom store", keyadmin.KindHMAC: "HMAC", keyadmin.KindAWSManaged: "AWS managed",
}

func kindName(k keyadmin.Kind) string { return report.OrElse(kindNames[k], string(k)) }

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// print writes a row for each key, with its details and key materials below
// it, and then the rule of each kind of key in the table.
func (r *keysReport) print(w io.Writer, require bool) error {
	var b strings.Builder
	if len(r.Keys) == 0 {
		b.WriteString("no customer managed keys in this account and Region\n")
	}
	where := commonPlace(r.Keys)
	if where != "" {
		fmt.Fprintf(&b, "%s\n", report.OneLine(where))
	}
	for i, row := range r.rows() {
		fmt.Fprintln(&b, row)
		if i > 0 {
			for _, line := range details(&r.Keys[i-1], where == "") {
				fmt.Fprintln(&b, line)
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
			fmt.Fprintln(&b, report.OneLine(line))
		}
		for _, key := range r.RotationUnknown {
			fmt.Fprintln(&b, report.OneLine("rotation not known: "+key))
		}
	}
	if r.Notice != "" {
		fmt.Fprintln(&b, report.OneLine(r.Notice))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// rows is the table: its head, and a row for each key. They are laid out together
// and cut apart again, since the details below a row would end the table's
// columns. An endpoint may answer any bytes, so each cell is made fit for a
// line. The columns fit a terminal of [terminalWidth], whatever kinds of keys
// there are.
func (r *keysReport) rows() []string {
	if len(r.Keys) == 0 {
		return nil
	}
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tKIND\tSTATE\tROTATION")
	for i := range r.Keys {
		k := &r.Keys[i]
		cells := []string{report.OrElse(k.ARN[strings.LastIndexByte(k.ARN, '/')+1:], k.Given), "?", "?", "?"}
		if k.Error == "" {
			cells = append(cells[:1], kindName(k.Kind), k.State, rotationCell(k))
		}
		for i := range cells {
			cells[i] = report.OneLine(cells[i])
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

// terminalWidth is the width of most terminals, in columns.
const terminalWidth = 80

// fold breaks a text at spaces, so that its lines fit a terminal. The first
// line begins with head, the others are indented as far. A word that is longer
// than a line, as ARNs are, stays whole.
func fold(head, text string) string {
	indent := "\n" + strings.Repeat(" ", len(head))
	var b strings.Builder
	b.WriteString(head)
	for room := terminalWidth - len(head); ; b.WriteString(indent) {
		cut := -1
		if len(text) > room {
			if cut = strings.LastIndexByte(text[:room+1], ' '); cut < 0 {
				cut = strings.IndexByte(text, ' ')
			}
		}
		if cut < 0 {
			return b.String() + text
		}
		b.WriteString(strings.TrimRight(text[:cut], " "))
		text = strings.TrimLeft(text[cut:], " ")
	}
}

// commonPlace is the account and Region of all keys; "" if they differ.
func commonPlace(all []keyadmin.Key) string {
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

func rotationCell(k *keyadmin.Key) string {
	switch {
	case k.Rotation == nil && len(k.Unread) > 0:
		return "?"
	case k.Rotation == nil || k.Kind == keyadmin.KindImported:
		return "-"
	case !k.Rotation.Enabled:
		return "off"
	case k.Rotation.PeriodDays == 0:
		return "on"
	}
	return fmt.Sprintf("%d days", k.Rotation.PeriodDays)
}

// rotationText is the automatic rotation of a key in a few words.
func rotationText(r keyadmin.Rotation) string {
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

// onDemand is how many rotations on demand are used; "" if the key has none.
func onDemand(k *keyadmin.Key) string {
	switch {
	case k.OnDemand != nil:
		return fmt.Sprintf("on demand %d of %d used", k.OnDemand.Used, k.OnDemand.Limit)
	case k.Kind == keyadmin.KindSymmetric || k.Kind == keyadmin.KindImported:
		return "on demand ? used"
	}
	return ""
}

// details are the lines below a key's row, with its ARN if whole is set. Long
// lines are folded, but not errors, which people copy and search for.
func details(k *keyadmin.Key, whole bool) (lines []string) {
	const indent = "    "
	add := func(parts ...string) {
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
		if len(parts) > 0 {
			lines = append(lines, fold(indent, report.OneLine(strings.Join(parts, ", "))))
		}
	}
	if whole {
		add(k.ARN)
	}
	add(k.Aliases...)
	if k.Error != "" {
		return append(lines, indent+report.OneLine("not read: "+k.Error))
	}
	manager := map[string]string{"CUSTOMER": "customer managed", "AWS": "AWS managed"}[k.Manager]
	what := []string{report.OrElse(manager, k.Manager), k.Spec, k.Usage, "origin " + k.Origin}
	if k.KeyStore != "" {
		what = append(what, "key store "+k.KeyStore)
	}
	add(what...)
	if m := k.MultiRegion; m != nil && k.Replica() {
		add("multi-Region replica of " + m.Primary)
	} else if m != nil {
		add("multi-Region primary, " + replicaRegions(m.Replicas))
	}
	add(dated("created ", k.Created), nextRotation(k), onDemand(k))
	if !k.Deletion.IsZero() {
		add("KMS deletes it on " + day(k.Deletion) + "; data that still needs it is lost then")
	}
	if !k.ValidTo.IsZero() {
		add("its imported material expires on " + day(k.ValidTo) + "; the key is unusable from then on until it is imported again")
	}
	if k.Rotation != nil && !k.Rotation.Pending.IsZero() {
		add("a rotation on demand has been under way since " + k.Rotation.Pending.UTC().Format(time.DateTime) + " UTC")
	}
	for _, m := range k.Materials {
		add(materialLine(m))
	}
	if len(k.Materials) == 0 && k.CurrentMaterial != "" {
		add(report.Short(k.CurrentMaterial) + "  CURRENT")
	}
	for _, u := range k.Unread {
		lines = append(lines, indent+report.OneLine("not read: "+u))
	}
	return lines
}

func nextRotation(k *keyadmin.Key) string {
	if k.Rotation == nil {
		return ""
	}
	return dated("next rotation ", k.Rotation.Next)
}

// dated is a day with a word before it; "" if there is no day.
func dated(what string, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return what + day(t)
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

func materialLine(m keyadmin.Material) string {
	line := fmt.Sprintf("%-12s  %-11s", report.Short(m.ID), m.State)
	switch {
	case !m.Date.IsZero():
		line += "  " + day(m.Date) + "  " + m.Type
	case strings.HasPrefix(m.State, "PENDING"):
	default:
		line += "  no rotation date"
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
	seen, multi := make(map[keyadmin.Kind]bool), false
	for i := range r.Keys {
		seen[r.Keys[i].Kind] = true
		multi = multi || r.Keys[i].MultiRegion != nil
	}
	if len(r.Keys) > 0 {
		fmt.Fprintln(w)
	}
	rule := func(name, rule string) { fmt.Fprintln(w, fold(fmt.Sprintf("%-15s", name+":"), rule)) }
	for _, k := range []keyadmin.Kind{keyadmin.KindSymmetric, keyadmin.KindImported, keyadmin.KindCustomStore, keyadmin.KindAsymmetric, keyadmin.KindHMAC, keyadmin.KindAWSManaged} {
		if seen[k] {
			rule(kindName(k), k.Rule())
		}
	}
	if multi {
		rule("multi-Region", keyadmin.MultiRegionRule)
	}
}
