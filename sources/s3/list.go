package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// Spans implements [sources.Source]. General purpose buckets list in UTF-8
// byte order and StartAfter takes any string (S3 User Guide, "Listing object
// keys"), so a span is a range of keys, and finding good borders costs one
// look at the top of the hierarchy, or two where everything is under one
// common prefix.
func (s *Source) Spans(ctx context.Context, want int) ([]sources.Span, error) {
	if err := s.life.May(sources.Look); err != nil {
		return nil, s.listError(err)
	}
	var names []string
	if want > 1 {
		var err error
		names, err = s.names(ctx, s.c.Prefix)
		if err == nil && len(names) == 1 && strings.HasSuffix(names[0], "/") {
			names, err = s.names(ctx, names[0])
		}
		if err != nil {
			return nil, err
		}
	}
	return sources.SpansOf(names, want)
}

// names are the keys and common prefixes directly under prefix, in order: those
// of the first page, without those that a checkpoint cannot keep (not UTF-8).
func (s *Source) names(ctx context.Context, prefix string) ([]string, error) {
	out, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket:       &s.c.Bucket,
		Prefix:       nonEmpty(prefix),
		Delimiter:    aws.String("/"),
		EncodingType: types.EncodingTypeUrl,
	})
	if err != nil {
		return nil, s.listError(err)
	}
	var names []string
	add := func(encoded *string) error {
		name, err := decodeKey(out.EncodingType, aws.ToString(encoded))
		if err == nil && strings.HasPrefix(name, prefix) && utf8.ValidString(name) {
			names = append(names, name)
		}
		return err
	}
	for _, o := range out.Contents {
		if err := add(o.Key); err != nil {
			return nil, s.listError(err)
		}
	}
	for _, p := range out.CommonPrefixes {
		if err := add(p.Prefix); err != nil {
			return nil, s.listError(err)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// List implements [sources.Source]. The cursor is the key.
//
// Each page is asked for by the last key of the page before, and not by its
// continuation token: S3 does not say how long a token is valid, and the workers
// may take hours for a page.
func (s *Source) List(ctx context.Context, span sources.Span, after sources.Cursor) iter.Seq2[sources.Ref, error] {
	return func(yield func(sources.Ref, error) bool) {
		if err := s.life.May(sources.Look); err != nil {
			yield(sources.Ref{}, s.listError(err))
			return
		}
		r, err := sources.RangeOf(span)
		if err != nil {
			yield(sources.Ref{}, err)
			return
		}
		canary := s.canaryKey()
		last := max(r.After, string(after))
		var token *string
		for {
			out, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
				Bucket:            &s.c.Bucket,
				Prefix:            nonEmpty(s.c.Prefix),
				StartAfter:        nonEmpty(last),
				ContinuationToken: token,
				EncodingType:      types.EncodingTypeUrl,
			})
			if err != nil {
				yield(sources.Ref{}, s.listError(err))
				return
			}
			for _, o := range out.Contents {
				key, err := decodeKey(out.EncodingType, aws.ToString(o.Key))
				if err != nil {
					yield(sources.Ref{}, s.listError(err))
					return
				}
				if err := s.checkOrder(last, key); err != nil {
					yield(sources.Ref{}, err)
					return
				}
				last = key
				if r.Until != "" && key > r.Until {
					return
				}
				if key == canary {
					continue
				}
				if !yield(sources.Ref{ID: key, Name: key, Cursor: sources.Cursor(key)}, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			// A page may be empty and not be the last. Then only its token leads on.
			token = nil
			if len(out.Contents) == 0 {
				if token = out.NextContinuationToken; token == nil {
					yield(sources.Ref{}, s.listError(errors.New("a page without keys says that more follow, and not where")))
					return
				}
			}
		}
	}
}

// checkOrder fails a listing that is not in order or not under the prefix. A run
// that went on would pass over items without anybody being told.
func (s *Source) checkOrder(last, key string) error {
	switch {
	case key <= last:
		return &sources.RunError{
			Where: whereList,
			Err:   fmt.Errorf("listing bucket %s: key %q came after %q, which is not the order of UTF-8 bytes", s.c.Bucket, key, last),
			Hint:  "The endpoint does not list as S3's general purpose buckets do (directory buckets do not), and cannot be walked safely",
		}
	case !strings.HasPrefix(key, s.c.Prefix):
		return &sources.RunError{
			Where: whereList,
			Err:   fmt.Errorf("listing bucket %s: key %q is not under the prefix %q that was asked for", s.c.Bucket, key, s.c.Prefix),
			Hint:  "The endpoint does not honour prefixes, and cannot be walked safely",
		}
	case !utf8.ValidString(key):
		return &sources.RunError{
			Where: whereList,
			Err:   fmt.Errorf("listing bucket %s: key %q is not UTF-8", s.c.Bucket, key),
			Hint:  "S3's keys are UTF-8, and the checkpoint can keep no others; rename the object",
		}
	}
	return nil
}

func (s *Source) listError(err error) error {
	err = fmt.Errorf("listing bucket %s: %w", s.c.Bucket, awserr.Plain(err))
	if denied(err) {
		return &sources.RunError{Where: whereList, Err: err, Hint: "Allow s3:ListBucket on arn:aws:s3:::" + s.c.Bucket}
	}
	if status(err) == http.StatusNotFound {
		return &sources.RunError{Where: whereList, Err: err, Hint: runCode("NoSuchBucket").hint}
	}
	return runError(whereList, err)
}

// decodeKey decodes keys of encoding-type=url, which are written as in forms: "+"
// for a space, %XX for special bytes. A server that does not name the encoding in
// its answer has not encoded.
func decodeKey(e types.EncodingType, key string) (string, error) {
	if e != types.EncodingTypeUrl {
		return key, nil
	}
	decoded, err := url.QueryUnescape(key)
	if err != nil {
		return "", fmt.Errorf("key %q is not well encoded: %w", key, err)
	}
	return decoded, nil
}
