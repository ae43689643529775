package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var testJob = []Field{{Name: "source", Value: "s3://bucket/prefix"}, {Name: "to", Value: "key/1"}}

// view is what a snapshot says, in the words of these tests.
type view struct {
	pass     int
	mark     string   // in Spans; another one with every commit
	complete bool     // the next Open begins a new pass
	audit    []string // ids
	owed     []string // ids, those of earlier sessions first
}

func (v view) nextPass() view { return view{pass: v.pass + 1, audit: v.audit} }

// world runs a state directory through what may happen to it, beside a model
// of what must then be in it.
type world struct {
	t   testing.TB
	dir string
	rnd *rand.Rand
	fs  *crashFS
	s   *State

	possible []view // what may be on the disk: more than one after an operation that did not return well
	live     view   // what a cut at this moment would say
	session  int
	journal  []string // ids of the frames that Append has returned for
	pending  string   // id of one that may be there, at the end
	lines    []place  // of live.owed's lines in retry files
	serial   int
}

type place struct {
	file string
	next int64
}

func newWorld(t testing.TB, dir string, seed uint64) *world {
	w := &world{t: t, dir: dir, rnd: rand.New(rand.NewPCG(seed, 7))}
	w.possible = []view{{complete: true}}
	w.plug()
	return w
}

// plug gives the next process a file system that works.
func (w *world) plug() { w.fs = newCrashFS(w.t, w.dir, w.rnd) }

func (w *world) name(kind string) string {
	w.serial++
	return fmt.Sprintf("%s-%d", kind, w.serial)
}

// check fails the test on an error that is none of the injected, and says
// whether there was one.
func (w *world) failed(err error) bool {
	w.t.Helper()
	switch {
	case err == nil:
		return false
	case errors.Is(err, errDead):
	case errors.Is(err, syscall.ENOSPC):
		if !strings.Contains(err.Error(), w.dir) && !strings.Contains(err.Error(), "undo journal") && !errors.Is(err, errInjectedFull) {
			w.t.Fatalf("error does not name its file: %v", err)
		}
	default:
		w.t.Fatalf("after the steps %q: %v", w.fs.ops, err)
	}
	return true
}

func (w *world) open(restart bool) bool {
	w.t.Helper()
	s, err := open(w.fs, w.dir, Options{Job: testJob, Restart: restart, Version: "test"})
	var after []view
	for _, v := range w.possible {
		if v.complete || restart {
			v = v.nextPass()
		}
		after = append(after, v)
	}
	if w.failed(err) {
		w.possible = append(w.possible, after...)
		return false
	}
	w.s = s
	snap := s.Snapshot()
	if snap.Session <= w.session {
		w.t.Fatalf("session %d after %d", snap.Session, w.session)
	}
	w.session = snap.Session
	mark := ""
	if snap.Spans != nil {
		mark = snap.Spans[0].After
	}
	audit := rawIDs(w.t, filepath.Join(w.dir, auditFile), 0)
	i := slices.IndexFunc(after, func(v view) bool {
		return v.pass == snap.Pass && v.mark == mark && slices.Equal(v.audit, audit)
	})
	if i < 0 {
		w.t.Fatalf("pass %d at %q with the audit log %v is none of %+v", snap.Pass, mark, audit, after)
	}
	w.live = after[i]
	w.possible = []view{w.live}
	w.checkFiles(snap)
	return true
}

// checkFiles reads the files in its own way and compares them with the model.
func (w *world) checkFiles(snap Snapshot) {
	w.t.Helper()
	t := w.t

	got, offs := rawJournal(t, filepath.Join(w.dir, journalFile))
	if w.pending != "" && len(got) == len(w.journal)+1 && got[len(got)-1] == w.pending {
		w.journal = append(w.journal, w.pending)
	}
	w.pending = ""
	if !slices.Equal(got, w.journal) {
		t.Fatalf("journal holds %v, not %v", got, w.journal)
	}
	var entries []string
	for e, err := range w.s.Journal().Entries(0) {
		if err != nil {
			t.Fatal(err)
		}
		if at, err := w.s.Journal().At(e.Offset); err != nil || at.ID != e.ID || e.Offset != offs[len(entries)] {
			t.Fatalf("entry at %d is %q (%v), not %q at %d", e.Offset, at.ID, err, e.ID, offs[len(entries)])
		}
		entries = append(entries, e.ID)
	}
	if !slices.Equal(entries, w.journal) {
		t.Fatalf("Entries yields %v, not %v", entries, w.journal)
	}

	var owed []string
	w.lines = nil
	for _, r := range snap.Retries {
		raw := rawIDs(t, filepath.Join(w.dir, r.File), r.Offset)
		i := 0
		for o, err := range w.s.Owed(r) {
			if err != nil {
				t.Fatal(err)
			}
			if o.ID != raw[i] {
				t.Fatalf("Owed yields %q, and the file holds %q", o.ID, raw[i])
			}
			i++
			owed = append(owed, o.ID)
			w.lines = append(w.lines, place{r.File, o.Next})
		}
		if i != len(raw) || i == 0 {
			t.Fatalf("Owed yields %d lines of %s, which holds %d", i, r.File, len(raw))
		}
	}
	if !slices.Equal(owed, w.live.owed) {
		t.Fatalf("owed are %v, not %v", owed, w.live.owed)
	}

	files, err := os.ReadDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		known := slices.Contains([]string{lockFile, snapshotFile, journalFile, auditFile, failuresFile}, f.Name())
		named := slices.ContainsFunc(snap.Retries, func(r Retry) bool { return r.File == f.Name() })
		if !known && !named {
			t.Fatalf("%s is left over", f.Name())
		}
	}
	if info, err := os.Stat(filepath.Join(w.dir, failuresFile)); err != nil || info.Size() != 0 {
		t.Fatalf("failures.jsonl of a new session: %v, %v", info, err)
	}
	if st, err := Read(w.dir); err != nil || !st.Live || st.Snapshot.Session != w.session || st.Holder.PID != os.Getpid() {
		t.Fatalf("Read: %+v, %v", st, err)
	}
}

// rawJournal reads a journal after its description, sharing no code with the
// package.
func rawJournal(t testing.TB, name string) (ids []string, offs []int64) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(data, []byte("rewrap journal\n\x01")) {
		t.Fatalf("journal begins with %q", data[:min(len(data), 16)])
	}
	for off := 16; off < len(data); {
		n := int(binary.BigEndian.Uint32(data[off:]) &^ (1 << 31))
		body := slices.Concat(data[off:off+4], data[off+8:off+8+n])
		if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(data[off+4:]) {
			t.Fatalf("checksum of the frame at %d", off)
		}
		ids = append(ids, jsonID(t, data[off+8:off+8+n]))
		offs = append(offs, int64(off))
		off += 8 + n
	}
	return ids, offs
}

func rawIDs(t testing.TB, name string, off int64) (ids []string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data[off:]) {
		if !bytes.HasSuffix(line, []byte("}\n")) {
			t.Fatalf("%s ends in %q", name, line)
		}
		ids = append(ids, jsonID(t, line))
	}
	return ids
}

func jsonID(t testing.TB, line []byte) string {
	t.Helper()
	var v struct{ ID string }
	if err := json.Unmarshal(line, &v); err != nil {
		t.Fatal(err)
	}
	return v.ID
}

func (w *world) append() bool {
	id := w.name("edit")
	off, err := w.s.Journal().Append(w.t.Context(), Entry{ID: id, Inverse: json.RawMessage(`{"meta":{}}`)})
	if w.failed(err) {
		if w.pending == "" { // the first that fails may be there; those after it may not
			w.pending = id
		}
		return false
	}
	if off < headerLen {
		w.t.Fatalf("offset %d", off)
	}
	w.journal = append(w.journal, id)
	return true
}

func (w *world) addAudit() bool {
	id := w.name("key")
	if w.failed(w.s.Audit(AuditLine{ID: id})) {
		return false
	}
	w.live.audit = append(slices.Clip(w.live.audit), id)
	return true
}

func (w *world) owe() bool {
	id := w.name("owed")
	if w.failed(w.s.Owe(Owed{ID: id, Error: "access denied", Journal: -1})) {
		return false
	}
	w.live.owed = append(slices.Clip(w.live.owed), id)
	return true
}

// settle takes the first n of the lines to try again as done.
func (w *world) settle(n int) bool {
	n = min(n, len(w.lines))
	w.lines = w.lines[n:]
	w.live.owed = slices.Clone(w.live.owed[n:])
	return true
}

// commit cuts, lets more happen, and commits.
func (w *world) commit(result string, between ...func() bool) bool {
	w.t.Helper()
	v := w.live
	v.mark, v.complete = w.name("mark"), result == "complete"
	c, err := w.s.Cut()
	if w.failed(err) {
		return false
	}
	snap := w.s.Snapshot()
	snap.Result, snap.Ended = result, result == "complete"
	snap.Spans = []SpanState{{ID: "0", After: v.mark}}
	snap.JournalFrom = w.s.Journal().Size()
	snap.Retries = w.retries(snap.Retries)
	w.live.mark = v.mark
	for _, f := range between {
		if !f() {
			return false
		}
	}
	if w.failed(w.s.Commit(snap, c)) {
		w.possible = append(w.possible, v)
		return false
	}
	w.possible = []view{v}
	return true
}

// retries is what the snapshot has to say of the lines that are not settled.
func (w *world) retries(opened []Retry) []Retry {
	var left []Retry
	for _, r := range opened {
		i := slices.IndexFunc(w.lines, func(p place) bool { return p.file == r.File })
		if i < 0 {
			continue
		}
		data, err := os.ReadFile(filepath.Join(w.dir, r.File))
		if err != nil {
			w.t.Fatal(err)
		}
		// The line before the first that is left ends where that one begins.
		end := w.lines[i].next
		r.Offset = int64(bytes.LastIndexByte(data[:end-1], '\n')) + 1
		left = append(left, r)
	}
	return left
}

// close ends the process as it should, or at once if the file system is dead.
func (w *world) close() bool {
	if w.s != nil {
		w.s.Close()
		w.s = nil
	}
	return true
}

// crash ends the process, with the power or without, and starts another one.
func (w *world) crash(power bool) {
	w.fs.mu.Lock()
	w.fs.dead = true
	w.fs.mu.Unlock()
	if power {
		w.fs.powerLoss(w.t)
	}
	w.close()
	w.plug()
}
