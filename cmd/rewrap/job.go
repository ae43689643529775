package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/jsondoc"
	"rewrap/engine/envelope/raw"
	"rewrap/engine/envelope/s3ec"
	"rewrap/engine/keys/kms"
)

// job is what run and verify were asked to do.
type job struct {
	source source

	from   []string
	to     string
	format string

	jsonFields     []string
	context        []string
	contextField   string
	associatedData string
	base64         string

	keyring        string
	keyringKMS     string
	keyringContext []string

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

	flags    *pflag.FlagSet
	fromPlan string
	planned  *plan // what --from-plan named
	file     string
	printJob bool
}

// jobFlags declares the flags that reading and writing commands share.
func (j *job) jobFlags(f *pflag.FlagSet) {
	j.flags = f
	f.StringVarP(&j.file, "file", "f", "", "job `FILE` in YAML: source, and run's flags by name; it serves plan and verify too, and the command line wins")
	f.BoolVar(&j.printJob, "print-job", false, "print the job as it was understood, in the form of a job file, and do nothing")
	j.kms, j.store = rate{perSecond: 500}, rate{}
	f.StringArrayVar(&j.from, "from", nil, "source `KEY`: id, ARN or alias, KEY@MATERIAL for one key material of it; repeatable. Needed where items do not record their key (s3ec kms+context)")
	f.StringVar(&j.to, "to", "", "`KEY` where everything shall end (default: each wrapped key's own key, its current material)")
	f.StringVar(&j.format, "format", "auto", "how items carry their wrapped keys: "+oneOf(formatNames))
	f.StringArrayVar(&j.jsonFields, "json-field", nil, "JSON Pointer `PTR` to a base64 blob, * for any array index or object key, '' for a document that is itself the string; repeatable")
	f.StringArrayVar(&j.context, "context", nil, "encryption context `K=V` of blobs whose format does not record it (raw, json); V may refer to the item: {name} (in a directory the path below SOURCE, in S3 the whole key), {base}, {dir}, {json:PTR}, {field:NAME}; repeatable")
	f.StringVar(&j.contextField, "context-field", "", "where a JSON object stands that is the whole encryption context: `NAME` beside the blob, or /pointer")
	f.StringVar(&j.base64, "base64", "auto", "base64 alphabet for new blobs if the old blob does not reveal it: auto, std, raw-std, url, raw-url")
	f.StringVar(&j.keyring, "keyring", "", "re-wrap locally with the Tink keyset in this `FILE` instead of KMS")
	f.StringVar(&j.associatedData, "associated-data", "", "what binds blobs that a keyring wrapped; may refer to the item as --context does")
	f.StringVar(&j.keyringKMS, "keyring-kms", "", "`KEY` of KMS that the keyring file is encrypted by")
	f.StringArrayVar(&j.keyringContext, "keyring-context", nil, "encryption context `K=V` that the keyring file is bound to; repeatable")
	f.StringVar(&j.state, "state", "", "`DIR` of checkpoint, undo journal, failures and audit log (default .rewrap/SLUG-HASH of source and job)")
	f.IntVar(&j.workers, "workers", 64, "key calls in work at once")
	f.Var(&j.kms, "kms-rps", "ceiling of KMS requests a second; max: whatever KMS allows")
	f.Var(&j.store, "store-rps", "ceiling of requests a second to the store")
	f.StringArrayVar(&j.include, "include", nil, "only items whose name matches the `GLOB` (* and ? match any character, also /; [ab]); repeatable")
	f.StringArrayVar(&j.exclude, "exclude", nil, "no items whose name matches the `GLOB`; repeatable")
	f.StringVar(&j.progress, "progress", "auto", oneOf(progressModes)+"; on standard error")
	f.BoolVar(&j.json, "json", false, "the summary as one JSON object on standard output")
}

// planFlag declares --from-plan, for the commands that can go by a plan.
func (j *job) planFlag(f *pflag.FlagSet) {
	f.StringVar(&j.fromPlan, "from-plan", "", "take the source keys from this `FILE`, which rewrap plan --out wrote of the same job")
}

// verifyFlag declares --verify, for run and for who says what run would do.
func (j *job) verifyFlag(f *pflag.FlagSet) {
	f.StringVar(&j.verify, "verify", "answer", "none; answer: the key and material that KMS names must be the target; open: also open old and new and compare (needs kms:Decrypt)")
}

// command is what a command does with its arguments: the job is understood, and
// then printed, if that is all that was asked for, or done.
func (j *job) command(s streams, do func() error) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		if err := j.parse(args); err != nil {
			return err
		}
		if j.printJob {
			return printJob(s.out, j.source, j.flags)
		}
		return do()
	}
}

// parse checks what can be checked without asking anybody.
func (j *job) parse(args []string) error {
	if j.file != "" {
		src, err := readJobFile(j.file, j.flags)
		if err != nil {
			return err
		}
		if len(args) == 0 && src != "" {
			args = []string{src}
		}
	}
	if len(args) != 1 {
		return usage("give one SOURCE, for example s3://bucket/prefix; got %d arguments", len(args))
	}
	var err error
	if j.source, err = parseSource(args[0]); err != nil {
		return err
	}
	// An empty value is a variable that was not set, and would widen the job. An
	// empty JSON Pointer is the document itself, and says so of every object.
	empty := ""
	j.flags.Visit(func(f *pflag.Flag) {
		list, repeatable := f.Value.(pflag.SliceValue)
		if f.Value.String() == "" || repeatable && f.Name != "json-field" && slices.Contains(list.GetSlice(), "") {
			empty = f.Name
		}
	})
	if empty != "" {
		return usage("--%s: the value is empty; leave the flag out if that is meant", empty)
	}
	if j.fromPlan != "" {
		if len(j.from) > 0 {
			return usage("--from and --from-plan both name the source keys: give one")
		}
		if j.planned, err = j.readPlan(j.fromPlan); err != nil {
			return err
		}
		j.from, j.fromPlan = j.planned.From, "" // the job is the one with these keys
	}
	for _, k := range append(slices.Clone(j.from), j.to) {
		if strings.TrimSpace(k) != k {
			return usage("key %q: spaces around it", k)
		}
	}
	if _, err := j.formats(); err != nil {
		return err
	}
	if _, err := kms.ParseVerify(j.verify); err != nil {
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
	case !slices.Contains(progressModes, j.progress):
		return usage("--progress %q: it is %s", j.progress, oneOf(progressModes))
	}
	return nil
}

// formats are the formats to look for. What does not go together is said here,
// before anything is opened.
func (j *job) formats() (envelope.Format, error) {
	name := j.format
	if name == "auto" && len(j.jsonFields) > 0 {
		name = "json"
	}
	binds := len(j.context) > 0 || j.contextField != "" || j.associatedData != ""
	local := j.keyring != ""
	switch {
	case !slices.Contains(formatNames, name):
		return nil, usage("--format %q: it is %s", j.format, oneOf(formatNames))
	case len(j.jsonFields) > 0 && name != "json":
		return nil, usage("--json-field belongs to --format json, not to %s", j.format)
	case binds && name != "raw" && name != "json":
		return nil, usage("--context, --context-field and --associated-data belong to --format raw and json; other formats record what binds their keys")
	case local && (len(j.from) > 0 || j.to != ""):
		return nil, usage("--from and --to name KMS keys, and --keyring re-wraps without KMS: leave them out")
	case local && (len(j.context) > 0 || j.contextField != ""):
		return nil, usage("a keyring binds by --associated-data, not by an encryption context")
	case !local && j.associatedData != "":
		return nil, usage("--associated-data belongs to --keyring; KMS binds by --context")
	case !local && (j.keyringKMS != "" || len(j.keyringContext) > 0):
		return nil, usage("--keyring-kms and --keyring-context belong to --keyring")
	}
	said, err := b64.Parse(j.base64)
	if err != nil {
		return nil, usage("--base64: %v", err)
	}
	choice := b64.Choice{Said: said}
	bound, err := binding.New(j.context, j.contextField, j.associatedData)
	if err != nil {
		flag := "--context"
		switch {
		case j.contextField != "":
			flag = "--context-field"
		case j.associatedData != "":
			flag = "--associated-data"
		}
		return nil, usage("%s: %v", flag, err)
	}
	var f envelope.Format
	flag := "--format " + name
	switch name {
	case "raw":
		f, err = raw.New(bound, choice)
	case "json":
		flag = "--json-field"
		f, err = jsondoc.New(j.jsonFields, bound, choice)
	default:
		switch {
		case j.source.dir != "" && name == "s3ec":
			return nil, usage("--format s3ec is for objects of S3, whose metadata hold the wrapped key; files have --format raw, or --format json with --json-field")
		case j.source.dir != "":
			return nil, usage("files do not tell what is in them: say --format raw, or --format json with --json-field")
		case local:
			return nil, usage("--keyring re-wraps the formats raw and json; s3ec keys are wrapped by KMS here")
		}
		f = s3ec.New()
		if name == "auto" {
			f = envelope.Auto(f)
		}
	}
	if err != nil {
		return nil, usage("%s: %v", flag, err)
	}
	return f, nil
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
	matches := func(res []*regexp.Regexp, name string) bool {
		return slices.ContainsFunc(res, func(re *regexp.Regexp) bool { return re.MatchString(name) })
	}
	return func(name string) bool {
		return (len(in) == 0 || matches(in, name)) && !matches(out, name)
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
	re, err := regexp.Compile(b.String())
	var wrong *syntax.Error
	if errors.As(err, &wrong) { // only a set can be wrong still
		return nil, fmt.Errorf("%s %s", wrong.Code, wrong.Expr)
	}
	return re, err
}

// keyringPath is the keyring by one name, wherever the command is run; "" if the
// job has none.
func (j *job) keyringPath() string {
	if j.keyring == "" {
		return ""
	}
	abs, err := filepath.Abs(j.keyring)
	if err != nil { // there is no working directory any more
		return j.keyring
	}
	return abs
}

// stateDir is where the job's state is kept unless --state says so: the same
// command finds it again, another job gets another one.
func (j *job) stateDir() string {
	if j.state != "" {
		return j.state
	}
	from := slices.Clone(j.from)
	slices.Sort(from)
	parts := []string{j.source.String(), j.to, j.format, j.contextField, j.associatedData, j.keyringPath()}
	for _, list := range [][]string{from, j.include, j.exclude, j.jsonFields, j.context} {
		parts = append(parts, strconv.Itoa(len(list)))
		parts = append(parts, list...)
	}
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return filepath.Join(".rewrap", j.source.slug()+"-"+hex.EncodeToString(h.Sum(nil))[:8])
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
