package setup

import (
	"context"
	"errors"
	"sync"
	"time"

	"rewrap/checkpoint"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/sources"
)

const (
	// learnItems is how many items are read at most to learn how the job writes
	// base64, and learnAtOnce how many of them side by side. The first is read
	// alone, and then twice as many each time: mostly the first shows it, and a
	// large item surely does.
	learnItems  = 200
	learnAtOnce = 20
	// learnNames is how many names are listed at most. Of a large source, --include
	// may leave few items, and they may stand last.
	learnNames = 100_000
	// learnQuietly is how long the search may take before people are told.
	learnQuietly = 2 * time.Second
)

// Learn settles how the job writes base64 where neither an old wrapped key nor
// its neighbours in the item show it. --base64 says it, or the checkpoint knows
// it from an earlier run, or the first items show it. It returns a session that
// uses that style. A command that writes, or forecasts writes, calls it before
// the first item.
//
// A keyring wraps again until the new blob reads the same in both alphabets, and
// needs no style, unless the id of its primary key differs between them.
func (s *Session) Learn(ctx context.Context, say Say) (*Session, error) {
	if !s.Job.Format.Text() || s.Keys.Local != nil && s.Keys.Local.Neutral() {
		return s, nil
	}
	said, err := b64.Parse(s.Job.Format.Base64)
	if err != nil {
		return nil, err
	}
	next := *s
	next.Base64 = &report.Base64{Style: said.String(), How: report.Base64Given}
	if said == 0 {
		slow := time.AfterFunc(learnQuietly, func() { say("reading the first items to learn how base64 is written in this job") })
		next.Base64, err = next.learn(ctx)
		slow.Stop()
		if err != nil {
			return nil, err
		}
	}
	next.Format, err = s.Job.Payload(next.Learned)
	return &next, err
}

// LearnedName is the learned style as the checkpoint keeps it: "auto" where the
// first items show none, "" where it was not asked.
func (s *Session) LearnedName() string {
	if !s.asked {
		return ""
	}
	return s.Learned.String()
}

// learn takes the style from the checkpoint or the first items. The result is
// for people; nil: the items seem to hold no text.
func (s *Session) learn(ctx context.Context) (*report.Base64, error) {
	s.asked = true
	// A state directory that cannot be read is reported when it is opened.
	if st, err := checkpoint.Read(s.Dir); err == nil && st.Snapshot.Learned != "" && !s.Job.State.Restart {
		learned, err := b64.Parse(st.Snapshot.Learned)
		switch {
		case err != nil:
			return nil, err
		case learned != 0:
			s.Learned = learned
			return &report.Base64{Style: learned.String(), How: report.Base64Earlier}, nil
		case !st.Snapshot.Ended: // this pass has searched in vain
			return &report.Base64{Style: written(0).String(), How: report.Base64Assumed}, nil
		}
	}
	var found search
	found.items(ctx, s.Source, s.Format, s.Match)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	s.Learned = b64.Learn(found.shown)
	switch {
	case found.alphabet:
		return &report.Base64{Style: s.Learned.String(), How: report.Base64Shown}, nil
	case found.text:
		return &report.Base64{Style: written(s.Learned).String(), How: report.Base64Assumed}, nil
	}
	return nil, nil
}

// written is the style that is written where nothing shows one.
func written(s b64.Style) b64.Style {
	if s == 0 {
		return b64.Std | b64.Padded
	}
	return s
}

// search looks for the first item of a source that shows the alphabet.
type search struct {
	shown    []b64.Style // of each item that shows something, in the order of the listing
	alphabet bool        // the last of them shows the alphabet
	text     bool        // an item holds base64
}

// items reads the first items, some side by side, until one shows the alphabet.
// It ends early where the listing fails, or where the run itself is in doubt: the
// run meets the same, and reports it.
func (f *search) items(ctx context.Context, src sources.Source, format envelope.Format, match func(string) bool) {
	spans, err := src.Spans(ctx, 1)
	if err != nil {
		return
	}
	var batch []sources.Ref
	listed, read, atOnce := 0, 0, 1
	for _, span := range spans {
		for ref, err := range src.List(ctx, span, "") {
			listed++
			if err != nil || listed > learnNames {
				break
			}
			if match != nil && !match(ref.Name) {
				continue
			}
			batch = append(batch, ref)
			if len(batch) < min(atOnce, learnItems-read) {
				continue
			}
			read += len(batch)
			if !f.read(ctx, src, format, batch) || read == learnItems {
				return
			}
			batch, atOnce = batch[:0], min(2*atOnce, learnAtOnce)
		}
	}
	f.read(ctx, src, format, batch)
}

// read looks at some items. It reports whether to go on.
func (f *search) read(ctx context.Context, src sources.Source, format envelope.Format, refs []sources.Ref) (more bool) {
	seen := make([]glance, len(refs))
	var all sync.WaitGroup
	for i, ref := range refs {
		all.Go(func() {
			seen[i].format = format
			ev := engine.Look(ctx, src, &seen[i], ref)
			seen[i].doubt = errors.As(ev.Err, new(*sources.RunError))
		})
	}
	all.Wait()
	doubts := 0
	for i := range seen {
		g := &seen[i]
		f.text = f.text || g.text
		if g.doubt {
			doubts++
		}
		if g.style == 0 {
			continue
		}
		f.shown = append(f.shown, g.style)
		if alphabet := g.style & (b64.Std | b64.URL); alphabet == b64.Std || alphabet == b64.URL {
			f.alphabet = true
			return false
		}
	}
	return doubts < len(refs) && ctx.Err() == nil
}

// glance is a mover that moves nothing. It notes what one item shows of the way
// base64 is written.
type glance struct {
	format envelope.Format
	style  b64.Style
	text   bool // the item holds base64
	doubt  bool // the run itself is in doubt, not the item
}

// Want implements [engine.Mover].
func (g *glance) Want() sources.Want { return sources.Want{Head: g.format.Head()} }

// Move implements [engine.Mover].
func (g *glance) Move(_ context.Context, v sources.View, _ *engine.Room) (engine.Move, error) {
	env, err := g.format.Parse(v)
	if errors.Is(err, envelope.ErrForeign) {
		return engine.Move{}, nil
	}
	g.style, g.text = env.Style, env.Style != 0
	for _, k := range env.Keys {
		g.text = g.text || k.Assumes != nil
	}
	return engine.Move{}, err
}

// Landed implements [engine.Mover]. A glance makes no edits.
func (g *glance) Landed(sources.View, checkpoint.Entry) bool { return false }
