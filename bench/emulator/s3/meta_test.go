package s3

import (
	"strings"
	"testing"
)

// A metadata value that S3 returned stands for the same text when it is sent
// back, and is returned the same (Guide, object metadata; recorded). Text that
// looks like an encoded word is the exception: it would be decoded again.
func FuzzMetadataRoundTrip(f *testing.F) {
	for _, seed := range []string{"plain", "", "日本語", "=?UTF-8?B?5pel5pys?=", "=?UTF-8?Q?a=C3=BC?= b", "\xff\x80", strings.Repeat("ключ ", 40), "=?x", "a\x01"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		text := decodeMeta(sent)
		if strings.Contains(text, "=?") { // the exception
			return
		}
		back := encodeMeta(text)
		if !isASCII(back) {
			t.Fatalf("%q goes out as %q", sent, back)
		}
		if again := decodeMeta(back); again != text {
			t.Fatalf("%q is %q, goes out as %q and comes back as %q", sent, text, back, again)
		}
	})
}
