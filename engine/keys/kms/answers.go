package kms

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
)

// digest names a wrapped key: equal digests, equal answers.
type digest [sha256.Size]byte

var scratches = sync.Pool{New: func() any { return new(scratch) }}

type scratch struct {
	buf   []byte
	names []string
}

// digestOf covers everything that the answer depends on: the blob, the key that
// the item records and the context. Each has its length before it, so no two
// different wrapped keys read as the same bytes.
func digestOf(w envelope.WrappedKey) digest {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	b, names := s.buf[:0], s.names[:0]
	b = binary.BigEndian.AppendUint32(b, uint32(len(w.Blob)))
	b = append(b, w.Blob...)
	b = appendString(b, w.KeyID)
	for name := range w.Context {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b = appendString(b, name)
		b = appendString(b, w.Context[name])
	}
	d := sha256.Sum256(b)
	clear(names)
	s.buf, s.names = b, names
	return d
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// answers keeps what is known of wrapped keys that were seen before, in memory
// whose size is fixed when it is made: a ring of bytes that records are
// appended to, and an index of places in it. Neither holds a pointer, and every
// page is touched at once, so the memory of the process does not depend on how
// many different wrapped keys it meets.
//
// A record is lost when the ring comes round to it. A record that is found in
// the older half is appended again, so answers that are asked for stay. Places
// count up for ever and are taken modulo the ring; so a slot of the index that
// has outlived its record can be recognised.
//
// A record, all integers little endian:
//
//	digest 32 | flags 1 | len(request id) 1 | len(blob) 2 | from 2 | to 2 | request id | blob
type answers struct {
	mu    sync.Mutex
	ring  []byte
	head  uint64   // the place of the next record
	index []uint64 // perBucket slots each: tag 16 bits | place 48 bits; 0: free

	versions []account.KeyVersion // what from and to count into
	numbers  map[account.KeyVersion]uint16
}

const (
	perBucket   = 8
	placeBits   = 48
	placeMask   = 1<<placeBits - 1
	recordHead  = sha256.Size + 8
	maxVersions = 4096

	flagForeign = 1 << 0
	flagCurrent = 1 << 1
	flagNewer   = 1 << 2
)

// newAnswers takes size bytes in all. Where they would hold no more than a few
// records it returns nil, which keeps nothing.
func newAnswers(size int) *answers {
	if size < 64<<10 {
		return nil
	}
	slots := 1 << 10
	for slots*2*8 <= size/16 {
		slots *= 2
	}
	a := &answers{
		ring:    make([]byte, size-slots*8),
		index:   make([]uint64, slots),
		head:    1, // so that no slot in use is 0
		numbers: make(map[account.KeyVersion]uint16),
	}
	// The system gives memory only once it is written to.
	for i := 0; i < len(a.ring); i += 4096 {
		a.ring[i] = 1
	}
	for i := range a.index {
		a.index[i] = 1
	}
	clear(a.index)
	return a
}

// bucket is the part of the index where a digest may stand.
func (a *answers) bucket(d *digest) []uint64 {
	n := uint64(len(a.index) / perBucket)
	i := binary.LittleEndian.Uint64(d[:8]) % n * perBucket
	return a.index[i : i+perBucket]
}

func tagOf(d *digest) uint64 {
	return uint64(binary.LittleEndian.Uint16(d[8:10])) << placeBits
}

// at is the record at a place, nil if the ring has come round to it.
func (a *answers) at(place uint64) []byte {
	if place == 0 || a.head-place > uint64(len(a.ring)) {
		return nil
	}
	r := a.ring[place%uint64(len(a.ring)):]
	n := recordHead + int(r[33]) + int(binary.LittleEndian.Uint16(r[34:36]))
	return r[:n]
}

// find is the slot and the record of a digest.
func (a *answers) find(d *digest) (slot *uint64, record []byte) {
	tag := tagOf(d)
	bucket := a.bucket(d)
	for i := range bucket {
		if s := bucket[i]; s != 0 && s&^placeMask == tag {
			if r := a.at(s & placeMask); r != nil && digest(r[:sha256.Size]) == *d {
				return &bucket[i], r
			}
		}
	}
	return nil, nil
}

// get is the answer that put kept, if it is still there. The blob is a copy.
// The error is nil or envelope.ErrForeign.
func (a *answers) get(d digest) (r envelope.Rewrapped, err error, ok bool) {
	if a == nil {
		return r, nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	slot, rec := a.find(&d)
	if rec == nil {
		return r, nil, false
	}
	flags := rec[32]
	if flags&flagForeign != 0 {
		err = envelope.ErrForeign
	} else {
		id := int(rec[33])
		r = envelope.Rewrapped{
			From:      a.versions[binary.LittleEndian.Uint16(rec[36:38])],
			To:        a.versions[binary.LittleEndian.Uint16(rec[38:40])],
			Current:   flags&flagCurrent != 0,
			Newer:     flags&flagNewer != 0,
			RequestID: string(rec[recordHead : recordHead+id]),
		}
		if blob := rec[recordHead+id:]; len(blob) > 0 {
			r.Blob = append([]byte(nil), blob...)
		}
	}
	r.Deduplicated = true
	if place := *slot & placeMask; a.head-place > uint64(len(a.ring))/2 {
		at := a.room(len(rec))
		copy(a.ring[at%uint64(len(a.ring)):], rec) // the two may overlap; copy minds that
		*slot = tagOf(&d) | at
	}
	return r, err, true
}

// put keeps an answer; err is nil or ErrForeign. An answer that does not fit
// into a record is not kept.
func (a *answers) put(d digest, r envelope.Rewrapped, err error) {
	if a == nil || len(r.RequestID) > 255 || len(r.Blob) > maxBlob {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	from, ok1 := a.number(r.From)
	to, ok2 := a.number(r.To)
	if !ok1 || !ok2 {
		return
	}
	var flags byte
	if err != nil {
		flags |= flagForeign
	}
	if r.Current {
		flags |= flagCurrent
	}
	if r.Newer {
		flags |= flagNewer
	}
	slot, _ := a.find(&d)
	if slot == nil {
		slot = a.oldest(&d)
	}
	place := a.room(recordHead + len(r.RequestID) + len(r.Blob))
	rec := a.ring[place%uint64(len(a.ring)):]
	copy(rec, d[:])
	rec[32] = flags
	rec[33] = byte(len(r.RequestID))
	binary.LittleEndian.PutUint16(rec[34:], uint16(len(r.Blob)))
	binary.LittleEndian.PutUint16(rec[36:], from)
	binary.LittleEndian.PutUint16(rec[38:], to)
	n := copy(rec[recordHead:], r.RequestID)
	copy(rec[recordHead+n:], r.Blob)
	*slot = tagOf(&d) | place
}

// room takes n bytes in one piece at the head of the ring.
func (a *answers) room(n int) uint64 {
	size := uint64(len(a.ring))
	if left := size - a.head%size; left < uint64(n) {
		a.head += left
	}
	place := a.head
	a.head += uint64(n)
	return place
}

// oldest returns a free slot of the bucket, else the one whose record was
// written first.
func (a *answers) oldest(d *digest) *uint64 {
	bucket := a.bucket(d)
	old := &bucket[0]
	for i := range bucket {
		if bucket[i]&placeMask < *old&placeMask {
			old = &bucket[i]
		}
	}
	return old
}

// number counts key versions, of which there are few: answers hold a number
// instead of two long names.
func (a *answers) number(v account.KeyVersion) (uint16, bool) {
	if n, ok := a.numbers[v]; ok {
		return n, true
	}
	if len(a.versions) == maxVersions {
		return 0, false
	}
	n := uint16(len(a.versions))
	a.versions = append(a.versions, v)
	a.numbers[v] = n
	return n, true
}
