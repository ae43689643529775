package s3

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// getObject answers GET and HEAD. HEAD gets no body, and needs no data key.
func (c *call) getObject() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	o, err := b.lookup(c.key, c.query.Get("versionId"))
	if err != nil {
		return err
	}
	h := c.w.Header()
	switch failed := readCondition(c.r.Header, "", o); failed {
	case "":
	case "If-None-Match", "If-Modified-Since":
		set(h, "Last-Modified", o.lastModified().Format(http.TimeFormat))
		set(h, "ETag", o.quotedETag())
		return fault(304, "NotModified", "Not Modified")
	default:
		return preconditionFailed(failed)
	}
	first, last, partial, err := c.extent(o)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodGet {
		if o.archived() {
			return fault(403, "InvalidObjectState", "The operation is not valid for the object's storage class").field("StorageClass", o.class)
		}
		if err := c.unwrap(b, o); err != nil {
			return err
		}
	}
	status := http.StatusOK
	// The checksum is of the whole object, so it is not sent with a part of it.
	o.describe(h, b, !partial && strings.EqualFold(c.r.Header.Get("x-amz-checksum-mode"), "ENABLED"))
	overrideHeaders(h, c.query)
	if partial {
		status = http.StatusPartialContent
		set(h, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(o.body)))
	}
	if len(o.parts) > 0 && c.query.Has("partNumber") {
		set(h, "x-amz-mp-parts-count", itoa(len(o.parts)))
	}
	set(h, "Content-Length", strconv.Itoa(last-first+1))
	c.w.WriteHeader(status)
	if c.r.Method == http.MethodGet {
		c.w.Write(o.body[first : last+1])
	}
	return nil
}

// extent finds the bytes of the object that Range or partNumber asks for. The
// last is inclusive; it is first-1 if there are none.
func (c *call) extent(o *object) (first, last int, partial bool, err error) {
	size := len(o.body)
	header := c.r.Header.Get("Range")
	if number := c.query.Get("partNumber"); number != "" {
		if header != "" {
			return 0, 0, false, invalidRequest("Cannot specify both Range header and partNumber query parameter")
		}
		return partExtent(o, number)
	}
	first, last, err = byteRange(header, size)
	if err != nil {
		return 0, 0, false, err
	}
	return first, last, first != 0 || last != size-1 || header != "" && last >= 0 && isRange(header), nil
}

func isRange(header string) bool { _, _, ok := parseRange(header, 1); return ok }

// byteRange reads a Range header for a size. Everything but one range of bytes
// is ignored, as RFC 9110, section 14.2 allows and S3 does.
func byteRange(header string, size int) (first, last int, err error) {
	first, last, ok := parseRange(header, size)
	if !ok {
		return 0, size - 1, nil
	}
	if first >= size || last < first {
		return 0, 0, fault(416, "InvalidRange", "The requested range is not satisfiable").
			field("RangeRequested", header).field("ActualObjectSize", itoa(size)).
			header("Content-Range", "bytes */"+itoa(size))
	}
	return first, last, nil
}

// parseRange resolves a-b, a- and -n in bytes. ok is false for everything
// else.
func parseRange(header string, size int) (first, last int, ok bool) {
	spec, found := strings.CutPrefix(header, "bytes=")
	from, to, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !found || !dash {
		return 0, 0, false
	}
	if from == "" {
		n, err := strconv.ParseUint(to, 10, 62)
		if err != nil {
			return 0, 0, false
		}
		if n == 0 {
			return size, size - 1, true // no byte can be sent
		}
		return max(0, size-int(n)), size - 1, true
	}
	a, err := strconv.ParseUint(from, 10, 62)
	if err != nil {
		return 0, 0, false
	}
	if to == "" {
		return int(a), size - 1, true
	}
	z, err := strconv.ParseUint(to, 10, 62)
	if err != nil || z < a {
		return 0, 0, false
	}
	return int(a), min(int(z), size-1), true
}

// partExtent finds the bytes of a part. An object that was not uploaded in
// parts has one part: itself.
func partExtent(o *object, number string) (first, last int, partial bool, err error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > maxParts {
		return 0, 0, false, invalidArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", number)
	}
	if n == 1 && len(o.parts) == 0 {
		return 0, len(o.body) - 1, len(o.body) > 0, nil
	}
	at := 0
	for _, p := range o.parts {
		if p.number == n {
			return at, at + int(p.size) - 1, true, nil
		}
		at += int(p.size)
	}
	return 0, 0, false, fault(416, "InvalidPartNumber", "The requested partnumber is not satisfiable").
		field("ActualPartCount", itoa(max(1, len(o.parts)))).field("PartNumberRequested", number)
}

const maxParts = 10000

// getAttributes implements GetObjectAttributes (API, GetObjectAttributes).
func (c *call) getAttributes() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	wanted := make(map[string]bool)
	for _, header := range c.r.Header.Values("x-amz-object-attributes") {
		for name := range strings.SplitSeq(header, ",") {
			wanted[strings.TrimSpace(name)] = true
		}
	}
	for name := range wanted {
		switch name {
		case "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize":
		default:
			return invalidArgument("Invalid attribute name specified.", "x-amz-object-attributes", name)
		}
	}
	if len(wanted) == 0 {
		return invalidArgument("The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty", "x-amz-object-attributes", "")
	}
	o, err := b.lookup(c.key, c.query.Get("versionId"))
	if err != nil {
		return err
	}
	h := c.w.Header()
	set(h, "Last-Modified", o.lastModified().Format(http.TimeFormat))
	b.describeVersion(h, o)
	var x xmlWriter
	x.root("GetObjectAttributesResponse")
	if wanted["ETag"] {
		x.element("ETag", o.etag)
	}
	if wanted["Checksum"] && o.checksum.value != "" {
		x.open("Checksum")
		o.checksum.elements(&x)
		x.close("Checksum")
	}
	if wanted["ObjectParts"] && len(o.parts) > 0 {
		if err := c.partsElement(&x, o); err != nil {
			return err
		}
	}
	if wanted["StorageClass"] {
		x.element("StorageClass", o.storageClass())
	}
	if wanted["ObjectSize"] {
		x.int("ObjectSize", len(o.body))
	}
	x.close("GetObjectAttributesResponse")
	return c.answer(&x)
}

func (c *call) partsElement(x *xmlWriter, o *object) error {
	limit, err := count(c.r.Header.Get("x-amz-max-parts"), "x-amz-max-parts", 1000)
	if err != nil {
		return err
	}
	marker, err := count(c.r.Header.Get("x-amz-part-number-marker"), "x-amz-part-number-marker", 0)
	if err != nil {
		return err
	}
	x.open("ObjectParts")
	x.int("PartsCount", len(o.parts))
	x.int("PartNumberMarker", marker)
	x.int("MaxParts", limit)
	shown, last, truncated := 0, marker, false
	for _, p := range o.parts {
		if p.number <= marker {
			continue
		}
		if truncated = shown == limit; truncated {
			break
		}
		// Parts are listed only if each has a checksum of its own.
		if p.checksum.value != "" {
			x.open("Part")
			x.int("PartNumber", p.number)
			x.int("Size", int(p.size))
			x.element("Checksum"+p.checksum.algorithm, p.checksum.value)
			x.close("Part")
		}
		shown, last = shown+1, p.number
	}
	x.int("NextPartNumberMarker", last)
	x.bool("IsTruncated", truncated)
	x.close("ObjectParts")
	return nil
}

func (s checksum) elements(x *xmlWriter) {
	x.element("Checksum"+s.algorithm, s.value)
	x.element("ChecksumType", s.kind())
}
