package interop

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const prefix = "fleet/"

// oddKeys are names that a sloppy client or store changes on the way.
var oddKeys = []string{
	"with space", "a+b", "100%", "what?now", "#1", "a//b", "/lead", "trail/", ".", "..", "a/../b", "./c", "%2F", "%25", "Zoë ☃ 日本", "=?UTF-8?B?eA==?=",
	`back\slash`, `"quoted"`, "a&b=c;d", "line\nbreak", "tab\tbed", "<xml>&amp;", "o.instruction", "~", "\u0001", "\u2028", strings.Repeat("long/", 200) + "x",
}

// fleet is n objects to be encrypted, of many kinds.
func fleet(n int, rng *rand.Rand) []plain {
	types := []string{"application/octet-stream", "text/plain; charset=utf-8", "image/png", "application/json"}
	objects := make([]plain, n)
	for i := range objects {
		p := &objects[i]
		p.key = fmt.Sprintf("%s%02d/%05d.bin", prefix, i%17, i)
		if i < len(oddKeys) {
			p.key = prefix + oddKeys[i]
		}
		size := rng.IntN(1500)
		switch rng.IntN(50) {
		case 0:
			size = 0
		case 1:
			size = 64 << 10
		}
		p.body = make([]byte, size)
		for j := range p.body {
			p.body[j] = byte(rng.Uint32())
		}
		if i > 0 && rng.IntN(20) == 0 {
			p.body = objects[i-1].body
		}
		switch rng.IntN(3) {
		case 0:
			p.context = map[string]string{"tenant": fmt.Sprint("t", rng.IntN(10))}
		case 1:
			p.context = map[string]string{"tenant": "acme", "file": p.key}
			// Not in a context: what is too long for metadata, and what S3
			// itself decodes when it is written, so that no client can read it.
			if len(p.key) > 500 || strings.Contains(p.key, "=?") {
				p.context = map[string]string{"tenant": "Zoë ☃"}
			}
		}
		h := &p.header
		if rng.IntN(4) > 0 {
			h.ContentType = &types[rng.IntN(len(types))]
		}
		if rng.IntN(3) == 0 {
			h.CacheControl = aws.String("public, max-age=31536000")
		}
		if rng.IntN(5) == 0 {
			h.ContentDisposition = aws.String(`attachment; filename="a b.bin"`)
			h.ContentLanguage = aws.String("de, en")
		}
		if rng.IntN(8) == 0 {
			h.ContentEncoding = aws.String("zstd")
		}
		if rng.IntN(2) == 0 {
			h.Metadata = map[string]string{"project": fmt.Sprint("p", rng.IntN(5)), "empty": "", "x-note": "a, b; c=d"}
		}
		if rng.IntN(3) == 0 {
			h.Tagging = aws.String("team=blue&" + url.Values{"what for": {"a+b/c=d é"}}.Encode())
		}
	}
	return objects
}

// each calls f for all objects, a few at a time.
func each[T any](t *testing.T, objects []T, f func(context.Context, T) error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(objects)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := f(ctx, objects[i]); err != nil {
					cancel(fmt.Errorf("object %d: %w", i, err))
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		t.Fatal(err)
	}
}

// store writes the objects under a key: most by the S3 Encryption Client,
// some by the others.
func (w *world) store(t *testing.T, key string, objects []plain) {
	t.Helper()
	each(t, objects, func(ctx context.Context, p plain) error {
		put := putV3
		if i := bytes.IndexByte([]byte(p.key), '.') + len(p.body); i%5 == 0 && strings.HasSuffix(p.key, ".bin") && isASCII(p.context) {
			put = clients[1+i/5%(len(clients)-1)].put
		}
		return put(ctx, w, key, p)
	})
}

func isASCII(context map[string]string) bool {
	for _, v := range context {
		for _, r := range v {
			if r > '~' {
				return false
			}
		}
	}
	return true
}

// copies makes copies of objects on the server's side, which share the
// wrapped key with the original.
func (w *world) copies(t *testing.T, objects []plain) []plain {
	t.Helper()
	twins := make([]plain, len(objects))
	for i, p := range objects {
		twins[i] = p
		twins[i].key = fmt.Sprintf("%stwin/%04d", prefix, i)
		if _, err := w.S3.CopyObject(t.Context(), &s3.CopyObjectInput{
			Bucket: aws.String(bucket), Key: &twins[i].key, CopySource: copySource(p.key),
		}); err != nil {
			t.Fatal(err)
		}
	}
	return twins
}

// strangers writes n objects that nobody encrypted.
func (w *world) strangers(t *testing.T, n int) []plain {
	t.Helper()
	objects := make([]plain, n)
	for i := range objects {
		objects[i] = plain{key: fmt.Sprintf("%s%02d/plain-%d", prefix, i%17, i), body: []byte("not encrypted")}
		in := objects[i].input()
		in.Body = bytes.NewReader(objects[i].body)
		in.StorageClass = s3types.StorageClassStandardIa
		if _, err := w.S3.PutObject(t.Context(), &in); err != nil {
			t.Fatal(err)
		}
	}
	return objects
}

// snapshot reads the objects as S3 has them.
func (w *world) snapshot(t *testing.T, objects []plain) map[string]object {
	t.Helper()
	var mu sync.Mutex
	all := make(map[string]object, len(objects))
	each(t, objects, func(ctx context.Context, p plain) error {
		o, err := w.read(ctx, p.key)
		mu.Lock()
		defer mu.Unlock()
		all[p.key] = o
		return err
	})
	return all
}

// opened reads the objects back by the client with a key, and holds them
// against what was written.
func (w *world) opened(t *testing.T, key string, objects []plain) {
	t.Helper()
	each(t, objects, func(ctx context.Context, p plain) error {
		got, err := getV3(ctx, w, key, p.key)
		if err == nil && !bytes.Equal(got, p.body) {
			err = fmt.Errorf("%d bytes, want the %d that were written", len(got), len(p.body))
		}
		if err != nil {
			return fmt.Errorf("%q: %w", p.key, err)
		}
		return nil
	})
}
