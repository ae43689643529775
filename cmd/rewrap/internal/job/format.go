package job

import (
	"slices"

	"rewrap/cmd/rewrap/internal/report"
	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/jsondoc"
	"rewrap/engine/envelope/raw"
	"rewrap/engine/envelope/s3ec"
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
	if f.Name == "auto" && len(f.Fields) > 0 {
		return "json"
	}
	return f.Name
}

// Payload is the format to look for. learned is the job's style of base64; zero
// where it was not learned. Flags that do not go together are a [UsageError].
func (j Job) Payload(learned b64.Style) (envelope.Format, error) {
	o, name := j.Format, j.Format.kind()
	if err := j.agree(); err != nil {
		return nil, err
	}
	said, err := b64.Parse(o.Base64)
	if err != nil {
		return nil, Usage("--base64: %v", err)
	}
	choice := b64.Choice{Said: said, Learned: learned}
	bound, err := binding.New(o.Context, o.ContextField, o.AssociatedData)
	if err != nil {
		flag := "--context"
		switch {
		case o.ContextField != "":
			flag = "--context-field"
		case o.AssociatedData != "":
			flag = "--associated-data"
		}
		return nil, Usage("%s: %v", flag, err)
	}
	var f envelope.Format
	flag := "--format " + name
	switch name {
	case "raw":
		f, err = raw.New(bound, choice)
	case "json":
		flag = "--json-field"
		f, err = jsondoc.New(o.Fields, bound, choice)
	case "auto":
		f = envelope.Auto(s3ec.New())
	default:
		f = s3ec.New()
	}
	if err != nil {
		return nil, Usage("%s: %v", flag, err)
	}
	return f, nil
}

// agree checks that the flags of the format, the keys and the source go
// together.
func (j Job) agree() error {
	o, k, name := j.Format, j.Keys, j.Format.kind()
	local := k.Keyring.File != ""
	binds := len(o.Context) > 0 || o.ContextField != "" || o.AssociatedData != ""
	plain := name == "raw" || name == "json" // the item does not say how it is bound
	switch {
	case !slices.Contains(FormatNames, name):
		return Usage("--format %q: it is %s", o.Name, report.OneOf(FormatNames))
	case len(o.Fields) > 0 && name != "json":
		return Usage("--json-field belongs to --format json, not to %s", o.Name)
	case binds && !plain:
		return Usage("--context, --context-field and --associated-data belong to --format raw and json; other formats record what binds their keys")
	case local && (len(k.From) > 0 || k.To != ""):
		return Usage("--from and --to name KMS keys, and --keyring re-wraps without KMS: leave them out")
	case local && (len(o.Context) > 0 || o.ContextField != ""):
		return Usage("a keyring binds by --associated-data, not by an encryption context")
	case !local && o.AssociatedData != "":
		return Usage("--associated-data belongs to --keyring; KMS binds by --context")
	case !local && (k.Keyring.KMS != "" || len(k.Keyring.Context) > 0):
		return Usage("--keyring-kms and --keyring-context belong to --keyring")
	case plain:
		return nil
	case j.Place.Dir != "" && name == "s3ec":
		return Usage("--format s3ec is for objects of S3, whose metadata hold the wrapped key; files have --format raw, or --format json with --json-field")
	case j.Place.Dir != "":
		return Usage("files do not tell what is in them: say --format raw, or --format json with --json-field")
	case local:
		return Usage("--keyring re-wraps the formats raw and json; s3ec keys are wrapped by KMS here")
	}
	return nil
}

// NamesKey says whether items of the format tell which key wrapped them, at
// least some of them. Else --from has to name the keys.
func (f Format) NamesKey() bool { return !f.Text() }

// Text says whether the format may hold wrapped keys as base64 text of its own
// users, who write it in more than one way.
func (f Format) Text() bool { return f.kind() == "raw" || f.kind() == "json" }
