package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"rewrap/engine/envelope"
	"rewrap/engine/keys"
)

// job is what run and verify were asked to do.
type job struct {
	source source

	from    []string
	to      string
	format  string
	state   string
	workers int
	kms     rate
	store   rate
	verify  string
	include []string
	exclude []string

	maxItems    int64
	maxDuration time.Duration
	progress    string
	json        bool
	yes         bool
	restart     bool
}

// jobFlags declares the flags that reading and writing commands share.
func (j *job) jobFlags(f *pflag.FlagSet) {
	j.kms, j.store = rate{perSecond: 500}, rate{}
	f.StringArrayVar(&j.from, "from", nil, "source `KEY`: id, ARN or alias, KEY@MATERIAL for one key material of it; repeatable. Needed where items do not record their key (s3ec kms+context)")
	f.StringVar(&j.to, "to", "", "`KEY` where everything shall end (default: each wrapped key's own key, its current material)")
	f.StringVar(&j.format, "format", "auto", "how items carry their wrapped keys: s3ec or auto")
	f.StringVar(&j.state, "state", "", "`DIR` of checkpoint, undo journal, failures and audit log (default .rewrap/SLUG-HASH of source and job)")
	f.IntVar(&j.workers, "workers", 64, "key calls in work at once")
	f.Var(&j.kms, "kms-rps", "ceiling of KMS requests a second; max: whatever KMS allows")
	f.Var(&j.store, "store-rps", "ceiling of requests a second to the store")
	f.StringArrayVar(&j.include, "include", nil, "only items whose name matches the `GLOB` (* and ? match any character, also /; [ab]); repeatable")
	f.StringArrayVar(&j.exclude, "exclude", nil, "no items whose name matches the `GLOB`; repeatable")
	f.StringVar(&j.progress, "progress", "auto", "auto, bar, log, json or none; on standard error")
	f.BoolVar(&j.json, "json", false, "the summary as one JSON object on standard output")
}

// parse checks what can be checked without asking anybody.
func (j *job) parse(args []string) error {
	if len(args) != 1 {
		return usage("give one SOURCE, for example s3://bucket/prefix; got %d arguments", len(args))
	}
	var err error
	if j.source, err = parseSource(args[0]); err != nil {
		return err
	}
	for _, k := range append(slices.Clone(j.from), j.to) {
		if strings.TrimSpace(k) != k {
			return usage("key %q: spaces around it", k)
		}
	}
	if slices.Contains(j.from, "") {
		return usage("--from: the key is empty")
	}
	if _, err := j.formats(); err != nil {
		return err
	}
	if _, err := keys.ParseVerify(j.verify); err != nil {
		return err
	}
	if _, err := j.match(); err != nil {
		return err
	}
	switch {
	case j.workers < 1 || j.workers > 4096:
		return usage("--workers %d: 1 to 4096", j.workers)
	case j.maxItems < 0:
		return usage("--max-items %d: 0 (no limit) or more", j.maxItems)
	case j.maxDuration < 0:
		return usage("--max-duration %v: 0 (no limit) or more", j.maxDuration)
	case !slices.Contains([]string{"auto", "bar", "log", "json", "none"}, j.progress):
		return usage("--progress %q: it is auto, bar, log, json or none", j.progress)
	}
	return nil
}

func (j *job) formats() (envelope.Format, error) {
	switch j.format {
	case "s3ec":
		return envelope.S3EC(), nil
	case "auto":
		return envelope.Auto(envelope.S3EC()), nil
	}
	return nil, usage("--format %q: it is s3ec or auto", j.format)
}

// match says which names are in scope: those that an --include matches (all,
// if there is none) and no --exclude does.
func (j *job) match() (func(name string) bool, error) {
	if len(j.include)+len(j.exclude) == 0 {
		return nil, nil
	}
	in, err := globs("--include", j.include)
	if err != nil {
		return nil, err
	}
	out, err := globs("--exclude", j.exclude)
	if err != nil {
		return nil, err
	}
	any := func(res []*regexp.Regexp, name string) bool {
		return slices.ContainsFunc(res, func(re *regexp.Regexp) bool { return re.MatchString(name) })
	}
	return func(name string) bool {
		return (len(in) == 0 || any(in, name)) && !any(out, name)
	}, nil
}

func globs(flag string, patterns []string) ([]*regexp.Regexp, error) {
	var res []*regexp.Regexp
	for _, p := range patterns {
		re, err := glob(p)
		if err != nil {
			return nil, usage("%s %q: %v", flag, p, err)
		}
		res = append(res, re)
	}
	return res, nil
}

// glob is the pattern language of the AWS CLI's --exclude: * and ? match any
// character, [abc], [a-z] and [!a] one of a set; everything else is itself.
func glob(p string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(p); {
		switch c := p[i]; c {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		case '[':
			end := strings.IndexByte(p[i+1:], ']')
			if end < 1 {
				return nil, fmt.Errorf("[ without its set and ]")
			}
			set := p[i+1 : i+1+end]
			b.WriteByte('[')
			if set[0] == '!' && len(set) > 1 {
				b.WriteByte('^')
				set = set[1:]
			}
			b.WriteString(strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`, `&`, `\&`).Replace(set))
			b.WriteByte(']')
			i += end + 1
		default:
			j := i + 1
			for j < len(p) && !strings.ContainsRune(`*?[`, rune(p[j])) {
				j++
			}
			b.WriteString(regexp.QuoteMeta(p[i:j]))
			i = j
			continue
		}
		i++
	}
	b.WriteString(`\z`)
	return regexp.Compile(b.String())
}

// stateDir is where the job's state is kept unless --state says so: the same
// command finds it again, another job gets another one.
func (j *job) stateDir() string {
	if j.state != "" {
		return j.state
	}
	from := slices.Clone(j.from)
	slices.Sort(from)
	parts := []string{j.source.String(), j.to, j.format}
	for _, list := range [][]string{from, j.include, j.exclude} {
		parts = append(parts, strconv.Itoa(len(list)))
		parts = append(parts, list...)
	}
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return filepath.Join(".rewrap", j.source.slug()+"-"+hex.EncodeToString(h.Sum(nil))[:8])
}

// source is where the items are.
type source struct {
	bucket, prefix string
}

func (s source) String() string { return "s3://" + s.bucket + "/" + s.prefix }

func (s source) slug() string {
	slug := strings.Trim(regexp.MustCompile(`[^A-Za-z0-9._]+`).ReplaceAllString("s3-"+s.bucket+"-"+s.prefix, "-"), "-.")
	return slug[:min(len(slug), 40)]
}

// bucketName is what a general purpose or directory bucket, or an access
// point alias may be called (Amazon S3 User Guide, "Bucket naming rules").
var bucketName = regexp.MustCompile(`\A[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\z`)

// parseSource takes the part behind s3://bucket/ as the prefix, letter by
// letter: keys may hold ?, # and %.
func parseSource(s string) (source, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case s == "":
		return source{}, usage("SOURCE is empty; it is s3://bucket/prefix")
	case !ok || scheme == "file":
		return source{}, usage("SOURCE %q: this version knows s3://bucket/prefix only, no directories", s)
	case scheme != "s3":
		return source{}, usage("SOURCE %q: unknown scheme %q; it is s3://bucket/prefix", s, scheme+"://")
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	if !bucketName.MatchString(bucket) {
		return source{}, usage("SOURCE %q: %q is no bucket name (3 to 63 lower-case letters, digits, dots and hyphens)", s, bucket)
	}
	if len(prefix) > 1024 {
		return source{}, usage("SOURCE: the prefix has %d bytes; S3 keys have 1024 at most", len(prefix))
	}
	return source{bucket, prefix}, nil
}

// rate is a ceiling in requests a second; 0 is none, spelled max.
type rate struct{ perSecond float64 }

func (r *rate) String() string {
	if r.perSecond == 0 {
		return "max"
	}
	return strconv.FormatFloat(r.perSecond, 'f', -1, 64)
}

func (r *rate) Type() string { return "N" }

func (r *rate) Set(s string) error {
	if s == "max" {
		r.perSecond = 0
		return nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0.01 && v <= 1e6) {
		return fmt.Errorf("requests a second from 0.01 to 1000000, or max")
	}
	r.perSecond = v
	return nil
}
