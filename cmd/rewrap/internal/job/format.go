package job

import (
	"slices"

	"rewrap/cmd/rewrap/internal/report"
	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
)

// Format says how items carry their wrapped keys.
type Format struct {
	Name   string   // one of [FormatNames]
	Fields []string // JSON Pointers to the blobs

	// What binds blobs whose format does not record it.
	Context        []string // K=V
	ContextField   string
	AssociatedData string

	Base64 string // how new blobs are written where the old ones do not show it
}

// kind is the format's name, also where a flag implies it.
func (f Format) kind() string {
	if f.Name == auto && len(f.Fields) > 0 {
		return "json"
	}
	return f.Name
}

// Payload is the format to look for. learned is the job's style of base64; zero
// where it was not learned. Flags that do not go together are a [UsageError].
func (j Job) Payload(learned b64.Style) (envelope.Format, error) {
	o := j.Format
	if err := j.agree(); err != nil {
		return nil, err
	}
	said, err := b64.Parse(o.Base64)
	if err != nil {
		return nil, Usage("--base64: %v", err)
	}
	bound, err := binding.New(o.Context, o.ContextField, o.AssociatedData)
	if err != nil {
		return nil, Usage("%s: %v", o.bindingFlag(), err)
	}
	choice := b64.Choice{Said: said, Learned: learned}
	if info := formatOf(o.kind()); info != nil {
		f, err := info.make(o, bound, choice)
		if err != nil {
			return nil, Usage("%s: %v", o.flag(), err)
		}
		return f, nil
	}
	var all []envelope.Format
	for _, info := range Formats {
		if !info.traits.found {
			continue
		}
		f, err := info.make(o, bound, choice)
		if err != nil {
			return nil, Usage("--format %s: %v", info.Name, err)
		}
		all = append(all, f)
	}
	return envelope.Auto(all...), nil
}

// flag is the flag that a format's error is about.
func (f Format) flag() string {
	if f.kind() == "json" {
		return "--json-field"
	}
	return "--format " + f.Name
}

// bindingFlag is the flag that an error of the binding is about.
func (f Format) bindingFlag() string {
	switch {
	case f.ContextField != "":
		return "--context-field"
	case f.AssociatedData != "":
		return "--associated-data"
	}
	return "--context"
}

// agree checks that the flags of the format, the keys and the source go
// together.
func (j Job) agree() error {
	o, k, name := j.Format, j.Keys, j.Format.kind()
	local := k.Keyring.File != ""
	binds := len(o.Context) > 0 || o.ContextField != "" || o.AssociatedData != ""
	is := o.traits()
	switch {
	case !slices.Contains(FormatNames(), name):
		return Usage("--format %q: it is %s", o.Name, report.OneOf(FormatNames()))
	case len(o.Fields) > 0 && name != "json":
		return Usage("--json-field belongs to --format json, not to %s", o.Name)
	case binds && is.recorded:
		return Usage("--context, --context-field and --associated-data belong to --format raw and json; other formats record what binds their keys")
	case local && (len(k.From) > 0 || k.To != ""):
		return Usage("--from and --to name KMS keys, and --keyring re-wraps without KMS: leave them out")
	case local && (len(o.Context) > 0 || o.ContextField != ""):
		return Usage("a keyring binds by --associated-data, not by an encryption context")
	case !local && o.AssociatedData != "":
		return Usage("--associated-data belongs to --keyring; KMS binds by --context")
	case !local && (k.Keyring.KMS != "" || len(k.Keyring.Context) > 0):
		return Usage("--keyring-kms and --keyring-context belong to --keyring")
	case j.Place.Dir != "" && name == auto:
		return Usage("files do not tell what is in them: say --format raw, or --format json with --json-field")
	case j.Place.Dir != "" && is.metadata:
		return Usage("--format %s is for objects of S3, whose metadata hold the wrapped key; files have --format raw, or --format json with --json-field", name)
	case local && !is.keyring:
		return Usage("--keyring re-wraps the formats raw and json; s3ec keys are wrapped by KMS here")
	}
	return nil
}

// traits are those of the format. Of auto they are what all formats that it
// looks for have in common.
func (f Format) traits() traits {
	if info := formatOf(f.kind()); info != nil {
		return info.traits
	}
	all := traits{found: true, recorded: true, metadata: true, keyring: true}
	for _, info := range Formats {
		if is := info.traits; is.found {
			all.recorded = all.recorded && is.recorded
			all.metadata = all.metadata && is.metadata
			all.keyring = all.keyring && is.keyring
		}
	}
	return all
}

// NamesKey says whether items of the format tell which key wrapped them, at
// least some of them. Else --from has to name the keys.
func (f Format) NamesKey() bool { return f.traits().recorded }

// Text says whether wrapped keys may be base64 text of the format's own users,
// who write it in more than one way.
func (f Format) Text() bool { return !f.traits().recorded }
