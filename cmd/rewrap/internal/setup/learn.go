package setup

import (
	"context"
	"errors"

	"rewrap/checkpoint"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/sources"
)

const (
	// learnItems is how many items are read at most to learn how the job writes
	// base64.
	learnItems = 200
	// learnBinary is how many items whose wrapped keys are no text are enough:
	// such a job does not use base64.
	learnBinary = 20
	// learnNames is how many names are listed at most. Of a large source, --include
	// may leave few items, and they may stand last.
	learnNames = 100_000
)

// Learn settles how the job writes base64 where neither an old wrapped key nor
// its neighbours in the item show it. --base64 says it, or the checkpoint knows
// it from an earlier run, or the first items show it. It returns a session that
// uses that style. A command that writes, or forecasts writes, calls it before
// the first item.
//
// With a keyring nothing is learned: it wraps again until the new blob reads the
// same in both alphabets.
func (s *Session) Learn(ctx context.Context) (*Session, error) {
	if !s.Job.Format.Text() || s.Keys.Local != nil {
		return s, nil
	}
	said, err := b64.Parse(s.Job.Format.Base64)
	if err != nil {
		return nil, err
	}
	learned, how := b64.Style(0), report.Base64Given
	if said == 0 {
		if learned, how, err = s.learn(ctx); err != nil {
			return nil, err
		}
	}
	next := *s
	next.Learned = learned
	next.Base64 = &report.Base64{Style: style(said | learned).String(), How: how}
	next.Format, err = s.Job.Payload(learned)
	return &next, err
}

// LearnedName is the learned style as the checkpoint keeps it.
func (s *Session) LearnedName() string {
	if s.Learned == 0 {
		return ""
	}
	return s.Learned.String()
}

// style is the style that is written if nothing shows one.
func style(s b64.Style) b64.Style {
	if s == 0 {
		return b64.Std | b64.Padded
	}
	return s
}

func (s *Session) learn(ctx context.Context) (b64.Style, string, error) {
	// A state directory that cannot be read is reported when it is opened.
	if st, err := checkpoint.Read(s.Dir); err == nil && st.Snapshot.Learned != "" && !s.Job.State.Restart {
		learned, err := b64.Parse(st.Snapshot.Learned)
		return learned, report.Base64Earlier, err
	}
	learned, err := firstItems(ctx, s.Source, s.Format, s.Match)
	if learned == 0 {
		return 0, report.Base64Assumed, err
	}
	return learned, report.Base64Shown, err
}

// firstItems is the style that the first items of a source show: it reads until
// one shows the alphabet. An item that cannot be read shows nothing, and the run
// itself says why.
func firstItems(ctx context.Context, src sources.Source, f envelope.Format, match func(string) bool) (b64.Style, error) {
	spans, err := src.Spans(ctx, 1)
	if err != nil {
		return 0, err
	}
	l, listed, read := &learner{format: f}, 0, 0
	for _, span := range spans {
		for ref, err := range src.List(ctx, span, "") {
			if err != nil {
				return 0, err
			}
			listed++
			if match == nil || match(ref.Name) {
				engine.Look(ctx, src, l, ref)
				read++
			}
			if ctx.Err() != nil || listed == learnNames || read == learnItems || l.binary == learnBinary || l.settled() {
				return b64.Learn(l.shown), context.Cause(ctx)
			}
		}
	}
	return b64.Learn(l.shown), context.Cause(ctx)
}

// learner is a mover that moves nothing. It notes what items show of the way
// base64 is written.
type learner struct {
	format envelope.Format
	shown  []b64.Style // of each item that shows something
	binary int         // items whose wrapped keys are no text
}

// settled says that the last item shows the alphabet.
func (l *learner) settled() bool {
	if len(l.shown) == 0 {
		return false
	}
	alphabet := l.shown[len(l.shown)-1] & (b64.Std | b64.URL)
	return alphabet == b64.Std || alphabet == b64.URL
}

// Want implements [engine.Mover].
func (l *learner) Want() sources.Want { return sources.Want{Head: l.format.Head()} }

// Move implements [engine.Mover].
func (l *learner) Move(_ context.Context, v sources.View, _ *engine.Room) (engine.Move, error) {
	env, err := l.format.Parse(v)
	switch {
	case errors.Is(err, envelope.ErrForeign):
	case err != nil:
		return engine.Move{}, err
	case env.Style != 0:
		l.shown = append(l.shown, env.Style)
	case allBinary(env.Keys):
		l.binary++
	}
	return engine.Move{}, nil
}

// allBinary says that every new blob can be written without a style.
func allBinary(keys []envelope.WrappedKey) bool {
	for _, k := range keys {
		if k.Assumes != nil || k.Err != nil {
			return false
		}
	}
	return true
}

// Landed implements [engine.Mover]. A learner makes no edits.
func (l *learner) Landed(sources.View, checkpoint.Entry) bool { return false }
