package job

import (
	"io"
	"slices"

	"github.com/spf13/pflag"

	"rewrap/cmd/rewrap/internal/report"
)

// Command is a command that takes a job. Its set of flags differs.
type Command int

// The commands that take a job.
const (
	Run Command = iota
	Forecast
	Verify
)

// Flags are the flags of a command that takes a job, as they were given.
type Flags struct {
	set      *pflag.FlagSet
	file     string
	print    bool
	fromPlan string
	given    Job // what the flags set; Parse works on a copy
}

// Declare declares the flags of a command.
func Declare(set *pflag.FlagSet, c Command) *Flags {
	f := &Flags{set: set}
	f.keys(c)
	f.what(c)
	f.format()
	f.pace()
	f.state(c)
	f.output(c)
	return f
}

func (f *Flags) keys(c Command) {
	k := &f.given.Keys
	f.set.StringArrayVar(&k.From, "from", nil, "source `KEY`: id, ARN or alias; KEY@MATERIAL for one key material of it; repeatable. Needed if items do not record their key (raw, json, s3ec kms+context)")
	f.set.StringVar(&k.To, "to", "", "target `KEY` (default: each wrapped key's own key, its current material)")
	f.set.StringVar(&k.Keyring.File, "keyring", "", "re-wrap locally with the Tink keyset in this `FILE` instead of KMS")
	f.set.StringVar(&k.Keyring.KMS, "keyring-kms", "", "KMS `KEY` that encrypts the keyring file")
	f.set.StringArrayVar(&k.Keyring.Context, "keyring-context", nil, "encryption context `K=V` that the keyring file is bound to; repeatable")
	if c != Verify {
		f.set.StringVar(&k.Verify, "verify", "answer", "check of each new wrapped key: none; answer: KMS must name the target's key and material; open: also decrypt the old and the new and compare (needs kms:Decrypt)")
	}
}

func (f *Flags) what(c Command) {
	s := &f.given.Scope
	f.set.StringVarP(&f.file, "file", "f", "", "job `FILE` in YAML: source, and run's flags by name; also for plan and verify. Flags on the command line win")
	f.set.BoolVar(&f.print, "print-job", false, "print the job as it was understood, in the form of a job file, and do nothing else")
	f.set.StringArrayVar(&s.Include, "include", nil, "only items whose name matches the `GLOB` (* and ? match any character, also /; [ab]); repeatable")
	f.set.StringArrayVar(&s.Exclude, "exclude", nil, "leave out items whose name matches the `GLOB`; repeatable")
	if c != Forecast {
		f.set.StringVar(&f.fromPlan, "from-plan", "", "take the source keys from this `FILE`, which rewrap plan --out wrote for the same job")
	}
	if c == Run {
		f.set.Int64Var(&f.given.Limits.Items, "max-items", 0, "stop cleanly after `N` items; 0: no limit")
		f.set.DurationVar(&f.given.Limits.Duration, "max-duration", 0, "stop cleanly after this time, for example 7h30m; 0: no limit")
	}
}

func (f *Flags) format() {
	o := &f.given.Format
	f.set.StringVar(&o.Name, "format", "auto", "how items carry their wrapped keys: "+report.OneOf(FormatNames()))
	f.set.StringArrayVar(&o.Fields, "json-field", nil, "JSON Pointer `PTR` to a base64 blob; * is any array index or object key, '' a document that is one string; repeatable")
	f.set.StringArrayVar(&o.Context, "context", nil, "encryption context `K=V` of blobs whose format does not record it (raw, json); V may refer to the item: {name} (in a directory the path below SOURCE, in S3 the whole key), {base}, {dir}, {json:PTR}, {field:NAME}; repeatable")
	f.set.StringVar(&o.ContextField, "context-field", "", "JSON object that is the whole encryption context: a `NAME` beside the blob, or /pointer")
	f.set.StringVar(&o.AssociatedData, "associated-data", "", "associated data of blobs that a keyring wrapped; may refer to the item as --context does")
	f.set.StringVar(&o.Base64, "base64", "auto", "base64 alphabet for new blobs if the old blob does not reveal it: std, raw-std, url, raw-url; auto learns it from the first items")
}

func (f *Flags) pace() {
	p := &f.given.Pace
	p.KMS = Rate{PerSecond: 500}
	f.set.IntVar(&p.Workers, "workers", 64, "key calls in work at once")
	f.set.Var(&p.KMS, "kms-rps", "ceiling of KMS requests a second; max: whatever KMS allows")
	f.set.Var(&p.Store, "store-rps", "ceiling of store requests a second; max: whatever the store allows")
}

func (f *Flags) state(c Command) {
	s := &f.given.State
	f.set.StringVar(&s.Given, "state", "", "`DIR` of checkpoint, undo journal, failures and audit log (default .rewrap/SLUG-HASH of source and job)")
	if c == Run {
		f.set.BoolVar(&s.Restart, "restart", false, "begin a new pass over all items instead of resuming")
	}
}

func (f *Flags) output(c Command) {
	o := &f.given.Output
	f.set.StringVar(&o.Progress, "progress", "auto", "how progress is shown, on standard error: "+report.OneOf(ProgressModes))
	f.set.BoolVar(&o.JSON, "json", false, "the summary as one JSON object on standard output")
	if c == Run {
		f.set.BoolVar(&o.Yes, "yes", false, "do not ask for confirmation")
	}
}

// Print says that the job is to be printed and not done.
func (f *Flags) Print() bool { return f.print }

// WriteJob writes the job in the form of a job file.
func (f *Flags) WriteJob(w io.Writer, j Job) error { return printJob(w, j, f.set) }

// Parse makes the job of the flags, the job file and the arguments of the
// command. Errors are a [UsageError].
func (f *Flags) Parse(args []string) (Job, error) {
	if f.file != "" {
		src, err := readFile(f.file, f.set)
		if err != nil {
			return Job{}, err
		}
		if len(args) == 0 && src != "" {
			args = []string{src}
		}
	}
	if len(args) != 1 {
		return Job{}, Usage("give one SOURCE, for example s3://bucket/prefix; got %d arguments", len(args))
	}
	place, err := ParsePlace(args[0])
	if err != nil {
		return Job{}, err
	}
	return f.parse(place)
}

func (f *Flags) parse(place Place) (Job, error) {
	if err := f.noneEmpty(); err != nil {
		return Job{}, err
	}
	j := f.given
	j.Place = place
	if f.fromPlan != "" {
		if len(j.Keys.From) > 0 {
			return Job{}, Usage("--from and --from-plan both name the source keys: give one")
		}
		p, err := readPlan(f.fromPlan, j)
		if err != nil {
			return Job{}, err
		}
		// The job is the one with these keys, also where it is printed.
		f.fromPlan, f.given.Keys.From = "", p.From
		j.Plan, j.Keys.From = p, p.From
	}
	return j, j.check()
}

// noneEmpty refuses a flag with an empty value. Most often a shell variable was not
// set, and the job would be wider than meant. An empty JSON Pointer is allowed: it
// is the document itself.
func (f *Flags) noneEmpty() error {
	empty := ""
	f.set.Visit(func(flag *pflag.Flag) {
		list, repeatable := flag.Value.(pflag.SliceValue)
		if flag.Value.String() == "" || repeatable && flag.Name != "json-field" && slices.Contains(list.GetSlice(), "") {
			empty = flag.Name
		}
	})
	if empty != "" {
		return Usage("--%s has an empty value: set it, or leave the flag out", empty)
	}
	return nil
}
