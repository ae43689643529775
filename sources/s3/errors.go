package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/sources"
)

// objectStrikes: access denied to one object may be that object's policy or
// its key's; denied to so many in a row is the run's.
const objectStrikes = 50

// outageStrikes: no answer, or none but a server error, after all the retries
// of the client, may be bad luck; so many in a row are an outage.
const outageStrikes = 20

// kmsStrikes: the key that S3 could not use may be one object's or everybody's.
const kmsStrikes = 5

// code is the error code of S3, or what the SDK makes of the status where the
// answer has no body (HEAD): "NotFound", "Forbidden", "BadRequest".
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// status is the HTTP status of the answer; 0 if there was none.
func status(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

func denied(err error) bool { return status(err) == http.StatusForbidden && runCode(code(err)) == nil }

// unknownOperation says that the endpoint does not have the operation at all.
func unknownOperation(err error) bool {
	switch status(err) {
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

type runFailure struct {
	hint    string
	strikes int
	expired bool
}

// runCode knows the codes that would meet the next item just the same.
// Codes: S3 API Reference, "Error responses", and the KMS errors that S3
// hands on under the prefix "KMS.".
func runCode(code string) *runFailure {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return &runFailure{hint: "Renew the credentials and run the same command again", expired: true}
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId":
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

// runError makes an error the run's where its code says so, else leaves it.
func runError(err error) error {
	f := runCode(code(err))
	if f == nil {
		return err
	}
	if f.expired {
		err = fmt.Errorf("%w: %w", sources.ErrCredentials, err)
	}
	return &sources.RunError{Err: err, Hint: f.hint, Strikes: f.strikes}
}

// objectError says what an error of a request for one object means. action is
// the IAM action that the request needs.
func (s *Source) objectError(doing, key, action string, err error) error {
	err = fmt.Errorf("%s %s: %w", doing, s.name(key), err)
	switch {
	case denied(err):
		return &sources.RunError{Err: err, Strikes: objectStrikes, Hint: "Allow " + action + " on " + s.arn() +
			"; for objects under SSE-KMS the key's policy has a say too"}
	case status(err) == http.StatusNotFound && code(err) != "NoSuchBucket":
		return fmt.Errorf("%s %s: %w", doing, s.name(key), sources.ErrGone)
	}
	return runError(err)
}

// bucketError is for requests that concern the bucket as a whole.
func (s *Source) bucketError(err error) error {
	err = fmt.Errorf("opening bucket %s: %w", s.c.Bucket, err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case denied(err):
		return &sources.RunError{Err: err, Hint: "Allow s3:ListBucket on arn:aws:s3:::" + s.c.Bucket}
	case status(err) == http.StatusNotFound:
		return &sources.RunError{Err: err, Hint: runCode("NoSuchBucket").hint}
	case status(err) == http.StatusMovedPermanently:
		return &sources.RunError{Err: err, Hint: runCode("PermanentRedirect").hint}
	case status(err) == http.StatusBadRequest && runCode(code(err)) == nil:
		// HEAD has no body to say which: S3 answers so to an expired token and
		// to a signature for another Region.
		return &sources.RunError{Err: err, Hint: "The credentials may have expired, or the bucket may be in another Region"}
	}
	var run *sources.RunError
	if err = runError(err); errors.As(err, &run) {
		return err
	}
	return &sources.RunError{Err: err, Hint: "Check the endpoint and the network"}
}

func (s *Source) arn() string { return "arn:aws:s3:::" + s.c.Bucket + "/" + s.c.Prefix + "*" }
