package setup

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rewrap/checkpoint"
	"rewrap/cmd/rewrap/internal/job"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/raw"
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
		want  string
	}{
		{name: "nothing", want: "auto"},
		{name: "standard", items: []string{std.EncodeToString([]byte(shows)), url.EncodeToString([]byte(shows))}, want: "std"},
		{name: "url-safe", items: []string{"", "two words, no key", url.EncodeToString([]byte(bare)), url.EncodeToString([]byte(shows)), std.EncodeToString([]byte(shows))}, want: "raw-url"},
		{name: "out of scope", items: []string{std.EncodeToString([]byte(shows)), url.EncodeToString([]byte(shows))}, match: func(name string) bool { return name != "0000" }, want: "raw-url"},
		{name: "only padding", items: many(3, url.EncodeToString([]byte(bare))), want: "raw-std"},
		{name: "binary", items: append(many(learnBinary, "\x00\x01"), url.EncodeToString([]byte(shows))), want: "auto"},
		{name: "some are binary", items: append(many(learnBinary-1, "\x00\x01"), url.EncodeToString([]byte(shows))), want: "raw-url"},
		{name: "beyond the bound", items: append(many(learnItems, ""), url.EncodeToString([]byte(shows))), want: "auto"},
		{name: "within the bound", items: append(many(learnItems-1, ""), url.EncodeToString([]byte(shows))), want: "raw-url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for i, text := range tc.items {
				if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("%04d", i)), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			src, err := dir.Open(t.Context(), dir.Config{Root: root})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			if err := src.Begin(t.Context(), sources.Look); err != nil {
				t.Fatal(err)
			}
			f, err := raw.New(binding.Binding{}, b64.Choice{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := firstItems(t.Context(), src, f, tc.match)
			if err != nil || got.String() != tc.want {
				t.Errorf("learned %v, %v; want %s", got, err, tc.want)
			}
		})
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
		src, err := dir.Open(t.Context(), dir.Config{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if err := src.Begin(t.Context(), sources.Look); err != nil {
			t.Fatal(err)
		}
		s := &Session{
			Job: job.Job{Place: job.Place{Dir: root}, Format: job.Format{Name: "raw", Base64: "auto"}, State: job.State{Given: state, Restart: restart}},
			Dir: state, Source: Source{Source: src},
		}
		if s.Format, err = s.Job.Payload(0); err != nil {
			t.Fatal(err)
		}
		learned, err := s.Learn(t.Context())
		if err != nil || learned.LearnedName() != want {
			t.Errorf("restart %v: learned %q, %v; want %q", restart, learned.LearnedName(), err, want)
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
	f, err := raw.New(binding.Binding{}, b64.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := firstItems(t.Context(), src, f, func(string) bool { return false }); err != nil || got != 0 || listed != learnNames {
		t.Errorf("learned %v after %d names, %v; want nothing after %d", got, listed, err, learnNames)
	}
}
