//go:build linux || darwin

package dir

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"rewrap/sources"
)

// chunk is how many bytes are copied between two looks at the context.
const chunk = 16 << 20

// splice writes the content of src with the splices to dst, which is empty. head
// are the first bytes of src, which need not be read again. A src that is shorter
// than size is io.ErrUnexpectedEOF.
func splice(ctx context.Context, dst, src *os.File, head []byte, size int64, splices []sources.Splice, sparse bool) error {
	if sparse {
		head = nil // it does not show the holes
	}
	// The output is buffered, since an item may have a splice every hundred bytes.
	out := bufio.NewWriterSize(dst, int(min(size+1, bufferMax)))
	copyTo := func(at, end int64) error {
		if n := min(end, int64(len(head))); n > at {
			if _, err := out.Write(head[at:n]); err != nil {
				return err
			}
			at = n
		}
		if at == end {
			return ctx.Err()
		}
		if err := out.Flush(); err != nil {
			return err
		}
		return copyRange(ctx, dst, src, at, end, sparse)
	}
	at := int64(0)
	for _, s := range splices {
		if err := copyTo(at, s.Off); err != nil {
			return err
		}
		if _, err := out.Write(s.Ins); err != nil {
			return err
		}
		at = s.Off + s.Del
	}
	if err := copyTo(at, size); err != nil {
		return err
	}
	if err := out.Flush(); err != nil || !sparse {
		return err
	}
	// A hole at the end was skipped and not written, so the size has to be set.
	end, err := dst.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	return dst.Truncate(end)
}

// bufferMax is the largest size of the output buffer.
const bufferMax = 256 << 10

// copyRange copies src from at to end to the current offset of dst. The holes of
// a sparse file stay holes.
func copyRange(ctx context.Context, dst, src *os.File, at, end int64, sparse bool) error {
	for at < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		upto := min(at+chunk, end)
		if sparse {
			data, err := src.Seek(at, seekData)
			switch {
			case is(err, unix.ENXIO):
				data = end
			case is(err, unix.EINVAL, unix.ENOTSUP):
				sparse = false
				continue
			case err != nil:
				return err
			}
			if data = min(data, end); data > at {
				if _, err := dst.Seek(data-at, io.SeekCurrent); err != nil {
					return err
				}
				at = data
				continue
			}
			hole, err := src.Seek(at, seekHole)
			if err != nil {
				return err
			}
			upto = min(upto, hole)
		}
		if _, err := src.Seek(at, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(dst, src, upto-at); err != nil {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		at = upto
	}
	return nil
}
