package forecast

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"rewrap/checkpoint/account"
	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/cmd/rewrap/internal/setup"
	"rewrap/sources/cloud"
)

// Plan says what a run would do. Scripts and --from-plan read it as JSON. The sums
// are those of the whole source, scaled up from the sample.
type Plan struct {
	Tool string `json:"tool"`
	job.Plan
	Ends
	Bill
	Readers []Readers `json:"readers"`
	Notes   []string  `json:"notes"`

	Unmet   []string `json:"-"` // --json-field of which no item of the sample has any
	Failure error    `json:"-"` // of one of the items, where all that were looked into failed
}

// Ends is how a run would end the items and the wrapped keys.
type Ends struct {
	Outcomes        map[string]int64 `json:"outcomes"`
	SkippedByReason map[string]int64 `json:"skipped_by_reason,omitempty"`
	Keys            []Group          `json:"keys"`
	Ways            map[string]int64 `json:"ways"`
	WaysAssumed     bool             `json:"ways_assumed"` // the endpoint is tried out when the run begins
	Unconditional   int64            `json:"unconditional,omitempty"`
}

// Group counts the wrapped keys of one format that are under one key material and
// that a run would treat alike.
type Group struct {
	Format   string `json:"format"`
	Key      string `json:"key"`
	Material string `json:"material"`
	State    string `json:"state"` // stale, current, foreign, failed
	Keys     int64  `json:"keys"`
}

// plan makes the plan from what the rehearsal saw.
func (f *Forecast) plan(s *seen) *Plan {
	se, j := f.session, f.session.Job
	p := &Plan{
		Plan: job.Plan{Source: j.Place.String(), Job: j.Identity(), Endpoint: se.Source.Endpoint, Made: time.Now().UTC(), To: j.Keys.To,
			Items: f.sample.inScope, Sampled: int64(len(f.sample.picks))},
	}
	p.Whole = p.Sampled == p.Items
	scale := func(n int64) int64 {
		if p.Whole {
			return n
		}
		return int64(math.Round(float64(n) * float64(p.Items) / float64(p.Sampled)))
	}
	p.Ends = Ends{
		Outcomes: apportion(s.outcomes, p.Items), Keys: []Group{},
		Ways: apportion(s.writes.ways, scale(total(s.writes.ways))), WaysAssumed: s.writes.assumed, Unconditional: scale(s.writes.unconditional),
	}
	p.SkippedByReason = apportion(s.reasons, p.Outcomes[account.Skipped.String()])
	for k, n := range apportion(s.keys, scale(total(s.keys))) {
		k.Keys = n
		p.Keys = append(p.Keys, k)
	}
	slices.SortFunc(p.Keys, func(a, b Group) int {
		return cmp.Or(strings.Compare(a.Format, b.Format), cmp.Compare(b.Keys, a.Keys), strings.Compare(a.Key+a.Material+a.State, b.Key+b.Material+b.State))
	})
	p.From = confirmed(se.Keys, p.Keys)
	p.Bill = f.bill(s, p, scale)
	p.Readers = readersOf(se.Keys, p.Keys)
	p.Notes = notes(se, p, s.failure)
	if n := p.Sampled; n > 0 && s.outcomes[account.Failed.String()] == n {
		p.Failure = s.failure
	}
	return p
}

// bill adds up what a run asks of the services. Requests of the opening come
// once, those of the sample for each item.
func (f *Forecast) bill(s *seen, p *Plan, scale func(int64) int64) Bill {
	once := func(n int64) int64 { return n }
	j, looked := f.session.Job, f.looking.Used()

	kms := newTab(cloud.ServiceKMS, j.Pace.KMS)
	kms.metered(f.opening.Used(), Opening, once)
	for op, u := range looked {
		if op.Service == cloud.ServiceKMS && op.Name != reEncrypt { // a key is described once, however many items name it
			kms.add(op.Name, Opening, u.Calls)
		}
	}
	learned := min(s.misses, f.learnable(p.Keys))
	asked := looked[cloud.Operation{Service: cloud.ServiceKMS, Name: reEncrypt}].Calls
	kms.add(reEncrypt, "", scale(asked-learned)+learned)
	kms.add("Decrypt", "", scale(s.opens))
	kms.AtMost = !p.Whole && s.repeats > 0

	store := newTab(cloud.ServiceS3, j.Pace.Store)
	store.metered(f.opening.Used(), Opening, once)
	in := f.opening.Of(cloud.ServiceS3).In
	for _, m := range []*cloud.Meter{&f.learning, &f.drawing} {
		store.metered(m.Used(), "", once)
		in += m.Of(cloud.ServiceS3).In
	}
	if f.page.used != nil {
		in += f.page.add(store, f.sample.listed)
	}
	store.metered(looked, "", scale)
	for op, n := range s.writes.requests {
		store.add(op, "", scale(n))
	}
	b := Bill{
		KMS: kms.done(), Store: store.done(), Prices: cloud.PricesOf,
		BytesIn: in + scale(f.looking.Of(cloud.ServiceS3).In+s.writes.in), BytesOut: scale(s.writes.out),
	}
	b.Dollars = rounded(b.KMS.Dollars + b.Store.Dollars)
	return b
}

const reEncrypt = "ReEncrypt"

// learnable bounds the calls that fail only because it is not known yet which key
// a key material belongs to. That is learned once for each material, however many
// items there are; see [kms.KMS].
func (f *Forecast) learnable(keys []Group) int64 {
	materials := make(map[[2]string]bool)
	for _, k := range keys {
		materials[[2]string{k.Key, k.Material}] = true
	}
	candidates := make(map[string]bool) // keys that a blob may be under
	for _, k := range f.session.Keys.From() {
		candidates[k.ARN] = true
	}
	if to := f.session.Keys.To(); to != nil {
		candidates[to.ARN] = true
	}
	return int64(len(materials)) * max(int64(len(candidates))-1, 0)
}

func total[K comparable](m map[K]int64) (sum int64) {
	for _, n := range m {
		sum += n
	}
	return sum
}

// apportion scales the parts of a sample up so that they add up to the whole.
// Parts are rounded down, and those with the largest remainders get one more.
func apportion[K comparable](m map[K]int64, whole int64) map[K]int64 {
	sum, rest, out := total(m), whole, make(map[K]int64, len(m))
	if sum == 0 {
		return out
	}
	for name, n := range m {
		out[name] = n * whole / sum
		rest -= out[name]
	}
	names := slices.SortedFunc(maps.Keys(m), func(a, b K) int {
		return cmp.Or(cmp.Compare(m[b]*whole%sum, m[a]*whole%sum), strings.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	for _, name := range names[:rest] {
		out[name]++
	}
	return out
}

// confirmed are the source keys for a run. First come the keys that wrapped keys
// were found under. The other keys that were named follow, since the sample may
// have missed items under them. A key that was named with one key material keeps
// it.
func confirmed(k setup.Keys, keys []Group) []string {
	from := []string{}
	if k.KMS == nil {
		return from
	}
	found := make(map[string]bool)
	for _, at := range keys {
		if to := k.To(); at.Key != "" && (to == nil || at.Key != to.ARN) {
			found[at.Key] = true
		}
	}
	var others []string
	given := make(map[string]bool)
	for _, key := range k.From() {
		given[key.ARN] = true
		name := key.ARN
		if key.Only != "" {
			name += "@" + key.Only
		}
		switch {
		case slices.Contains(from, name) || slices.Contains(others, name): // named twice
		case found[key.ARN]:
			from = append(from, name)
		default:
			others = append(others, name)
		}
	}
	for _, arn := range report.SortedKeys(found) {
		if !given[arn] {
			from = append(from, arn)
		}
	}
	return append(from, others...)
}

// notes are further facts that people have to know about the plan.
func notes(se *setup.Session, p *Plan, failure error) []string {
	list := []string{}
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if p.Items == 0 {
		add("There is no item: check the name of the source.")
	} else if !p.Whole {
		add("Scaled up from %s of %s: counts may be off by some %.2g %% of the items, and keys, formats and reasons that are rare may be missing. --sample %d looks into all.",
			report.Count(p.Sampled), report.Items(p.Items), 100/math.Sqrt(float64(p.Sampled)), p.Items)
	}
	if p.KMS.AtMost {
		add("Equal wrapped keys cost one call together. The sample has some, and the whole source has more of them, so the run may make fewer calls.")
	}
	if failure != nil {
		add("Items would fail, for example %v", failure)
	}
	if se.Keys.KMS != nil {
		add("Keys and key material are those that KMS ReEncrypt named; the new wrapped keys were discarded.")
	}
	if p.WaysAssumed {
		add("This endpoint is not AWS's. When the run begins, it tests with a canary object which conditions the endpoint honours (some 25 requests more). Until then the ways are assumed. Objects that cannot be written safely will be skipped.")
	}
	if se.Source.Endpoint != "" {
		add("The cost is what AWS would bill.")
	}
	if se.Source.Billed {
		add("Not in the forecast: retries, items that other writers change meanwhile, calls of S3 to KMS for SSE-KMS, fees for early deletion, and storage of old versions.")
	}
	return list
}
