package main

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// The rooms of the house and what each may import of it. A package stands
// under the longest room that its path begins with.
var rooms = map[string][]string{
	"sources":              {},
	"sources/dir":          {"sources"},
	"sources/mem":          {"sources"},
	"sources/s3":           {"sources", "sources/cloud/awserr"},
	"sources/cloud":        {"sources", "sources/cloud/pace"},
	"sources/cloud/awserr": {"sources"},
	"sources/cloud/pace":   {},
	"sources/sourcetest":   {"sources"},
	"checkpoint":           {"checkpoint/account"},
	"checkpoint/account":   {},
	"engine/envelope":      {"sources", "checkpoint/account"},
	"engine/keys":          {"engine/envelope", "sources", "sources/cloud/awserr", "checkpoint/account"},
	"engine":               {"engine/envelope", "sources", "checkpoint", "checkpoint/account"},
	"bench/emulator/kms":   {},
	"bench/emulator/s3":    {"bench/emulator/kms"},
	"bench/emulator":       {"bench/emulator/kms", "bench/emulator/s3"},
	"bench/seed":           {},
	"bench/floor":          {},
	"cmd/rewrap":           {"bench/emulator", "bench/seed", "checkpoint", "checkpoint/account", "engine", "engine/envelope", "engine/keys", "sources", "sources/cloud", "sources/cloud/awserr", "sources/dir", "sources/s3"},
}

// Who may import what is not of the house.
var outside = map[string][]string{
	"github.com/aws/":        {"sources/cloud", "sources/cloud/awserr", "sources/s3", "engine/keys", "cmd/rewrap", "bench/seed"},
	"github.com/cheggaaa/pb": {"cmd/rewrap"},
	"github.com/tink-crypto": {"engine/keys"},
	"testing":                {"sources/sourcetest"},
}

// TestHouse holds the import directions: what is below knows nothing of what
// is above, the SDK stands in few rooms, the progress bar in one, and no
// product code imports testing.
func TestHouse(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "rewrap/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		room := roomOf(words[0])
		if room == "" {
			t.Errorf("%s is in no room: add it to the map, with what it may import", words[0])
			continue
		}
		seen[room] = true
		for _, imp := range words[1:] {
			if name, ours := strings.CutPrefix(imp, "rewrap/"); ours {
				if to := roomOf(imp); to != room && !slices.Contains(rooms[room], to) {
					t.Errorf("%s must not import %s", room, name)
				}
			}
			for prefix, allowed := range outside {
				if (imp == prefix || strings.HasPrefix(imp, prefix)) && !slices.Contains(allowed, room) {
					t.Errorf("%s must not import %s", room, imp)
				}
			}
		}
	}
	for room := range rooms {
		if !seen[room] {
			t.Errorf("the room %s is empty", room)
		}
	}
}

func roomOf(pkg string) string {
	for p := strings.TrimPrefix(pkg, "rewrap/"); p != "."; p = path.Dir(p) {
		if _, ok := rooms[p]; ok {
			return p
		}
	}
	return ""
}
