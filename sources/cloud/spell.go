package cloud

import (
	"errors"
	"fmt"
	"sync"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/sources"
)

// spell is a time in which a service answers nothing but throttles. It begins
// with the first throttle and ends with any other answer to any request. A
// service that is not called for a while is therefore not taken for one that
// does not answer. The operator is told of a long spell. A very long one is an
// outage. Safe for concurrent use.
type spell struct {
	service string
	notice  func(string)
	now     func() time.Time

	mu    sync.Mutex
	since time.Time // zero: no spell is going on
	told  bool
}

const (
	spellNotice = 30 * time.Second
	spellLimit  = 5 * time.Minute
)

// heard takes in how an attempt ended.
func (s *spell) heard(err error) {
	var answer *smithyhttp.ResponseError
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case throttled(err):
		now := s.now()
		if s.since.IsZero() {
			s.since = now
		}
		if !s.told && now.Sub(s.since) >= spellNotice {
			s.told = true
			s.notice(fmt.Sprintf("%s has throttled every request for %v; waiting for it up to %v", s.service, now.Sub(s.since).Round(time.Second), spellLimit))
		}
	case err == nil, errors.As(err, &answer) && !errors.Is(err, sources.ErrCredentials):
		s.since, s.told = time.Time{}, false
	}
}

// over is the error that ends a call which was throttled with err. It is nil
// while waiting is worth it.
func (s *spell) over(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() || s.now().Sub(s.since) < spellLimit {
		return nil
	}
	return fmt.Errorf("%w: %s throttled for %v without one answer: %w", sources.ErrThrottled, s.service, s.now().Sub(s.since).Round(time.Second), err)
}
