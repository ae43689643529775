package job

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"rewrap/checkpoint"
	"rewrap/cmd/rewrap/internal/report"
)

// Plan is the part of a plan (rewrap plan --out) from which a job takes its
// source keys.
type Plan struct {
	Source   string             `json:"source"`
	Job      []checkpoint.Field `json:"job"` // see [Job.Identity]
	Endpoint string             `json:"endpoint,omitempty"`
	Made     time.Time          `json:"made"`
	From     []string           `json:"from"` // source keys for a run
	To       string             `json:"to"`

	Items   int64 `json:"items"`
	Sampled int64 `json:"sampled"`
	Whole   bool  `json:"whole"` // the sample is the whole source, so the sums are exact
}

// readPlan reads a plan and checks that it is of the same job. The source keys of
// another job would be wrong.
func readPlan(name string, j Job) (*Plan, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, Usage("--from-plan: %v", err)
	}
	p := &Plan{}
	if err := json.Unmarshal(data, p); err != nil || p.Source == "" || p.Job == nil {
		return nil, Usage("--from-plan %s was not written by rewrap plan --out", name)
	}
	var others []string
	for _, d := range checkpoint.Differences(p.Job, j.Identity()) {
		others = append(others, fmt.Sprintf("%s is %q there, and here %q", d.Name, d.Was, d.Is))
	}
	if p.To != j.Keys.To { // another target has other source keys
		others = append(others, fmt.Sprintf("to is %q there, and here %q", p.To, j.Keys.To))
	}
	switch {
	case len(others) > 0:
		return nil, Usage("--from-plan %s is the plan of another job: %s; make a plan of this one", name, strings.Join(others, "; "))
	case len(p.From) == 0:
		return nil, Usage("--from-plan %s has no source key: plan was given none and found none", name)
	case slices.Contains(p.From, ""):
		return nil, Usage("--from-plan %s was not written by rewrap plan --out: a source key is empty", name)
	}
	return p, nil
}

// Caveat says that source keys may be missing from the plan; "" if it saw every
// item.
func (p *Plan) Caveat() string {
	if p == nil || p.Whole {
		return ""
	}
	return fmt.Sprintf("the plan looked into %s of %s, so source keys may be missing from it: wrapped keys under those count as foreign", report.Count(p.Sampled), report.Items(p.Items))
}
