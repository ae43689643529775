package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// formatInfo is what people have to know of a format before they name it.
type formatInfo struct {
	Name     string   `json:"name"`
	What     string   `json:"what"`
	Found    string   `json:"found"`      // how an item is known as one of the format
	Variants []string `json:"variants"`   // as reports name it
	Records  string   `json:"records"`    // whether an item says which key wrapped it
	Context  string   `json:"context"`    // where the encryption context comes from
	By       string   `json:"wrapped_by"` // kms, keyring
	Example  string   `json:"example"`
}

// knownFormats are the values of --format, but for auto.
var knownFormats = []formatInfo{
	{
		Name:     "s3ec",
		What:     "objects of the Amazon S3 Encryption Client, V1 to V3, whose data key KMS wrapped and the object's metadata hold",
		Found:    "by itself, from the metadata x-amz-key, x-amz-key-v2 or x-amz-3; it is what --format auto looks for in a bucket. Wrapped keys in instruction files are skipped",
		Variants: []string{"s3ec-v1", "s3ec-v2", "s3ec-v3"},
		Records:  "wrap algorithm kms: yes (kms_cmk_id). kms+context, so all of V3: no, name the keys with --from",
		Context:  "recorded in the metadata",
		By:       "KMS",
		Example:  "rewrap run s3://bucket/prefix --from alias/app",
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
	},
}

func newFormats(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "formats",
		Short: "How items carry wrapped keys: the formats, with an example each",
		Args:  argsAre(cobra.NoArgs),
		Example: `  rewrap formats
  rewrap formats --json`,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				e := json.NewEncoder(s.out)
				e.SetEscapeHTML(false)
				return e.Encode(knownFormats)
			}
			return printFormats(s.out)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "a JSON list on standard output")
	return cmd
}

func printFormats(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, f := range knownFormats {
		if i > 0 {
			fmt.Fprintln(t)
		}
		fmt.Fprintf(t, "%s\t%s\n", f.Name, f.What)
		fmt.Fprintf(t, "  found\t%s\n", f.Found)
		fmt.Fprintf(t, "  reported as\t%s\n", strings.Join(f.Variants, ", "))
		fmt.Fprintf(t, "  wrapped by\t%s\n", f.By)
		fmt.Fprintf(t, "  records its key\t%s\n", f.Records)
		fmt.Fprintf(t, "  context\t%s\n", f.Context)
		fmt.Fprintf(t, "  example\t%s\n", f.Example)
	}
	return t.Flush()
}
