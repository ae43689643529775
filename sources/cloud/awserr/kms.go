package awserr

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/sources"
)

// Meaning is what the error of a KMS call means, whichever operation it was.
type Meaning int

// The meanings. The client has already retried what can be retried.
const (
	Refused     Meaning = iota // an answer with a code that has no meaning of its own here
	Credentials                // new credentials are needed
	Outage                     // KMS answered nothing but throttles for minutes
	Throttled                  // the request rate is above the quota
	Denied                     // a policy does not allow the call
	NotFound                   // there is no such key or alias
	Misnamed                   // the ARN is none
	Malformed                  // KMS cannot make sense of the request: a name in it, or a blob
	KeyState                   // the key is disabled, or in a state that does not allow the call
	KeyUsage                   // the key is not for encryption
	Unsupported                // KMS does not do this for this kind of key
	WrongKey                   // the blob is not under the key that the call names
	BadBlob                    // the blob is damaged, or bound to another context
	Conflict                   // an automatic rotation is under way or about to begin
	QuotaUsed                  // a quota that does not refill with time is used up
	Trouble                    // a fault of KMS itself, or of the key's custom key store; it passes
	Stranger                   // an HTTP answer that KMS would not give
	Unreachable                // the connection failed
	Silent                     // no answer, for another reason
)

// meanings has the error codes of KMS (KMS API Reference, "Errors" of each
// operation, and "Common error types").
var meanings = map[string]Meaning{
	"AccessDeniedException":         Denied,
	"AccessDenied":                  Denied,
	"ThrottlingException":           Throttled,
	"NotFoundException":             NotFound,
	"InvalidArnException":           Misnamed,
	"ValidationException":           Malformed,
	"DisabledException":             KeyState,
	"KMSInvalidStateException":      KeyState,
	"InvalidKeyUsageException":      KeyUsage,
	"UnsupportedOperationException": Unsupported,
	"IncorrectKeyException":         WrongKey,
	"InvalidCiphertextException":    BadBlob,
	"ConflictException":             Conflict,
	"LimitExceededException":        QuotaUsed,
	"KeyUnavailableException":       Trouble,
	"DependencyTimeoutException":    Trouble,
	"KMSInternalException":          Trouble,
}

// KMS reads the error of a KMS call: what it means, and the error in few words,
// as [Plain] has it. The error itself stays in the chain.
func KMS(err error) (Meaning, error) {
	if s := strangerOf(err); s != nil {
		return Stranger, s
	}
	return meaningOf(err), Plain(err)
}

func meaningOf(err error) Meaning {
	code := Code(err)
	m, known := meanings[code]
	switch {
	case errors.Is(err, sources.ErrCredentials), CredentialsEnded(code):
		return Credentials
	case errors.Is(err, sources.ErrThrottled):
		return Outage
	case known:
		return m
	case code != "" && !Decided(err):
		return Trouble
	case code != "":
		return Refused
	case errors.As(err, new(net.Error)):
		return Unreachable
	}
	return Silent
}

// Decided says whether an error is the service's own answer that it refused the
// request. Otherwise the request may have been carried out: the answer was
// lost, or the service failed while it was at work.
func Decided(err error) bool {
	var answer interface{ HTTPStatusCode() int }
	return Code(err) != "" && errors.As(err, &answer) && answer.HTTPStatusCode() < 500
}

// StrangerError is an HTTP answer that KMS would not give: a web server's page,
// or an error without a code.
type StrangerError struct {
	At     string // scheme and host of the endpoint; "" if they are not known
	Status int
	Err    error
}

func (e *StrangerError) Error() string {
	return fmt.Sprintf("what answers at %s is no KMS: HTTP %d", cmp.Or(e.At, "the KMS endpoint"), e.Status)
}

func (e *StrangerError) Unwrap() error { return e.Err }

// strangerOf is err as a *StrangerError; nil if it is anything else. An answer
// that broke off may well have been an answer of KMS.
func strangerOf(err error) *StrangerError {
	var res *smithyhttp.ResponseError
	if !errors.As(err, &res) || res.Response == nil || res.Response.Response == nil {
		return nil
	}
	for _, other := range []error{io.ErrUnexpectedEOF, sources.ErrCredentials, sources.ErrThrottled} {
		if errors.Is(err, other) {
			return nil
		}
	}
	if errors.As(err, new(net.Error)) {
		return nil
	}
	// UnknownError is what the SDK makes of an error without a code.
	if c := Code(err); c != "UnknownError" && (c != "" || !errors.As(err, new(*smithy.DeserializationError))) {
		return nil
	}
	e := &StrangerError{Status: res.HTTPStatusCode(), Err: err}
	if req := res.Response.Request; req != nil && req.URL != nil {
		e.At = req.URL.Scheme + "://" + req.URL.Host
	}
	return e
}
