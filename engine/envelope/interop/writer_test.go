package interop

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// writer replaces and deletes objects through the client, and remembers what
// it did last to each.
type writer struct {
	w  *world
	mu sync.Mutex // held for a whole write: so there is a last one

	rng   *rand.Rand
	last  map[string]plain
	gone  map[string]bool
	count int
}

func (wr *writer) write(ctx context.Context, key string) error {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	p, ok := wr.last[key]
	if !ok || wr.gone[key] {
		return nil
	}
	wr.count++
	if wr.rng.IntN(8) == 0 {
		wr.gone[key] = true
		_, err := wr.w.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key})
		return err
	}
	p.body = make([]byte, 1+wr.rng.IntN(500))
	for i := range p.body {
		p.body[i] = byte(wr.rng.Uint32())
	}
	wr.last[key] = p
	return putV3(ctx, wr.w, []string{wr.w.a, wr.w.b}[wr.rng.IntN(2)], p)
}

// rival has the writer write while rewrap changes objects: now and then the very
// object whose change has left rewrap and not reached S3, and otherwise any
// object, side by side with the run.
type rival struct {
	writer    *writer
	all       []plain
	elsewhere chan string // keys to be written side by side with the run

	mu       sync.Mutex
	dice     *rand.Rand
	collided int
	failed   error // the first failure
}

func (r *rival) write(ctx context.Context, key string) {
	if err := r.writer.write(ctx, key); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.failed == nil {
			r.failed = err
		}
	}
}

func (r *rival) serve(op string, rw http.ResponseWriter, req *http.Request, next http.Handler) {
	if isChange(op, req) {
		r.mu.Lock()
		collide, other := r.dice.IntN(10) == 0, r.all[r.dice.IntN(len(r.all))].key
		if collide {
			r.collided++
		}
		r.mu.Unlock()
		if collide {
			r.write(context.WithoutCancel(req.Context()), strings.TrimPrefix(req.URL.Path, "/"+bucket+"/"))
		} else {
			select {
			case r.elsewhere <- other:
			default:
			}
		}
	}
	next.ServeHTTP(rw, req)
}

// writeElsewhere writes every fifth of the keys in elsewhere, until ctx ends.
func (r *rival) writeElsewhere(ctx context.Context) {
	for n := 0; ; n++ {
		select {
		case key := <-r.elsewhere:
			if n%5 == 0 {
				r.write(context.WithoutCancel(ctx), key)
			}
		case <-ctx.Done():
			return
		}
	}
}

// While a run goes on, a writer that does not know of it replaces and deletes
// objects, in the worst moment too. The writer always wins.
func TestConcurrentWriter(t *testing.T) {
	w, rng := newWorld(t), seeded(t)
	all := fleet(objects(t)/5, rng)
	w.store(t, w.a, all)
	w.settle()

	wr := &writer{w: w, rng: rng, last: map[string]plain{}, gone: map[string]bool{}}
	for _, p := range all {
		wr.last[p.key] = p
	}
	r := &rival{writer: wr, all: all, elsewhere: make(chan string, len(all)), dice: rand.New(rand.NewPCG(rng.Uint64(), 0))}
	w.Hook(r.serve)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.writeElsewhere(ctx) })

	// rewrap waits for objects that the writer wrote just now. It may give up one
	// that is written all the time, and then says that the run is not complete.
	j := newJob(t, w, "--from", "alias/a", "--to", "alias/b")
	first := j.once(t, 0, 3)
	stop()
	wg.Wait()
	w.Hook(nil)
	if r.failed != nil {
		t.Fatal(r.failed)
	}
	if r.collided < len(all)/50 || wr.count < len(all)/10 {
		t.Fatalf("%d collisions, %d writes: this proves little", r.collided, wr.count)
	}
	t.Logf("%d writes, %d of them into a change; first pass %s %+v", wr.count, r.collided, first.Result, first.Items)
	left := wr.left(t)

	// Now nobody writes, and the next pass finds what came under A meanwhile.
	before := w.snapshot(t, left)
	w.settle()
	second := j.once(t, 0)
	if second.Items.Seen != len(left) || second.Items.Rewrapped+second.Items.Current != len(left) {
		t.Errorf("second pass: %+v, want %d in all", second.Items, len(left))
	}
	after := w.snapshot(t, left)
	for key, was := range before {
		if what := was.sameBut(after[key]); what != "" {
			t.Errorf("%q: the %s changed", key, what)
		}
	}
	w.Disable(w.a)
	w.opened(t, w.b, left)
}

// left wants every object to be what the writer wrote last, or gone, and returns
// those that are there.
func (wr *writer) left(t *testing.T) (left []plain) {
	t.Helper()
	for key, p := range wr.last {
		if !wr.gone[key] {
			left = append(left, p)
			continue
		}
		if _, err := wr.w.read(t.Context(), key); err == nil {
			t.Errorf("%q was deleted, and is there again", key)
		}
	}
	each(t, left, func(ctx context.Context, p plain) error {
		got, err := getAny(ctx, wr.w, p.key)
		if err != nil {
			return fmt.Errorf("%q: %w", p.key, err)
		}
		if !bytes.Equal(got, p.body) {
			t.Errorf("%q is not what was written last", p.key)
		}
		return nil
	})
	return left
}
