package kms

import (
	"context"
	"sync"
	"time"
)

// likely remembers which key a blob was under, for the next blob that begins
// alike. Bytes 5 to 36 of the blobs that KMS makes today are the same for one
// key material. No document says so. So it only decides which key is tried
// first, and KMS says whether that was right.
type likely struct {
	mu     sync.Mutex
	m      map[prefix]string // "": they were tried with every key, and none was it
	scouts map[prefix]chan struct{}
}

type prefix [32]byte

const maxLikely = 1024

// scoutWait bounds how long one call waits for what another finds out: it only
// saves requests.
const scoutWait = 5 * time.Second

// scout lets one of several calls with blobs that begin alike try the keys, and
// lets the others wait for the result. Otherwise each of the first calls would
// be refused by the wrong keys. Once the tries have ended without a key, no call
// waits again for this beginning; if they were broken off, the next call tries.
// The caller calls done when its tries are over.
func (l *likely) scout(ctx context.Context, blob []byte) (done func()) {
	nothing := func() {}
	p, ok := prefixOf(blob)
	if !ok {
		return nothing
	}
	timer := time.NewTimer(scoutWait)
	defer timer.Stop()
	for {
		l.mu.Lock()
		_, known := l.m[p]
		busy := l.scouts[p]
		if !known && busy == nil {
			if l.scouts == nil {
				l.scouts = make(map[prefix]chan struct{})
			}
			over := make(chan struct{})
			l.scouts[p] = over
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				if _, known := l.m[p]; !known && ctx.Err() == nil {
					l.set(p, "")
				}
				delete(l.scouts, p)
				close(over)
			}
		}
		l.mu.Unlock()
		if known {
			return nothing
		}
		select {
		case <-busy:
		case <-timer.C:
			return nothing
		case <-ctx.Done(): // the call itself will say so
			return nothing
		}
	}
}

func prefixOf(blob []byte) (p prefix, ok bool) {
	if len(blob) <= 37 {
		return p, false
	}
	return prefix(blob[5:37]), true
}

func (l *likely) recall(blob []byte) string {
	p, ok := prefixOf(blob)
	if !ok {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m[p]
}

func (l *likely) learn(blob []byte, arn string) {
	p, ok := prefixOf(blob)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(p, arn)
}

// set is called with the lock held.
func (l *likely) set(p prefix, arn string) {
	if l.m == nil {
		l.m = make(map[prefix]string)
	}
	if _, known := l.m[p]; !known && len(l.m) >= maxLikely {
		for victim := range l.m {
			delete(l.m, victim)
			break
		}
	}
	l.m[p] = arn
}
