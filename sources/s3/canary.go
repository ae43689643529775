package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// cleanUp bounds the removal of the canary, which is made even if the run was
// told to stop meanwhile.
const cleanUp = 10 * time.Second

const wrongETag = `"00000000000000000000000000000000"`

var canaryBody = []byte("written by rewrap to see which conditions this endpoint honours; safe to delete\n")

func (s *Source) canaryKey() string {
	if s.c.CanaryID == "" {
		return ""
	}
	return s.c.Prefix + ".rewrap-canary-" + s.c.CanaryID
}

// Begin implements [sources.Source]. On AWS it makes no request. Any other
// endpoint is tried before the first write, since several servers ignore
// conditions: some copy whatever the destination's If-Match says, some take any
// write. So Begin with Write writes a canary object, tries on it which
// conditions are honoured and whether metadata survives, and deletes it again,
// also after errors.
//
// After Begin with Look such an endpoint is assumed to honour what AWS does, and
// plans say so (Assumed).
//
// A process that dies in here leaves the canary behind. Its own job never lists
// it, and the next Begin of the same job removes it.
func (s *Source) Begin(ctx context.Context, m sources.Mode) error {
	if err := s.life.MayBegin(); err != nil {
		return fmt.Errorf("opening bucket %s: %w", s.c.Bucket, err)
	}
	if s.c.Canary && m == sources.Write {
		if err := s.tryCanary(ctx); err != nil {
			return err
		}
	}
	s.life.Begun(m)
	return nil
}

// tryCanary finds out what the endpoint honours, and tells people what follows
// from it.
func (s *Source) tryCanary(ctx context.Context) error {
	p := probe{s: s, key: s.canaryKey()}
	w, err := p.run(ctx)
	p.clean(ctx)
	if err != nil {
		return err
	}
	s.honours.Store(&w)
	switch {
	case !w.Copy && !w.Put:
		return &sources.RunError{
			Where: whereWrite,
			Err:   fmt.Errorf("bucket %s: this endpoint honours neither If-Match on PutObject nor the conditions of CopyObject", s.c.Bucket),
			Hint:  "Nothing can be changed here without the risk of undoing a concurrent writer's change; use an endpoint with conditional writes",
		}
	case !w.Copy:
		s.notice("CopyObject is no safe conditional write on this endpoint: every object that changes is fetched and written again (GetObject, PutObject with If-Match), and a concurrent change of its metadata alone may go unseen")
	case !w.Put:
		s.notice("PutObject is no safe conditional write on this endpoint: objects whose wrapped key is in the body are skipped")
	}
	if w.Copy && !w.CopyVerbatim || !w.Copy && !w.PutVerbatim {
		s.notice("this endpoint changes metadata that is not plain ASCII when an object is written again: such objects are written another way, or skipped")
	}
	return nil
}

// probe is one canary.
type probe struct {
	s        *Source
	key      string
	step     int      // numbers the writes
	versions []string // those that the answers to the writes named
	written  bool     // there may be something to remove
}

func (p *probe) run(ctx context.Context) (honours, error) {
	var w honours
	first := request{
		key:     p.key,
		meta:    map[string]string{stepName: "0", "rewrap-text": "Größe"},
		headers: map[string]string{"Content-Type": "text/plain", "Cache-Control": "no-store", "Content-Language": "en", "Expires": "Thu, 01 Dec 1994 16:00:00 GMT"},
	}
	if _, err := p.try(ctx, first, WayPut); err != nil {
		return w, p.fail(err)
	}
	// The stored body may differ from the one that was sent: older servers store
	// the framing that the SDK puts around it. That rules out PutObject, and not
	// copies.
	_, stored, err := p.s.read(ctx, p.key, 2*int64(len(canaryBody)))
	if err != nil {
		return w, p.fail(err)
	}
	if w.Lists, w.Owner, err = p.s.lists(ctx, p.key); err != nil {
		return w, p.fail(err)
	}
	if w.Copy, w.CopyVerbatim, err = p.tryWay(ctx, WayCopy, stored); err != nil {
		return w, p.fail(err)
	}
	if w.Put, w.PutVerbatim, err = p.tryWay(ctx, WayPut, canaryBody); err != nil {
		return w, p.fail(err)
	}
	return w, nil
}

const stepName = "rewrap-step"

// tryWay tries the conditions of one way. Each alone has to refuse a write whose
// condition does not hold. All together have to let a write through whose
// conditions hold, and it has to keep the body and the headers.
func (p *probe) tryWay(ctx context.Context, way string, body []byte) (conditional, verbatim bool, err error) {
	conditional = true
	refusals := []func(*request, time.Time){
		func(r *request, _ time.Time) { r.ifMatch = wrongETag },
	}
	if way == WayCopy {
		refusals = append(refusals, func(r *request, modified time.Time) {
			past := modified.Add(-time.Hour)
			r.unmodifiedSince = &past
		})
	}
	for _, spoil := range refusals {
		before, modified, err := p.look(ctx)
		if err != nil {
			return false, false, err
		}
		r := p.next(before)
		spoil(&r, modified)
		honoured, err := p.try(ctx, r, way)
		if err != nil && !refusedOtherwise(err) {
			return false, false, err
		}
		after, _, err := p.look(ctx)
		if err != nil {
			return false, false, err
		}
		// A refusal counts only if it left everything as it was.
		conditional = conditional && honoured && maps.Equal(text(after), text(before))
	}

	before, modified, err := p.look(ctx)
	if err != nil {
		return false, false, err
	}
	r := p.next(before)
	r.ifMatch = before.etag()
	if way == WayCopy {
		r.unmodifiedSince = &modified
	}
	refused, err := p.try(ctx, r, way)
	if err != nil && !refusedOtherwise(err) {
		return false, false, err
	}
	taken := !refused && err == nil
	after, got, err := p.s.read(ctx, p.key, 2*int64(len(canaryBody)))
	if err != nil {
		return false, false, err
	}
	done := taken && text(after)[stepName] == r.meta[stepName] && bytes.Equal(got, body) && maps.Equal(after.carried(), r.headers)
	return conditional && done, done && maps.Equal(text(after), r.meta), nil
}

// look reads the canary as it is now.
func (p *probe) look(ctx context.Context) (object, time.Time, error) {
	o, err := p.s.head(ctx, p.key)
	if err != nil {
		return o, time.Time{}, err
	}
	modified, err := o.modified()
	return o, modified, err
}

// next is a write that changes nothing but the number of the step.
func (p *probe) next(o object) request {
	p.step++
	meta := text(o)
	meta[stepName] = fmt.Sprint(p.step)
	return request{key: p.key, meta: meta, headers: o.carried()}
}

// try makes one write. refused says that the endpoint answered that a condition
// failed.
func (p *probe) try(ctx context.Context, r request, way string) (refused bool, err error) {
	var (
		n       attempts
		version *string
	)
	p.written = true
	if way == WayCopy {
		out, copyErr := p.s.copy(ctx, r, &n)
		if err = copyErr; err == nil {
			version = out.VersionId
		}
	} else {
		out, putErr := p.s.put(ctx, r, bytes.NewReader(canaryBody), int64(len(canaryBody)), "", &n)
		if err = putErr; err == nil {
			version = out.VersionId
		}
	}
	if version != nil {
		p.versions = append(p.versions, *version)
	}
	if status(err) == http.StatusPreconditionFailed {
		return true, nil
	}
	return false, err
}

// refusedOtherwise says that the endpoint does not take such a request at all.
// That rules out the way, and not the run.
func refusedOtherwise(err error) bool {
	st := status(err)
	return st == http.StatusNotImplemented || st >= 400 && st < 500 && st != http.StatusUnauthorized && st != http.StatusForbidden && runCode(awserr.Code(err)) == nil
}

func text(o object) map[string]string {
	m := make(map[string]string)
	for name, value := range o.meta() {
		m[name] = string(value)
	}
	return m
}

func (p *probe) fail(err error) error {
	var run *sources.RunError
	if errors.As(err, &run) {
		run.Strikes = 0
		return run
	}
	err = fmt.Errorf("trying what the endpoint honours on %s: %w", p.s.name(p.key), awserr.Plain(err))
	if denied(err) {
		return &sources.RunError{Where: whereWrite, Err: err, Hint: "Allow s3:PutObject, s3:GetObject and s3:DeleteObject on " + p.s.arn()}
	}
	return runError(whereWrite, err)
}

// clean removes the canary: first every version that an answer named, then
// whatever is still there, which is an object without versions or a version
// whose answer was lost. Deleting by version leaves no delete marker.
func (p *probe) clean(ctx context.Context) {
	if !p.written {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	for _, v := range p.versions {
		p.delete(ctx, v)
	}
	for range 3 {
		o, err := p.s.head(ctx, p.key)
		if errors.Is(err, sources.ErrGone) {
			return
		}
		if err != nil || !p.delete(ctx, o.header.Get("X-Amz-Version-Id")) {
			break
		}
	}
	p.s.notice("the canary %s is left behind; it may be deleted", p.s.name(p.key))
}

func (p *probe) delete(ctx context.Context, version string) bool {
	_, err := p.s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &p.s.c.Bucket, Key: &p.key, VersionId: nonEmpty(version)})
	if err != nil && status(err) != http.StatusNotFound {
		p.s.notice("deleting the canary %s (s3:DeleteObject, and s3:DeleteObjectVersion where there are versions): %v", p.s.name(p.key), awserr.Plain(err))
		return false
	}
	return true
}
