package sourcetest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rewrap/sources"
	"rewrap/sources/mem"
	"rewrap/sources/sourcetest"
)

// flawed is a source that keeps everything it should, but for one defect.
type flawed struct {
	*mem.Source
	defect string

	mu     sync.Mutex
	now    time.Time
	born   map[string]time.Time // by revision
	order  []string             // IDs in the order of their birth
	reads  int
	marked int // writes that no listing shows
	begun  int // Begin with Write
	ended  int // Finish
	old    map[string]*sources.View
	undone map[string]mem.Item // what edits have replaced
}

// seen is the State of a view: the item that was read, at its true revision.
type seen struct {
	rev  string
	item mem.Item
}

const youth = 2 * time.Second

func (f *flawed) has(defect string) bool { return f.defect == defect }

// The other writer.

func (f *flawed) put(id string, body []byte, meta map[string]string) error {
	f.write(id, mem.Item{Body: string(body), Meta: meta, Attr: "kept"})
	return nil
}

func (f *flawed) write(id string, it mem.Item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.order, id) {
		f.order = append(f.order, id)
	}
	f.Put(id, it)
	f.born[f.Rev(id)] = f.now
}

func (f *flawed) remove(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Delete(id)
	f.order = slices.DeleteFunc(f.order, func(other string) bool { return other == id })
	return nil
}

func (f *flawed) snapshot(id string) (map[string]string, error) {
	it, ok := f.Get(id)
	if !ok {
		return nil, nil
	}
	return snapshotOf(it), nil
}

func snapshotOf(it mem.Item) map[string]string {
	s := map[string]string{"body": it.Body, "attr": it.Attr, "store": it.Store.Mode + " " + it.Store.Key}
	for k, v := range it.Meta {
		s["meta:"+k] = v
	}
	return s
}

func (f *flawed) version(id, version string) (map[string]string, error) {
	it, ok := f.Source.Version(id, version)
	if !ok {
		return nil, errors.New("it is not kept")
	}
	return snapshotOf(it), nil
}

func (f *flawed) wait(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *flawed) marks() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := fmt.Sprint(f.marked)
	for _, id := range f.IDs() {
		m += " " + id + "@" + f.Rev(id)
	}
	return m, nil
}

func (f *flawed) litter() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marked++
}

func harness(defect string) sourcetest.Harness {
	name := func(id string) string { return "the " + id }
	return sourcetest.Harness{
		Metadata: true, Splices: true, Folders: true, Rewrite: true, Name: name,
		Names:     []string{" a", "b ", "c/d", "e"},
		StoreKeys: []sources.StoreKey{{Mode: "kms", Key: "old"}, {Mode: "kms", Key: "new"}},
		Open: func(t *testing.T) sourcetest.Store {
			f := &flawed{
				Source: mem.New(mem.Options{
					Name: name, Bring: true, Borders: []string{"folder-2/", "item-01"},
					Versions: strings.Contains(defect, "version"),
				}),
				defect: defect, now: time.Unix(1e9, 0), born: make(map[string]time.Time),
				old: make(map[string]*sources.View), undone: make(map[string]mem.Item),
			}
			if f.has("works before Begin") {
				if err := f.Source.Begin(t.Context(), sources.Write); err != nil {
					t.Fatal(err)
				}
			}
			return sourcetest.Store{
				Source: f, Put: f.put, Delete: f.remove, Snapshot: f.snapshot, Version: f.version,
				Wait: f.wait, Mark: f.marks, Traffic: f.Traffic,
			}
		},
	}
}
