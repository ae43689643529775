package report

import "testing"

func TestWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{Items(0), "0 items"}, {Items(1), "1 item"}, {Items(2), "2 items"}, {Items(1234), "1,234 items"},
		{Many(1, "request"), "1 request"}, {Many(1_000_000, "request"), "1,000,000 requests"},
		{Are(0, "key"), "0 keys are"}, {Are(1, "key"), "1 key is"}, {Are(1000, "key"), "1,000 keys are"},
		{Count(0), "0"}, {Count(999), "999"}, {Count(1000), "1,000"}, {Count(-999), "-999"}, {Count(-1000), "-1,000"}, {Count(-123456), "-123,456"}, {Count(1234567), "1,234,567"},
		{Size(0), "0 B"}, {Size(1023), "1023 B"}, {Size(1024), "1.0 KiB"}, {Size(1536), "1.5 KiB"}, {Size(5 << 20), "5.0 MiB"}, {Size(3 << 30), "3.0 GiB"}, {Size(2 << 40), "2.0 TiB"}, {Size(4 << 50), "4096.0 TiB"},
		{OrElse("", "b"), "b"}, {OrElse("a", "b"), "a"},
		{OneLine("plain, é and 漢"), "plain, é and 漢"}, {OneLine("a\nb\tc"), `a\nb\tc`}, {OneLine("\x1b[2J"), `\x1b[2J`}, {OneLine("\u202e"), `\u202e`}, {OneLine("\xff"), "\ufffd"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
