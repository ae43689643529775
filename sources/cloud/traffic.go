package cloud

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"

	"rewrap/sources"
)

// Traffic is what a service was asked since the cloud was made. Requests
// counts attempts, throttled ones among them. The bytes are those of bodies;
// of KMS they are not counted.
type Traffic struct {
	Requests, Throttled int64
	In, Out             int64
}

// KMSTraffic is the traffic with KMS, in all Regions together.
func (c *Cloud) KMSTraffic() Traffic {
	s := c.kms.Stats()
	return Traffic{Requests: s.Requests, Throttled: s.Throttled}
}

// StoreTraffic is the traffic with S3.
func (c *Cloud) StoreTraffic() Traffic {
	s := c.store.Stats()
	return Traffic{Requests: s.Requests, Throttled: s.Throttled, In: c.traffic.in.Load(), Out: c.traffic.out.Load()}
}

// Operation is an operation of a service, by the service's own names: "KMS"
// and "ReEncrypt", "S3" and "CopyObject".
type Operation struct{ Service, Name string }

// The services of an [Operation].
const (
	ServiceKMS = "KMS"
	ServiceS3  = "S3"
)

// Use is what the calls of one operation took. A call that was retried counts
// once; its bytes are those of all attempts.
type Use struct {
	Calls   int64 // for items
	Once    int64 // for all items together, see [sources.Once]
	In, Out int64 // bytes of bodies received and sent
}

// Meter counts the calls that are made under a context, see [Metered]. The
// zero Meter is ready. Safe for concurrent use.
type Meter struct {
	mu   sync.Mutex
	used map[Operation]*counter
}

type counter struct {
	calls, once atomic.Int64
	bytes       traffic
}

// Used is what was counted so far. The map is the caller's.
func (m *Meter) Used() map[Operation]Use {
	m.mu.Lock()
	defer m.mu.Unlock()
	used := make(map[Operation]Use, len(m.used))
	for op, c := range m.used {
		used[op] = Use{c.calls.Load(), c.once.Load(), c.bytes.in.Load(), c.bytes.out.Load()}
	}
	return used
}

// Of sums up the operations of one service.
func (m *Meter) Of(service string) (sum Use) {
	for op, u := range m.Used() {
		if op.Service == service {
			sum = Use{sum.Calls + u.Calls, sum.Once + u.Once, sum.In + u.In, sum.Out + u.Out}
		}
	}
	return sum
}

func (m *Meter) counter(op Operation) *counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.used[op]
	if c == nil {
		if m.used == nil {
			m.used = make(map[Operation]*counter)
		}
		c = new(counter)
		m.used[op] = c
	}
	return c
}

type (
	meterKey   struct{} // holds a *Meter
	counterKey struct{} // holds the *counter of the call that is going on
)

// Metered makes every call under the context count in m. Under a context that
// is metered already, m takes the place of the meter before it.
func Metered(ctx context.Context, m *Meter) context.Context {
	return context.WithValue(ctx, meterKey{}, m)
}

// meter counts the calls of a client. It stands outside of the retries, so
// each call counts once.
func meter(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("rewrap.Meter", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		if m, ok := ctx.Value(meterKey{}).(*Meter); ok {
			c := m.counter(Operation{middleware.GetServiceID(ctx), middleware.GetOperationName(ctx)})
			if sources.IsOnce(ctx) {
				c.once.Add(1)
			} else {
				c.calls.Add(1)
			}
			ctx = context.WithValue(ctx, counterKey{}, c)
		}
		return next.HandleInitialize(ctx, in)
	}), middleware.Before)
}

// traffic counts the bytes of bodies that were received and sent.
type traffic struct{ in, out atomic.Int64 }

// counting counts the bytes of bodies, for the meter of the call and for all.
type counting struct {
	aws.HTTPClient
	all *traffic // nil: only meters count
}

func (c counting) Do(req *http.Request) (*http.Response, error) {
	counters := make([]*traffic, 0, 2)
	if c.all != nil {
		counters = append(counters, c.all)
	}
	if call, ok := req.Context().Value(counterKey{}).(*counter); ok {
		counters = append(counters, &call.bytes)
	}
	if len(counters) == 0 {
		return c.HTTPClient.Do(req)
	}
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &countedBody{req.Body, func(n int64) {
			for _, t := range counters {
				t.out.Add(n)
			}
		}}
	}
	res, err := c.HTTPClient.Do(req)
	if err == nil {
		res.Body = &countedBody{res.Body, func(n int64) {
			for _, t := range counters {
				t.in.Add(n)
			}
		}}
	}
	return res, err
}

type countedBody struct {
	io.ReadCloser
	add func(int64)
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.add(int64(n))
	return n, err
}
