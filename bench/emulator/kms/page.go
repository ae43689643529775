package kms

import "encoding/base64"

// page is the part that the inputs of listing operations have in common. A
// marker is base64 of a text that the operation chooses, such as the name of
// the last entry that was listed.
type page struct {
	Limit  *int
	Marker *string

	after string // the marker's text; "" without a marker
}

func (p *page) check(v *validation) {
	p.checkSizes(v)
	v.refuse(p.readMarker())
}

func (p *page) checkSizes(v *validation) {
	v.between("limit", p.Limit, 1, 1000)
	if p.Marker != nil {
		v.length("marker", len(*p.Marker), 1, 1024)
	}
}

func (p *page) readMarker() error {
	if p.Marker == nil {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(*p.Marker)
	if err != nil || len(b) == 0 {
		return fail("InvalidMarkerException", "Could not deserialize marker '%s'", *p.Marker)
	}
	p.after = string(b)
	return nil
}

// more is the part of an answer that says whether entries are left, and where
// they begin.
type more struct {
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

// paged returns one page of all entries. standard is its size if the request
// names none, and most is the largest size. place returns the index at which
// the page of a marker begins. mark returns the marker of the page that begins
// at an index.
func paged[T any](p *page, all []T, standard, most int, place func(after string) int, mark func(next int) string) ([]T, more) {
	n, from := standard, 0
	if p.Limit != nil {
		n = min(*p.Limit, most)
	}
	if p.after != "" {
		from = place(p.after)
	}
	until := min(from+n, len(all))
	var rest more
	if until < len(all) {
		rest = more{base64.StdEncoding.EncodeToString([]byte(mark(until))), true}
	}
	return append([]T{}, all[from:until]...), rest // never nil: an empty list is [] on the wire, not null
}
