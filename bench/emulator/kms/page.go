package kms

import "encoding/base64"

// page is what the requests of listing operations have in common. A marker is
// base64 of a text that each operation chooses: the name of the last entry
// that was listed, or its place.
type page struct {
	Limit  *int
	Marker *string

	after string // what the marker says; "" without one
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

// more is what an answer says about the entries that its page left out.
type more struct {
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

// paged cuts a page out of the entries that a request asks for. The page has as
// many entries as the request wants; standard if it does not say, and never
// more than most. place says at which entry the page of a marker begins, and
// mark is the marker of the page that begins at an entry.
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
	return append([]T{}, all[from:until]...), rest // not nil: on the wire an empty list is [], not null
}
