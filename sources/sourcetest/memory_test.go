package sourcetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rewrap/sources"
	"rewrap/sources/sourcetest"
)

// memory is a source that keeps everything it should, but for one defect.
type memory struct {
	mu     sync.Mutex
	items  map[string]item
	rev    int
	now    time.Time
	defect string
	order  []string // names in the order of their birth
	reads  int
}

type item struct {
	body string
	meta map[string]string
	attr string
	rev  int
	born time.Time
}

type state struct{ item item }

const youth = 2 * time.Second

func (m *memory) has(defect string) bool { return m.defect == defect }

// The other writer.

func (m *memory) Put(name string, body []byte, meta map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(name, item{body: string(body), meta: maps.Clone(meta), attr: "kept"})
	return nil
}

func (m *memory) Begin(context.Context, sources.Mode) error { return nil }
func (m *memory) Finish(context.Context) error              { return nil }
func (m *memory) Close() error                              { return nil }

func (m *memory) put(name string, i item) string {
	if _, ok := m.items[name]; !ok {
		m.order = append(m.order, name)
	}
	m.rev++
	i.rev, i.born = m.rev, m.now
	m.items[name] = i
	return fmt.Sprint(i.rev)
}

func (m *memory) Delete(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.items, name)
	m.order = slices.DeleteFunc(m.order, func(n string) bool { return n == name })
	return nil
}

func (m *memory) Snapshot(name string) (map[string]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.items[name]
	if !ok {
		return nil, nil
	}
	s := map[string]string{"body": i.body, "attr": i.attr}
	for k, v := range i.meta {
		s["meta:"+k] = v
	}
	return s, nil
}

func (m *memory) Wait(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// The source.

func (m *memory) Spans(_ context.Context, want int) ([]sources.Span, error) {
	borders := []string{"", "folder-2/", "item-01", ""}
	if m.has("spans closed at the end") {
		borders[3] = "item-1"
	}
	var spans []sources.Span
	if m.has("too many spans") && want == 2 {
		want = 3
	}
	if want < 3 {
		borders = []string{"", borders[3]}
	}
	for i := range len(borders) - 1 {
		data := [2]string{borders[i], borders[i+1]}
		if m.has("spans overlap") && i > 0 {
			data[0] = borders[i-1]
		}
		if m.has("spans with a hole") && i == 1 {
			data[0] = "folder-2/item-010"
		}
		id := fmt.Sprint(i)
		if m.has("span ids repeat") {
			id = "span"
		}
		b, err := json.Marshal(data)
		if err != nil {
			return nil, err
		}
		spans = append(spans, sources.Span{ID: id, Data: string(b)})
	}
	return spans, nil
}

func (m *memory) List(ctx context.Context, s sources.Span, after sources.Cursor) iter.Seq2[sources.Ref, error] {
	return func(yield func(sources.Ref, error) bool) {
		var b [2]string
		if err := json.Unmarshal([]byte(s.Data), &b); err != nil {
			yield(sources.Ref{}, err)
			return
		}
		m.mu.Lock()
		names := slices.Sorted(maps.Keys(m.items))
		if m.has("lists by birth") {
			names = slices.Clone(m.order)
		}
		m.mu.Unlock()
		for i, name := range names {
			if err := ctx.Err(); err != nil {
				if !m.has("a cancelled listing just ends") {
					yield(sources.Ref{}, err)
				}
				return
			}
			if name <= b[0] || b[1] != "" && name > b[1] {
				continue
			}
			if name < string(after) || name == string(after) && !m.has("resumes at the cursor") {
				continue
			}
			if m.has("skips one after the cursor") && after != "" && i > 0 && names[i-1] == string(after) {
				continue
			}
			if m.has("cannot resume at a deleted item") && after != "" && !slices.Contains(names, string(after)) {
				return
			}
			if m.has("trims names") {
				name = strings.TrimSpace(name)
			}
			if m.has("lists another time") && name == "item-008" && !yield(sources.Ref{ID: name, Cursor: sources.Cursor(name)}, nil) {
				return
			}
			if m.has("does not list empty bodies") && m.items[name].body == "" {
				continue
			}
			if !yield(sources.Ref{ID: name, Cursor: sources.Cursor(name)}, nil) {
				return
			}
		}
	}
}

func (m *memory) Read(ctx context.Context, r sources.Ref, w sources.Want) (sources.View, error) {
	if err := ctx.Err(); err != nil && !m.has("a cancelled read finds nothing") {
		return sources.View{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.items[r.ID]
	if !ok {
		if m.has("a missing item is any error") {
			return sources.View{}, errors.New("not found")
		}
		return sources.View{}, sources.ErrGone
	}
	v := sources.View{Ref: r, Rev: fmt.Sprint(i.rev), Size: int64(len(i.body)), Meta: make(map[string][]byte)}
	v.Head = []byte(i.body[:min(w.Head, v.Size)])
	if m.has("reads no more than 9") && len(v.Head) > 9 {
		v.Head = v.Head[:9]
	}
	if m.has("size is that of the head") {
		v.Size = int64(len(v.Head))
	}
	for k, val := range i.meta {
		if m.has("empty metadata is lost") && val == "" {
			continue
		}
		v.Meta[k] = []byte(val)
	}
	if m.reads++; m.has("reads twice") && m.reads > 3 {
		m.mu.Unlock()
		time.Sleep(time.Millisecond)
		m.mu.Lock()
		for k, val := range m.items[r.ID].meta {
			v.Meta[k] = []byte(val)
		}
	}
	if m.has("the revision tells the size only") {
		v.Rev = fmt.Sprint(len(i.body))
	}
	v.State = state{i}
	return v, nil
}

func (m *memory) Plan(_ context.Context, v sources.View, e sources.Edit) (sources.Plan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := v.State.(state).item
	if age := m.now.Sub(i.born); age < youth {
		wait := youth - age
		if m.has("waits for ever") {
			wait = time.Nanosecond
		}
		return sources.Plan{}, &sources.NotYetError{Wait: wait, Detail: "too young"}
	}
	end := int64(0)
	for _, s := range e.Splices {
		if s.Off < end || s.Del < 0 || s.Off > v.Size || s.Del > v.Size-s.Off {
			if m.has("takes any splice") {
				e.Splices = nil
				break
			}
			return sources.Plan{}, errors.New("bad splice")
		}
		end = s.Off + s.Del
	}
	if m.has("plan writes") {
		m.put(v.ID, m.items[v.ID])
	}
	p := sources.Plan{View: v, Edit: e, Way: "memory", State: i}
	p.Unconditional = m.has("unconditional")
	return p, nil
}

func (m *memory) Apply(ctx context.Context, p sources.Plan) (sources.Result, error) {
	if err := ctx.Err(); err != nil && !m.has("a cancelled context writes") {
		return sources.Result{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	was := p.State.(item)
	is, ok := m.items[p.View.ID]
	switch {
	case !ok && m.has("writes what is gone"):
		is = was
	case !ok && m.has("gone is a conflict"):
		return sources.Result{}, sources.ErrConflict
	case !ok:
		return sources.Result{}, sources.ErrGone
	case m.has("no condition"):
	case m.has("a condition on the body") && is.body == was.body:
	case m.has("a condition on the size") && len(is.body) == len(was.body) && maps.Equal(is.meta, was.meta):
	case m.has("an apply twice lands") && is.body == was.body && string(p.Edit.Meta["changed"]) == is.meta["changed"]:
	case m.has("a race between condition and write"):
		m.mu.Unlock()
		time.Sleep(time.Millisecond)
		m.mu.Lock()
		if is.rev != was.rev {
			return sources.Result{}, sources.ErrConflict
		}
	case is.rev != was.rev && m.has("a conflict is any error"):
		return sources.Result{}, errors.New("precondition failed")
	case is.rev != was.rev:
		if m.has("a conflict leaves a trace") {
			is.attr = "touched"
			m.put(p.View.ID, is)
		}
		return sources.Result{}, sources.ErrConflict
	}
	next := item{body: was.body, meta: maps.Clone(was.meta), attr: is.attr}
	if next.meta == nil {
		next.meta = map[string]string{}
	}
	for k, v := range p.Edit.Meta {
		if v == nil && !m.has("cannot delete metadata") {
			delete(next.meta, k)
		} else {
			next.meta[k] = string(v)
		}
	}
	if m.has("replaces all metadata") {
		next.meta = map[string]string{}
		for k, v := range p.Edit.Meta {
			if v != nil {
				next.meta[k] = string(v)
			}
		}
	}
	if m.has("loses attributes") {
		next.attr = ""
	}
	splices := slices.Clone(p.Edit.Splices)
	if !m.has("splices at shifted offsets") {
		slices.Reverse(splices)
	}
	if m.has("one splice only") && len(splices) > 1 {
		splices = splices[:1]
	}
	for _, s := range splices {
		off := min(s.Off, int64(len(next.body)))
		end := min(off+s.Del, int64(len(next.body)))
		next.body = next.body[:off] + string(s.Ins) + next.body[end:]
	}
	if m.has("large bodies are cut") && len(next.body) > 1<<20 {
		next.body = next.body[:1<<20]
	}
	if m.has("meta and body do not go together") && len(p.Edit.Meta) > 0 {
		next.body = was.body
	}
	if m.has("leaves a file behind") {
		m.put(p.View.ID+".tmp", item{body: "half"})
	}
	res := sources.Result{Rev: m.put(p.View.ID, next), RequestID: "1"}
	if m.has("names the old revision") {
		res.Rev = p.View.Rev
	}
	return res, nil
}

func harness(defect string) sourcetest.Harness {
	return sourcetest.Harness{
		Metadata: true, Splices: true, Folders: true,
		Names: []string{" a", "b ", "c/d", "e"},
		Open: func(t *testing.T) sourcetest.Store {
			m := &memory{items: make(map[string]item), defect: defect, now: time.Unix(1e9, 0)}
			return sourcetest.Store{Source: m, Put: m.Put, Delete: m.Delete, Snapshot: m.Snapshot, Wait: m.Wait}
		},
	}
}
