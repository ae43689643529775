package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"syscall"
)

// Client returns an HTTP client that calls the emulator without a socket,
// whatever host a request names. A request whose context ends is given up at
// once. As over a network, the emulator may still carry it out.
func (e *Emulator) Client() *http.Client { return &http.Client{Transport: transport{e}} }

// Backdoor returns a client that fills an emulator before it is used. Its
// requests meet no quota, no latency and no hook, and are not counted.
func (e *Emulator) Backdoor() *http.Client {
	return &http.Client{Transport: transport{http.HandlerFunc(e.answer)}}
}

type transport struct{ handler http.Handler }

// RoundTrip does for the two services what net/http does between a client's
// request and a server's handler.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	served, err := serverRequest(r)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ctx.Done() == nil {
		return t.serve(r, served)
	}
	type answer struct {
		*http.Response
		err error
	}
	done := make(chan answer, 1) // buffered: the caller may be gone before the answer is there
	go func() {
		response, err := t.serve(r, served)
		done <- answer{response, err}
	}()
	select {
	case a := <-done:
		return a.Response, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serverRequest turns an outgoing request into the one that a server sees. It
// reads the whole body, because the handler may run longer than the caller
// waits.
func serverRequest(r *http.Request) (*http.Request, error) {
	served := r.WithContext(r.Context())
	target := *r.URL // a copy: a caller that has given up may reuse its own
	served.URL = &target
	served.Header = make(http.Header, len(r.Header))
	for name, values := range r.Header {
		name = textproto.CanonicalMIMEHeaderKey(name)
		served.Header[name] = append(served.Header[name], values...)
	}
	served.RequestURI = r.URL.RequestURI()
	served.RemoteAddr = "127.0.0.1:0"
	served.Proto, served.ProtoMajor, served.ProtoMinor = "HTTP/1.1", 1, 1
	if served.Host == "" {
		served.Host = r.URL.Host
	}
	served.Body = http.NoBody
	if r.Body == nil {
		served.ContentLength = 0
		return served, nil
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.ContentLength > 0 && int64(len(body)) != r.ContentLength {
		return nil, fmt.Errorf("emulator: request declares %d bytes and has %d", r.ContentLength, len(body))
	}
	if r.ContentLength >= 0 {
		served.ContentLength = int64(len(body))
	}
	served.Body = io.NopCloser(bytes.NewReader(body))
	return served, nil
}

func (t transport) serve(r, served *http.Request) (response *http.Response, err error) {
	rec := newRecorder()
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			// What the handler wrote and did not flush never left the server.
			if !rec.flushed {
				response, err = nil, &resetError{}
				return
			}
			response = rec.response(r, true)
		}
	}()
	t.handler.ServeHTTP(rec, served)
	return rec.response(r, false), nil
}

// resetError is what a client sees of a connection that was reset.
type resetError struct{}

func (*resetError) Error() string   { return "emulator: " + syscall.ECONNRESET.Error() }
func (*resetError) Unwrap() error   { return syscall.ECONNRESET }
func (*resetError) Timeout() bool   { return false }
func (*resetError) Temporary() bool { return true }

// recorder keeps an answer in memory.
type recorder struct {
	header  http.Header
	sent    http.Header // the header at the moment at which the status was written
	status  int
	body    []byte
	flushed bool
}

func newRecorder() *recorder { return &recorder{header: make(http.Header, 16)} }

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status != 0 || status < 200 {
		return
	}
	r.status = status
	r.sent = r.header.Clone()
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	r.body = append(r.body, p...)
	return len(p), nil
}

func (r *recorder) Flush() {
	r.WriteHeader(http.StatusOK)
	r.flushed = true
}

// response turns the recorded answer into the one that a client sees. Reading
// its body ends in io.ErrUnexpectedEOF if the handler broke off, or wrote less
// than the Content-Length says.
func (r *recorder) response(request *http.Request, broken bool) *http.Response {
	r.WriteHeader(http.StatusOK)
	header := make(http.Header, len(r.sent))
	for name, values := range r.sent {
		header[textproto.CanonicalMIMEHeaderKey(name)] = values
	}
	response := &http.Response{
		Status: strconv.Itoa(r.status) + " " + http.StatusText(r.status), StatusCode: r.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: http.NoBody, ContentLength: int64(len(r.body)), Request: request,
	}
	bodyless := request.Method == http.MethodHead || r.status == http.StatusNoContent || r.status == http.StatusNotModified
	if bodyless {
		response.ContentLength = 0
	}
	if v := header.Get("Content-Length"); v != "" {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			response.ContentLength = n
		}
	}
	if bodyless {
		return response
	}
	whole := !broken && response.ContentLength == int64(len(r.body))
	response.Body = &body{Reader: bytes.NewReader(r.body), whole: whole}
	return response
}

// body is a recorded body. Reading it ends in io.ErrUnexpectedEOF if it is not
// whole.
type body struct {
	*bytes.Reader
	whole bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) && !b.whole {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// WriteTo serves io.Copy, which has to end in the same error.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	n, err := b.Reader.WriteTo(w)
	if err == nil && !b.whole {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (*body) Close() error { return nil }
