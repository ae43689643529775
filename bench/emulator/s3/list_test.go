package s3_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// pages lists everything page by page. It returns keys and prefixes in the
// order of the listing; prefixes end in "*".
func (w *world) pages(in s3.ListObjectsV2Input) (all []string, pages int) {
	w.Helper()
	in.Bucket = &w.Bucket
	p := s3.NewListObjectsV2Paginator(w.S3, &in)
	for p.HasMorePages() {
		out, err := p.NextPage(w.Context())
		w.OK(err)
		is(w, "KeyCount", int(*out.KeyCount), len(out.Contents)+len(out.CommonPrefixes))
		var page []string
		for _, o := range out.Contents {
			page = append(page, *o.Key)
		}
		for _, cp := range out.CommonPrefixes {
			page = append(page, *cp.Prefix+"*")
		}
		slices.Sort(page)
		all = append(all, page...)
		pages++
	}
	return all, pages
}

func (w *world) lists(what string, in s3.ListObjectsV2Input, want ...string) {
	w.Helper()
	got, _ := w.pages(in)
	if !slices.Equal(got, want) {
		w.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// The order is that of the keys' bytes in UTF-8 (API, ListObjectsV2).
func TestList(t *testing.T) {
	w := newWorld(t)
	var keys []string
	for i := range 25 {
		keys = append(keys, fmt.Sprintf("k%02d", i))
	}
	for _, i := range rand.Perm(25) {
		w.Put(keys[i], "")
	}
	got, pages := w.pages(s3.ListObjectsV2Input{MaxKeys: aws.Int32(10)})
	is(w, "pages", pages, 3)
	is(w, "keys", strings.Join(got, " "), strings.Join(keys, " "))
	w.lists("start-after", s3.ListObjectsV2Input{StartAfter: aws.String("k22")}, "k23", "k24")
	w.lists("between keys", s3.ListObjectsV2Input{StartAfter: aws.String("k22a")}, "k23", "k24")
	w.lists("prefix", s3.ListObjectsV2Input{Prefix: aws.String("k1"), StartAfter: aws.String("k17"), MaxKeys: aws.Int32(1)}, "k18", "k19")
	w.lists("nothing", s3.ListObjectsV2Input{Prefix: aws.String("x")})
	none, err := w.S3.ListObjectsV2(w.Context(), &s3.ListObjectsV2Input{Bucket: &w.Bucket, MaxKeys: aws.Int32(0)})
	w.OK(err)
	is(w, "no keys asked for", len(none.Contents), 0)
	is(w, "truncated", *none.IsTruncated, false)
	_, err = w.S3.ListObjectsV2(w.Context(), &s3.ListObjectsV2Input{Bucket: &w.Bucket, ContinuationToken: aws.String("k22")})
	w.Refused(err, 400, "InvalidArgument")
	owner, err := w.S3.ListObjectsV2(w.Context(), &s3.ListObjectsV2Input{Bucket: &w.Bucket, FetchOwner: aws.Bool(true)})
	w.OK(err)
	is(w, "owner", owner.Contents[0].Owner != nil, true)
	is(w, "no owner", none.Contents == nil, true)
}

func TestListDelimiter(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{"a", "b/1", "b/2/x", "b/2/y", "b0", "c/1", "é/1", "～", "😀"} {
		w.Put(key, "")
	}
	slash := aws.String("/")
	for limit := range int32(4) {
		in := s3.ListObjectsV2Input{Delimiter: slash, MaxKeys: aws.Int32(limit + 1)}
		w.lists(fmt.Sprint("in pages of ", limit+1), in, "a", "b/*", "b0", "c/*", "é/*", "～", "😀")
		in.Prefix = aws.String("b/")
		w.lists("below a prefix", in, "b/1", "b/2/*")
		in.Prefix = aws.String("b")
		w.lists("a prefix that is no directory", in, "b/*", "b0")
	}
	// start-after is a key: keys behind it in its own common prefix are still
	// listed.
	w.lists("start after", s3.ListObjectsV2Input{Delimiter: slash, StartAfter: aws.String("b/1")}, "b/*", "b0", "c/*", "é/*", "～", "😀")
	w.lists("another delimiter", s3.ListObjectsV2Input{Delimiter: aws.String("/2/")}, "a", "b/1", "b/2/*", "b0", "c/1", "é/1", "～", "😀")

	// NextMarker is answered if there is a delimiter (API, ListObjects). A
	// marker inside a common prefix continues behind that prefix (recorded).
	var got []string
	marker := ""
	for {
		out, err := w.S3.ListObjects(w.Context(), &s3.ListObjectsInput{Bucket: &w.Bucket, Delimiter: slash, MaxKeys: aws.Int32(1), Marker: &marker})
		w.OK(err)
		for _, o := range out.Contents {
			got = append(got, *o.Key)
		}
		for _, cp := range out.CommonPrefixes {
			got = append(got, *cp.Prefix)
		}
		if !*out.IsTruncated {
			break
		}
		marker = *out.NextMarker
	}
	is(w, "version 1", strings.Join(got, " "), "a b/ b0 c/ é/ ～ 😀")
}

// The listing does not depend on the order in which keys were written and
// deleted, over many chunks of the index.
func TestListMany(t *testing.T) {
	w := newWorld(t)
	want := make(map[string]bool)
	random := rand.New(rand.NewPCG(1, 2))
	for range 6000 {
		key := fmt.Sprintf("%c/%04d", 'a'+random.IntN(3), random.IntN(3000))
		if random.IntN(3) == 0 {
			_, err := w.S3.DeleteObject(w.Context(), &s3.DeleteObjectInput{Bucket: &w.Bucket, Key: &key})
			w.OK(err)
			delete(want, key)
		} else {
			w.Put(key, "")
			want[key] = true
		}
	}
	got, pages := w.pages(s3.ListObjectsV2Input{})
	is(w, "more than a page", pages > 2, true)
	if !slices.IsSorted(got) {
		t.Error("not in order")
	}
	is(w, "keys", len(got), len(want))
	for _, key := range got {
		if !want[key] {
			t.Errorf("%q should be gone", key)
		}
	}
	w.lists("delimiter", s3.ListObjectsV2Input{Delimiter: aws.String("/")}, "a/*", "b/*", "c/*")
}
