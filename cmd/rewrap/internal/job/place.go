package job

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Place is where the items are: a bucket, or a directory.
type Place struct {
	Bucket, Prefix string
	Dir            string // absolute; "": it is a bucket
}

// String is the place as the state directory and messages name it.
func (s Place) String() string {
	if s.Dir != "" {
		return (&url.URL{Scheme: "file", Path: s.Dir}).String()
	}
	return "s3://" + s.Bucket + "/" + s.Prefix
}

// OnAWS says whether the items are behind a service of AWS, whose clients have to
// be configured.
func (s Place) OnAWS() bool { return s.Dir == "" }

// Item is how people name the item with an id.
func (s Place) Item(id string) string {
	if s.Dir != "" {
		return filepath.Join(s.Dir, id)
	}
	return "s3://" + s.Bucket + "/" + id
}

func (s Place) slug() string {
	name := "s3-" + s.Bucket + "-" + s.Prefix
	if s.Dir != "" {
		name = "dir-" + filepath.Base(s.Dir)
	}
	slug := strings.Trim(regexp.MustCompile(`[^A-Za-z0-9._]+`).ReplaceAllString(name, "-"), "-.")
	return slug[:min(len(slug), 40)]
}

// bucketName is what a general purpose or directory bucket or an access point
// alias may be called (Amazon S3 User Guide, "Bucket naming rules").
var bucketName = regexp.MustCompile(`\A[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\z`)

// ParsePlace reads a SOURCE. The part behind s3://bucket/ is the prefix, character
// by character, since keys may hold ?, # and %. A word without a scheme is a
// directory.
func ParsePlace(s string) (Place, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case s == "":
		return Place{}, Usage("SOURCE is empty; it is s3://bucket/prefix or a directory")
	case !ok:
		return parseDir("SOURCE", s, s)
	case scheme == "file":
		path, ok := filePath(s)
		if !ok {
			return Place{}, Usage("SOURCE %q: a directory is file:///path, or the path alone", s)
		}
		return parseDir("SOURCE", s, path)
	case scheme != "s3":
		return Place{}, Usage("SOURCE %q: unknown scheme %q; it is s3://bucket/prefix or a directory", s, scheme+"://")
	}
	return parseBucket("SOURCE", s, rest)
}

// parseBucket reads what follows s3:// in the argument given. Messages call the
// argument what.
func parseBucket(what, given, rest string) (Place, error) {
	bucket, prefix, _ := strings.Cut(rest, "/")
	switch {
	case !bucketName.MatchString(bucket):
		return Place{}, Usage("%s %q: %q is no bucket name (3 to 63 lower-case letters, digits, dots and hyphens)", what, given, bucket)
	case len(prefix) > 1024:
		return Place{}, Usage("%s: %d bytes follow the bucket's name; S3 keys have 1024 at most", what, len(prefix))
	case !utf8.ValidString(prefix):
		return Place{}, Usage("%s %q is not valid UTF-8, as keys of S3 are", what, given)
	}
	return Place{Bucket: bucket, Prefix: prefix}, nil
}

// filePath is the path in the URL of a file of this machine.
func filePath(s string) (path string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	return u.Path, true
}

// parseDir takes a directory that exists, so that the name of a bucket without
// its scheme is not taken for one. Messages call the argument what.
func parseDir(what, given, path string) (Place, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil && strings.HasPrefix(given, "s3:"):
		return Place{}, Usage("%s %q: there is no such directory; a bucket is s3://BUCKET/PREFIX, with two slashes", what, given)
	case err != nil && bucketName.MatchString(given):
		return Place{}, Usage("%s %q: there is no such directory; a bucket is s3://%s/", what, given, given)
	case err != nil:
		return Place{}, Usage("%s: %v", what, err)
	case !info.IsDir():
		return Place{}, Usage("%s %q is not a directory", what, given)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return Place{}, Usage("%s %q: %v", what, given, err)
	}
	if !utf8.ValidString(abs) {
		return Place{}, Usage("%s %q: the path is not valid UTF-8; go to its parent, or name it through a symbolic link", what, given)
	}
	return Place{Dir: abs}, nil
}
