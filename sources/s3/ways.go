package s3

import (
	"context"
	"fmt"

	"rewrap/sources"
)

// The ways in which an object is written.
const (
	WayCopy = "CopyObject"
	WayPut  = "GetObject and PutObject"
	// WayPutRead is WayPut where the view has the whole body already.
	WayPutRead = "HeadObject and PutObject"
)

// ways is what an endpoint honours.
type ways struct {
	Copy, Put                 bool // the way is conditional
	CopyVerbatim, PutVerbatim bool // it takes metadata values as it gives them

	// Lists says that objects have access control lists of their own that
	// count, Owner whom a write of the caller makes an object's owner.
	Lists bool
	Owner string

	// Assumed says that this was not found out; see [Source.honoured]. Owner
	// is not known then.
	Assumed bool
}

// choose picks the way for an edit, or refuses.
func (w *ways) choose(key string, meta map[string]string, body bool) (string, error) {
	encoded := needsVerbatim(meta)
	copies := w.Copy && !body
	switch {
	case !copies && !w.Put:
		return "", &sources.SkipError{Reason: "no-conditional-write",
			Detail: fmt.Sprintf("%s: this endpoint does not refuse a write when the object has changed, so a concurrent writer's change could be lost", key)}
	case copies && (w.CopyVerbatim || !encoded):
		return WayCopy, nil
	case w.Put && (w.PutVerbatim || !encoded):
		return WayPut, nil
	}
	return "", &sources.SkipError{Reason: "metadata-encoding",
		Detail: fmt.Sprintf("%s has metadata that is not plain ASCII, and this endpoint changes such values when the object is written again", key)}
}

// needsVerbatim: the value has been encoded, or has bytes that may be.
func needsVerbatim(meta map[string]string) bool {
	for _, value := range meta {
		for i := 0; i < len(value); i++ {
			if value[i] >= 0x80 || value[i] == '=' && i+1 < len(value) && value[i+1] == '?' {
				return true
			}
		}
	}
	return false
}

// honoured is what the endpoint honours: as it was found out, or as it is
// assumed to be until Begin with Write finds it out. Only the question whether
// ACLs count is asked now, once, on the object with the key.
func (s *Source) honoured(ctx context.Context, key string) (*ways, error) {
	if w := s.ways.Load(); w != nil {
		return w, nil
	}
	s.assuming.Lock() // for one request, which ends with the caller's context
	defer s.assuming.Unlock()
	if w := s.ways.Load(); w != nil {
		return w, nil
	}
	w := &ways{Copy: true, Put: true, CopyVerbatim: true, PutVerbatim: true, Assumed: true}
	var err error
	if w.Lists, _, err = s.lists(ctx, key); err != nil {
		return nil, err
	}
	s.ways.CompareAndSwap(nil, w)
	return s.ways.Load(), nil
}

// copyAnswer is how many bytes the answer to a copy has, with a checksum (S3
// API Reference, CopyObject). Other writes are answered without a body.
const copyAnswer = 320

// costOf is what an edit costs by its way. The slices are shared and not to be
// changed.
func costOf(way string, before, after int64) sources.Cost {
	switch way {
	case WayCopy:
		return sources.Cost{Requests: copyRequests, In: copyAnswer}
	case WayPut:
		return sources.Cost{Requests: putRequests, In: before, Out: after}
	}
	return sources.Cost{Requests: putReadRequests, Out: after}
}

var (
	copyRequests    = []sources.Request{{Op: "CopyObject", N: 1}}
	putRequests     = []sources.Request{{Op: "GetObject", N: 1}, {Op: "PutObject", N: 1}}
	putReadRequests = []sources.Request{{Op: "HeadObject", N: 1}, {Op: "PutObject", N: 1}}
)
