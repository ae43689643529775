package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"rewrap/engine/keys/keyring"
	"rewrap/sources"
	"rewrap/sources/cloud"
	"rewrap/sources/dir"
	s3source "rewrap/sources/s3"
)

// source is where the items are: a bucket, or a directory.
type source struct {
	bucket, prefix string
	dir            string // absolute; "": it is a bucket
}

func (s source) String() string {
	if s.dir != "" {
		return (&url.URL{Scheme: "file", Path: s.dir}).String()
	}
	return "s3://" + s.bucket + "/" + s.prefix
}

func (s source) slug() string {
	name := "s3-" + s.bucket + "-" + s.prefix
	if s.dir != "" {
		name = "dir-" + filepath.Base(s.dir)
	}
	slug := strings.Trim(regexp.MustCompile(`[^A-Za-z0-9._]+`).ReplaceAllString(name, "-"), "-.")
	return slug[:min(len(slug), 40)]
}

// bucketName is what a general purpose or directory bucket, or an access
// point alias may be called (Amazon S3 User Guide, "Bucket naming rules").
var bucketName = regexp.MustCompile(`\A[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\z`)

// parseSource takes the part behind s3://bucket/ as the prefix, letter by
// letter: keys may hold ?, # and %. What has no scheme is a directory.
func parseSource(s string) (source, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case s == "":
		return source{}, usage("SOURCE is empty; it is s3://bucket/prefix or a directory")
	case !ok:
		return parseDir(s, s)
	case scheme == "file":
		path, ok := filePath(s)
		if !ok {
			return source{}, usage("SOURCE %q: a directory is file:///path, or the path alone", s)
		}
		return parseDir(s, path)
	case scheme != "s3":
		return source{}, usage("SOURCE %q: unknown scheme %q; it is s3://bucket/prefix or a directory", s, scheme+"://")
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	switch {
	case !bucketName.MatchString(bucket):
		return source{}, usage("SOURCE %q: %q is no bucket name (3 to 63 lower-case letters, digits, dots and hyphens)", s, bucket)
	case len(prefix) > 1024:
		return source{}, usage("SOURCE: the prefix has %d bytes; S3 keys have 1024 at most", len(prefix))
	case !utf8.ValidString(prefix):
		return source{}, usage("SOURCE %q: the prefix is not valid UTF-8, as keys of S3 are", s)
	}
	return source{bucket: bucket, prefix: prefix}, nil
}

// filePath is the path in the URL of a file of this machine.
func filePath(s string) (path string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	return u.Path, true
}

// parseDir takes a directory that is there: a bucket's name without its scheme
// should not be taken for one.
func parseDir(given, path string) (source, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil && strings.HasPrefix(given, "s3:"):
		return source{}, usage("SOURCE %q: there is no such directory; a bucket is s3://BUCKET/PREFIX, with two slashes", given)
	case err != nil && bucketName.MatchString(given):
		return source{}, usage("SOURCE %q: there is no such directory; a bucket is s3://%s/", given, given)
	case err != nil:
		return source{}, usage("SOURCE: %v", err)
	case !info.IsDir():
		return source{}, usage("SOURCE %q is not a directory", given)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return source{}, usage("SOURCE %q: %v", given, err)
	}
	if !utf8.ValidString(abs) {
		return source{}, usage("SOURCE %q: the path is not valid UTF-8; go to its parent, or name it through a symbolic link", given)
	}
	return source{dir: abs}, nil
}

// canaryID is the state directory's own, so that jobs do not spoil each other's
// canary, and the same job finds the one that it left when it was killed.
func (se *session) canaryID() string {
	dir, err := filepath.Abs(se.dir)
	if err != nil {
		dir = se.dir
	}
	host, _ := os.Hostname() // "" is as good
	sum := sha256.Sum256([]byte(host + "\x00" + dir))
	return hex.EncodeToString(sum[:6])
}

// openSource opens the source of the job for looking. A run begins it again for
// writing.
func (se *session) openSource(ctx context.Context) (sources.Source, error) {
	s, err := se.unbegunSource(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Begin(ctx, sources.Look); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (se *session) unbegunSource(ctx context.Context) (sources.Source, error) {
	j, notice := se.job, func(msg string) { se.say("%s", msg) }
	if j.source.dir != "" {
		skip := []string{se.dir}
		if j.keyring != "" { // which may lie among what it wraps
			skip = append(skip, keyring.Files(j.keyring)...)
		}
		return dir.Open(ctx, dir.Config{Root: j.source.dir, Skip: skip, Notice: notice})
	}
	client := se.cloud.S3("")
	se.endpoint = cloud.Endpoint(client)
	region, err := s3source.BucketRegion(ctx, client, j.source.bucket)
	if err != nil {
		return nil, err
	}
	if region != "" && region != se.cloud.Region() && se.endpoint == "" {
		client = se.cloud.S3(region)
	}
	return s3source.Open(ctx, s3source.Config{
		Client: client, Bucket: j.source.bucket, Prefix: j.source.prefix,
		Canary: se.endpoint != "", CanaryID: se.canaryID(),
		Notice: notice,
	})
}
