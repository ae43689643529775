package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"rewrap/checkpoint"
)

// StateDir is where the state of the job is kept. Unless --state names it, the
// name is made of the source and of what the job asks for, so the same command
// finds it again and another job gets another one. A change of this function
// would lose the state of jobs that are half done.
func (j Job) StateDir() string {
	if j.State.Given != "" {
		return j.State.Given
	}
	from := slices.Clone(j.Keys.From)
	slices.Sort(from)
	parts := []string{j.Place.String(), j.Keys.To, j.Format.Name, j.Format.ContextField, j.Format.AssociatedData, j.Keys.Keyring.Path()}
	for _, list := range [][]string{from, j.Scope.Include, j.Scope.Exclude, j.Format.Fields, j.Format.Context} {
		parts = append(parts, strconv.Itoa(len(list)))
		parts = append(parts, list...)
	}
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return filepath.Join(".rewrap", j.Place.slug()+"-"+hex.EncodeToString(h.Sum(nil))[:8])
}

// Path is the absolute path of the keyring file, the same wherever the command is
// run; "" if the job has none.
func (k Keyring) Path() string {
	if k.File == "" {
		return ""
	}
	abs, err := filepath.Abs(k.File)
	if err != nil { // there is no working directory any more
		return k.File
	}
	return abs
}

// Identity tells the job from others by its source, format and scope. The keys are
// not part of it: KMS has to be asked which key a name stands for.
func (j Job) Identity() []checkpoint.Field {
	fields := []checkpoint.Field{{Name: "source", Value: j.Place.String()}, {Name: "format", Value: j.Format.Name}}
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"json-field", j.Format.Fields}, {"context", j.Format.Context}, {"context-field", []string{j.Format.ContextField}},
		{"associated-data", []string{j.Format.AssociatedData}}, {"include", j.Scope.Include}, {"exclude", j.Scope.Exclude},
	} {
		for _, v := range f.values {
			if v != "" {
				fields = append(fields, checkpoint.Field{Name: f.name, Value: v})
			}
		}
	}
	return fields
}
