package s3

import (
	"bytes"
	"io"

	"rewrap/sources"
)

// splice is the body after the splices, as a stream. The splices are valid (see
// [sources.SplicedSize]). A body that ends before size is io.ErrUnexpectedEOF.
func splice(body io.Reader, size int64, splices []sources.Splice) io.Reader {
	var parts []io.Reader
	at := int64(0)
	for _, s := range splices {
		parts = append(parts, &exactly{r: body, n: s.Off - at}, &skip{r: body, n: s.Del}, bytes.NewReader(s.Ins))
		at = s.Off + s.Del
	}
	return io.MultiReader(append(parts, &exactly{r: body, n: size - at})...)
}

// exactly reads n bytes of r. Fewer are an error.
type exactly struct {
	r io.Reader
	n int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.n)])
	e.n -= int64(n)
	if err == io.EOF && e.n > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// skip reads past n bytes of r and yields none.
type skip struct {
	r io.Reader
	n int64
}

func (s *skip) Read([]byte) (int, error) {
	if _, err := io.CopyN(io.Discard, s.r, s.n); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	s.n = 0
	return 0, io.EOF
}
