package main

import "testing"

func TestWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{items(0), "0 items"}, {items(1), "1 item"}, {items(2), "2 items"}, {items(1234), "1,234 items"},
		{many(1, "request"), "1 request"}, {many(1_000_000, "request"), "1,000,000 requests"},
		{are(0, "key"), "0 keys are"}, {are(1, "key"), "1 key is"}, {are(1000, "key"), "1,000 keys are"},
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(-999), "-999"}, {count(-1000), "-1,000"}, {count(-123456), "-123,456"}, {count(1234567), "1,234,567"},
		{size(0), "0 B"}, {size(1023), "1023 B"}, {size(1024), "1.0 KiB"}, {size(1536), "1.5 KiB"}, {size(5 << 20), "5.0 MiB"}, {size(3 << 30), "3.0 GiB"}, {size(2 << 40), "2.0 TiB"}, {size(4 << 50), "4096.0 TiB"},
		{orElse("", "b"), "b"}, {orElse("a", "b"), "a"},
		{oneLine("plain, é and 漢"), "plain, é and 漢"}, {oneLine("a\nb\tc"), `a\nb\tc`}, {oneLine("\x1b[2J"), `\x1b[2J`}, {oneLine("\u202e"), `\u202e`}, {oneLine("\xff"), "\ufffd"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
