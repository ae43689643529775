//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package durable_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rewrap/checkpoint/durable"
)

// lockEnv makes this test's binary a process that locks the file of that name,
// says so and waits until it is killed.
const lockEnv = "DURABLE_TEST_LOCK"

func TestMain(m *testing.M) {
	if name := os.Getenv(lockEnv); name != "" {
		l, err := durable.TakeLock(name, 0)
		if err == nil {
			err = l.Say([]byte("the child"))
		}
		if err != nil {
			os.Stdout.WriteString(err.Error())
		}
		os.Stdout.WriteString("\n")
		io.Copy(io.Discard, os.Stdin) // until it is killed, or its parent ends
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestLock: one process holds a lock at a time, others learn which one, and the
// lock ends with a process that is killed.
func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	if held, words, err := durable.Peek(name); held || words != nil || err != nil {
		t.Errorf("no lock: %v, %q, %v", held, words, err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockEnv+"="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "\n" || err != nil {
		t.Fatalf("the child says %q, %v", line, err)
	}
	var held *durable.HeldError
	begun := time.Now()
	if _, err := durable.TakeLock(name, 50*time.Millisecond); !errors.As(err, &held) || string(held.Words) != "the child" || held.Name != name {
		t.Errorf("a lock that is held: %v", err)
	}
	if waited := time.Since(begun); waited < 50*time.Millisecond {
		t.Errorf("waited %v", waited)
	}
	if held, words, err := durable.Peek(name); !held || string(words) != "the child" || err != nil {
		t.Errorf("a lock that is held: %v, %q, %v", held, words, err)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if held, words, err := durable.Peek(name); held || string(words) != "the child" || err != nil {
		t.Errorf("a killed holder: %v, %q, %v", held, words, err)
	}
	l, err := durable.TakeLock(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Say([]byte("me")); err != nil {
		t.Error(err)
	}
	if held, words, err := durable.Peek(name); !held || string(words) != "me" || err != nil {
		t.Errorf("%v, %q, %v", held, words, err)
	}
	if err := l.Release(); err != nil {
		t.Error(err)
	}
	if held, words, err := durable.Peek(name); held || string(words) != "me" || err != nil {
		t.Errorf("a released lock: %v, %q, %v", held, words, err)
	}
}

// TestLockRemoved: a lock whose file was removed protects nothing, and its
// holder can tell; the file of the next holder stays.
func TestLockRemoved(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	take := func() *durable.Lock {
		t.Helper()
		l, err := durable.TakeLock(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := take()
	if !l.Held() {
		t.Error("not held")
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	next := take()
	if l.Held() || !next.Held() {
		t.Error("the first still holds it, or the second does not")
	}
	if err := l.Remove(); err != nil || !next.Held() {
		t.Errorf("the second lost its file: %v", err)
	}
	if err := next.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

// TestLockWaits: a lock that is released in time is taken.
func TestLockWaits(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	l, err := durable.TakeLock(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(30*time.Millisecond, func() { l.Release() })
	next, err := durable.TakeLock(name, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	next.Release()
}

// TestPeeksAtOnce: those who only look do not take each other for a holder.
func TestPeeksAtOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if held, _, err := durable.Peek(name); held || err != nil {
					t.Errorf("%v, %v", held, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
