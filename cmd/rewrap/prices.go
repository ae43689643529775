package main

import (
	"fmt"
	"math"
	"time"

	"rewrap/sources/cloud"
	s3source "rewrap/sources/s3"
)

// wayRequests are the requests that a write costs by a source's way. Ways that
// are not here cost none: files are on a disk.
var wayRequests = map[string][]string{
	s3source.WayCopy:    {"CopyObject"},
	s3source.WayPut:     {"GetObject", "PutObject"},
	s3source.WayPutRead: {"HeadObject", "PutObject"},
}

// copyAnswer is how many bytes the answer to a copy has, with a checksum (S3 API
// Reference, CopyObject); other writes are answered without a body.
const copyAnswer = 320

// Groups of requests that are counted and not told apart.
const (
	opOpening = "opening" // what a command asks once, when it begins
	opLooks   = "looks"   // ACL, tags, annotations and locks, before a write
)

// forecast is what a run would ask of one service.
type forecast struct {
	Requests int64            `json:"requests"`
	AtMost   bool             `json:"at_most,omitempty"` // there are fewer, if wrapped keys repeat more often than in the sample
	By       map[string]int64 `json:"by_operation"`
	Dollars  float64          `json:"dollars"`
	Ceiling  float64          `json:"ceiling_rps"`        // 0: none
	Seconds  float64          `json:"seconds_at_ceiling"` // 0: there is no ceiling
}

// newForecast sums up requests by operation.
func newForecast(by map[string]int64, service string, ceiling rate) forecast {
	f := forecast{By: by, Ceiling: ceiling.perSecond}
	for op, n := range by {
		f.Requests += n
		f.Dollars += float64(n) * cloud.Price(cloud.Operation{Service: service, Name: op})
	}
	f.Dollars = rounded(f.Dollars)
	if f.Ceiling > 0 {
		f.Seconds = math.Round(float64(f.Requests)/f.Ceiling*10) / 10
	}
	return f
}

// rounded takes the noise of sums out of an amount, and leaves the price of a
// single request.
func rounded(dollars float64) float64 { return math.Round(dollars*1e7) / 1e7 }

// amount is dollars for people.
func amount(about string, dollars float64) string {
	if dollars > 0 && dollars < 0.0001 {
		return "under $0.0001"
	}
	return fmt.Sprintf("%s$%.4f", about, dollars)
}

// atCeiling is a time for people; "" where no ceiling bounds it.
func (f forecast) atCeiling() string {
	switch {
	case f.Ceiling == 0:
		return ""
	case f.Requests > 0 && f.Seconds < 1:
		return "under 1s"
	}
	return time.Duration(f.Seconds * float64(time.Second)).Round(time.Second).String()
}
