package report

import (
	"slices"

	"rewrap/engine"
)

// Fields remembers which of the places that the format has to look at were found
// in an item.
type Fields map[string]bool

// Observe takes in what was found in an item.
func (f Fields) Observe(ev engine.Event) {
	for _, field := range ev.Fields {
		if !f[field] {
			f[field] = true
		}
	}
}

// Unmet are the places that were in no item, each once. They may be misspelled.
func (f Fields) Unmet(told []string) (unmet []string) {
	for _, field := range told {
		if !f[field] && !slices.Contains(unmet, field) {
			unmet = append(unmet, field)
		}
	}
	return unmet
}
