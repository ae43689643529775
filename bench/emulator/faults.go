package emulator

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strconv"

	"rewrap/bench/emulator/kms"
)

// Fail answers a request with an error in the form of its service: AWS JSON
// for KMS, XML for S3, the bare status for HEAD.
func Fail(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	var body []byte
	contentType := "application/xml"
	if _, ok := kms.Operation(r); ok {
		contentType = "application/x-amz-json-1.1"
		body, _ = json.Marshal(map[string]string{"__type": code, "message": message}) // strings always marshal
		w.Header()["x-amzn-RequestId"] = []string{"00000000-0000-4000-8000-000000000000"}
	} else {
		type document struct {
			XMLName       xml.Name `xml:"Error"`
			Code, Message string
			RequestID     string `xml:"RequestId"`
		}
		body, _ = xml.Marshal(document{Code: code, Message: message, RequestID: "0000000000000000"}) // strings always marshal
		w.Header()["x-amz-request-id"] = []string{"0000000000000000"}
	}
	w.Header().Set("Content-Type", contentType)
	if r.Method == http.MethodHead {
		body = nil
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// LoseAnswer lets next carry the request out and then drops the connection.
// The change is made, and the client does not know.
func LoseAnswer(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(newRecorder(), r)
	panic(http.ErrAbortHandler)
}

// Truncate lets next carry the request out, sends the header of its answer and
// the first n bytes of the body, and drops the connection. An answer of at
// most n bytes is sent whole.
func Truncate(n int, w http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := newRecorder()
	next.ServeHTTP(rec, r)
	for name, values := range rec.header {
		w.Header()[name] = values
	}
	whole := len(rec.body) <= n
	w.WriteHeader(rec.status)
	w.Write(rec.body[:min(n, len(rec.body))])
	if whole {
		return
	}
	// Without the flush the server would not send what it has buffered.
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}
