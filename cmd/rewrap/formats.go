package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rewrap/cmd/rewrap/internal/job"
)

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
				return e.Encode(job.Formats)
			}
			return printFormats(s.out)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "a JSON list on standard output")
	return cmd
}

func printFormats(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, f := range job.Formats {
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
