package main

import (
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// house is what testdata/house.txt says.
type house struct {
	rooms   map[string][]string // and what each may import
	outside map[string]string   // a module's path by its name
}

func readHouse(t *testing.T) house {
	t.Helper()
	data, err := os.ReadFile("testdata/house.txt")
	if err != nil {
		t.Fatal(err)
	}
	h := house{make(map[string][]string), make(map[string]string)}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if text, comment := strings.CutPrefix(line, "# "); comment {
			if name, module, ok := strings.Cut(text, " = "); ok {
				h.outside[name] = module
			}
			continue
		}
		room, imports, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		if h.rooms[room] != nil {
			t.Errorf("the room %s stands there twice", room)
		}
		h.rooms[room] = append([]string{}, strings.Fields(imports)...)
	}
	return h
}

// roomOf is the room of a package of the house; "": it has none.
func (h house) roomOf(pkg string) string {
	for p := strings.TrimPrefix(pkg, "rewrap/"); p != "."; p = path.Dir(p) {
		if _, ok := h.rooms[p]; ok {
			return p
		}
	}
	return ""
}

// nameOf is the name by which a room lists an import; "": it need not be listed.
func (h house) nameOf(imp string) string {
	if strings.HasPrefix(imp, "rewrap/") {
		return h.roomOf(imp)
	}
	for name, module := range h.outside {
		if imp == module || strings.HasPrefix(imp, module) && name != "testing" {
			return name
		}
	}
	return ""
}

// TestHouse holds the import directions: lower rooms know nothing of higher
// ones, the SDK stands in few rooms, the progress bar in one, and no product
// code imports testing. What a room may import and does not is an error too.
func TestHouse(t *testing.T) {
	h := readHouse(t)
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "rewrap/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]map[string]bool) // by room
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		room := h.roomOf(words[0])
		if room == "" {
			t.Errorf("%s is in no room: add it to testdata/house.txt, with what it may import", words[0])
			continue
		}
		if used[room] == nil {
			used[room] = make(map[string]bool)
		}
		for _, imp := range words[1:] {
			name := h.nameOf(imp)
			if name == "" || name == room {
				continue
			}
			used[room][name] = true
			if !slices.Contains(h.rooms[room], name) {
				t.Errorf("%s must not import %s", room, imp)
			}
		}
	}
	for room, imports := range h.rooms {
		if used[room] == nil {
			t.Errorf("the room %s is empty", room)
			continue
		}
		for _, name := range imports {
			if !used[room][name] {
				t.Errorf("%s may import %s and does not: take it off the list", room, name)
			}
		}
	}
}
