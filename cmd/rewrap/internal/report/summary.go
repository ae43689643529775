package report

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
	"rewrap/sources/cloud"
)

// Summary is the report of a run as scripts read it. The sums are those of
// the pass, over all the runs that share the state directory. The requests,
// bytes and seconds are those of this run.
type Summary struct {
	Result string `json:"result"`
	Why    string `json:"why,omitempty"`
	account.Tally
	KMS     Asked    `json:"kms"`
	Store   Transfer `json:"store"`
	Elapsed float64  `json:"elapsed_seconds"`
	Resumed bool     `json:"resumed"`
	State   string   `json:"state"`
	Base64  *Base64  `json:"base64,omitempty"` // of formats that hold wrapped keys as text
}

// Base64 is how new wrapped keys are written as text where the old ones do not
// show it, and how that is known.
type Base64 struct {
	Style string `json:"style"` // std, raw-std, url, raw-url
	How   string `json:"how"`
}

// How a style of base64 is known.
const (
	Base64Given   = "given"       // --base64 says it
	Base64Earlier = "checkpoint"  // an earlier run of the job has learned it
	Base64Shown   = "first-items" // the first items show it
	Base64Assumed = "assumed"     // no item shows it
)

// String is the style for people.
func (b Base64) String() string {
	style := map[string]string{"std": "standard", "raw-std": "standard, without padding", "url": "url-safe", "raw-url": "url-safe, without padding"}[b.Style]
	how := map[string]string{Base64Given: "as --base64 says", Base64Earlier: "as an earlier run learned", Base64Shown: "as the first items show",
		Base64Assumed: "assumed where an item does not show it"}[b.How]
	return style + ", " + how
}

// Asked is what a service was asked. Requests counts attempts.
type Asked struct {
	Requests  int64 `json:"requests"`
	Throttled int64 `json:"throttled"`
}

// Transfer is what a store was asked, with the bytes of bodies.
type Transfer struct {
	Asked
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
}

// NewSummary makes the summary of a run that keeps its state in dir. kms and
// store are what this run asked of the services.
func NewSummary(rep engine.Report, kms, store cloud.Traffic, dir string) Summary {
	return Summary{
		Result: rep.Result, Why: rep.Why, Tally: rep.Tally,
		KMS:     Asked{kms.Requests, kms.Throttled},
		Store:   Transfer{Asked{store.Requests, store.Throttled}, store.In, store.Out},
		Elapsed: math.Round(rep.Elapsed.Seconds()*1000) / 1000, Resumed: rep.Resumed, State: dir,
	}
}

// Keep writes the summary into a state directory.
func (s Summary) Keep(write func(name string, data []byte) error) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return write("summary.json", append(data, '\n'))
}

// Print writes the summary for people, or as JSON.
func (s Summary) Print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(s)
	}
	var b strings.Builder
	head := s.Result
	if s.Why != "" {
		head += ": " + s.Why
	}
	fmt.Fprintf(&b, "%s\n", OneLine(head))
	TallyTable(&b, s.Tally)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if s.KMS.Requests > 0 {
		fmt.Fprintf(t, "  kms\t%s, %s throttled\n", Many(s.KMS.Requests, "request"), Count(s.KMS.Throttled))
	}
	if s.Store.Requests > 0 { // of a directory there are none
		fmt.Fprintf(t, "  store\t%s, %s throttled, %s in, %s out\n", Many(s.Store.Requests, "request"), Count(s.Store.Throttled), Size(s.Store.BytesIn), Size(s.Store.BytesOut))
	}
	if s.Base64 != nil {
		fmt.Fprintf(t, "  base64\t%s\n", s.Base64)
	}
	fmt.Fprintf(t, "  time\t%s\n", time.Duration(s.Elapsed*float64(time.Second)).Round(100*time.Millisecond))
	fmt.Fprintf(t, "  state\t%s\n", OneLine(filepath.Clean(s.State)))
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// TallyTable prints the sums of items and keys, and the census.
func TallyTable(w io.Writer, s account.Tally) {
	i := s.Items
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  items\t%s seen = %s rewrapped + %s current + %s foreign + %s skipped + %s gone + %s failed\n",
		Count(i.Seen), Count(i.Rewrapped), Count(i.Current), Count(i.Foreign), Count(i.Skipped), Count(i.Gone), Count(i.Failed))
	for _, reason := range SortedKeys(s.SkippedByReason) {
		fmt.Fprintf(t, "  skipped\t%s %s\n", Count(s.SkippedByReason[reason]), reason)
	}
	if s.Unconditional > 0 {
		fmt.Fprintf(t, "  unconditional\t%s written with no check for concurrent changes of metadata, only of content\n", Count(s.Unconditional))
	}
	fmt.Fprintf(t, "  keys\t%s rewrapped, %s current, %s needed no call\n", Count(s.Keys.Rewrapped), Count(s.Keys.Current), Count(s.Keys.Deduplicated))
	if s.Assumed > 0 {
		fmt.Fprintf(t, "  assumed\t%s written in an assumed base64 style, which the old blob does not reveal (see --base64)\n", Many(s.Assumed, "key"))
	}
	if s.Newer > 0 {
		fmt.Fprintf(t, "  newer\t%s under newer material than the target: the key was rotated during the run\n", Are(s.Newer, "key"))
	}
	for _, h := range slices.SortedFunc(maps.Keys(s.Census), func(a, b account.Holder) int {
		return cmp.Or(cmp.Compare(s.Census[b], s.Census[a]), strings.Compare(a.Key, b.Key), strings.Compare(a.Material, b.Material), strings.Compare(a.How, b.How))
	}) {
		at := h.Key
		if h.Material != "" {
			at += " material " + Short(h.Material)
		}
		switch {
		case at == "":
			at = "an unknown key"
		case h.How == account.HowUnknown:
			at = "an unknown key (" + at + " is named but not confirmed)"
		}
		fmt.Fprintf(t, "  census\t%s under %s\n", Count(s.Census[h]), OneLine(at))
	}
	_ = t.Flush()
}
