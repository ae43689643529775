package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

func items(n int64) string { return many(n, "item") }

// many is a number of what has a plural in s.
func many(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

// are is [many] where a sentence goes on.
func are(n int64, what string) string {
	if n == 1 {
		return many(n, what) + " is"
	}
	return many(n, what) + " are"
}

// count writes 1234567 as 1,234,567.
func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func size(n int64) string {
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

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// oneLine keeps a message on one line and the terminal in order: names of items
// may hold anything.
func oneLine(s string) string {
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
