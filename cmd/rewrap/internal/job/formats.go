package job

import (
	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/jsondoc"
	"rewrap/engine/envelope/raw"
	"rewrap/engine/envelope/s3ec"
)

// FormatInfo is a format that jobs can name. A new format is one more of
// [Formats].
type FormatInfo struct {
	// What people have to know of a format before they name it.
	Name     string   `json:"name"`
	What     string   `json:"what"`
	Found    string   `json:"found"`      // how an item is known as one of the format
	Variants []string `json:"variants"`   // as reports name it
	Records  string   `json:"records"`    // whether an item says which key wrapped it
	Context  string   `json:"context"`    // where the encryption context comes from
	By       string   `json:"wrapped_by"` // KMS, or a keyring too
	Example  string   `json:"example"`

	traits traits
	make   func(f Format, bound binding.Binding, c b64.Choice) (envelope.Format, error)
}

// traits are what the flags of a job have to agree with.
type traits struct {
	found    bool // an item shows that it is of the format; --format auto looks for it
	recorded bool // an item records what binds its keys, and mostly which key wrapped them
	metadata bool // the keys stand in metadata, which files have not
	keyring  bool // a keyring may wrap the keys
}

// Formats are the formats, in the order in which help has them.
var Formats = []FormatInfo{
	{
		Name:     "s3ec",
		What:     "objects of the Amazon S3 Encryption Client, V1 to V3, whose data key KMS wrapped and the object's metadata hold",
		Found:    "by itself, from the metadata x-amz-key, x-amz-key-v2 or x-amz-3; it is what --format auto looks for in a bucket. Wrapped keys in instruction files are skipped",
		Variants: []string{"s3ec-v1", "s3ec-v2", "s3ec-v3"},
		Records:  "wrap algorithm kms: yes (kms_cmk_id). kms+context, so all of V3: no, name the keys with --from",
		Context:  "recorded in the metadata",
		By:       "KMS",
		Example:  "rewrap run s3://bucket/prefix --from alias/app",
		traits:   traits{found: true, recorded: true, metadata: true},
		make: func(Format, binding.Binding, b64.Choice) (envelope.Format, error) {
			return s3ec.New(), nil
		},
	},
	{
		Name:     "raw",
		What:     "items that are one wrapped key and nothing else: its bytes, or base64 in any usual form, which is kept. --base64 names the alphabet of new blobs if the old blob does not reveal it",
		Found:    "only if it is named, since nearly any small item could be one. Items that are empty, or larger than 8 KiB (as base64 12 KiB), are foreign",
		Variants: []string{"raw-binary", "raw-base64"},
		Records:  "no, name the keys with --from, or a --keyring",
		Context:  "given with --context (keyring: --associated-data), and may refer to the item's name: {name} is the path below SOURCE in a directory, and the whole key in S3",
		By:       "KMS or a keyring",
		Example:  "rewrap run ./vault --format raw --from alias/app --context file={name}",
		traits:   traits{keyring: true},
		make: func(_ Format, bound binding.Binding, c b64.Choice) (envelope.Format, error) {
			return raw.New(bound, c)
		},
	},
	{
		Name:     "json",
		What:     "JSON documents, or one document a line, with wrapped keys as base64 in strings; only the characters of the blobs change. The other blobs of a field, and then --base64, decide the alphabet of a blob that does not reveal it",
		Found:    "where --json-field points, which implies the format; * stands for any index or name, and '' is the document itself. Items with nothing there are foreign, those over 64 MiB are skipped",
		Variants: []string{"json", "json-lines"},
		Records:  "no, name the keys with --from, or a --keyring",
		Context:  "given with --context or --context-field (keyring: --associated-data), and may refer to other fields, and to the name as in raw",
		By:       "KMS or a keyring",
		Example:  "rewrap run ./vault --json-field '/tenants/*/key' --context 'tenant={field:id}' --from alias/app",
		traits:   traits{keyring: true},
		make: func(f Format, bound binding.Binding, c b64.Choice) (envelope.Format, error) {
			return jsondoc.New(f.Fields, bound, c)
		},
	},
}

// auto is the name of all formats that an item shows.
const auto = "auto"

// FormatNames are the values of --format.
func FormatNames() []string {
	var names []string
	for _, f := range Formats {
		names = append(names, f.Name)
	}
	return append(names, auto)
}

// formatOf is the format of that name; nil: there is none, or it is auto.
func formatOf(name string) *FormatInfo {
	for i := range Formats {
		if Formats[i].Name == name {
			return &Formats[i]
		}
	}
	return nil
}
