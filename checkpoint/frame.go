package checkpoint

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// The format of the journal; the diagram is in the package documentation.
// Journals of this format are on people's disks: a change needs a new version.
const (
	journalMagic   = "rewrap journal\n" // 15 bytes
	journalVersion = 1
	headerLen      = int64(len(journalMagic)) + 1

	frameHead = 8 // length and checksum
	// afterSync is a bit of a frame's length. It says that everything before
	// this frame was durable when the frame was written.
	afterSync = 1 << 31
	// maxLine bounds a line, and maxFrame the payload of a frame. A frame is
	// larger because it holds the inverse of a whole item, which may have a
	// million wrapped keys. In bytes.
	maxLine, maxFrame = 16 << 20, 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func journalHeader() []byte { return append([]byte(journalMagic), journalVersion) }

// seal fills in the first frameHead bytes of a frame, whose payload stands
// behind them and has at most maxFrame bytes.
func seal(frame []byte, first bool) {
	head, payload := frame[:frameHead], frame[frameHead:]
	size := uint32(len(payload))
	if first {
		size |= afterSync
	}
	binary.BigEndian.PutUint32(head, size)
	binary.BigEndian.PutUint32(head[4:], checksum(head[:4], payload))
}

func checksum(size, payload []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, size), castagnoli, payload)
}

// errBadFrame says that the bytes are no frame: cut short, or damaged.
var errBadFrame = errors.New("no intact frame")

// readHead reads the head of the frame at off in a journal of the given size.
// The payload has n bytes and ends within the size: a damaged length cannot ask
// for more memory than the file is long.
func readHead(r io.ReaderAt, off, size int64) (head [frameHead]byte, n uint32, first bool, err error) {
	if off < headerLen || size-off < frameHead {
		return head, 0, false, errBadFrame
	}
	if _, err := r.ReadAt(head[:], off); err != nil {
		return head, 0, false, unexpected(err)
	}
	n = binary.BigEndian.Uint32(head[:])
	first, n = n&afterSync != 0, n&^afterSync
	if n == 0 || n > maxFrame || int64(n) > size-off-frameHead {
		return head, 0, false, errBadFrame
	}
	return head, n, first, nil
}

// readFrame reads the frame at off in a journal of the given size, into buf if
// that is large enough. Errors other than errBadFrame are those of r.
func readFrame(r io.ReaderAt, off, size int64, buf []byte) (payload []byte, first bool, err error) {
	head, n, first, err := readHead(r, off, size)
	if err != nil {
		return nil, false, err
	}
	if uint32(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := r.ReadAt(buf, off+frameHead); err != nil {
		return nil, false, unexpected(err)
	}
	if checksum(head[:4], buf) != binary.BigEndian.Uint32(head[4:]) {
		return nil, false, errBadFrame
	}
	return buf, first, nil
}

// unexpected is for the error of a read within the size of the file, where an
// end of the file means that somebody cut it meanwhile.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// findEnd walks the frames from off and returns the end of the intact ones.
//
// Bytes after that end are usually torn: the last group of frames was being
// written when the power went or the process was killed. No Append of that
// group had returned, so it can be cut off. Any part of the group may have
// reached the disk, but nothing was ever written behind it. So if there is an
// intact frame behind the end that says it was written after a sync, then the
// bytes between had been durable and were damaged since. Then lost is the place
// of that frame, else -1.
func findEnd(r io.ReaderAt, off, size int64) (end, lost int64, err error) {
	var buf []byte
	for off < size {
		payload, _, err := readFrame(r, off, size, buf)
		if errors.Is(err, errBadFrame) {
			lost, err := findSynced(r, off+1, size)
			return off, lost, err
		}
		if err != nil {
			return off, -1, err
		}
		buf = payload
		off += frameHead + int64(len(payload))
	}
	return off, -1, nil
}

// findSynced looks at every byte from off for the beginning of an intact frame
// that was written after a sync; -1: there is none. The first bytes rule out
// nearly every place: the bit in the length, and the brace that a payload begins
// with.
func findSynced(r io.ReaderAt, off, size int64) (int64, error) {
	const window = 1 << 16
	var (
		chunk = make([]byte, window+frameHead)
		buf   []byte
	)
	for ; size-off > frameHead; off += window {
		n := min(size-off, int64(len(chunk)))
		if _, err := r.ReadAt(chunk[:n], off); err != nil {
			return -1, unexpected(err)
		}
		for i := 0; i < window && int64(i)+frameHead < n; i++ {
			if chunk[i]&0x80 == 0 || chunk[i+frameHead] != '{' {
				continue
			}
			payload, first, err := readFrame(r, off+int64(i), size, buf)
			if errors.Is(err, errBadFrame) {
				continue
			}
			if err != nil {
				return -1, err
			}
			if first {
				return off + int64(i), nil
			}
			buf = payload
		}
	}
	return -1, nil
}
