package engine_test

import (
	"context"
	"fmt"
	"testing"

	"rewrap/checkpoint"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/engine/move"
)

// nothing is a rewrapper that costs nothing, so that what is measured is the
// engine.
type nothing struct{}

func (nothing) Traits() keys.Traits { return keys.Traits{How: account.HowKMS, Service: true} }

func (nothing) Rewrap(_ context.Context, k envelope.WrappedKey) (envelope.Rewrapped, error) {
	return envelope.Rewrapped{Blob: append([]byte("v2"), k.Blob[2:]...), From: account.KeyVersion{ARN: "key", Material: "v1"}, To: account.KeyVersion{ARN: "key", Material: "v2"}}, nil
}

// BenchmarkRun is the engine on items in memory: with nothing kept, and with
// checkpoint, undo journal and audit log at their defaults.
func BenchmarkRun(b *testing.B) {
	const n = 20_000
	for _, kept := range []bool{false, true} {
		b.Run(fmt.Sprintf("state=%v", kept), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				b.StopTimer()
				m := newMemory(stale(n))
				var st *checkpoint.State
				if kept {
					var err error
					if st, err = checkpoint.Open(b.TempDir(), checkpoint.Options{}); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				j := job(m, st)
				j.Mover, j.Workers = move.NewPayload(tags{}, nothing{}, 64), 64
				rep, err := engine.Run(b.Context(), j)
				if err != nil || rep.Items.Rewrapped != n {
					b.Fatalf("%+v, error %v", rep.Items, err)
				}
				b.StopTimer()
				if kept {
					_ = st.Close()
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "items/s")
		})
	}
}
