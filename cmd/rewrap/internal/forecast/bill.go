package forecast

import (
	"math"
	"time"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/sources/cloud"
)

// Bill is the requests and bytes of a run, and their price in dollars.
type Bill struct {
	KMS      Requests `json:"kms"`
	Store    Requests `json:"store"`
	BytesIn  int64    `json:"bytes_in"`
	BytesOut int64    `json:"bytes_out"`
	Dollars  float64  `json:"dollars"`
	Prices   string   `json:"prices"`
}

// Requests are the requests of a run to one service.
type Requests struct {
	Requests int64            `json:"requests"`
	AtMost   bool             `json:"at_most,omitempty"` // there are fewer if wrapped keys repeat more often than in the sample
	By       map[string]int64 `json:"by_operation"`
	Dollars  float64          `json:"dollars"`
	Ceiling  float64          `json:"ceiling_rps"`        // 0: none
	Seconds  float64          `json:"seconds_at_ceiling"` // 0: there is no ceiling
}

// Opening is the group of the requests that a command makes once, when it
// begins. They are not listed by operation.
const Opening = "opening"

// tab adds up the requests of one service.
type tab struct {
	service string
	Requests
}

func newTab(service string, ceiling job.Rate) *tab {
	return &tab{service, Requests{By: make(map[string]int64), Ceiling: ceiling.PerSecond}}
}

// add counts n requests of an operation, under its own name or as a group.
func (a *tab) add(op, group string, n int64) {
	if n <= 0 {
		return
	}
	if group == "" {
		group = op
	}
	a.By[group] += n
	a.Requests.Requests += n
	a.Dollars += float64(n) * cloud.Price(cloud.Operation{Service: a.service, Name: op})
}

// metered adds what a meter counted, each number changed by scale. Calls that a
// run makes once are not.
func (a *tab) metered(used map[cloud.Operation]cloud.Use, group string, scale func(int64) int64) {
	for op, u := range used {
		if op.Service == a.service {
			a.add(op.Name, group, scale(u.Calls))
			a.add(op.Name, Opening, u.Once)
		}
	}
}

// done is the sum.
func (a *tab) done() Requests {
	a.Dollars = rounded(a.Dollars)
	if a.Ceiling > 0 {
		a.Seconds = math.Round(float64(a.Requests.Requests)/a.Ceiling*10) / 10
	}
	return a.Requests
}

// rounded removes the rounding errors of a sum. Seven decimals are enough for the
// price of a single request.
func rounded(dollars float64) float64 { return math.Round(dollars*1e7) / 1e7 }

// AtCeiling is the time that the requests take at the ceiling, for people; "" if
// there is no ceiling.
func (r Requests) AtCeiling() string {
	switch {
	case r.Ceiling == 0:
		return ""
	case r.Requests > 0 && r.Seconds < 1:
		return "under 1s"
	}
	return time.Duration(r.Seconds * float64(time.Second)).Round(time.Second).String()
}
