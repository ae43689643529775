package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/cmd/rewrap/internal/job"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/cmd/rewrap/internal/setup"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/move"
	"rewrap/sources"
)

// inspection is what is known of one item, as scripts read it.
type inspection struct {
	Item     string         `json:"item"`
	Revision string         `json:"revision"`
	Size     int64          `json:"size"`
	Format   string         `json:"format"`
	Asked    bool           `json:"asked"` // the key service was asked about the keys
	Keys     []inspectedKey `json:"keys"`
}

type inspectedKey struct {
	Layer          string              `json:"layer"` // payload: as the format keeps it in the item
	Locator        string              `json:"locator"`
	Length         int                 `json:"length"` // bytes of the wrapped key
	SHA256         string              `json:"sha256"` // of the wrapped key; "" if there is none at the place
	RecordedKey    string              `json:"recorded_key,omitempty"`
	Context        map[string]string   `json:"context,omitempty"`
	AssociatedData string              `json:"associated_data,omitempty"`
	State          string              `json:"state,omitempty"` // asked: current, stale, foreign, unknown
	Under          *account.KeyVersion `json:"under,omitempty"`
	Target         *account.KeyVersion `json:"target,omitempty"` // where a stale key would go
	Error          string              `json:"error,omitempty"`
}

const (
	stateCurrent = "current"
	stateStale   = "stale"
	stateForeign = "foreign"
	stateUnknown = "unknown"
)

// look reads the item, and asks about its keys if a key or a keyring was named.
func look(ctx context.Context, s streams, j job.Job, id string) (*inspection, error) {
	in := &inspection{Item: j.Place.Item(id)}
	source, m, err := openItem(ctx, j, report.Speak(s.err))
	if err != nil {
		return nil, err
	}
	defer source.Close()
	in.Asked = m.payload != nil
	ev := engine.Look(ctx, source, m, sources.Ref{ID: id, Name: id})
	switch ev.Outcome {
	case account.Gone:
		return nil, fmt.Errorf("there is no item %s", in.Item)
	case account.Skipped:
		return nil, fmt.Errorf("%s is not re-wrapped (%s): %w", in.Item, ev.Reason, ev.Err)
	}
	var wait *sources.NotYetError
	switch {
	case errors.As(ev.Err, &wait):
		return nil, fmt.Errorf("%w; look again in a moment", wait)
	case ev.Err != nil:
		return nil, fmt.Errorf("%s: %w", in.Item, ev.Err)
	case m.foreign != nil:
		where := "in the format " + m.format.Name()
		if m.format.Name() == "auto" {
			where = "in any format that is looked for"
		}
		return nil, fmt.Errorf("foreign: %s holds no wrapped key %s%s", in.Item, where, foreignDetail(m.foreign))
	}
	in.Revision, in.Size, in.Format, in.Keys = ev.RevBefore, m.size, ev.Format, m.keys
	return in, nil
}

// openItem opens the source of the one item, and makes the mover that looks at
// it. Keys are opened only if some were named.
func openItem(ctx context.Context, j job.Job, say setup.Say) (sources.Source, *inspector, error) {
	if len(j.Keys.From) > 0 || j.Keys.To != "" || j.Keys.Keyring.File != "" {
		se, err := setup.Open(ctx, j, job.Verify, say)
		if err != nil {
			return nil, nil, err
		}
		return se.Source, &inspector{format: se.Format, payload: se.Mover(), local: se.Keys.Local != nil}, nil
	}
	format, err := j.Payload(0)
	if err != nil {
		return nil, nil, err
	}
	clients, err := setup.Cloud(ctx, j.Pace, j.Place.OnAWS(), say)
	if err != nil {
		return nil, nil, err
	}
	source, err := setup.OpenSource(ctx, j, j.StateDir(), clients, say)
	return source, &inspector{format: format}, err
}

// inspector is a mover that moves nothing. It notes what it finds in one item.
type inspector struct {
	format  envelope.Format
	payload *move.Payload // nil: the keys are not asked about
	local   bool          // a keyring is asked

	size    int64
	keys    []inspectedKey
	foreign error // the item holds no wrapped key
}

// Want implements [engine.Mover].
func (i *inspector) Want() sources.Want { return sources.Want{Head: i.format.Head()} }

// Move implements [engine.Mover]. It starts afresh each time, since an item may be
// read more than once.
func (i *inspector) Move(ctx context.Context, v sources.View, room *engine.Room) (engine.Move, error) {
	var env envelope.Envelope
	var answers []move.Answer
	var err error
	if i.payload != nil {
		env, answers, err = i.payload.Ask(ctx, v, room)
	} else {
		env, err = i.format.Parse(v)
	}
	i.size, i.keys, i.foreign = v.Size, nil, nil
	if errors.Is(err, envelope.ErrForeign) {
		i.foreign = err
		return engine.Move{}, nil
	}
	if err != nil {
		return engine.Move{}, err
	}
	i.keys = make([]inspectedKey, len(env.Keys))
	for n, w := range env.Keys {
		i.keys[n] = inspected(w)
		if answers != nil && w.Err == nil {
			i.keys[n].answered(w, answers[n], i.local)
		}
	}
	return engine.Move{Found: engine.Found{Format: env.Format}}, nil
}

// Landed implements [engine.Mover]. An inspector makes no edits.
func (i *inspector) Landed(sources.View, checkpoint.Entry) bool { return false }

// inspected is what the item itself shows of a wrapped key.
func inspected(w envelope.WrappedKey) inspectedKey {
	k := inspectedKey{
		Layer: "payload", Locator: w.Locator, Length: len(w.Blob),
		RecordedKey: w.KeyID, Context: w.Context, AssociatedData: string(w.AssociatedData),
	}
	if w.Err != nil {
		k.State, k.Error = stateUnknown, w.Err.Error()
		return k
	}
	sum := sha256.Sum256(w.Blob)
	k.SHA256 = hex.EncodeToString(sum[:])
	return k
}

// answered adds what the rewrapper said of the key.
func (k *inspectedKey) answered(w envelope.WrappedKey, a move.Answer, local bool) {
	switch {
	case !a.Asked:
		k.State, k.Error = stateUnknown, "not asked"
	case errors.Is(a.Err, envelope.ErrForeign):
		k.State = stateForeign
		if local { // a keyring says which key the blob names
			k.Error = a.Err.Error()
		}
	case a.Err != nil:
		k.State, k.Error = stateUnknown, a.Err.Error()
		if w.Hint != "" && !errors.As(a.Err, new(*sources.RunError)) {
			k.Error += "; " + w.Hint
		}
	case a.Current:
		k.State, k.Under = stateCurrent, &a.From
	default:
		k.State, k.Under, k.Target = stateStale, &a.From, &a.To
	}
}

// foreignDetail is the reason why a format calls the item foreign.
func foreignDetail(err error) string {
	detail := strings.TrimPrefix(err.Error(), envelope.ErrForeign.Error())
	if detail == "" {
		return " (see rewrap formats)"
	}
	return detail
}

// verdict is the exit code, after the inspection was printed.
func (in *inspection) verdict() error {
	states := make(map[string]int)
	for i := range in.Keys {
		states[in.Keys[i].State]++
	}
	switch n := len(in.Keys); {
	case states[stateUnknown] > 0:
		return fmt.Errorf("it could not be found out which key %d of %d wrapped keys are under", states[stateUnknown], n)
	case states[stateForeign] == n:
		return errors.New("foreign: no wrapped key of the item is under a key that was named")
	}
	return nil
}
