package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"rewrap/checkpoint/account"
	"rewrap/engine"
)

// summary is the report of a run as scripts read it. The sums are those of
// the pass, over all the runs that share the state directory; the requests,
// bytes and seconds are those of this run.
type summary struct {
	Result string `json:"result"`
	Why    string `json:"why,omitempty"`
	account.Tally
	KMS     requests `json:"kms"`
	Store   transfer `json:"store"`
	Elapsed float64  `json:"elapsed_seconds"`
	Resumed bool     `json:"resumed"`
	State   string   `json:"state"`
}

type requests struct {
	Requests  int64 `json:"requests"`
	Throttled int64 `json:"throttled"`
}

type transfer struct {
	requests
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
}

func (se *session) summary(rep engine.Report) summary {
	k, s := se.cloud.KMSTraffic(), se.cloud.StoreTraffic()
	return summary{
		Result: rep.Result, Why: rep.Why, Tally: rep.Tally,
		KMS:     requests{k.Requests, k.Throttled},
		Store:   transfer{requests{s.Requests, s.Throttled}, s.In, s.Out},
		Elapsed: math.Round(rep.Elapsed.Seconds()*1000) / 1000, Resumed: rep.Resumed, State: se.dir,
	}
}

func writeSummary(write func(name string, data []byte) error, s summary) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return write("summary.json", append(data, '\n'))
}

func (s summary) print(w io.Writer, asJSON bool, dir string) error {
	if asJSON {
		return json.NewEncoder(w).Encode(s)
	}
	var b strings.Builder
	head := s.Result
	if s.Why != "" {
		head += ": " + s.Why
	}
	fmt.Fprintf(&b, "%s\n", oneLine(head))
	tallyTable(&b, s.Tally)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if s.KMS.Requests > 0 {
		fmt.Fprintf(t, "  kms\t%s, %s throttled\n", many(s.KMS.Requests, "request"), count(s.KMS.Throttled))
	}
	if s.Store.Requests > 0 { // of a directory there are none
		fmt.Fprintf(t, "  store\t%s, %s throttled, %s in, %s out\n", many(s.Store.Requests, "request"), count(s.Store.Throttled), size(s.Store.BytesIn), size(s.Store.BytesOut))
	}
	fmt.Fprintf(t, "  time\t%s\n", time.Duration(s.Elapsed*float64(time.Second)).Round(100*time.Millisecond))
	fmt.Fprintf(t, "  state\t%s\n", oneLine(filepath.Clean(dir)))
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// tallyTable prints the sums of items and keys, and the census.
func tallyTable(w io.Writer, s account.Tally) {
	i := s.Items
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  items\t%s seen = %s rewrapped + %s current + %s foreign + %s skipped + %s gone + %s failed\n",
		count(i.Seen), count(i.Rewrapped), count(i.Current), count(i.Foreign), count(i.Skipped), count(i.Gone), count(i.Failed))
	for _, reason := range sortedKeys(s.SkippedByReason) {
		fmt.Fprintf(t, "  skipped\t%s %s\n", count(s.SkippedByReason[reason]), reason)
	}
	if s.Unconditional > 0 {
		fmt.Fprintf(t, "  unconditional\t%s written where the store cannot see a concurrent change of metadata alone\n", count(s.Unconditional))
	}
	fmt.Fprintf(t, "  keys\t%s rewrapped, %s current, %s needed no call\n", count(s.Keys.Rewrapped), count(s.Keys.Current), count(s.Keys.Deduplicated))
	if s.Assumed > 0 {
		fmt.Fprintf(t, "  assumed\t%s written in an assumed base64 alphabet or padding, which the old one does not reveal (see --base64)\n", many(s.Assumed, "key"))
	}
	if s.Newer > 0 {
		fmt.Fprintf(t, "  newer\t%s under newer material than the target: the key was rotated during the run\n", are(s.Newer, "key"))
	}
	for _, h := range slices.SortedFunc(maps.Keys(s.Census), func(a, b account.Holder) int {
		return cmp.Or(cmp.Compare(s.Census[b], s.Census[a]), strings.Compare(a.Key, b.Key), strings.Compare(a.Material, b.Material), strings.Compare(a.How, b.How))
	}) {
		at := h.Key
		if h.Material != "" {
			at += " material " + short(h.Material)
		}
		switch {
		case at == "":
			at = "an unknown key"
		case h.How == account.HowUnknown:
			at = "an unknown key (" + at + " is named, and not confirmed)"
		}
		fmt.Fprintf(t, "  census\t%s under %s\n", count(s.Census[h]), oneLine(at))
	}
	_ = t.Flush()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
