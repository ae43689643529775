package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// objectStrikes is how many objects in a row have to be denied before the run
// stops. A single denial may be due to that object's policy or key.
const objectStrikes = 50

// outageStrikes is how many requests in a row have to end without an answer, or
// with a server error, after all retries of the client, before the run stops.
const outageStrikes = 20

// kmsStrikes is the same for a KMS key that S3 could not use, which may encrypt
// one object or all.
const kmsStrikes = 5

// The parts of the store for [sources.RunError]. Requests that Plan makes belong
// to the write: if they fail for every item, no item is written.
const (
	whereList  = "store: list"
	whereRead  = "store: read"
	whereWrite = "store: write"
)

// status is the HTTP status of the answer; 0 if there was none.
func status(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && !errors.Is(err, sources.ErrCredentials) {
		return answer.HTTPStatusCode()
	}
	return 0
}

func denied(err error) bool {
	return status(err) == http.StatusForbidden && runCode(awserr.Code(err)) == nil
}

// unknownOperation says that the endpoint does not have the operation at all.
func unknownOperation(err error) bool {
	switch status(err) {
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// unanswered says that the store gave no answer or a server error, although the
// caller still waited for one.
func unanswered(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	st := status(err)
	return st == 0 || st >= 500
}

// runFailure is what to do about an error that would meet every item.
type runFailure struct {
	hint    string
	strikes int
}

const renew = "Renew the credentials and run the same command again; it goes on where it stopped"

// runCode is what to do about an error code that would meet the next item just
// the same; nil for any other code. The codes are those of the S3 API Reference,
// "Error responses", and those of KMS, which S3 passes on with the prefix "KMS.".
func runCode(code string) *runFailure {
	if awserr.CredentialsEnded(code) {
		return &runFailure{hint: renew}
	}
	switch code {
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken":
		return &runFailure{hint: "The credentials are not known to this endpoint; check profile, keys and endpoint"}
	case "NoSuchBucket":
		return &runFailure{hint: "Check the bucket's name, the account and the endpoint"}
	case "PermanentRedirect", "TemporaryRedirect", "MovedPermanently", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return &runFailure{hint: "The bucket is in another Region than the one that was called; set AWS_REGION to the bucket's"}
	case "RequestTimeTooSkewed":
		return &runFailure{hint: "This machine's clock is off; set it right"}
	case "AllAccessDisabled", "AccountProblem", "NotSignedUp", "UnauthorizedAccess":
		return &runFailure{hint: "The account or the bucket is closed to all access"}
	}
	if strings.HasPrefix(code, "KMS.") {
		return &runFailure{
			hint:    "S3 could not use the KMS key that encrypts the object; check that the key is enabled and that its policy allows the caller",
			strikes: kmsStrikes,
		}
	}
	return nil
}

// runError is err as a [sources.RunError] if it would meet every item; else it
// is err itself.
func runError(where string, err error) error {
	run := &sources.RunError{Err: err, Where: where}
	f := runCode(awserr.Code(err))
	switch {
	case errors.Is(err, sources.ErrCredentials):
		run.Hint = renew
	case errors.Is(err, sources.ErrThrottled):
		run.Hint = "Wait until the store has recovered, or lower --store-rps if others need its quota; then run the same command again"
	case f == nil:
		return err
	default:
		if awserr.CredentialsEnded(awserr.Code(err)) {
			run.Err = fmt.Errorf("%w: %w", sources.ErrCredentials, err)
		}
		run.Hint, run.Strikes = f.hint, f.strikes
	}
	return run
}

// outage is the error of a request that got no answer.
func outage(where string, err error) error {
	return &sources.RunError{Err: err, Where: where, Strikes: outageStrikes,
		Hint: "Check the endpoint and the network; run the same command again to go on"}
}

// objectError is the meaning of an error of a request for one object. doing is
// the start of a sentence, action the IAM action that the request needs.
func (s *Source) objectError(where, doing, key, action string, err error) error {
	err = fmt.Errorf("%s %s: %w", doing, s.name(key), awserr.Plain(err))
	switch {
	case denied(err):
		return &sources.RunError{Err: err, Where: where, Strikes: objectStrikes, Hint: "Allow " + action + " on " + s.arn() +
			"; for objects under SSE-KMS the key's policy has a say too"}
	case status(err) == http.StatusNotFound && awserr.Code(err) != "NoSuchBucket":
		return fmt.Errorf("%s %s: %w", doing, s.name(key), sources.ErrGone)
	}
	if e := runError(where, err); errors.As(e, new(*sources.RunError)) {
		return e
	}
	if unanswered(err) {
		return outage(where, err)
	}
	return err
}

// bucketError is for requests that concern the bucket as a whole.
func (s *Source) bucketError(err error) error {
	err = fmt.Errorf("opening bucket %s: %w", s.c.Bucket, awserr.Plain(err))
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	run := &sources.RunError{Err: err, Where: whereRead}
	switch {
	case denied(err):
		run.Hint = "Allow s3:ListBucket on arn:aws:s3:::" + s.c.Bucket
	case status(err) == http.StatusNotFound:
		run.Hint = runCode("NoSuchBucket").hint
	case status(err) == http.StatusMovedPermanently:
		run.Hint = runCode("PermanentRedirect").hint
	case status(err) == http.StatusBadRequest && runCode(awserr.Code(err)) == nil:
		// The answer to a HEAD has no body to tell more. S3 answers so to an
		// expired token and to a signature for another Region.
		run.Hint = "The credentials may have expired, or the bucket may be in another Region"
	default:
		if e := runError(whereRead, err); errors.As(e, new(*sources.RunError)) {
			return e
		}
		run.Hint = "Check the endpoint and the network"
	}
	return run
}

func (s *Source) arn() string { return "arn:aws:s3:::" + s.c.Bucket + "/" + s.c.Prefix + "*" }
