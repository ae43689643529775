package dir

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// An item's ID is its path below the root, with slashes. IDs and cursors are
// kept in files of UTF-8 text, and names on most file systems are any bytes. So
// a byte that is not UTF-8 is written as \xHH, and so is a backslash before xHH,
// to keep that reversible. All other bytes are written as they are. IDs, cursors
// and span borders are kept in checkpoints, so this spelling stays.

const hexDigits = "0123456789abcdef"

func encodePath(path string) string {
	if utf8.ValidString(path) && !strings.Contains(path, `\x`) {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); {
		r, n := utf8.DecodeRuneInString(path[i:])
		if _, escape := escaped(path[i:]); escape || r == utf8.RuneError && n == 1 {
			b.WriteString(`\x`)
			b.WriteByte(hexDigits[path[i]>>4])
			b.WriteByte(hexDigits[path[i]&15])
			n = 1
		} else {
			b.WriteString(path[i : i+n])
		}
		i += n
	}
	return b.String()
}

func decodePath(id string) string {
	if !strings.Contains(id, `\x`) {
		return id
	}
	var b strings.Builder
	for i := 0; i < len(id); {
		if c, ok := escaped(id[i:]); ok {
			b.WriteByte(c)
			i += 4
			continue
		}
		b.WriteByte(id[i])
		i++
	}
	return b.String()
}

// escaped reads \xHH at the start of s.
func escaped(s string) (byte, bool) {
	if len(s) < 4 || s[0] != '\\' || s[1] != 'x' {
		return 0, false
	}
	hi, lo := strings.IndexByte(hexDigits, s[2]), strings.IndexByte(hexDigits, s[3])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

// splitPath is an ID in parts. It refuses IDs that no listing yields, since IDs
// come back from files that people can edit.
func splitPath(id string) ([]string, error) {
	path := decodePath(id)
	parts := strings.Split(path, "/")
	for _, p := range parts {
		if p == "" || p == "." || p == ".." || strings.IndexByte(p, 0) >= 0 {
			return nil, errors.New("not a path below the directory")
		}
	}
	return parts, nil
}

// comparePaths is the listing order: depth first, names by their bytes. A slash
// sorts before every byte that a name can hold.
func comparePaths(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		case a[i] < b[i]:
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}
