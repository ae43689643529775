package sources

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// Edit says which bytes, metadata and store key of an item change, never how.
// All of it lands in one write or none of it does. Its JSON is what the undo
// journal keeps of an inverse.
type Edit struct {
	Meta    map[string][]byte `json:"meta,omitempty"`    // nil value: the name is deleted
	Splices []Splice          `json:"splices,omitempty"` // ascending, not overlapping, in offsets of the body as it was read
	Store   *StoreKey         `json:"store,omitempty"`   // nil: the store's own key stays
	Body    *Rewrite          `json:"-"`                 // the whole body anew; excludes Splices
}

// Empty says that the edit changes nothing.
func (e Edit) Empty() bool {
	return len(e.Meta) == 0 && len(e.Splices) == 0 && e.Store == nil && e.Body == nil
}

// Splice replaces Del bytes at Off with Ins.
type Splice struct {
	Off int64  `json:"off"`
	Del int64  `json:"del"`
	Ins []byte `json:"ins"`
}

// StoreKey is how the store itself encrypts an item. On S3, Mode is the value
// of x-amz-server-side-encryption and Key the KMS key.
type StoreKey struct {
	Mode string `json:"mode"`
	Key  string `json:"key,omitempty"`
}

// Rewrite makes a whole new body as a stream, for bodies that have to be
// encrypted anew and may be larger than memory.
type Rewrite struct {
	Size int64 // of the new body, in bytes
	// Make reads the body of the view's revision and yields the new one. A
	// source may call it more than once, each time with the whole old body. If it
	// fails, or yields another number of bytes than Size, nothing is written.
	Make func(old io.Reader) (io.Reader, error)
}

// Undo is how an edit can be taken back after it was made. Exactly one field
// is set.
type Undo struct {
	Edit    *Edit  // the inverse
	Version string // the store keeps what was there, under this version id
	None    string // there is no way back, for this reason
}

// ErrNoInverse is wrapped by the errors of [Edit.Inverse].
var ErrNoInverse = errors.New("the edit has no inverse")

// Inverse is the edit that undoes e on the item that e leaves behind; it shares
// the memory of v. It can only be made where the view holds every byte that e
// takes away.
func (e Edit) Inverse(v View) (Edit, error) {
	if e.Body != nil {
		return Edit{}, fmt.Errorf("%w: the body of %q is replaced as a stream and was not read whole", ErrNoInverse, v.ID)
	}
	inv := Edit{Splices: slices.Grow([]Splice(nil), len(e.Splices))}
	if e.Store != nil {
		was := v.Store
		inv.Store = &was
	}
	for name := range e.Meta {
		if inv.Meta == nil {
			inv.Meta = make(map[string][]byte, len(e.Meta))
		}
		inv.Meta[name] = v.Meta[name]
	}
	var shift int64
	for _, s := range e.Splices {
		if s.Off < 0 || s.Del < 0 || s.Off+s.Del > int64(len(v.Head)) {
			return Edit{}, fmt.Errorf("%w: bytes %d to %d of %q were not read", ErrNoInverse, s.Off, s.Off+s.Del, v.ID)
		}
		inv.Splices = append(inv.Splices, Splice{
			Off: s.Off + shift,
			Del: int64(len(s.Ins)),
			Ins: v.Head[s.Off : s.Off+s.Del : s.Off+s.Del],
		})
		shift += int64(len(s.Ins)) - s.Del
	}
	return inv, nil
}

// UndoOf is the undo of e by its inverse, where it has one.
func UndoOf(v View, e Edit) Undo {
	inv, err := e.Inverse(v)
	if err != nil {
		return Undo{None: err.Error()}
	}
	return Undo{Edit: &inv}
}

// SplicedSize is the size of a body of size bytes after the splices. It is an
// error if they overlap, are out of order or reach beyond the body.
func SplicedSize(size int64, splices []Splice) (int64, error) {
	end, grown := int64(0), int64(0)
	for _, s := range splices {
		if s.Off < end || s.Del < 0 || s.Del > size-s.Off {
			return 0, errors.New("splices overlap, are out of order or reach beyond the body")
		}
		end = s.Off + s.Del
		grown += int64(len(s.Ins)) - s.Del
	}
	return size + grown, nil
}

// AppendJSON appends the JSON of e, as encoding/json writes it. It is written by
// hand because an edit may have a million splices, for which encoding/json takes
// a multiple of the time.
func (e Edit) AppendJSON(b []byte) ([]byte, error) {
	size := 2
	for _, s := range e.Splices {
		size += 64 + base64.StdEncoding.EncodedLen(len(s.Ins))
	}
	b = append(slices.Grow(b, size), '{')
	field := func(name string) {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), '"', ':')
	}
	if len(e.Meta) > 0 {
		field("meta")
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(e.Meta)) {
			if i > 0 {
				b = append(b, ',')
			}
			text, err := json.Marshal(name)
			if err != nil {
				return nil, err
			}
			b = appendBytes(append(append(b, text...), ':'), e.Meta[name])
		}
		b = append(b, '}')
	}
	if len(e.Splices) > 0 {
		field("splices")
		b = append(b, '[')
		for i, s := range e.Splices {
			if i > 0 {
				b = append(b, ',')
			}
			b = s.appendJSON(b)
		}
		b = append(b, ']')
	}
	if e.Store != nil {
		text, err := json.Marshal(e.Store)
		if err != nil {
			return nil, err
		}
		field("store")
		b = append(b, text...)
	}
	return append(b, '}'), nil
}

func (s Splice) appendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"off":`...), s.Off, 10)
	b = strconv.AppendInt(append(b, `,"del":`...), s.Del, 10)
	return append(appendBytes(append(b, `,"ins":`...), s.Ins), '}')
}

func appendBytes(b, value []byte) []byte {
	if value == nil {
		return append(b, "null"...)
	}
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), value), '"')
}
