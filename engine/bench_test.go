package engine_test

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"testing"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/engine/move"
	"rewrap/sources"
)

// nothing is a rewrapper that costs nothing.
type nothing struct{}

func (nothing) Traits() keys.Traits { return keys.Traits{How: account.HowKMS, Service: true} }

func (nothing) Rewrap(_ context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
	return envelope.Rewrapped{Blob: append([]byte("v2"), k.Blob[2:]...), From: account.KeyVersion{ARN: "key", Material: "v1"}, To: account.KeyVersion{ARN: "key", Material: "v2"}}, nil
}

// still is a source that costs nothing: its items never change, and every edit
// is said to have landed.
type still struct {
	sources.Source // what the engine does not call
	views          []sources.View
}

func newStill(n int) still {
	s := still{views: make([]sources.View, n)}
	for i := range s.views {
		id := fmt.Sprintf("a/%05d", i)
		s.views[i] = sources.View{Ref: sources.Ref{ID: id, Name: id, Cursor: sources.Cursor(id)}, Rev: "1",
			Meta: map[string][]byte{"k": fmt.Appendf(nil, "v1/%d", i), "other": []byte("stays")}}
	}
	return s
}

func (s still) Spans(context.Context, int) ([]sources.Span, error) {
	half := strconv.Itoa(len(s.views) / 2)
	return []sources.Span{{ID: "first", Data: half}, {ID: "second", Data: half}}, nil
}

func (s still) List(_ context.Context, sp sources.Span, _ sources.Cursor) iter.Seq2[sources.Ref, error] {
	half, _ := strconv.Atoi(sp.Data)
	part := s.views[:half]
	if sp.ID == "second" {
		part = s.views[half:]
	}
	return func(yield func(sources.Ref, error) bool) {
		for i := range part {
			if !yield(part[i].Ref, nil) {
				return
			}
		}
	}
}

func (s still) Read(_ context.Context, r sources.Ref, _ sources.Want) (sources.View, error) {
	i, err := strconv.Atoi(r.ID[len("a/"):])
	return s.views[i], err
}

func (still) Plan(_ context.Context, v sources.View, e sources.Edit) (sources.Plan, error) {
	return sources.Plan{View: v, Edit: e, Way: "none", Undo: sources.UndoOf(v, e)}, nil
}

func (still) Apply(context.Context, sources.Plan) (sources.Result, error) {
	return sources.Result{Rev: "2"}, nil
}

func (still) Finish(context.Context) error { return nil }

// BenchmarkRun is the engine with a source, a format and a rewrapper that cost
// next to nothing: with nothing kept, and with checkpoint, undo journal and
// audit log at their defaults.
func BenchmarkRun(b *testing.B) {
	const n = 20_000
	src := newStill(n)
	for _, kept := range []bool{false, true} {
		b.Run(fmt.Sprintf("state=%v", kept), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var st *checkpoint.State
				if kept {
					b.StopTimer()
					var err error
					if st, err = checkpoint.Open(b.TempDir(), checkpoint.Options{}); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				rep, err := engine.Run(b.Context(), engine.Job{Source: src, Mover: move.NewPayload(tags{}, nothing{}, 64), State: st})
				if err != nil || rep.Items.Rewrapped != n {
					b.Fatalf("%+v, error %v; want %d rewrapped", rep.Items, err, n)
				}
				if kept {
					b.StopTimer()
					_ = st.Close()
					b.StartTimer()
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "items/s")
		})
	}
}
