package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cheggaaa/pb/v3"
	"golang.org/x/term"

	"rewrap/checkpoint/account"
	"rewrap/cmd/rewrap/internal/setup"
	"rewrap/engine"
	"rewrap/sources"

	"rewrap/cmd/rewrap/internal/report"
)

const (
	barEvery  = 200 * time.Millisecond
	lineEvery = 10 * time.Second
	jsonEvery = time.Second
)

// progress shows how far a run is. It counts items when they are settled, so it
// is a little ahead of the checkpoint. Items that are tried again were counted
// by an earlier run and are shown apart.
type progress struct {
	throttled func() int64   // KMS requests that were throttled so far
	show      func(standing) // nil: nothing is shown
	last      func(standing) // at the end

	mu    sync.Mutex
	items account.Items
	again int64 // items that an earlier run left, and that were tried again
	total int64 // 0: not known yet

	began time.Time
	since int64 // items that were settled before this run
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// standing is how far a run is at one moment.
type standing struct {
	Items     account.Items `json:"items"`
	Again     int64         `json:"tried_again,omitempty"` // items that an earlier run had left; the summary has their outcome
	Total     int64         `json:"total,omitempty"`       // items in scope; 0: still counting
	Rate      float64       `json:"items_per_second"`
	ETA       float64       `json:"eta_seconds,omitempty"`
	Throttled int64         `json:"throttled"`
	Elapsed   float64       `json:"elapsed_seconds"`
}

// watched is what a progress needs besides the events.
type watched struct {
	source    sources.Source
	match     func(name string) bool // nil: every item is in scope
	throttled func() int64           // KMS requests that were throttled so far
}

func watch(se *setup.Session) watched {
	return watched{se.Source, se.Match, func() int64 { return se.Cloud.KMSTraffic().Throttled }}
}

// newProgress begins to show on w. earlier is what was settled before this run.
func newProgress(w io.Writer, mode string, at watched, earlier account.Items) *progress {
	p := &progress{throttled: at.throttled, items: earlier, since: earlier.Seen, began: time.Now()}
	if mode == "auto" || mode == "bar" { // a bar redraws itself, and a file would keep every drawing
		mode = "log"
		if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			mode = "bar"
		}
	}
	every := lineEvery
	switch mode {
	case "none":
		p.stop = func() {}
		return p
	case "bar":
		every = barEvery
		p.bar(w)
	case "json":
		every = jsonEvery
		enc := json.NewEncoder(w)
		p.show = func(st standing) { _ = enc.Encode(st) }
		p.last = p.show
	case "log":
		p.show = func(st standing) { fmt.Fprintln(w, "rewrap: "+st.line()) }
		p.last = func(standing) {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.done.Go(func() { p.count(ctx, at) })
	p.done.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				p.show(p.standing())
			case <-ctx.Done():
				return
			}
		}
	})
	return p
}

// count finds out how many items there are, for the ETA. On S3 that takes one
// request for a thousand items, and a run makes two or more for each item.
func (p *progress) count(ctx context.Context, at watched) {
	spans, err := at.source.Spans(ctx, 1)
	if err != nil {
		return // the run itself reports what is wrong with the source
	}
	n := int64(0)
	for _, span := range spans {
		for ref, err := range at.source.List(ctx, span, "") {
			if err != nil {
				return
			}
			if at.match == nil || at.match(ref.Name) {
				n++
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = n
}

func (p *progress) observe(ev engine.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ev.Again {
		p.again++
		return
	}
	p.items.Seen++
	switch ev.Outcome {
	case account.Rewrapped:
		p.items.Rewrapped++
	case account.Current:
		p.items.Current++
	case account.Foreign:
		p.items.Foreign++
	case account.Skipped:
		p.items.Skipped++
	case account.Gone:
		p.items.Gone++
	case account.Failed:
		p.items.Failed++
	}
}

func (p *progress) standing() standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	elapsed := time.Since(p.began).Seconds()
	s := standing{Items: p.items, Again: p.again, Total: p.total, Throttled: p.throttled(), Elapsed: elapsed}
	if s.Total > 0 {
		s.Total = max(s.Total, s.Items.Seen)
	}
	if elapsed > 0 {
		s.Rate = float64(p.items.Seen-p.since) / elapsed
	}
	if s.Total > 0 && s.Rate > 0 {
		s.ETA = float64(s.Total-s.Items.Seen) / s.Rate
	}
	return s
}

func (s standing) line() string {
	seen := report.Items(s.Items.Seen)
	if s.Total > 0 {
		seen = fmt.Sprintf("%s of %s (%.0f %%)", report.Count(s.Items.Seen), report.Items(s.Total), 100*float64(s.Items.Seen)/float64(s.Total))
	}
	line := fmt.Sprintf("%s, %s rewrapped, %.0f/s, %s throttled, %s failed",
		seen, report.Count(s.Items.Rewrapped), s.Rate, report.Count(s.Throttled), report.Count(s.Items.Failed))
	if s.Again > 0 {
		line += ", " + report.Count(s.Again) + " tried again"
	}
	if s.ETA > 0 {
		line += ", ETA " + time.Duration(s.ETA*float64(time.Second)).Round(time.Second).String()
	}
	return line
}

// bar shows a bar that redraws itself.
func (p *progress) bar(w io.Writer) {
	const template = `{{counters . "%s of %s" "%s"}} {{bar . "[" "=" ">" " " "]"}} {{percent . "%.0f%%"}} {{string . "rest"}}`
	b := pb.New64(0).SetTemplateString(template).SetWriter(w)
	b.Set(pb.Static, true) // drawn below, with its numbers
	b.Set(pb.CleanOnFinish, false)
	draw := func(s standing) {
		rest := fmt.Sprintf("%.0f/s", s.Rate)
		if s.ETA > 0 {
			rest += " ETA " + time.Duration(s.ETA*float64(time.Second)).Round(time.Second).String()
		}
		rest += fmt.Sprintf(" throttled %s failed %s", report.Count(s.Throttled), report.Count(s.Items.Failed))
		if s.Again > 0 {
			rest += " tried again " + report.Count(s.Again)
		}
		b.SetTotal(s.Total).SetCurrent(s.Items.Seen).Set("rest", rest)
		b.Write()
	}
	b.Start()
	p.show = draw
	p.last = func(s standing) {
		draw(s)
		b.Finish()
		fmt.Fprintln(w)
	}
}

// close shows the last standing and ends.
func (p *progress) close() {
	p.stop()
	p.done.Wait()
	if p.last != nil {
		p.last(p.standing())
	}
}
