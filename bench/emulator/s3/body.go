package s3

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxPut is the largest body of one request (Guide, "Uploading objects": 5 GB).
const maxPut = 5 << 30

// payload is a request body without its transfer encoding. Every digest that
// came with it was checked.
type payload struct {
	data     []byte
	md5      [md5.Size]byte
	checksum checksum // sent by the client; the zero value if it sent none
}

func (c *call) payload() (*payload, error) {
	if c.r.ContentLength < 0 {
		return nil, notImplemented("Transfer-Encoding")
	}
	if c.r.ContentLength > maxPut {
		return nil, fault(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	data := make([]byte, c.r.ContentLength)
	if _, err := io.ReadFull(c.r.Body, data); err != nil {
		return nil, incompleteBody()
	}
	h := c.r.Header
	digest := h.Get("x-amz-content-sha256")
	trailer := http.Header{}
	if strings.HasPrefix(digest, "STREAMING-") {
		var err error
		if data, err = unchunk(data, trailer); err != nil {
			return nil, err
		}
		if want := h.Get("x-amz-decoded-content-length"); want != strconv.Itoa(len(data)) {
			return nil, incompleteBody()
		}
		// A trailer counts only if a header announced it.
		for name := range trailer {
			if !strings.EqualFold(name, h.Get("x-amz-trailer")) {
				delete(trailer, name)
			}
		}
		if want := h.Get("x-amz-trailer"); want != "" && trailer.Get(want) == "" {
			return nil, fault(400, "MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
		}
	} else if len(digest) == 2*sha256.Size {
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
			return nil, fault(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
		}
	}

	p := &payload{data: data, md5: md5.Sum(data)}
	if want := h.Get("Content-MD5"); want != "" {
		sum, err := base64.StdEncoding.DecodeString(want)
		if err != nil || len(sum) != md5.Size {
			return nil, fault(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
		}
		if !bytes.Equal(sum, p.md5[:]) {
			return nil, fault(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
		}
	}
	var err error
	p.checksum, err = declared(h, trailer, data)
	return p, err
}

func incompleteBody() *apiError {
	return fault(400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
}

// unchunk removes the aws-chunked encoding of a body, and adds the headers
// behind the last chunk to trailer. Each chunk is its size in hex, an optional
// ";chunk-signature=", and its data; the trailing headers follow the chunk of
// size 0 (Guide and API, "Signature calculations ... with trailing headers").
// Chunk signatures are not checked.
func unchunk(wrapped []byte, trailer http.Header) ([]byte, error) {
	malformed := fault(400, "InvalidChunkSizeError", "The body is not well-formed aws-chunked content.")
	r := bufio.NewReader(bytes.NewReader(wrapped))
	data := make([]byte, 0, len(wrapped))
	for {
		line, err := chunkLine(r)
		if err != nil {
			return nil, incompleteBody()
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(size, 16, 40)
		if err != nil {
			return nil, malformed
		}
		if n == 0 {
			break
		}
		if n > uint64(len(wrapped)) {
			return nil, incompleteBody()
		}
		at := len(data)
		data = append(data, make([]byte, n)...)
		if _, err := io.ReadFull(r, data[at:]); err != nil {
			return nil, incompleteBody()
		}
		if line, err := chunkLine(r); err != nil || line != "" {
			return nil, malformed
		}
	}
	for {
		line, err := chunkLine(r)
		if errors.Is(err, io.EOF) || line == "" {
			return data, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, malformed
		}
		trailer.Set(name, strings.TrimSpace(value))
	}
}

// chunkLine reads a line without its line ending. The last line may have none.
func chunkLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil && line == "" {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}
