// Package forecast finds out what a run would do and what it would cost. It lists
// the source, takes a sample of the items, and sends the sample through the
// engine up to the write. The counts are scaled up to the whole source.
package forecast

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/setup"
	"rewrap/sources"
	"rewrap/sources/cloud"
)

// Forecast is a plan in the making. [Open] makes it; then [Forecast.Draw] and
// [Forecast.Rehearse] are called, once each. The requests of each of the three
// are counted separately.
type Forecast struct {
	session *setup.Session
	sample  sample

	opening, learning, drawing, looking cloud.Meter

	page page
}

// page is what one request of a listing brings and costs.
type page struct {
	used  map[cloud.Operation]cloud.Use // nil: the items are listed once, not again to count them
	names int64
}

// Open opens a job for a plan. The caller has to close the session.
func Open(ctx context.Context, j job.Job, say setup.Say) (*Forecast, error) {
	f := &Forecast{}
	se, err := setup.Open(cloud.Metered(ctx, &f.opening), j, job.Forecast, say)
	if err != nil {
		return nil, err
	}
	if f.session, err = se.Learn(cloud.Metered(ctx, &f.learning), say); err != nil {
		return nil, errors.Join(err, se.Source.Close())
	}
	return f, nil
}

// Session is what was opened.
func (f *Forecast) Session() *setup.Session { return f.session }

// Draw lists the whole source and takes a sample of so many items. It returns
// how many items are in scope, and how many of them are in the sample.
func (f *Forecast) Draw(ctx context.Context, size int) (items, sampled int64, err error) {
	se := f.session
	f.sample.size = size
	if err := f.sample.draw(cloud.Metered(ctx, &f.drawing), se.Source, se.Match); err != nil {
		return 0, 0, err
	}
	// A run that shows its progress lists the items once more, to count them.
	if len(f.drawing.Used()) > 0 && se.Job.Output.Progress != "none" {
		if f.page, err = firstPage(ctx, se.Source); err != nil {
			return 0, 0, err
		}
	}
	return f.sample.inScope, int64(len(f.sample.picks)), nil
}

// firstPage lists as many names as one request brings. The listing that drew
// the sample does not show how many that are: its spans are listed side by side,
// and each costs one request at least.
func firstPage(ctx context.Context, src sources.Source) (p page, err error) {
	var m cloud.Meter
	ctx = cloud.Metered(ctx, &m)
	parts, err := src.Spans(ctx, 1)
	if err != nil {
		return p, fmt.Errorf("splitting the source: %w", err)
	}
	for _, err := range src.List(ctx, parts[0], "") {
		if err != nil {
			return p, fmt.Errorf("listing stopped: %w", err)
		}
		used := m.Used()
		if p.used == nil {
			p.used = used
		}
		if !maps.EqualFunc(p.used, used, func(a, b cloud.Use) bool { return a.Calls == b.Calls }) {
			return p, nil // this name came with the second request
		}
		p.names++
	}
	if p.used == nil {
		p.used = m.Used()
	}
	return p, nil
}

// add adds the requests that list so many names once more, and returns the
// bytes of their answers.
func (p page) add(store *tab, listed int64) (in int64) {
	listed, names := max(listed, 1), max(p.names, 1)
	for op, u := range p.used {
		store.add(op.Name, "", u.Calls*((listed+names-1)/names))
		in += u.In * listed / names
	}
	return in
}
