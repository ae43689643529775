package job

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"rewrap/cmd/rewrap/internal/report"
)

// notOfJob are the flags that are about one call of a command, and no part of a
// job.
var notOfJob = []string{"file", "print-job", "help", "json", "yes", "restart", "sample", "out"}

// maxJobFile is more bytes than any job file has. A larger file is something else.
const maxJobFile = 1 << 20

// unquoted finds a value that YAML takes for an alias, as it does some globs.
var unquoted = regexp.MustCompile(`(?m)^[^#]*[:,\[-]\s*\*`)

// readFile sets the flags that a job file names, unless the command line has
// them, and returns the file's source. The keys are the flags' names; a
// repeatable flag takes a list. One file serves run, plan and verify: a flag
// that only run has is checked and has no effect elsewhere. An unknown key is
// an error, since a misspelled filter would widen the job.
func readFile(name string, f *pflag.FlagSet) (src string, err error) {
	root, err := readMapping(name)
	if err != nil {
		return "", err
	}
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	Declare(all, Run)
	seen := make(map[string]bool)
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if seen[key.Value] {
			return "", wrong(name, key, "%s is given twice", key.Value)
		}
		seen[key.Value] = true
		if key.Value == "source" {
			if value.Kind != yaml.ScalarNode || value.Value == "" || value.Tag == "!!null" {
				return "", wrong(name, value, "source is one string")
			}
			src = value.Value
			continue
		}
		into := f
		if f.Lookup(key.Value) == nil {
			into = all
		}
		if err := setFlag(into, name, key, value); err != nil {
			return "", err
		}
	}
	return src, nil
}

// wrong is an error in a line of the job file.
func wrong(name string, at *yaml.Node, format string, args ...any) error {
	return Usage("%s:%d: %s", name, at.Line, fmt.Sprintf(format, args...))
}

// readMapping reads the one mapping that a job file is.
func readMapping(name string) (*yaml.Node, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, Usage("the job file cannot be read: %v", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxJobFile+1))
	switch {
	case err != nil:
		return nil, Usage("the job file %s cannot be read: %v", name, err)
	case len(data) > maxJobFile:
		return nil, Usage("%s is larger than %d bytes, which no job file is", name, maxJobFile)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, Usage("%s: the job file is empty", name)
	} else if err != nil {
		hint := ""
		if unquoted.Match(data) {
			hint = "; quote a value that begins with *"
		}
		return nil, Usage("%s: %v%s", name, err, hint)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, Usage("%s: more than one document", name)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, wrong(name, root, "a job file is a mapping from the names of flags to values")
	}
	return root, nil
}

// setFlag gives a flag the value of a key, unless the command line has set it.
func setFlag(f *pflag.FlagSet, name string, key, value *yaml.Node) error {
	flag := f.Lookup(key.Value)
	if flag == nil || slices.Contains(notOfJob, key.Value) {
		all := pflag.NewFlagSet("", pflag.ContinueOnError)
		Declare(all, Run)
		keys := slices.DeleteFunc(append(FlagNames(all), "source"), func(name string) bool { return slices.Contains(notOfJob, name) })
		return wrong(name, key, "unknown key %q: the keys are source and the names of run's flags that are part of a job%s", key.Value, report.Meant("", key.Value, keys))
	}
	values := []*yaml.Node{value}
	_, repeatable := flag.Value.(pflag.SliceValue)
	if value.Kind == yaml.SequenceNode && repeatable {
		values = value.Content
		if len(values) == 0 {
			return wrong(name, value, "%s is an empty list: fill it, or leave the key out", key.Value)
		}
	}
	if flag.Changed { // the command line wins
		return nil
	}
	for _, v := range values {
		if v.Kind == yaml.AliasNode {
			return wrong(name, v, "%s: *%s is a YAML alias; quote a value that begins with *", key.Value, v.Value)
		}
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
			return wrong(name, v, "%s takes %s", key.Value, map[bool]string{true: "a string, or a list of strings", false: "one value"}[repeatable])
		}
		if err := f.Set(key.Value, v.Value); err != nil {
			return wrong(name, v, "%s %q: %v", key.Value, v.Value, Wanted(flag, errors.Unwrap(err)))
		}
	}
	return nil
}

// printJob writes the job as it was understood, in the form of a job file.
func printJob(w io.Writer, j Job, f *pflag.FlagSet) error {
	doc := &yaml.Node{Kind: yaml.MappingNode}
	text := func(s string) *yaml.Node { // quoted where YAML would take it for something else
		n := &yaml.Node{}
		n.SetString(s)
		return n
	}
	add := func(name string, value *yaml.Node) {
		doc.Content = append(doc.Content, text(name), value)
	}
	add("source", text(j.Place.String()))
	f.VisitAll(func(flag *pflag.Flag) {
		if slices.Contains(notOfJob, flag.Name) {
			return
		}
		list, repeatable := flag.Value.(pflag.SliceValue)
		switch {
		case !repeatable && flag.Value.Type() == "string":
			if flag.Value.String() != "" {
				add(flag.Name, text(flag.Value.String()))
			}
		case !repeatable:
			add(flag.Name, &yaml.Node{Kind: yaml.ScalarNode, Value: flag.Value.String()})
		case len(list.GetSlice()) > 0:
			seq := &yaml.Node{Kind: yaml.SequenceNode}
			for _, v := range list.GetSlice() {
				seq.Content = append(seq.Content, text(v))
			}
			add(flag.Name, seq)
		}
	})
	out, err := yaml.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}
