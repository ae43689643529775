package sourcetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"rewrap/sources"
	"rewrap/sources/mem"
)

func (f *flawed) Begin(ctx context.Context, m sources.Mode) error {
	if m == sources.Look {
		if f.has("Begin with Look writes") {
			f.litter()
		}
		if f.has("a look lets Apply through") {
			m = sources.Write
		}
		return f.Source.Begin(ctx, m)
	}
	f.begun++
	switch {
	case f.has("begins to write once only") && f.begun > 1:
		return errors.New("begun already")
	case f.has("Begin touches items"):
		for _, id := range f.IDs() {
			it, _ := f.Get(id)
			it.Attr = "touched"
			f.write(id, it)
		}
	case f.has("Begin leaves an item"):
		f.write("canary", mem.Item{})
	}
	return f.Source.Begin(ctx, m)
}

func (f *flawed) Finish(ctx context.Context) error {
	f.ended++
	switch {
	case f.has("finishes once only") && f.ended > 1:
		return errors.New("finished already")
	case f.has("Finish undoes"):
		for id, it := range f.undone {
			f.write(id, it)
		}
	case f.has("Finish leaves an item"):
		f.write("staged", mem.Item{})
	}
	return f.Source.Finish(ctx)
}

func (f *flawed) Close() error {
	switch {
	case f.has("works after Close"):
		return nil
	case f.has("Close fails"):
		return errors.New("not so fast")
	}
	return f.Source.Close()
}

func (f *flawed) Spans(ctx context.Context, want int) ([]sources.Span, error) {
	if f.has("too many spans") && want == 2 {
		want = 3
	}
	spans, err := f.Source.Spans(ctx, want)
	var was sources.Range
	for i, s := range spans {
		r, err := sources.RangeOf(s)
		if err != nil {
			return nil, err
		}
		next := r
		switch {
		case f.has("spans closed at the end") && i == len(spans)-1:
			r.Until = "item-1"
		case f.has("spans overlap") && i > 0:
			r.After = was.After
		case f.has("spans with a hole") && i == 1:
			r.After = "folder-2/item-010"
		case f.has("span ids repeat"):
			spans[i].ID = "span"
		}
		was = next
		data, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		spans[i].Data = string(data)
	}
	return spans, err
}

func (f *flawed) List(ctx context.Context, s sources.Span, after sources.Cursor) iter.Seq2[sources.Ref, error] {
	return func(yield func(sources.Ref, error) bool) {
		from := after
		switch {
		case f.has("resumes at the cursor") && after != "":
			from = after[:len(after)-1]
		case f.has("cannot resume at a deleted item") && after != "" && f.Rev(string(after)) == "":
			return
		case f.has("lists by birth"):
			from = ""
		}
		first := true
		for r, err := range f.sorted(f.Source.List(ctx, s, from), after) {
			if err != nil && f.has("a cancelled listing just ends") {
				return
			}
			skip := f.has("skips one after the cursor") && after != "" && first
			first = false
			if skip || err == nil && f.has("does not list empty bodies") && r.View.Size == 0 {
				continue
			}
			if err == nil {
				f.spoil(&r)
			}
			if f.has("lists another time") && r.ID == "item-008" && !yield(r, err) {
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// sorted is the listing in the order of birth, if that is the defect.
func (f *flawed) sorted(list iter.Seq2[sources.Ref, error], after sources.Cursor) iter.Seq2[sources.Ref, error] {
	if !f.has("lists by birth") {
		return list
	}
	return func(yield func(sources.Ref, error) bool) {
		all := make(map[string]sources.Ref)
		for r, err := range list {
			if err != nil {
				yield(r, err)
				return
			}
			all[r.ID] = r
		}
		for _, id := range f.order {
			if r, ok := all[id]; ok && id > string(after) && !yield(r, nil) {
				return
			}
		}
	}
}

// spoil makes a ref and the view that it brings those of the source.
func (f *flawed) spoil(r *sources.Ref) {
	v := r.View
	f.look(v)
	switch {
	case f.has("trims names"):
		r.ID = strings.TrimSpace(r.ID)
		r.Cursor = sources.Cursor(r.ID)
	case f.has("no names"):
		r.Name = ""
	case f.has("names change with the revision"):
		r.Name += v.Rev
	case f.has("brings old items along"):
		if f.old[r.ID] == nil {
			f.old[r.ID] = v
		}
		r.View = f.old[r.ID]
	case f.has("brings items without metadata"):
		v.Meta = nil
	case f.has("brings the heads of items only"):
		v.Head = v.Head[:min(2, len(v.Head))]
	case f.has("brings items that cannot be planned on"):
		v.State = nil
	}
}

// look is a look at an item: what is read of it goes through here.
func (f *flawed) look(v *sources.View) {
	it, _ := f.Get(v.ID)
	v.State = seen{v.Rev, it}
	switch {
	case f.has("the revision tells the size only"):
		v.Rev = strings.Repeat("i", int(v.Size))
	case f.has("the store key is not shown"):
		v.Store = sources.StoreKey{}
	}
}

func (f *flawed) Read(ctx context.Context, r sources.Ref, w sources.Want) (sources.View, error) {
	if f.has("a cancelled read finds nothing") {
		ctx = context.WithoutCancel(ctx)
	}
	v, err := f.Source.Read(ctx, r, w)
	if errors.Is(err, sources.ErrGone) && f.has("a missing item is any error") {
		return v, errors.New("not found")
	}
	if err != nil {
		return v, err
	}
	f.look(&v)
	f.reads++
	switch {
	case f.has("reads no more than 9") && len(v.Head) > 9:
		v.Head = v.Head[:9]
	case f.has("size is that of the head"):
		v.Size = int64(len(v.Head))
	case f.has("empty metadata is lost"):
		maps.DeleteFunc(v.Meta, func(_ string, value []byte) bool { return len(value) == 0 })
	case f.has("a view forgets its name"):
		v.Name = ""
	case f.has("reads twice") && f.reads > 3:
		time.Sleep(time.Millisecond)
		again, err := f.Source.Read(ctx, r, w)
		if err != nil {
			return v, err
		}
		v.Meta = again.Meta
	}
	return v, nil
}

func (f *flawed) Plan(ctx context.Context, v sources.View, e sources.Edit) (sources.Plan, error) {
	was, ok := v.State.(seen)
	if !ok {
		return sources.Plan{}, errors.New("the view was not read here")
	}
	f.mu.Lock()
	age := f.now.Sub(f.born[was.rev])
	f.mu.Unlock()
	if age < youth {
		wait := youth - age
		if f.has("waits for ever") {
			wait = time.Nanosecond
		}
		return sources.Plan{}, &sources.NotYetError{Wait: wait, Detail: "too young"}
	}
	if _, err := sources.SplicedSize(v.Size, e.Splices); err != nil && f.has("takes any splice") {
		e = sources.Edit{Meta: map[string][]byte{"any": nil}}
	}
	if e.Body != nil && f.has("takes a body and splices") {
		e.Splices = nil
	}
	p, err := f.Source.Plan(ctx, v, e)
	if err != nil {
		return p, err
	}
	switch {
	case f.has("plan writes"):
		it, _ := f.Get(v.ID)
		f.Put(v.ID, it)
	case f.has("plan leaves a mark"):
		f.litter()
	case f.has("unconditional"):
		p.Unconditional = true
	}
	f.spoilCost(&p)
	f.spoilUndo(&p)
	return p, nil
}

func (f *flawed) spoilCost(p *sources.Plan) {
	switch {
	case f.has("the cost lacks a request"):
		p.Cost.Requests = p.Cost.Requests[:len(p.Cost.Requests)-1]
	case f.has("the cost has a request too many"):
		p.Cost.Requests = append(slices.Clone(p.Cost.Requests), sources.Request{Op: "Get", N: 1})
	case f.has("the cost is that of the old body"):
		p.Cost.Out = min(p.Cost.Out, p.View.Size)
	case f.has("the cost lacks what is fetched"):
		p.Cost.In = 0
	}
}

func (f *flawed) spoilUndo(p *sources.Plan) {
	u := &p.Undo
	switch {
	case f.has("no undo"):
		*u = sources.Undo{}
	case f.has("two undos"):
		u.None = "perhaps"
	case u.Edit != nil && f.has("the undo forgets what was deleted"):
		maps.DeleteFunc(u.Edit.Meta, func(name string, _ []byte) bool { return p.Edit.Meta[name] == nil })
	case u.Edit != nil && f.has("the undo leaves what was added"):
		maps.DeleteFunc(u.Edit.Meta, func(_ string, value []byte) bool { return value == nil })
	case u.Edit != nil && f.has("the undo is at the old offsets"):
		for i := range u.Edit.Splices {
			u.Edit.Splices[i].Off = p.Edit.Splices[i].Off
		}
	case u.Edit != nil && f.has("an undo that could be had is not"):
		*u = sources.Undo{None: "too much work"}
	case u.Edit == nil && f.has("an undo of what was not read"):
		*u = sources.Undo{Edit: &sources.Edit{Meta: map[string][]byte{"any": nil}}}
	case u.Edit == nil && f.has("an undo by a version that is not kept"):
		u.Version = "1000"
	}
}

func (f *flawed) Apply(ctx context.Context, p sources.Plan) (sources.Result, error) {
	was, _ := p.View.State.(seen)
	p.View.Rev = was.rev
	switch {
	case f.has("a cancelled context writes"):
		ctx = context.WithoutCancel(ctx)
	case f.has("applies what is assumed"):
		p.Assumed = false
	}
	f.force(&p, was)
	f.spoilEdit(&p)
	res, err := f.Source.Apply(ctx, p)
	is, ok := f.Get(p.View.ID)
	switch {
	case errors.Is(err, sources.ErrGone) && f.has("gone is a conflict"):
		return res, sources.ErrConflict
	case errors.Is(err, sources.ErrConflict) && f.has("a conflict is any error"):
		return res, errors.New("precondition failed")
	case errors.Is(err, sources.ErrConflict) && ok && f.has("a conflict leaves a trace"):
		is.Attr = "touched"
		f.write(p.View.ID, is)
	}
	if err != nil {
		return res, err
	}
	f.mu.Lock()
	f.undone[p.View.ID] = was.item
	f.mu.Unlock()
	if f.spoilItem(&is, p, was.item) {
		f.Put(p.View.ID, is)
		res.Rev = f.Rev(p.View.ID)
	}
	switch {
	case f.has("leaves a file behind"):
		f.write(p.View.ID+".tmp", mem.Item{Body: "half"})
	case f.has("names the old revision"):
		res.Rev = p.View.Rev
	}
	return res, nil
}

// force writes what was read over what is there, where the defect is about what
// a write is conditional on. The edit then lands on that.
func (f *flawed) force(p *sources.Plan, was seen) {
	id := p.View.ID
	is, ok := f.Get(id)
	over := false
	switch {
	case !ok:
		over = f.has("writes what is gone")
	case f.has("a race between condition and write") && f.Rev(id) == was.rev:
		time.Sleep(time.Millisecond)
		over = true
	case f.Rev(id) == was.rev:
	case f.has("no condition"):
		over = true
	case f.has("a condition on the body"):
		over = is.Body == was.item.Body
	case f.has("a condition on the size"):
		over = len(is.Body) == len(was.item.Body) && maps.Equal(is.Meta, was.item.Meta)
	case f.has("an apply twice lands"):
		over = is.Body == was.item.Body && string(p.Edit.Meta["changed"]) == is.Meta["changed"]
	}
	if over {
		f.Put(id, was.item)
		p.View.Rev = f.Rev(id)
	}
}

func (f *flawed) spoilEdit(p *sources.Plan) {
	e, head := &p.Edit, p.View.Head
	switch {
	case f.has("cannot delete metadata"):
		e.Meta = maps.Clone(e.Meta)
		for name, value := range e.Meta {
			if value == nil {
				e.Meta[name] = []byte{}
			}
		}
	case f.has("one splice only") && len(e.Splices) > 1:
		e.Splices = e.Splices[:1]
	case f.has("meta and body do not go together") && len(e.Meta) > 0:
		e.Splices = nil
	case f.has("a store key is not moved with the rest") && len(e.Meta) > 0:
		e.Store = nil
	case f.has("metadata is not changed with a new body") && e.Body != nil:
		e.Meta = nil
	case f.has("takes any new body") && e.Body != nil:
		e.Body = adapted(e.Body)
	case f.has("makes the new body of the head") && e.Body != nil:
		of := e.Body.Make
		e.Body = adapted(&sources.Rewrite{Make: func(io.Reader) (io.Reader, error) { return of(bytes.NewReader(head)) }})
	case f.has("a new body lands over another") && e.Body != nil:
		made, err := e.Body.Make(strings.NewReader(p.View.State.(seen).item.Body))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(made)
		p.View.Rev = f.Rev(p.View.ID)
		e.Body = adapted(&sources.Rewrite{Make: func(io.Reader) (io.Reader, error) { return bytes.NewReader(body), nil }})
	}
}

// adapted is a rewrite whose size is whatever it makes of some body.
func adapted(r *sources.Rewrite) *sources.Rewrite {
	made, err := r.Make(strings.NewReader("body"))
	if err != nil {
		return r
	}
	body, _ := io.ReadAll(made)
	return &sources.Rewrite{Size: int64(len(body)), Make: func(io.Reader) (io.Reader, error) { return bytes.NewReader(body), nil }}
}

// spoilItem changes what an edit has left; false: nothing.
func (f *flawed) spoilItem(it *mem.Item, p sources.Plan, was mem.Item) bool {
	switch {
	case f.has("replaces all metadata") && len(p.Edit.Meta) > 0:
		maps.DeleteFunc(it.Meta, func(name, _ string) bool { return p.Edit.Meta[name] == nil })
	case f.has("loses attributes"):
		it.Attr = ""
	case f.has("large bodies are cut") && len(it.Body) > 1<<20:
		it.Body = it.Body[:1<<20]
	case f.has("splices at shifted offsets"):
		it.Body = was.Body
		for _, s := range p.Edit.Splices {
			off := min(s.Off, int64(len(it.Body)))
			end := min(off+s.Del, int64(len(it.Body)))
			it.Body = it.Body[:off] + string(s.Ins) + it.Body[end:]
		}
	case f.has("the store key is lost") && p.Edit.Store == nil:
		it.Store = sources.StoreKey{}
	default:
		return false
	}
	return true
}
