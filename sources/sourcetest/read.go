package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"rewrap/sources"
)

func testReadHead(t *testing.T, s *store) {
	const body = "0123456789"
	s.put(t, "ten", body)
	s.put(t, "none", "")
	for _, test := range []struct {
		name string
		head int64
		want string
		size int64
	}{
		{"ten", 0, "", 10},
		{"ten", 1, "0", 10},
		{"ten", 9, "012345678", 10},
		{"ten", 10, body, 10},
		{"ten", 11, body, 10},
		{"ten", 1 << 20, body, 10},
		{"none", 0, "", 0},
		{"none", 1, "", 0},
		{"none", 1 << 20, "", 0},
	} {
		r := s.ref(t, test.name)
		v := s.read(t, r, test.head)
		if string(v.Head) != test.want || v.Size != test.size {
			t.Errorf("Read(%s, %d): head %q of %d bytes, should be %q of %d", test.name, test.head, v.Head, v.Size, test.want, test.size)
		}
		if v.Ref != r {
			t.Errorf("Read(%v) gives the view of %v", r, v.Ref)
		}
		if v.Rev == "" {
			t.Errorf("Read(%s, %d): no revision", test.name, test.head)
		}
		if again := s.read(t, r, 0); again.Rev != v.Rev {
			t.Errorf("Read(%s, %d): revision %q, and with no head %q", test.name, test.head, v.Rev, again.Rev)
		}
	}
}

func testReadMeta(t *testing.T, s *store) {
	s.put(t, "item", "body")
	r := s.ref(t, "item")
	for _, head := range []int64{0, 10} {
		v := s.read(t, r, head)
		got := make(map[string]string)
		for name, value := range v.Meta {
			got[name] = string(value)
		}
		same(t, fmt.Sprintf("metadata with a head of %d", head), got, meta)
	}
}

func testReadGone(t *testing.T, s *store) {
	s.put(t, "item", "body")
	r := s.ref(t, "item")
	s.delete(t, "item")
	for _, head := range []int64{0, 10} {
		_, err := s.Source.Read(t.Context(), r, sources.Want{Head: head})
		if !errors.Is(err, sources.ErrGone) {
			t.Errorf("reading a deleted item, head %d: %v, should be ErrGone", head, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Source.Read(ctx, r, sources.Want{}); err == nil || errors.Is(err, sources.ErrGone) {
		t.Errorf("reading with a context that is done: %v, which says something about the item", err)
	}
}

// testReadOneRevision reads while another writer writes. Each part of a revision
// tells the number of the revision.
func testReadOneRevision(t *testing.T, s *store) {
	put := func(i int) error {
		return s.Put("item", []byte(strings.Repeat(string(rune('a'+i%26)), 1+i%26)), s.metaFor(map[string]string{"n": fmt.Sprint(i % 26)}))
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	r := s.ref(t, "item")
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			if err := put(i); err != nil {
				t.Errorf("the other writer's put: %v", err)
				return
			}
		}
	})
	defer wg.Wait()
	defer close(done)
	for range 200 {
		v := s.read(t, r, 64)
		n := int(v.Size) - 1
		if string(v.Head) != strings.Repeat(string(rune('a'+n)), n+1) || s.h.Metadata && string(v.Meta["n"]) != fmt.Sprint(n) {
			t.Fatalf("a view of several revisions: size %d, head %q, metadata n=%s", v.Size, v.Head, v.Meta["n"])
		}
	}
}
