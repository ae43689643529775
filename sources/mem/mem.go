// Package mem is a source in memory that keeps the whole contract of
// [sources.Source], for tests and for trying things out. Nothing of it
// outlives the process.
//
// A [Source] is the store and the source in one. [Source.Put], [Source.Get]
// and [Source.Delete] belong to another writer, who asks for no condition. A
// test can see and disturb every step through the [Hooks], and can stop the
// machine with [Source.Freeze].
package mem

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"

	"rewrap/sources"
)

// Item is what the store holds of an item.
type Item struct {
	Body  string
	Meta  map[string]string
	Store sources.StoreKey
	Attr  string // what no edit changes, and every edit has to keep
}

// Options say what kind of store it is. The zero value is a good one: one
// span or as many as are asked for, names that are the IDs, conditional
// writes, no versions.
type Options struct {
	Items   map[string]Item        // what is there to begin with, by ID
	Name    func(id string) string // the name of an item; nil: its ID
	Borders []string               // where Spans cuts, ascending IDs; nil: between the items, as many as are wanted

	// Bring has the listing bring the whole items along (Ref.View).
	Bring bool

	// Versions keeps what every write replaces; see [Source.Version].
	Versions bool

	// Unconditional says for which edits the plans say so. The store looks at
	// the revision all the same: real ones do too, just before they write. nil:
	// for none.
	Unconditional func(sources.Edit) bool
}

// Hooks are called without any lock held, so they may call the store. An error
// is what the caller of the step gets. nil: nothing happens. They may be
// changed while no other goroutine is in a step that calls them.
type Hooks struct {
	OnList func(id string) error // before the listing yields an item
	OnRead func(id string) error
	OnPlan func(v sources.View, e sources.Edit) error
	Before func(id string) error // in Apply, before the edit is made; an error prevents it
	After  func(id string) error // in Apply, after the edit landed
}

// Source is a store in memory and the source of its items. Make one with
// [New]. Safe for concurrent use.
type Source struct {
	Hooks
	o Options

	mu     sync.Mutex
	items  map[string]*stored
	kept   map[string]map[string]Item // by ID and revision, with Options.Versions
	writes map[string]int             // edits that landed, by ID
	last   int64                      // the newest revision in the store
	life   sources.Life
	state  state
	traffic
}

// stored is an item at a revision. A stored item is replaced and never
// changed. rev is unique in the store: an item that was deleted and is born
// again has another one.
type stored struct {
	Item
	rev string
}

// state is what has become of the machine and the run.
type state struct {
	frozen   bool
	finished int
}

// traffic is what the source has asked of the store.
type traffic struct{ lists, gets, puts, in, out int64 }

// ErrDied is what callers get from a frozen machine.
var ErrDied = errors.New("the machine has died")

// New makes a store. Its source has to be begun.
func New(o Options) *Source {
	m := &Source{o: o, items: make(map[string]*stored), kept: make(map[string]map[string]Item), writes: make(map[string]int)}
	for _, id := range slices.Sorted(maps.Keys(o.Items)) {
		m.put(id, o.Items[id])
	}
	return m
}

// Freeze stops the machine: from now on nothing lands and nobody is answered.
func (m *Source) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.frozen = true
}

// Frozen says whether the machine was stopped.
func (m *Source) Frozen() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.frozen
}

// Thaw is the same store on a machine that works, without hooks. Its source is
// begun as this one was.
func (m *Source) Thaw() *Source {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := &Source{o: m.o, items: maps.Clone(m.items), kept: make(map[string]map[string]Item), writes: maps.Clone(m.writes), last: m.last}
	for id, versions := range m.kept {
		n.kept[id] = maps.Clone(versions)
	}
	for _, mode := range []sources.Mode{sources.Look, sources.Write} {
		if m.life.May(mode) == nil {
			n.life.Begun(mode)
		}
	}
	return n
}

// Put writes an item whole, as another writer does.
func (m *Source) Put(id string, it Item) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(id, it)
}

// put stores a copy of an item under a new revision. The lock is held.
func (m *Source) put(id string, it Item) {
	m.keep(id)
	it.Meta = maps.Clone(it.Meta)
	m.items[id] = &stored{Item: it, rev: m.next()}
}

// next is a new revision. The lock is held.
func (m *Source) next() string {
	m.last++
	return strconv.FormatInt(m.last, 10)
}

// keep keeps what is about to be replaced, where the store does. The lock is
// held.
func (m *Source) keep(id string) {
	is, ok := m.items[id]
	if !ok || !m.o.Versions {
		return
	}
	if m.kept[id] == nil {
		m.kept[id] = make(map[string]Item)
	}
	m.kept[id][is.rev] = is.Item
}

// Delete removes an item, as another writer does.
func (m *Source) Delete(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(id)
	delete(m.items, id)
}

// Get is a copy of an item, as another writer sees it; false: there is none.
func (m *Source) Get(id string) (Item, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.items[id]
	if !ok {
		return Item{}, false
	}
	it := s.Item
	it.Meta = maps.Clone(it.Meta)
	return it, true
}

// Rev is the revision of an item; "" if there is none.
func (m *Source) Rev(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.items[id]; ok {
		return s.rev
	}
	return ""
}

// IDs are the items that exist, in order.
func (m *Source) IDs() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.items))
}

// Version is what an item was at a revision that has been replaced, with
// Options.Versions.
func (m *Source) Version(id, version string) (Item, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, ok := m.kept[id][version]
	it.Meta = maps.Clone(it.Meta)
	return it, ok
}

// Writes counts the edits of each item that landed. Another writer's are not
// among them.
func (m *Source) Writes() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.writes)
}

// Finished is how many times Finish was called.
func (m *Source) Finished() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.finished
}

// Traffic is what the source has asked of the store so far: requests by their
// operations (List, Get and Put) and the bytes of bodies.
func (m *Source) Traffic() sources.Cost {
	m.mu.Lock()
	defer m.mu.Unlock()
	return sources.Cost{
		Requests: []sources.Request{{Op: "List", N: m.lists}, {Op: "Get", N: m.gets}, {Op: "Put", N: m.puts}},
		In:       m.in, Out: m.out,
	}
}
