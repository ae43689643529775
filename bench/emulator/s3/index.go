package s3

import (
	"iter"
	"slices"
	"sort"
)

// entry is a key with all its versions.
type entry struct {
	key     string
	current *object   // may be a delete marker
	older   []*object // noncurrent versions, oldest first
}

// version finds a version by its id; nil if there is none.
func (e *entry) version(id string) *object {
	if e.current.version == id {
		return e.current
	}
	for _, o := range e.older {
		if o.version == id {
			return o
		}
	}
	return nil
}

// drop removes a version. It returns whether any version is left.
func (e *entry) drop(o *object) (left bool) {
	if e.current != o {
		e.older = slices.DeleteFunc(e.older, func(v *object) bool { return v == o })
		return true
	}
	if len(e.older) == 0 {
		return false
	}
	e.current, e.older = e.older[len(e.older)-1], e.older[:len(e.older)-1]
	return true
}

// index holds a bucket's entries in the byte order of their keys, in chunks of
// at most maxChunk. An insert moves part of one chunk. Keys that arrive in
// order are appended. A search is two binary searches.
type index struct {
	chunks [][]*entry
	byKey  map[string]*entry
}

const maxChunk = 1024

func (x *index) get(key string) *entry { return x.byKey[key] }

func (x *index) add(e *entry) {
	if x.byKey == nil {
		x.byKey = make(map[string]*entry)
	}
	x.byKey[e.key] = e
	i, j := x.seek(func(key string) bool { return key < e.key })
	if i == len(x.chunks) { // behind all others: append
		if i == 0 || len(x.chunks[i-1]) == maxChunk {
			x.chunks = append(x.chunks, append(make([]*entry, 0, 8), e))
			return
		}
		x.chunks[i-1] = append(x.chunks[i-1], e)
		return
	}
	x.chunks[i] = slices.Insert(x.chunks[i], j, e)
	if c := x.chunks[i]; len(c) > maxChunk {
		right := slices.Clone(c[maxChunk/2:])
		clear(c[maxChunk/2:])
		x.chunks[i] = c[:maxChunk/2]
		x.chunks = slices.Insert(x.chunks, i+1, right)
	}
}

func (x *index) remove(e *entry) {
	delete(x.byKey, e.key)
	i, j := x.seek(func(key string) bool { return key < e.key })
	x.chunks[i] = slices.Delete(x.chunks[i], j, j+1)
	if len(x.chunks[i]) == 0 {
		x.chunks = slices.Delete(x.chunks, i, i+1)
	}
}

// seek returns the place of the first entry for which before is false. before
// must be true for the first keys and false for all keys behind them.
func (x *index) seek(before func(key string) bool) (chunk, pos int) {
	chunk = sort.Search(len(x.chunks), func(i int) bool {
		c := x.chunks[i]
		return !before(c[len(c)-1].key)
	})
	if chunk == len(x.chunks) {
		return chunk, 0
	}
	c := x.chunks[chunk]
	return chunk, sort.Search(len(c), func(j int) bool { return !before(c[j].key) })
}

// from yields the entries in order, beginning at the place that seek returns.
func (x *index) from(before func(key string) bool) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		i, j := x.seek(before)
		for ; i < len(x.chunks); i, j = i+1, 0 {
			for ; j < len(x.chunks[i]); j++ {
				if !yield(x.chunks[i][j]) {
					return
				}
			}
		}
	}
}
