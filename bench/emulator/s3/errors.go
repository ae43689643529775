package s3

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"rewrap/bench/emulator/kms"
)

// apiError is an answer other than success. It is sent as S3's error document
// or, to HEAD, as its status and headers alone.
type apiError struct {
	status        int
	code, message string
	fields        []pair // more elements of the document
	headers       []pair
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message) }

func (e *apiError) field(name, value string) *apiError {
	e.fields = append(e.fields, pair{name, value})
	return e
}

func (e *apiError) header(name, value string) *apiError {
	e.headers = append(e.headers, pair{name, value})
	return e
}

func fault(status int, code, message string) *apiError {
	return &apiError{status: status, code: code, message: message}
}

func invalidArgument(message, name, value string) *apiError {
	return fault(400, "InvalidArgument", message).field("ArgumentName", name).field("ArgumentValue", value)
}

func invalidRequest(message string) *apiError { return fault(400, "InvalidRequest", message) }

func malformedXML() *apiError {
	return fault(400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
}

func notImplemented(header string) *apiError {
	return fault(501, "NotImplemented", "A header you provided implies functionality that is not implemented").field("Header", header)
}

func noSuchKey(key string) *apiError {
	return fault(404, "NoSuchKey", "The specified key does not exist.").field("Key", key)
}

func preconditionFailed(condition string) *apiError {
	return fault(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold").field("Condition", condition)
}

// keyError turns an error of KMS into S3's answer: the code of KMS with "KMS."
// before it, always as a client error (recorded). A throttle of KMS becomes
// S3's own SlowDown (aws-samples/cql-replicator issue 92).
func keyError(err error) error {
	var ke *kms.Error
	if !errors.As(err, &ke) {
		return err
	}
	switch {
	case ke.Code == "ThrottlingException":
		return fault(503, "SlowDown", "Please reduce your request rate for operations involving AWS KMS.")
	case ke.Code == "AccessDeniedException":
		return fault(403, "AccessDenied", ke.Message)
	case ke.Status >= 500:
		return fault(ke.Status, "KMS."+ke.Code, ke.Message)
	}
	return fault(400, "KMS."+ke.Code, ke.Message)
}

// fail answers with err. Nothing may have been written before.
func (c *call) fail(err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = fault(500, "InternalError", "We encountered an internal error. Please try again.")
	}
	h := c.w.Header()
	for _, p := range e.headers {
		set(h, p.name, p.value)
	}
	if c.r.Method == http.MethodHead || e.status == http.StatusNotModified {
		c.w.WriteHeader(e.status)
		return
	}
	var x xmlWriter
	x.start()
	x.open("Error")
	x.element("Code", e.code)
	x.element("Message", e.message)
	for _, p := range e.fields {
		x.element(p.name, p.value)
	}
	x.element("Resource", c.r.URL.Path)
	x.element("RequestId", c.requestID)
	x.element("HostId", c.hostID)
	x.close("Error")
	set(h, "Content-Type", "application/xml")
	set(h, "Content-Length", strconv.Itoa(len(x.b)))
	c.w.WriteHeader(e.status)
	c.w.Write(x.b)
}
