package setup

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"rewrap/checkpoint"
	"rewrap/cmd/rewrap/internal/job"
	"rewrap/sources"
	"rewrap/sources/dir"
	"rewrap/sources/mem"
)

// TestFirstItems: the first item that shows its alphabet settles the style of a
// job, and the search for one is bounded.
func TestFirstItems(t *testing.T) {
	t.Parallel()
	blob := func(b byte) string { return strings.Repeat(string(rune(b)), 40) }
	shows, bare := blob(0x7f), blob('a') // with / or _, and without
	std, url := base64.StdEncoding, base64.RawURLEncoding
	many := func(n int, text string) (texts []string) {
		for range n {
			texts = append(texts, text)
		}
		return texts
	}
	for _, tc := range []struct {
		name  string
		items []string // in the order of the listing
		match func(string) bool
		want  string // the learned style
		how   string // "": the items seem to hold no text
	}{
		{name: "nothing", want: "auto"},
		{name: "standard", items: []string{std.EncodeToString([]byte(shows)), url.EncodeToString([]byte(shows))}, want: "std", how: "first-items"},
		{name: "url-safe", items: []string{"", "two words, no key", url.EncodeToString([]byte(bare)), url.EncodeToString([]byte(shows)), std.EncodeToString([]byte(shows))}, want: "raw-url", how: "first-items"},
		{name: "out of scope", items: []string{std.EncodeToString([]byte(shows)), url.EncodeToString([]byte(shows))}, match: func(name string) bool { return name != "0000" }, want: "raw-url", how: "first-items"},
		{name: "only padding", items: many(3, url.EncodeToString([]byte(bare))), want: "raw-std", how: "assumed"},
		{name: "neutral", items: many(3, "AAAA"), want: "auto", how: "assumed"},
		{name: "all are binary", items: many(30, "\x00\x01"), want: "auto"},
		{name: "many are binary", items: append(many(learnItems-1, "\x00\x01"), url.EncodeToString([]byte(shows))), want: "raw-url", how: "first-items"},
		{name: "within the bound", items: append(many(learnItems-1, ""), url.EncodeToString([]byte(shows))), want: "raw-url", how: "first-items"},
		{name: "beyond the bound", items: append(many(learnItems, ""), url.EncodeToString([]byte(shows))), want: "auto"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for i, text := range tc.items {
				if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("%04d", i)), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := session(t, root, job.State{Given: filepath.Join(t.TempDir(), "state")})
			s.Match = tc.match
			got, err := s.Learn(t.Context(), quietly)
			if err != nil {
				t.Fatal(err)
			}
			how := ""
			if got.Base64 != nil {
				how = got.Base64.How
			}
			if got.LearnedName() != tc.want || how != tc.how {
				t.Errorf("learned %q, known as %q; want %q, %q", got.LearnedName(), how, tc.want, tc.how)
			}
		})
	}
}

func quietly(string, ...any) {}

// session is a job of raw items in a directory, as far as [Session.Learn] needs
// it.
func session(t *testing.T, root string, state job.State) *Session {
	t.Helper()
	src, err := dir.Open(t.Context(), dir.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	if err := src.Begin(t.Context(), sources.Look); err != nil {
		t.Fatal(err)
	}
	s := &Session{
		Job: job.Job{Place: job.Place{Dir: root}, Format: job.Format{Name: "raw", Base64: "auto"}, State: state},
		Dir: state.Given, Source: Source{Source: src},
	}
	if s.Format, err = s.Job.Payload(0); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLearnInTrouble: where the listing fails, or every item puts the run in
// doubt, the search ends at once and leaves it to the run to say so.
func TestLearnInTrouble(t *testing.T) {
	t.Parallel()
	down := &sources.RunError{Err: errors.New("down")}
	for name, hooks := range map[string]mem.Hooks{
		"list": {OnList: func(string) error { return down }},
		"read": {OnRead: func(string) error { return down }},
	} {
		items := make(map[string]mem.Item)
		for i := range learnItems {
			items[fmt.Sprintf("%04d", i)] = mem.Item{Body: "AAAA"}
		}
		src := mem.New(mem.Options{Items: items})
		if err := src.Begin(t.Context(), sources.Look); err != nil {
			t.Fatal(err)
		}
		var reads atomic.Int64
		src.Hooks = hooks
		if hooks.OnRead != nil {
			src.OnRead = func(id string) error { reads.Add(1); return hooks.OnRead(id) }
		}
		s := session(t, t.TempDir(), job.State{Given: filepath.Join(t.TempDir(), "state")})
		s.Source = Source{Source: src}
		got, err := s.Learn(t.Context(), quietly)
		if err != nil || got.Learned != 0 || reads.Load() > learnAtOnce {
			t.Errorf("%s: learned %v, %v after %d readings; want nothing after %d at most", name, got.Learned, err, reads.Load(), learnAtOnce)
		}
	}
}

// TestLearnAgain: a run that goes on goes by the style of the checkpoint, and one
// that gives up the pass learns it anew.
func TestLearnAgain(t *testing.T) {
	t.Parallel()
	root, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	text := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0x7f, 0xff}, 20))
	if err := os.WriteFile(filepath.Join(root, "item"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := checkpoint.Open(state, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	snap := st.Snapshot()
	snap.Learned = "url"
	cut, err := st.Cut()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(st.Commit(snap, cut), st.Close()); err != nil {
		t.Fatal(err)
	}
	for restart, want := range map[bool]string{false: "url", true: "std"} {
		s := session(t, root, job.State{Given: state, Restart: restart})
		got, err := s.Learn(t.Context(), quietly)
		if err != nil || got.LearnedName() != want {
			t.Errorf("restart %v: learned %q, %v; want %q", restart, got.LearnedName(), err, want)
		}
	}
}

// TestFewInScope: the search is bounded also where few items are in scope.
func TestFewInScope(t *testing.T) {
	t.Parallel()
	items := make(map[string]mem.Item)
	for i := range learnNames + 10 {
		items[fmt.Sprintf("%06d", i)] = mem.Item{}
	}
	src := mem.New(mem.Options{Items: items})
	listed := 0
	src.OnList = func(string) error { listed++; return nil }
	if err := src.Begin(t.Context(), sources.Look); err != nil {
		t.Fatal(err)
	}
	s := session(t, t.TempDir(), job.State{Given: filepath.Join(t.TempDir(), "state")})
	s.Source, s.Match = Source{Source: src}, func(string) bool { return false }
	if got, err := s.Learn(t.Context(), quietly); err != nil || got.Learned != 0 || listed > learnNames+1 {
		t.Errorf("learned %v after %d names, %v; want nothing after %d", got.Learned, listed, err, learnNames)
	}
}

// TestLearnReadsLittle: where the first item shows the alphabet, no other is read.
func TestLearnReadsLittle(t *testing.T) {
	t.Parallel()
	shows := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0x7f, 0xff}, 20))
	for first, want := range map[string]int64{shows: 1, "AAAA": 3} {
		items := map[string]mem.Item{"0000": {Body: first}}
		for i := 1; i < 50; i++ {
			items[fmt.Sprintf("%04d", i)] = mem.Item{Body: shows}
		}
		src := mem.New(mem.Options{Items: items})
		if err := src.Begin(t.Context(), sources.Look); err != nil {
			t.Fatal(err)
		}
		var reads atomic.Int64
		src.OnRead = func(string) error { reads.Add(1); return nil }
		s := session(t, t.TempDir(), job.State{Given: filepath.Join(t.TempDir(), "state")})
		s.Source = Source{Source: src}
		// Each item is read at most twice: its metadata, and its body.
		got, err := s.Learn(t.Context(), quietly)
		if err != nil || got.LearnedName() != "std" || reads.Load() > 2*want {
			t.Errorf("learned %q, %v after %d readings; want std after those of %d items", got.LearnedName(), err, reads.Load(), want)
		}
	}
}
