package checkpoint

import (
	"slices"
	"strings"
)

// Field is one line of the description of a job: its source, its target, a
// filter. A name may come more than once.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Moves says that the value is not the operator's own but what the
	// operator's word for it stood for, such as the key that an alias points to.
	// A new pass takes another value in its place; a pass that goes on does not.
	Moves bool `json:"moves,omitempty"`
}

// values are the values of one name in a job.
type values struct {
	all   []string
	fixed []string // without those that move
}

// same says whether nothing differs. moved says whether nothing differs except
// values that may move between passes.
func (v values) same(w values) bool { return slices.Equal(v.all, w.all) }
func (v values) moved(w values) bool {
	return slices.Equal(v.fixed, w.fixed) && len(v.all) == len(w.all)
}

// Differences lists the fields in which two jobs differ.
func Differences(was, is []Field) []Difference { return differences(was, is, true) }

// differences compares jobs name by name. Values that may move between passes
// are compared only if the pass goes on.
func differences(was, is []Field, goesOn bool) []Difference {
	var (
		names []string
		jobs  [2]map[string]values
	)
	for i, job := range [][]Field{was, is} {
		jobs[i] = make(map[string]values)
		for _, f := range job {
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
			v := jobs[i][f.Name]
			v.all = append(v.all, f.Value)
			if !f.Moves {
				v.fixed = append(v.fixed, f.Value)
			}
			jobs[i][f.Name] = v
		}
	}
	var d []Difference
	for _, n := range names {
		a, b := jobs[0][n], jobs[1][n]
		if a.same(b) || a.moved(b) && !goesOn {
			continue
		}
		d = append(d, Difference{Name: n, Was: strings.Join(a.all, ", "), Is: strings.Join(b.all, ", "), Moves: a.moved(b)})
	}
	return d
}
