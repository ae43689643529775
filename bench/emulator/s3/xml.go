package s3

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// xmlWriter writes documents as S3 does. encoding/xml cannot: it replaces
// characters that XML 1.0 does not allow, while S3 writes them as numeric
// references. This is seen in listings without encoding-type=url if a key has
// control characters.
type xmlWriter struct{ b []byte }

func (x *xmlWriter) start() { x.b = append(x.b, xml.Header...) }

func (x *xmlWriter) root(name string) {
	x.start()
	x.b = append(x.b, '<')
	x.b = append(x.b, name...)
	x.b = append(x.b, ` xmlns="`+namespace+`">`...)
}

func (x *xmlWriter) open(name string) {
	x.b = append(x.b, '<')
	x.b = append(x.b, name...)
	x.b = append(x.b, '>')
}

func (x *xmlWriter) close(name string) {
	x.b = append(x.b, '<', '/')
	x.b = append(x.b, name...)
	x.b = append(x.b, '>')
}

func (x *xmlWriter) element(name, text string) {
	x.open(name)
	x.text(text)
	x.close(name)
}

func (x *xmlWriter) elementIf(name, text string) {
	if text != "" {
		x.element(name, text)
	}
}

func (x *xmlWriter) bool(name string, v bool) { x.element(name, strconv.FormatBool(v)) }
func (x *xmlWriter) int(name string, v int)   { x.element(name, strconv.Itoa(v)) }

func (x *xmlWriter) text(s string) {
	if !strings.ContainsFunc(s, special) { // the usual case
		x.b = append(x.b, s...)
		return
	}
	for _, r := range s {
		switch {
		case r == '&':
			x.b = append(x.b, "&amp;"...)
		case r == '<':
			x.b = append(x.b, "&lt;"...)
		case r == '>':
			x.b = append(x.b, "&gt;"...)
		case r == '"':
			x.b = append(x.b, "&quot;"...)
		case r < 0x20 || r == 0xfffe || r == 0xffff:
			x.b = fmt.Appendf(x.b, "&#x%x;", r)
		default:
			x.b = utf8.AppendRune(x.b, r)
		}
	}
}

func special(r rune) bool {
	return r < 0x20 || r == '&' || r == '<' || r == '>' || r == '"' || r >= utf8.RuneError // also the rune of bytes that are not UTF-8
}

func (x *xmlWriter) time(name string, t time.Time) {
	x.open(name)
	x.b = t.AppendFormat(x.b, isoTime)
	x.close(name)
}

// answer sends a finished document.
func (c *call) answer(x *xmlWriter) error {
	h := c.w.Header()
	set(h, "Content-Type", "application/xml")
	set(h, "Content-Length", strconv.Itoa(len(x.b)))
	c.w.WriteHeader(http.StatusOK)
	c.w.Write(x.b)
	return nil
}

// maxDocument limits the XML that is read. 1,000 keys of 1,024 bytes fit, even
// if each byte is written as a numeric reference.
const maxDocument = 8 << 20

// document reads the request's XML body into v, after its digests were
// checked.
func (c *call) document(v any) error {
	if c.r.ContentLength > maxDocument {
		return fault(400, "MaxMessageLengthExceeded", "Your request was too big.")
	}
	p, err := c.payload()
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(p.data, v); err != nil {
		if err == io.EOF {
			return fault(400, "MissingRequestBodyError", "Request Body is empty")
		}
		return malformedXML()
	}
	return nil
}
