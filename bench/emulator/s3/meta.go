package s3

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pair is a name with its value.
type pair struct{ name, value string }

func compareNames(a, b pair) int { return cmp.Compare(a.name, b.name) }

// maxUserMetadata limits the user metadata of an object: the bytes of all
// names and values in UTF-8 (Guide, "Working with object metadata").
const maxUserMetadata = 2 << 10

const metaPrefix = "x-amz-meta-"

// userMetadata reads the x-amz-meta- headers of a request. Names are in lower
// case. Values are kept as text; see decodeMeta.
func userMetadata(h http.Header) ([]pair, error) {
	var meta []pair
	size := 0
	for name, values := range h {
		name = strings.ToLower(name)
		if !strings.HasPrefix(name, metaPrefix) {
			continue
		}
		p := pair{name[len(metaPrefix):], decodeMeta(strings.Join(values, ","))}
		size += len(p.name) + len(p.value)
		meta = append(meta, p)
	}
	if size > maxUserMetadata {
		return nil, fault(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size").
			field("Size", strconv.Itoa(size)).field("MaxSizeAllowed", strconv.Itoa(maxUserMetadata))
	}
	slices.SortFunc(meta, compareNames)
	return meta, nil
}

// decodeMeta reads a metadata header as S3 does: it takes the bytes for
// Latin-1, and decodes RFC 2047 encoded words (Guide, "Working with object
// metadata"; recorded). So UTF-8 that was sent raw comes back encoded twice. A
// value that comes back stands for the same text when it is sent again.
func decodeMeta(raw string) string {
	text := raw
	if !isASCII(raw) {
		runes := make([]rune, len(raw))
		for i := range len(raw) {
			runes[i] = rune(raw[i])
		}
		text = string(runes)
	}
	if strings.Contains(text, "=?") {
		if decoded, err := new(mime.WordDecoder).DecodeHeader(text); err == nil && utf8.ValidString(decoded) {
			text = decoded
		}
	}
	return text
}

// encodeMeta is the inverse of decodeMeta. Text beyond ASCII is sent as RFC
// 2047 encoded words: Q if most of it is ASCII, otherwise B (both are
// recorded).
func encodeMeta(text string) string {
	if isASCII(text) {
		return text
	}
	ascii, other := 0, 0
	for _, r := range text {
		if r < utf8.RuneSelf {
			ascii++
		} else {
			other++
		}
	}
	// Package mime writes the letter of the encoding in lower case, S3 in upper
	// case. Encoded text cannot contain "=?".
	if ascii > other {
		return strings.ReplaceAll(mime.QEncoding.Encode("UTF-8", text), "=?UTF-8?q?", "=?UTF-8?Q?")
	}
	return strings.ReplaceAll(mime.BEncoding.Encode("UTF-8", text), "=?UTF-8?b?", "=?UTF-8?B?")
}

// printable tells whether a value can be sent in a header. S3 leaves the
// others out, and counts them in x-amz-missing-meta (API, HeadObject).
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f })
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// contentHeaders are stored with an object and sent back unchanged.
var contentHeaders = []string{
	"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Expires",
}

const defaultContentType = "binary/octet-stream"

// systemMetadata reads the content headers of a write.
func systemMetadata(h http.Header) []pair {
	system := make([]pair, 0, 2)
	for _, name := range contentHeaders {
		value := h.Get(name)
		switch {
		case name == "Content-Encoding":
			value = withoutChunked(value)
		case name == "Content-Type" && value == "":
			value = defaultContentType
		}
		if value != "" {
			system = append(system, pair{name, value})
		}
	}
	return system
}

// withoutChunked removes aws-chunked, which says how the request is sent and
// is not stored (API, "Signature calculations", Content-Encoding).
func withoutChunked(encoding string) string {
	if !strings.Contains(encoding, "aws-chunked") {
		return encoding
	}
	var rest []string
	for part := range strings.SplitSeq(encoding, ",") {
		if part = strings.TrimSpace(part); part != "aws-chunked" && part != "" {
			rest = append(rest, part)
		}
	}
	return strings.Join(rest, ",")
}

// storageClasses are those that an object in a general purpose bucket can have
// (API, PutObject, x-amz-storage-class).
var storageClasses = []string{
	"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR",
}

// storageClass reads the storage class that a write asks for. "" stands for
// STANDARD.
func storageClass(h http.Header) (string, error) {
	class := h.Get("x-amz-storage-class")
	if class == "" || class == "STANDARD" {
		return "", nil
	}
	if !slices.Contains(storageClasses, class) {
		return "", fault(400, "InvalidStorageClass", "The storage class you specified is not valid").field("StorageClassRequested", class)
	}
	return class, nil
}
