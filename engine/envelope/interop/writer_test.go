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

// While a run goes on, a writer that knows nothing of it replaces and deletes
// objects, in the worst moment too: when the change to that very object has
// left rewrap and not reached S3. The writer always wins.
func TestConcurrentWriter(t *testing.T) {
	w, rng := newWorld(t), seeded(t)
	all := fleet(objects(t)/5, rng)
	w.store(t, w.a, all)
	w.settle()

	wr := &writer{w: w, rng: rng, last: map[string]plain{}, gone: map[string]bool{}}
	for _, p := range all {
		wr.last[p.key] = p
	}
	failed := make(chan error, 1)
	report := func(err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}
	var (
		dice      = rand.New(rand.NewPCG(rng.Uint64(), 0))
		mu        sync.Mutex
		collided  int
		elsewhere = make(chan string, len(all)) // the rest of the writes, side by side with the run
	)
	w.Hook(func(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if isChange(op, r) {
			mu.Lock()
			collide, other := dice.IntN(10) == 0, all[dice.IntN(len(all))].key
			mu.Unlock()
			if collide {
				report(wr.write(t.Context(), strings.TrimPrefix(r.URL.Path, "/"+bucket+"/")))
				mu.Lock()
				collided++
				mu.Unlock()
			} else {
				select {
				case elsewhere <- other:
				default:
				}
			}
		}
		next.ServeHTTP(rw, r)
	})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case key := <-elsewhere:
				if n%5 == 0 {
					report(wr.write(t.Context(), key))
				}
			case <-ctx.Done():
				return
			}
		}
	})

	// Objects that the writer wrote just now are waited for; one that it is
	// always writing may be given up, and then the run says that it is not
	// complete.
	j := newJob(t, w, "--from", "alias/a", "--to", "alias/b")
	first := j.once(t, 0, 3)
	stop()
	wg.Wait()
	w.Hook(nil)
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	if collided < len(all)/50 || wr.count < len(all)/10 {
		t.Fatalf("%d collisions, %d writes: this proves little", collided, wr.count)
	}
	t.Logf("%d writes, %d of them into a change; first pass %s %+v", wr.count, collided, first.Result, first.Items)

	var left []plain
	for key, p := range wr.last {
		if !wr.gone[key] {
			left = append(left, p)
			continue
		}
		if _, err := w.read(t.Context(), key); err == nil {
			t.Errorf("%q was deleted, and is there again", key)
		}
	}
	each(t, left, func(ctx context.Context, p plain) error {
		got, err := getAny(ctx, w, p.key)
		if err != nil {
			return fmt.Errorf("%q: %w", p.key, err)
		}
		if !bytes.Equal(got, p.body) {
			t.Errorf("%q is not what was written last", p.key)
		}
		return nil
	})

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
