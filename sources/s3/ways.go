package s3

import (
	"context"
	"fmt"

	"rewrap/sources"
)

// The ways in which an object is written, as plans name them.
const (
	WayCopy = "CopyObject"
	WayPut  = "GetObject and PutObject"
	// WayPutRead is WayPut for a view that already holds the whole body.
	WayPutRead = "HeadObject and PutObject"
)

// honours says which promises of S3 an endpoint keeps.
type honours struct {
	Copy, Put                 bool // writes of this kind are conditional
	CopyVerbatim, PutVerbatim bool // writes of this kind store metadata values as they were sent

	Lists bool   // objects have access control lists (ACLs) of their own
	Owner string // the account that owns an object after the caller has written it

	// Assumed says that none of this was tried; see [Source.honoured]. Owner
	// is not known then.
	Assumed bool
}

// choose picks the way for an edit. body says that the edit changes the body.
// The error is a [sources.SkipError] where no way is safe.
func (h *honours) choose(key string, meta map[string]string, body bool) (string, error) {
	encoded := needsVerbatim(meta)
	copies := h.Copy && !body
	switch {
	case !copies && !h.Put:
		return "", &sources.SkipError{Reason: "no-conditional-write",
			Detail: fmt.Sprintf("%s: this endpoint does not refuse a write when the object has changed, so a concurrent writer's change could be lost", key)}
	case copies && (h.CopyVerbatim || !encoded):
		return WayCopy, nil
	case h.Put && (h.PutVerbatim || !encoded):
		return WayPut, nil
	}
	return "", &sources.SkipError{Reason: "metadata-encoding",
		Detail: fmt.Sprintf("%s has metadata that is not plain ASCII, and this endpoint changes such values when the object is written again", key)}
}

// needsVerbatim says that a value is encoded (RFC 2047) or has bytes that a
// server may encode, so that only a server that stores values as sent keeps it.
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

// honoured is what the canary found out. Before the canary, after Begin with
// Look, it is assumed that the endpoint keeps all promises. Whether objects have
// ACLs is asked even then: once, of the object with the key.
func (s *Source) honoured(ctx context.Context, key string) (*honours, error) {
	if h := s.honours.Load(); h != nil {
		return h, nil
	}
	s.assuming.Lock() // held for one request, which ends with its caller's context
	defer s.assuming.Unlock()
	if h := s.honours.Load(); h != nil {
		return h, nil
	}
	h := &honours{Copy: true, Put: true, CopyVerbatim: true, PutVerbatim: true, Assumed: true}
	var err error
	if h.Lists, _, err = s.lists(sources.Once(ctx), key); err != nil {
		return nil, err
	}
	s.honours.CompareAndSwap(nil, h)
	return s.honours.Load(), nil
}

// copyAnswer is the size of the answer to a copy in bytes, with a checksum (S3
// API Reference, CopyObject). The answers to other writes have no body.
const copyAnswer = 320

// costOf is what Apply takes for each way. before and after are the sizes of
// the body. The slices are shared: callers do not change them.
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
