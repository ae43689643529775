package forecast

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"rewrap/sources"
)

// sample is a uniform sample of the names of a source: those with the smallest
// hashes. It does not depend on the order in which names are seen, so spans
// are listed side by side. It is the same each time, as long as the names are.
type sample struct {
	size    int
	mu      sync.Mutex
	listed  int64 // also names out of scope
	inScope int64
	picks   picks
}

type pick struct {
	hash uint64
	ref  sources.Ref
}

// picks is a heap with the greatest hash on top.
type picks []pick

func (p picks) Len() int           { return len(p) }
func (p picks) Less(i, j int) bool { return p[i].hash > p[j].hash }
func (p picks) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *picks) Push(x any)        { *p = append(*p, x.(pick)) }
func (p *picks) Pop() any {
	old := *p
	last := old[len(old)-1]
	*p = old[:len(old)-1]
	return last
}

func (s *sample) meet(ref sources.Ref, inScope bool) {
	sum := sha256.Sum256([]byte("rewrap plan\x00" + ref.ID))
	h := binary.BigEndian.Uint64(sum[:8])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed++
	if !inScope {
		return
	}
	s.inScope++
	switch {
	case len(s.picks) < s.size:
		heap.Push(&s.picks, pick{h, ref})
	case h < s.picks[0].hash:
		s.picks[0] = pick{h, ref}
		heap.Fix(&s.picks, 0)
	}
}

// spans is how many parts a listing is split into. A run has as many, so both
// cost the same requests.
const spans = 8

// draw lists the source, as a run does.
func (s *sample) draw(ctx context.Context, src sources.Source, match func(string) bool) error {
	parts, err := src.Spans(ctx, spans)
	if err != nil {
		return fmt.Errorf("splitting the source: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		g.Go(func() error {
			for ref, err := range src.List(ctx, part, "") {
				if err != nil {
					return fmt.Errorf("listing stopped: %w", err)
				}
				s.meet(ref, match == nil || match(ref.Name))
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// refs are the items of the sample in one order.
func (s *sample) refs() []sources.Ref {
	refs := make([]sources.Ref, len(s.picks))
	for i, p := range s.picks {
		refs[i] = p.ref
	}
	slices.SortFunc(refs, func(a, b sources.Ref) int { return strings.Compare(a.ID, b.ID) })
	return refs
}
