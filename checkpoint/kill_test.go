package checkpoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const killDir = "CHECKPOINT_TEST_KILL_DIR"

// TestMain is also the process that TestKilled kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := work(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// work appends and commits for ever, and says so after each.
func work(dir string) error {
	s, err := Open(dir, Options{Job: testJob})
	if err != nil {
		return err
	}
	session := s.Snapshot().Session
	fmt.Println("open", session)
	failed := make(chan error)
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", session, w, i)
				if _, err := s.Journal().Append(context.Background(), Entry{ID: id, Rev: strings.Repeat("x", i%5000)}); err != nil {
					failed <- err
				}
				fmt.Println("append", id)
			}
		}()
	}
	go func() {
		for i := 0; ; i++ {
			id := fmt.Sprintf("%d-%d", session, i)
			err := errors.Join(s.Audit(AuditLine{ID: id}), s.Owe(Owed{ID: id}))
			c, cutErr := s.Cut()
			snap := s.Snapshot()
			snap.Spans = []SpanState{{After: id}}
			// What this snapshot does not speak of, and the next one does.
			err = errors.Join(err, cutErr, s.Audit(AuditLine{ID: id + "+"}), s.Owe(Owed{ID: id + "+"}))
			_, cutErr = s.Cut()
			if err := errors.Join(err, cutErr, s.Commit(snap, c)); err != nil {
				failed <- err
			}
			fmt.Println("commit", id)
			if i == 2 && session%2 == 0 {
				return // leaves a tail of which no snapshot speaks
			}
		}
	}()
	return <-failed
}

// TestKilled kills a process that appends and commits, again and again, and
// looks for everything that it had said was done.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	appended := make(map[string]bool)
	for round := range 12 {
		committed := killAfter(t, dir, 20+round*17, appended)

		s := mustOpen(t, dir)
		found := make(map[string]bool)
		ids, _ := rawJournal(t, filepath.Join(dir, journalFile))
		for _, id := range ids {
			if found[id] {
				t.Fatalf("%q is there twice", id)
			}
			found[id] = true
		}
		for id := range appended {
			if !found[id] {
				t.Errorf("round %d: Append of %q returned, and it is not in the journal", round, id)
			}
		}
		snap := s.Snapshot()
		mark := ""
		if snap.Spans != nil {
			mark = snap.Spans[0].After
		}
		var was, is, n, m int
		fmt.Sscanf(committed, "%d-%d", &was, &n)
		fmt.Sscanf(mark, "%d-%d", &is, &m)
		if is < was || is == was && m < n {
			t.Errorf("round %d: %q was committed, and the snapshot is of %q", round, committed, mark)
		}
		audit := rawIDs(t, filepath.Join(dir, auditFile), 0)
		var owed []string
		for _, r := range snap.Retries {
			for o, err := range s.Owed(r) {
				if err != nil {
					t.Fatal(err)
				}
				owed = append(owed, o.ID)
			}
		}
		if !slices.Equal(audit, owed) || mark != "" && audit[len(audit)-1] != mark {
			t.Errorf("round %d, snapshot of %q: audited are %v, owed are %v", round, mark, audit, owed)
		}
		s.Close()
	}
	if len(appended) < 500 {
		t.Errorf("only %d entries were appended", len(appended))
	}
}

// killAfter runs work, kills it after so many lines of what it says, adds to
// appended, and returns the last commit of a session that has committed.
func killAfter(t *testing.T, dir string, lines int, appended map[string]bool) (committed string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	for n := 0; in.Scan(); n++ {
		what, id, _ := strings.Cut(in.Text(), " ")
		switch what {
		case "append":
			appended[id] = true
		case "commit":
			committed = id
		case "error":
			t.Errorf("the process failed: %s", id)
		}
		if n == lines/2 {
			_, err := Open(dir, Options{Job: testJob})
			var e *LockedError
			if !errors.As(err, &e) || e.PID != cmd.Process.Pid {
				t.Errorf("Open beside process %d: %v", cmd.Process.Pid, err)
			}
			if st, err := Read(dir); err != nil || !st.Live || st.Holder.PID != cmd.Process.Pid {
				t.Errorf("Read beside process %d: %+v, %v", cmd.Process.Pid, st, err)
			}
		}
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd.Wait()
	return committed
}
