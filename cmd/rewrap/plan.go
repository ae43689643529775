package main

import (
	"cmp"
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/move"
	"rewrap/sources"
	"rewrap/sources/cloud"
	s3source "rewrap/sources/s3"
)

func newPlan(s streams) *cobra.Command {
	j := &job{}
	var size int
	var out string
	cmd := &cobra.Command{
		Use:   "plan SOURCE | -f FILE",
		Short: "Read only: what a run would do, and what it would cost",
		Long: `plan lists all of SOURCE, takes a sample of its items, and does with each what
run would do, up to the write: it reads it, asks KMS to re-encrypt its wrapped
keys onto the target, throws the answers away, and asks the source how it would
write the item. What it sees is scaled up to the whole; where the sample is the
whole source (--sample as large), the counts are exact. Nothing in SOURCE is
changed, and no state directory is made.

The sample is the same each time, as long as the names are the same.

Exit codes: 0 here is the plan; 1 could not go on, or nothing in the whole
source was under a source key or on target; 2 wrong usage; 75 stopped.`,
		Example: `  rewrap plan s3://bucket/prefix --from alias/app
  rewrap plan s3://bucket/prefix --from alias/old --to alias/new \
      --sample 5000 --out plan.json
  rewrap run  s3://bucket/prefix --from-plan plan.json --to alias/new`,
		RunE: j.command(s, func() error {
			if size < 1 || size > maxSample {
				return usage("--sample %d: 1 to %d", size, maxSample)
			}
			return j.runPlan(s, size, out)
		}),
	}
	j.jobFlags(cmd.Flags())
	j.verifyFlag(cmd.Flags())
	cmd.Flags().Lookup("progress").Usage = "of looking into the sample: " + oneOf(progressModes) + "; on standard error. A run with none makes no requests for its progress, and is planned so"
	cmd.Flags().Lookup("json").Usage = "the plan as one JSON object on standard output"
	cmd.Flags().IntVar(&size, "sample", 200, "how many items to look into; the others are listed only")
	cmd.Flags().StringVar(&out, "out", "", "also write the plan as JSON to this `FILE`, for run --from-plan")
	return cmd
}

// maxSample bounds the memory that names take.
const maxSample = 1_000_000

// plan is what a run would do, as scripts and --from-plan read it. Sums are
// those of the whole source, scaled up from the sample.
type plan struct {
	Tool     string             `json:"tool"`
	Source   string             `json:"source"`
	Job      []checkpoint.Field `json:"job"` // but for keys
	Endpoint string             `json:"endpoint,omitempty"`
	Made     time.Time          `json:"made"`
	From     []string           `json:"from"` // source keys for a run, see confirmed
	To       string             `json:"to"`

	Items   int64 `json:"items"`
	Sampled int64 `json:"sampled"`
	Whole   bool  `json:"whole"` // the sample is the whole source, so the sums are exact

	Outcomes        map[string]int64 `json:"outcomes"` // as a run would end the items
	SkippedByReason map[string]int64 `json:"skipped_by_reason,omitempty"`
	Keys            []planKeys       `json:"keys"`
	Ways            map[string]int64 `json:"ways"`
	WaysAssumed     bool             `json:"ways_assumed"` // the endpoint is tried out when the run begins
	Unconditional   int64            `json:"unconditional,omitempty"`

	KMS      forecast `json:"kms"`
	Store    forecast `json:"store"`
	BytesIn  int64    `json:"bytes_in"`
	BytesOut int64    `json:"bytes_out"`
	Dollars  float64  `json:"dollars"`
	Prices   string   `json:"prices"`

	Readers []readers `json:"readers"`
	Notes   []string  `json:"notes"`

	failed error // nothing but failures was seen
}

// planKeys counts the wrapped keys of one format that are under one key
// material, and what a run would do about them.
type planKeys struct {
	Format   string `json:"format"`
	Key      string `json:"key"`
	Material string `json:"material"`
	State    string `json:"state"` // stale, current, foreign, failed
	Keys     int64  `json:"keys"`
}

func (j *job) runPlan(s streams, size int, out string) error {
	file, err := j.openOut(out)
	if err != nil {
		return err
	}
	defer file.discard()
	// Reading has nothing to finish: the first signal ends it.
	_, ctx, _, release := interruptible(func(string, ...any) {})
	defer release()
	p, err := j.plan(ctx, s, size)
	if ctx.Err() != nil {
		return &exitError{exitStopped, fmt.Errorf("%w; there is no plan", context.Cause(ctx))}
	}
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	kept := file.keep(append(data, '\n'))
	if j.json {
		err = json.NewEncoder(s.out).Encode(p)
	} else {
		err = p.print(s.out)
	}
	if err != nil {
		err = fmt.Errorf("the plan cannot be written to standard output: %w", err)
	}
	if err := errors.Join(kept, err); err != nil {
		return err
	}
	if p.failed != nil {
		return p.failed
	}
	if n := p.Outcomes["foreign"]; p.Whole && n > 0 && n == p.Items {
		return fmt.Errorf("saw %s, and nothing is under a source key or on target: %s", items(n), j.nothingHint())
	}
	return nil
}

// outFile is where the plan is written: a file beside the one that was named,
// made before the first request, which takes its name when the plan is whole. A
// nil outFile is none.
type outFile struct {
	file *os.File
	name string
}

func (j *job) openOut(name string) (*outFile, error) {
	if name == "" {
		return nil, nil
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, usage("--out %s is no regular file", name)
	case err == nil: // what a symbolic link leads to is replaced, not the link
		name, err = filepath.EvalSymlinks(name)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, usage("--out: %v", err)
	}
	dir, base := filepath.Split(name)
	if err := j.outsideSource(name, filepath.Clean(dir)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(fmt.Sprintf("%s.%s.new-%d", dir, base, os.Getpid()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, usage("--out: %v", err)
	}
	return &outFile{f, name}, nil
}

func (o *outFile) keep(data []byte) error {
	if o == nil {
		return nil
	}
	_, err := o.file.Write(data)
	if err == nil {
		err = o.file.Sync()
	}
	if err == nil {
		err = os.Rename(o.file.Name(), o.name)
	}
	if err != nil {
		return fmt.Errorf("the plan cannot be written to --out: %w", err)
	}
	return nil
}

// discard removes the file if it was not kept.
func (o *outFile) discard() {
	if o != nil {
		_ = o.file.Close()
		_ = os.Remove(o.file.Name())
	}
}

// outsideSource keeps the plan from becoming an item of what it is about.
func (j *job) outsideSource(name, dir string) error {
	if j.source.dir == "" {
		return nil
	}
	root, err := filepath.EvalSymlinks(j.source.dir)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return usage("--out: %v", err)
	}
	if rel, err := filepath.Rel(root, dir); err == nil && filepath.IsLocal(rel) {
		return usage("--out %s is inside SOURCE, and plan changes nothing there: write it elsewhere", name)
	}
	return nil
}

func (j *job) plan(ctx context.Context, s streams, size int) (*plan, error) {
	se, err := openSession(ctx, j, s, toForecast)
	if err != nil {
		return nil, err
	}
	defer se.close()
	opened := se.asked()
	all := sample{size: size}
	if err := all.draw(ctx, se.source, se.match); err != nil {
		return nil, err
	}
	drawn := se.asked().minus(opened)
	listed := drawn
	var page asked
	if j.source.dir == "" && j.progress != "none" { // a run lists the items once more, to know how many there are; see [progress.count]
		var names int64
		if page, names, err = se.firstPage(ctx); err != nil {
			return nil, err
		}
		listed.store += max((all.listed+pageOfKeys-1)/pageOfKeys, 1)
		listed.in += page.in * max(all.listed, 1) / max(names, 1)
	}
	se.say("%s; looking into %s of them", items(all.seen), count(int64(len(all.picks))))

	r := newRehearsal(se, all.refs())
	before := se.asked()
	opened = before.minus(drawn).minus(page)
	shown := *se
	shown.source, shown.match = r, nil
	prog, why := newProgress(&shown, s, account.Tally{}), left{}
	met := fieldsMet{}
	rep, err := engine.Run(ctx, engine.Job{
		Source: r, Mover: move.NewPayload(variants{se.format}, asker{se.rewrapper, r}, j.workers), Until: engine.Planned,
		Workers: j.workers,
		Observe: func(ev engine.Event) {
			prog.observe(ev)
			r.observe(ev)
			why.observe(ev)
			met.observe(ev)
		},
	})
	prog.close()
	if err != nil {
		return nil, err
	}
	looked := "no item"
	if n := int64(len(r.items)); n < all.seen {
		looked = "none of the " + items(n) + " that were looked into"
	}
	if !why.unseen() {
		se.warnUnmet(rep, nil, met, looked)
	}
	p := r.plan(opened, listed, se.asked().minus(before), &all)
	if n := len(r.items); n > 0 && r.outcomes[account.Failed.String()] == int64(n) {
		p.failed = fmt.Errorf("all that was looked into failed (%s), for example %w", items(int64(n)), r.failure)
	}
	return p, nil
}

// asked is what was asked of the two services so far; what was throttled and
// asked again counts once.
type asked struct{ kms, store, in int64 }

func (se *session) asked() asked {
	k, s := se.cloud.KMSTraffic(), se.cloud.StoreTraffic()
	return asked{k.Requests - k.Throttled, s.Requests - s.Throttled, s.In}
}

func (a asked) minus(b asked) asked { return asked{a.kms - b.kms, a.store - b.store, a.in - b.in} }

// sample is a uniform sample of the names of a source: those with the
// smallest hashes. So it does not depend on the order in which they are seen,
// and spans are listed side by side.
type sample struct {
	size   int
	mu     sync.Mutex
	listed int64 // also what is out of scope
	seen   int64
	picks  picks
}

type pick struct {
	hash uint64
	ref  sources.Ref
}

// picks is a heap with the greatest hash on top.
type picks []pick

func (p picks) Len() int           { return len(p) }
func (p picks) Less(i, j int) bool { return p[i].hash > p[j].hash }
func (p picks) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *picks) Push(x any)        { *p = append(*p, x.(pick)) }
func (p *picks) Pop() any {
	old := *p
	last := old[len(old)-1]
	*p = old[:len(old)-1]
	return last
}

func (s *sample) meet(ref sources.Ref, inScope bool) {
	sum := sha256.Sum256([]byte("rewrap plan\x00" + ref.ID))
	h := binary.BigEndian.Uint64(sum[:8])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed++
	if !inScope {
		return
	}
	s.seen++
	switch {
	case len(s.picks) < s.size:
		heap.Push(&s.picks, pick{h, ref})
	case h < s.picks[0].hash:
		s.picks[0] = pick{h, ref}
		heap.Fix(&s.picks, 0)
	}
}

// spans is how many parts a listing is split into; as many as a run has, so
// that it costs the same requests.
const spans = 8

// pageOfKeys is how many keys one listing request brings (S3 API Reference,
// ListObjectsV2, MaxKeys).
const pageOfKeys = 1000

// draw lists the source, as a run does.
func (s *sample) draw(ctx context.Context, src sources.Source, match func(string) bool) error {
	parts, err := src.Spans(ctx, spans)
	if err != nil {
		return fmt.Errorf("splitting the source: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		g.Go(func() error {
			for ref, err := range src.List(ctx, part, "") {
				if err != nil {
					return fmt.Errorf("listing stopped: %w", err)
				}
				s.meet(ref, match == nil || match(ref.ID))
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// firstPage lists as much of the source as one request brings, and says what was
// asked and how many names that were. The spans of a small source do not tell:
// their listings overlap.
func (se *session) firstPage(ctx context.Context) (page asked, names int64, err error) {
	before := se.asked()
	parts, err := se.source.Spans(ctx, 1)
	if err != nil {
		return page, 0, fmt.Errorf("splitting the source: %w", err)
	}
	for _, err := range se.source.List(ctx, parts[0], "") {
		if err != nil {
			return page, 0, fmt.Errorf("listing stopped: %w", err)
		}
		if names++; names == pageOfKeys {
			break
		}
	}
	return se.asked().minus(before), names, nil
}

func (s *sample) refs() []sources.Ref {
	refs := make([]sources.Ref, len(s.picks))
	for i, p := range s.picks {
		refs[i] = p.ref
	}
	slices.SortFunc(refs, func(a, b sources.Ref) int { return strings.Compare(a.ID, b.ID) })
	return refs
}

// plan makes the plan of what was seen.
func (r *rehearsal) plan(opened, listed, looked asked, all *sample) *plan {
	se, j := r.se, r.se.job
	p := &plan{
		Tool: "rewrap " + version(), Source: j.source.String(), Job: j.scope(), Endpoint: se.endpoint, Made: time.Now().UTC(),
		To: j.to, Items: all.seen, Sampled: int64(len(r.items)), Prices: cloud.PricesOf, Keys: []planKeys{},
	}
	p.Whole = p.Sampled == p.Items
	scale := func(n int64) int64 {
		if p.Whole {
			return n
		}
		return int64(math.Round(float64(n) * float64(p.Items) / float64(p.Sampled)))
	}
	p.Outcomes = apportion(r.outcomes, p.Items)
	p.SkippedByReason = apportion(r.reasons, p.Outcomes[account.Skipped.String()])
	p.Ways = apportion(r.ways, scale(total(r.ways)))
	p.WaysAssumed, p.Unconditional = r.assumed.Load(), scale(r.unconditional.Load())
	for k, n := range apportion(r.keys, scale(total(r.keys))) {
		k.Keys = n
		p.Keys = append(p.Keys, k)
	}
	slices.SortFunc(p.Keys, func(a, b planKeys) int {
		return cmp.Or(strings.Compare(a.Format, b.Format), cmp.Compare(b.Keys, a.Keys), strings.Compare(a.Key+a.Material+a.State, b.Key+b.Material+b.State))
	})
	p.From = se.confirmed(p)

	// Which key goes with which material is learned once, however many items
	// there are; see [kms.KMS].
	materials := make(map[[2]string]bool)
	for _, k := range p.Keys {
		materials[[2]string{k.Key, k.Material}] = true
	}
	learned := min(r.learning.Load(), int64(len(materials))*max(r.candidates-1, 0))
	reencrypts := r.reencrypts.Load()

	kms, store := make(map[string]int64), make(map[string]int64)
	add := func(m map[string]int64, op string, n int64) {
		if n > 0 {
			m[op] += n
		}
	}
	add(kms, opOpening, opened.kms+max(looked.kms-reencrypts, 0))
	add(kms, "ReEncrypt", scale(reencrypts-learned)+learned)
	add(kms, "Decrypt", scale(r.decrypts.Load()))
	if j.source.dir == "" {
		add(store, opOpening, opened.store)
		add(store, "ListObjectsV2", listed.store)
		add(store, "HeadObject", scale(r.heads.Load()))
		add(store, "GetObject", scale(r.gets.Load()))
		add(store, opLooks, scale(max(looked.store-r.heads.Load()-r.gets.Load(), 0)))
		for way, n := range p.Ways {
			for _, op := range wayRequests[way] {
				add(store, op, n)
			}
		}
		p.BytesOut = scale(r.bodies.Load())
		p.BytesIn = opened.in + listed.in + scale(looked.in) + scale(r.fetched.Load()) + p.Ways[s3source.WayCopy]*copyAnswer
	}
	p.KMS, p.Store = newForecast(kms, cloud.ServiceKMS, j.kms), newForecast(store, cloud.ServiceS3, j.store)
	p.KMS.AtMost = !p.Whole && r.repeats.Load() > 0
	p.Dollars = rounded(p.KMS.Dollars + p.Store.Dollars)
	p.Readers = se.readers(p.Keys)
	p.Notes = r.notes(p)
	return p
}

func total[K comparable](m map[K]int64) (sum int64) {
	for _, n := range m {
		sum += n
	}
	return sum
}

// apportion scales the parts of a sample up so that they add up to the whole:
// what rounding down leaves goes to the largest remainders.
func apportion[K comparable](m map[K]int64, whole int64) map[K]int64 {
	sum, left, out := total(m), whole, make(map[K]int64, len(m))
	if sum == 0 {
		return out
	}
	for name, n := range m {
		out[name] = n * whole / sum
		left -= out[name]
	}
	names := slices.SortedFunc(maps.Keys(m), func(a, b K) int {
		return cmp.Or(cmp.Compare(m[b]*whole%sum, m[a]*whole%sum), strings.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	for _, name := range names[:left] {
		out[name]++
	}
	return out
}

// confirmed are the source keys for a run: first those that something was found
// under, then the others that the operator named, who may know of more than a
// look at one moment shows. A key that is confined to one material stays so.
func (se *session) confirmed(p *plan) []string {
	from := []string{}
	if se.kms == nil {
		return from
	}
	found := make(map[string]bool)
	for _, k := range p.Keys {
		if to := se.kms.To(); k.Key != "" && (to == nil || k.Key != to.ARN) {
			found[k.Key] = true
		}
	}
	var others []string
	for _, k := range se.from() {
		name := k.ARN
		if k.Only != "" {
			name += "@" + k.Only
		}
		switch {
		case slices.Contains(from, name) || slices.Contains(others, name): // named twice
		case found[k.ARN]:
			from = append(from, name)
		default:
			others = append(others, name)
		}
	}
	for _, k := range se.kms.From() {
		delete(found, k.ARN)
	}
	from = append(append(from, sortedKeys(found)...), others...)
	return from
}

func (r *rehearsal) notes(p *plan) []string {
	notes := []string{}
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if p.Items == 0 {
		add("There is no item: is that the right name?")
	} else if !p.Whole {
		add("Scaled up from %s of %s: counts may be off by some %.2g %% of the items, and keys, formats and reasons that are rare may be missing. --sample %d looks into all.",
			count(p.Sampled), items(p.Items), 100/math.Sqrt(float64(p.Sampled)), p.Items)
	}
	if p.KMS.AtMost {
		add("Equal wrapped keys cost one call together. The sample met some, and there are more of them in the whole.")
	}
	if r.failure != nil {
		add("Items would fail, for example %v", r.failure)
	}
	if r.se.kms != nil {
		add("Keys and key material are what KMS ReEncrypt named; its answers were thrown away.")
	}
	if p.WaysAssumed {
		add("This endpoint is not AWS's: what it honours, a canary object finds out when the run begins (some 25 requests more). The ways are assumed; objects that cannot be written safely will be skipped.")
	}
	if r.se.endpoint != "" {
		add("The cost is what AWS would bill.")
	}
	if r.se.job.source.dir == "" {
		add("Not in the forecast: retries, items that other writers change meanwhile, calls of S3 to KMS for SSE-KMS, early deletion and versions that are kept.")
	}
	return notes
}

// readPlan reads the plan of the same job: what it says of keys means nothing
// for another.
func (j *job) readPlan(name string) (*plan, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, usage("--from-plan: %v", err)
	}
	p := &plan{}
	if err := json.Unmarshal(data, p); err != nil || p.Source == "" || p.Job == nil {
		return nil, usage("--from-plan %s is no plan that rewrap plan --out wrote", name)
	}
	var others []string
	for _, d := range checkpoint.Differences(p.Job, j.scope()) {
		others = append(others, fmt.Sprintf("%s is %q there, and here %q", d.Name, d.Was, d.Is))
	}
	if p.To != j.to { // another target has other source keys
		others = append(others, fmt.Sprintf("to is %q there, and here %q", p.To, j.to))
	}
	switch {
	case len(others) > 0:
		return nil, usage("--from-plan %s is the plan of another job: %s; make a plan of this one", name, strings.Join(others, "; "))
	case len(p.From) == 0:
		return nil, usage("--from-plan %s has no source key: none was named, and nothing was found under any", name)
	case slices.Contains(p.From, ""):
		return nil, usage("--from-plan %s is no plan that rewrap plan --out wrote: a source key is empty", name)
	}
	return p, nil
}

// vouch says what the plan does not vouch for.
func (p *plan) vouch(say func(string, ...any)) {
	if !p.Whole {
		say("the plan looked into %s of %s: what is under a key that it neither met nor was given counts as foreign", count(p.Sampled), items(p.Items))
	}
}
