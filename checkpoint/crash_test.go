package checkpoint

import (
	"fmt"
	"os"
	"testing"
)

// story is a life that uses every operation. It ends early where one fails,
// unless goOn.
func story(w *world, goOn bool) {
	w.t.Helper()
	var steps []func() bool
	add := func(s ...func() bool) { steps = append(steps, s...) }
	session := func(restart bool, acts ...func() bool) {
		add(func() bool { return w.open(restart) })
		for _, a := range acts {
			add(func() bool { return w.s == nil || a() })
		}
		add(w.close)
	}
	commit := func(result string, between ...func() bool) func() bool {
		return func() bool { return w.commit(result, between...) }
	}
	settle := func(n int) func() bool { return func() bool { return w.settle(n) } }

	session(false, w.append, w.addAudit, w.owe, w.owe, commit("", w.owe, w.addAudit, w.append), w.append, w.owe, w.addAudit)
	session(false, w.append, settle(1), w.owe, commit("", w.owe), w.addAudit, commit("stopped"))
	session(false, settle(1), commit(""), w.owe, w.append) // fails nothing of its own
	session(false, settle(9), w.addAudit, commit("remaining"))
	session(false, w.owe, w.append, commit("failed", w.owe))
	session(true, w.append, w.owe, w.addAudit, commit(""), w.owe)
	session(false, settle(9), commit("complete", w.append))
	session(false, w.owe, commit("complete"))
	session(false, commit(""))
	for _, s := range steps {
		if !s() && !goOn {
			return
		}
	}
}

// memoryDir is a directory in memory, where there is one: the file system of
// these tests plays the disk itself, and makes many files.
func memoryDir(t *testing.T) string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "checkpoint-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestCrashEverywhere ends the story at each of its steps, by a kill and by a
// power loss, and looks at what the next process finds; then once more.
func TestCrashEverywhere(t *testing.T) {
	t.Parallel()
	whole := newWorld(t, memoryDir(t), 0)
	story(whole, false)
	if whole.session != 9 || whole.fs.step < 100 {
		t.Fatalf("the story has %d sessions and %d steps", whole.session, whole.fs.step)
	}
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for step := range whole.fs.step {
		for seed := range seeds {
			w := newWorld(t, memoryDir(t), seed)
			w.fs.dieAt = step
			story(w, false)
			if !w.fs.dead {
				t.Fatalf("step %d was not reached", step)
			}
			at := fmt.Sprintf("step %d (%s), seed %d", step, w.fs.ops[step], seed)
			w.crash(seed > 0)
			reopen(t, w, at)
		}
	}
}

// TestCrashTwice dies in the Open that follows a crash.
func TestCrashTwice(t *testing.T) {
	t.Parallel()
	whole := newWorld(t, memoryDir(t), 0)
	story(whole, false)
	stride := 7
	if testing.Short() {
		stride = 29
	}
	for step := 0; step < whole.fs.step; step += stride {
		for second := range 40 {
			seed := uint64(step + second)
			w := newWorld(t, memoryDir(t), seed)
			w.fs.dieAt = step
			story(w, false)
			w.crash(seed%2 == 0)
			w.fs.dieAt = second
			if w.open(seed%5 == 0) {
				w.close()
				break // it has fewer steps
			}
			at := fmt.Sprintf("step %d, then %d (%s)", step, second, w.fs.ops[second])
			w.crash(seed%3 == 0)
			reopen(t, w, at)
		}
	}
}

// TestDiskFullEverywhere lets each step fail, and the caller stop or go on.
func TestDiskFullEverywhere(t *testing.T) {
	t.Parallel()
	whole := newWorld(t, memoryDir(t), 0)
	story(whole, false)
	for step := range whole.fs.step {
		for _, goOn := range []bool{false, true} {
			w := newWorld(t, memoryDir(t), uint64(step))
			w.fs.failAt = step
			story(w, goOn)
			at := fmt.Sprintf("step %d (%s), going on %v", step, w.fs.ops[step], goOn)
			w.close()
			w.plug()
			reopen(t, w, at)
		}
	}
}

func reopen(t *testing.T, w *world, at string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("after %s", at)
		}
	}()
	for range 2 {
		if !w.open(false) {
			t.Fatal("does not open")
		}
		if !w.append() || !w.addAudit() || !w.owe() || !w.commit("") {
			t.Fatal("cannot be used")
		}
		w.close()
	}
}

// TestRandomLives runs random operations, crashes and full disks against the
// model.
func TestRandomLives(t *testing.T) {
	t.Parallel()
	lives := uint64(80)
	if testing.Short() {
		lives = 20
	}
	for seed := range lives {
		w := newWorld(t, memoryDir(t), seed)
		for range 200 {
			randomAct(w)
		}
		w.close()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomAct(w *world) {
	w.t.Helper()
	ok := true
	switch n := w.rnd.IntN(24); {
	case w.s == nil:
		ok = w.open(w.rnd.IntN(8) == 0)
	case n < 5:
		ok = w.append()
	case n < 9:
		ok = w.addAudit()
	case n < 13:
		ok = w.owe()
	case n < 15:
		w.settle(w.rnd.IntN(4))
	case n < 19:
		result := []string{"", "", "stopped", "remaining", "failed", "complete"}[w.rnd.IntN(6)]
		ok = w.commit(result, []func() bool{w.owe, w.addAudit, w.append}[:w.rnd.IntN(4)]...)
	case n < 20:
		w.close()
	case n < 22:
		w.fs.dieAt = w.fs.step + w.rnd.IntN(12)
	case n < 23:
		w.fs.failAt = w.fs.step + w.rnd.IntN(12)
	default:
		w.crash(w.rnd.IntN(2) == 0)
	}
	if !ok && w.fs.dead {
		w.crash(w.rnd.IntN(2) == 0)
	}
}
