package mem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"rewrap/sources"
)

var _ sources.Source = (*Source)(nil)

// The ways of a plan.
const (
	wayPut     = "put"
	wayRewrite = "get and put"
)

// Begin implements [sources.Source].
func (m *Source) Begin(ctx context.Context, mode sources.Mode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.life.MayBegin(); err != nil {
		return err
	}
	if err := m.answers(ctx); err != nil {
		return err
	}
	m.life.Begun(mode)
	return nil
}

// Finish implements [sources.Source]. Nothing is staged here.
func (m *Source) Finish(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may(ctx, sources.Write); err != nil {
		return err
	}
	m.state.finished++
	return nil
}

// Close implements [sources.Source].
func (m *Source) Close() error { return m.life.Close() }

// may says why the source does not do what needs it begun with the mode. The
// lock is held.
func (m *Source) may(ctx context.Context, mode sources.Mode) error {
	if err := m.life.May(mode); err != nil {
		return err
	}
	return m.answers(ctx)
}

// answers says why the machine does not. The lock is held.
func (m *Source) answers(ctx context.Context) error {
	if m.state.frozen {
		return ErrDied
	}
	return ctx.Err()
}

// Spans implements [sources.Source]. Given borders are kept to, however many
// spans are wanted, unless that is one.
func (m *Source) Spans(ctx context.Context, want int) ([]sources.Span, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may(ctx, sources.Look); err != nil {
		return nil, err
	}
	if b := m.o.Borders; b != nil {
		return sources.SpansBetween(b[:min(len(b), max(want-1, 0))])
	}
	return sources.SpansOf(slices.Sorted(maps.Keys(m.items)), want)
}

// List implements [sources.Source]. The cursor is the ID. Items are those that
// exist when the listing begins.
func (m *Source) List(ctx context.Context, s sources.Span, after sources.Cursor) iter.Seq2[sources.Ref, error] {
	return func(yield func(sources.Ref, error) bool) {
		r, err := sources.RangeOf(s)
		if err != nil {
			yield(sources.Ref{}, err)
			return
		}
		ids, err := m.list(ctx, max(r.After, string(after)), r.Until)
		if err != nil {
			yield(sources.Ref{}, err)
			return
		}
		for _, id := range ids {
			ref, err := m.listed(ctx, id)
			if errors.Is(err, sources.ErrGone) {
				continue // deleted since the listing began
			}
			if err != nil {
				yield(sources.Ref{}, err)
				return
			}
			if !yield(ref, nil) {
				return
			}
		}
	}
}

func (m *Source) list(ctx context.Context, after, until string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may(ctx, sources.Look); err != nil {
		return nil, err
	}
	m.lists++
	ids := make([]string, 0, len(m.items))
	for id := range m.items {
		if id > after && (until == "" || id <= until) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// listed is the ref of an item that the listing has come to.
func (m *Source) listed(ctx context.Context, id string) (sources.Ref, error) {
	if err := call(m.OnList, id); err != nil {
		return sources.Ref{}, err
	}
	r := sources.Ref{ID: id, Name: id, Cursor: sources.Cursor(id)}
	if m.o.Name != nil {
		r.Name = m.o.Name(id)
	}
	if !m.o.Bring {
		return r, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may(ctx, sources.Look); err != nil {
		return sources.Ref{}, err
	}
	it, ok := m.items[id]
	if !ok {
		return sources.Ref{}, sources.ErrGone
	}
	v := view(r, it, int64(len(it.Body)))
	m.in += v.Size
	r.View = &v
	return r, nil
}

// Read implements [sources.Source].
func (m *Source) Read(ctx context.Context, r sources.Ref, w sources.Want) (sources.View, error) {
	if err := call(m.OnRead, r.ID); err != nil {
		return sources.View{}, err
	}
	it, err := m.get(ctx, r.ID, w.Head)
	if err != nil {
		return sources.View{}, fmt.Errorf("reading %q: %w", r.ID, err)
	}
	return view(r, it, w.Head), nil
}

// get is one request for an item and its first bytes.
func (m *Source) get(ctx context.Context, id string, head int64) (*stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.may(ctx, sources.Look); err != nil {
		return nil, err
	}
	m.gets++
	it, ok := m.items[id]
	if !ok {
		return nil, sources.ErrGone
	}
	m.in += max(0, min(head, int64(len(it.Body))))
	return it, nil
}

// view is a copy of what is stored.
func view(r sources.Ref, it *stored, head int64) sources.View {
	v := sources.View{
		Ref: r, Rev: it.rev, Size: int64(len(it.Body)), Store: it.Store,
		Meta: make(map[string][]byte, len(it.Meta)),
	}
	if head > 0 {
		v.Head = []byte(it.Body[:min(head, v.Size)])
	}
	for name, value := range it.Meta {
		v.Meta[name] = []byte(value)
	}
	return v
}

// Plan implements [sources.Source].
func (m *Source) Plan(ctx context.Context, v sources.View, e sources.Edit) (sources.Plan, error) {
	if m.OnPlan != nil {
		if err := m.OnPlan(v, e); err != nil {
			return sources.Plan{}, err
		}
	}
	m.mu.Lock()
	err := m.may(ctx, sources.Look)
	m.mu.Unlock()
	if err != nil {
		return sources.Plan{}, err
	}
	size, err := sizeAfter(v, e)
	if err != nil {
		return sources.Plan{}, fmt.Errorf("planning %q: %w", v.ID, err)
	}
	p := sources.Plan{View: v, Edit: e, Way: wayPut, Undo: sources.UndoOf(v, e)}
	p.Cost.Requests = putRequests
	if len(e.Splices) > 0 {
		p.Cost.Out = size
	}
	if e.Body != nil {
		p.Way = wayRewrite
		p.Cost = sources.Cost{Requests: rewriteRequests, In: v.Size, Out: size}
	}
	if p.Undo.None != "" && m.o.Versions {
		p.Undo = sources.Undo{Version: v.Rev}
	}
	p.Unconditional = m.o.Unconditional != nil && m.o.Unconditional(e)
	return p, nil
}

var (
	putRequests     = []sources.Request{{Op: "Put", N: 1}}
	rewriteRequests = []sources.Request{{Op: "Get", N: 1}, {Op: "Put", N: 1}}
)

// sizeAfter is the size of the body after the edit, or why it cannot be made.
func sizeAfter(v sources.View, e sources.Edit) (int64, error) {
	switch {
	case e.Empty():
		return 0, errors.New("the edit changes nothing")
	case e.Body != nil && len(e.Splices) > 0:
		return 0, errors.New("an edit of the whole body has splices too")
	case e.Body != nil && (e.Body.Size < 0 || e.Body.Make == nil):
		return 0, errors.New("the new body has no size or is not made")
	case e.Body != nil:
		return e.Body.Size, nil
	}
	return sources.SplicedSize(v.Size, e.Splices)
}

// Apply implements [sources.Source].
func (m *Source) Apply(ctx context.Context, p sources.Plan) (sources.Result, error) {
	id := p.View.ID
	if err := call(m.Before, id); err != nil {
		return sources.Result{}, err
	}
	var body string
	if p.Edit.Body != nil {
		var err error
		if body, err = m.rewritten(ctx, p); err != nil {
			return sources.Result{}, fmt.Errorf("changing %q: %w", id, err)
		}
	}
	rev, err := m.apply(ctx, p, body)
	if err != nil {
		return sources.Result{}, fmt.Errorf("changing %q: %w", id, err)
	}
	if err := call(m.After, id); err != nil {
		return sources.Result{}, err
	}
	return sources.Result{Rev: rev, RequestID: rev}, nil
}

// rewritten is the new body of an edit that makes it as a stream. The lock is
// not held while it is made, since that may take long.
func (m *Source) rewritten(ctx context.Context, p sources.Plan) (string, error) {
	m.mu.Lock()
	is, err := m.writable(ctx, p)
	if err == nil {
		m.gets++
		m.in += int64(len(is.Body))
	}
	m.mu.Unlock()
	if err != nil {
		return "", err
	}
	made, err := p.Edit.Body.Make(strings.NewReader(is.Body))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if _, err := io.Copy(&b, io.LimitReader(made, p.Edit.Body.Size+1)); err != nil {
		return "", err
	}
	if int64(b.Len()) != p.Edit.Body.Size {
		return "", fmt.Errorf("the new body does not have the %d bytes that were announced", p.Edit.Body.Size)
	}
	return b.String(), nil
}

// writable is the item as it is, if the plan may still be applied to it. The
// lock is held.
func (m *Source) writable(ctx context.Context, p sources.Plan) (*stored, error) {
	if err := m.may(ctx, sources.Write); err != nil {
		return nil, err
	}
	is, exists := m.items[p.View.ID]
	switch {
	case p.Assumed:
		return nil, errors.New("the plan rests on an assumption")
	case !exists:
		return nil, sources.ErrGone
	case is.rev != p.View.Rev:
		return nil, sources.ErrConflict
	}
	return is, nil
}

// apply makes the edit; body is the new one where the edit has one.
func (m *Source) apply(ctx context.Context, p sources.Plan, body string) (rev string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is, err := m.writable(ctx, p)
	if errors.Is(err, sources.ErrConflict) || err == nil {
		m.puts++
	}
	if err != nil {
		return "", err
	}
	next := *is
	if e := p.Edit; e.Body != nil {
		next.Body = body
	} else {
		next.Body = spliced(is.Body, e.Splices)
	}
	if p.Edit.Body != nil || len(p.Edit.Splices) > 0 {
		m.out += int64(len(next.Body))
	}
	if p.Edit.Store != nil {
		next.Store = *p.Edit.Store
	}
	next.Meta = edited(is.Meta, p.Edit.Meta)
	m.keep(p.View.ID)
	next.rev = m.next()
	m.items[p.View.ID] = &next
	m.writes[p.View.ID]++
	return next.rev, nil
}

func spliced(body string, splices []sources.Splice) string {
	if len(splices) == 0 {
		return body
	}
	var b strings.Builder
	at := int64(0)
	for _, s := range splices {
		b.WriteString(body[at:s.Off])
		b.Write(s.Ins)
		at = s.Off + s.Del
	}
	b.WriteString(body[at:])
	return b.String()
}

func edited(meta map[string]string, edit map[string][]byte) map[string]string {
	if len(edit) == 0 {
		return meta
	}
	next := make(map[string]string, len(meta)+len(edit))
	maps.Copy(next, meta)
	for name, value := range edit {
		if value == nil {
			delete(next, name)
		} else {
			next[name] = string(value)
		}
	}
	return next
}

func call(hook func(id string) error, id string) error {
	if hook == nil {
		return nil
	}
	return hook(id)
}
