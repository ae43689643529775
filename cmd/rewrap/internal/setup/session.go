// Package setup opens the source, the keys and the format of a job, with the
// clients of AWS that they need. It finds out whether the job can be done at all,
// and writes nothing.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"rewrap/checkpoint"
	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/move"
	"rewrap/sources/cloud"
)

// Say writes a line for people. It is called from many goroutines.
type Say func(format string, args ...any)

// Session is a job with everything opened that it needs. Nothing of it changes
// after [Open] has made it.
type Session struct {
	Job    job.Job
	Dir    string // the state directory
	Cloud  *cloud.Cloud
	Source Source
	Format envelope.Format
	Keys   Keys
	Match  func(name string) bool // nil: every item is in scope

	// How base64 is written where an item does not show it; see [Session.Learn].
	Learned b64.Style
	asked   bool           // the checkpoint or the first items were asked for it
	Base64  *report.Base64 // nil: it makes no difference
}

// Open opens the source and the keys of a job for a command. The source is
// begun for looking. The caller has to close the session.
func Open(ctx context.Context, j job.Job, c job.Command, say Say) (*Session, error) {
	match, err := j.Scope.Match()
	if err != nil {
		return nil, err
	}
	format, err := j.Payload(0)
	if err != nil {
		return nil, err
	}
	local := j.Keys.Keyring.File != ""
	if !local && len(j.Keys.From) == 0 && !j.Format.NamesKey() {
		return nil, job.Usage("items of the format %s do not record their key: name it with --from", format.Name())
	}
	callsAWS := j.Place.OnAWS() || !local || j.Keys.Keyring.KMS != ""
	clients, err := Cloud(ctx, j.Pace, callsAWS, say)
	if err != nil {
		return nil, err
	}
	dir := j.StateDir()
	pinned, err := pinnedTargets(dir, c == job.Run && !j.State.Restart)
	if err != nil {
		return nil, err
	}
	source, err := OpenSource(ctx, j, dir, clients, say)
	if err != nil {
		return nil, err
	}
	if p := j.Plan; p != nil && p.Endpoint != source.Endpoint {
		err = job.Usage("the plan was made at the endpoint %q, and this job uses %q: make a plan there", p.Endpoint, source.Endpoint)
		return nil, errors.Join(err, source.Close())
	}
	k, err := openKeys(ctx, j.Keys, c, pinned, clients, say)
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	return &Session{Job: j, Dir: dir, Cloud: clients, Source: source, Format: format, Keys: k, Match: match}, nil
}

// Cloud makes the clients of AWS. They are configured if they are to be
// called.
func Cloud(ctx context.Context, p job.Pace, called bool, say Say) (*cloud.Cloud, error) {
	c := cloud.New(cloud.Config{Connections: p.Workers * 4, KMS: p.KMS.PerSecond, Store: p.Store.PerSecond, Notice: say.line})
	if !called {
		return c, nil
	}
	return c, c.Configure(ctx)
}

func (say Say) line(msg string) { say("%s", msg) }

// pinnedTargets are the targets of the pass that a command resumes; nil: it
// resumes none.
func pinnedTargets(dir string, resumes bool) (map[string]string, error) {
	if !resumes {
		return nil, nil
	}
	st, err := checkpoint.Read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, StateError(err)
	case st.Snapshot.Ended:
		return nil, nil
	}
	return st.Snapshot.Targets, nil
}

// Identity tells the job from others. A run does not resume in the state directory
// of another job.
func (s *Session) Identity() []checkpoint.Field {
	fields := s.Job.Identity()
	if s.Source.Endpoint != "" {
		fields = append(fields, checkpoint.Field{Name: "endpoint", Value: s.Source.Endpoint})
	}
	return append(fields, s.Keys.identity()...)
}

// Close closes the source. An error of that loses nothing and is dropped, since
// every edit was durable when it was made.
func (s *Session) Close() { _ = s.Source.Close() }

// Mover moves the wrapped keys of the job's items.
func (s *Session) Mover() *move.Payload {
	return move.NewPayload(s.Format, s.Keys.Rewrapper, s.Job.Pace.Workers)
}

// StateError says what to do about a state directory that cannot be read or
// written. It is called before anything in the source is changed.
func StateError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: make room for the state directory, or name one elsewhere with --state; nothing was changed", err)
	case errors.As(err, new(syscall.Errno)): // other errors say it themselves
		return fmt.Errorf("%w: name a state directory elsewhere with --state; nothing was changed", err)
	}
	return err
}
