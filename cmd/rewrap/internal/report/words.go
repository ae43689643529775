// Package report writes for people and scripts: words and numbers, the summary of
// a run, and the reasons why items failed or were skipped. It reads nothing and
// decides nothing.
package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Items is a number of items.
func Items(n int64) string { return Many(n, "item") }

// Many is a number of things whose plural ends in s.
func Many(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return Count(n) + " " + what + "s"
}

// Are is [Many] with its verb: 1 key is, 2 keys are.
func Are(n int64, what string) string {
	if n == 1 {
		return Many(n, what) + " is"
	}
	return Many(n, what) + " are"
}

// Count writes 1234567 as 1,234,567.
func Count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Size is a number of bytes in words.
func Size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, suffix := float64(n), ""
	for _, suffix = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v /= unit; v < unit {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, suffix)
}

// OrElse is s, or other where s is empty.
func OrElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// OneLine escapes line breaks and control characters, since names of items may
// hold any bytes.
func OneLine(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Speak returns a function that writes messages for people, each on one line. It
// may be called from many goroutines.
func Speak(w io.Writer) func(format string, args ...any) {
	var mu sync.Mutex
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "rewrap: %s\n", OneLine(fmt.Sprintf(format, args...)))
	}
}

// OneOf is a list of words for a sentence.
func OneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Short is enough of a key material id to tell it from others.
func Short(material string) string { return material[:min(len(material), 12)] }

// KeyLine names a key by the word that was given for it, its ARN and its key
// material.
func KeyLine(given, arn, material string) string {
	line := arn
	if given != arn {
		line = given + " = " + arn
	}
	if material == "" {
		return line + ", key material not named by this service"
	}
	return line + ", key material " + Short(material)
}

// SortedKeys are the names in a map, in order.
func SortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
