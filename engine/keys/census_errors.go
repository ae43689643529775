package keys

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// everyKey is the subject of calls that are about no key in particular.
const everyKey = "this account and Region"

// errNoAnswer is an answer without what every answer of KMS has.
var errNoAnswer = errors.New("the answer holds nothing that KMS would answer")

const throttling = "ThrottlingException"

// callFailed says what an error of a call means and what to do about it. It
// is a *sources.RunError, unless ctx ended.
func callFailed(ctx context.Context, op, subject string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	stranger := unlikeKMS(err)
	if stranger != nil {
		err = stranger
	}
	e := &sources.RunError{Err: fmt.Errorf("%s for %s: %w", op, subject, awserr.Plain(err))}
	retried := ", after all retries"
	if op == "RotateKeyOnDemand" { // see once
		retried = ""
	}
	switch {
	case credentialsEnded(err) || errors.Is(err, sources.ErrCredentials):
		if !errors.Is(err, sources.ErrCredentials) {
			e.Err = fmt.Errorf("%w: %w", sources.ErrCredentials, e.Err)
		}
		e.Hint = "Get new credentials (aws sso login, or whatever hands them out)"
	case stranger != nil, errors.Is(err, errNoAnswer):
		e.Hint = "What answers is no KMS: check AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL, and any proxy in between"
	case accessDenied(err) && (op == "ListKeys" || subject == everyKey):
		e.Hint = fmt.Sprintf("Allow kms:%s on * in the caller's own policy", op)
	case accessDenied(err) && op == "UpdateAlias":
		e.Hint = "Allow kms:UpdateAlias on the alias in the caller's own policy, and on the key that it names and the key that it shall name in their key policies"
	case accessDenied(err):
		e.Hint = fmt.Sprintf("Allow kms:%s on %s, in the key policy and in the caller's own policy", op, subject)
		if op != "DescribeKey" && op != "GetKeyRotationStatus" {
			e.Hint += "; it is not allowed across accounts at all"
		}
	case notFound(err):
		e.Hint = "Check the name, the Region (AWS_REGION, or give the key's ARN) and the endpoint; rewrap keys lists what is there"
	case is[*types.ConflictException](err):
		e.Hint = "An automatic rotation of the key is under way or less than 20 minutes off. It makes new key material as well: wait for it and look with rewrap keys " + subject
	case is[*types.LimitExceededException](err) && op == "RotateKeyOnDemand":
		e.Hint = usedUp
	case is[*types.LimitExceededException](err):
		e.Hint = "A quota of the account is used up that waiting does not refill: see Service Quotas"
	case is[*types.UnsupportedOperationException](err):
		e.Hint = "KMS does not do this for this kind of key: rewrap keys " + subject + " shows its kind and its rule"
	case is[*types.DisabledException](err), is[*types.KMSInvalidStateException](err):
		e.Hint = "The state of the key does not allow it: rewrap keys " + subject + " shows it"
	case awserr.Code(err) == throttling:
		e.Hint = "KMS still refused after all retries: others share the account's quota of such requests, so try again later or with a lower --kms-rps"
	case awserr.Code(err) != "" && serverSide(err):
		e.Hint = "KMS itself has trouble" + retried + ": try again later"
	case awserr.Code(err) != "":
		e.Hint = "Check the key and the request named above"
	case is[net.Error](err):
		e.Hint = "The KMS endpoint could not be reached" + retried + ": check the network, AWS_REGION and AWS_ENDPOINT_URL_KMS"
	default:
		e.Hint = "No usable answer came from KMS: check the credentials, AWS_REGION and AWS_ENDPOINT_URL_KMS"
	}
	return e
}

// serverSide knows the answers that leave open what became of the request.
func serverSide(err error) bool {
	var s interface{ HTTPStatusCode() int }
	return !errors.As(err, &s) || s.HTTPStatusCode() >= 500
}

// didNothing reports whether the error of a request that changes something is
// KMS's word that it changed nothing. Without it, for want of an answer or since
// the caller's context ended, the change may have been made all the same.
func didNothing(err error) bool { return awserr.Code(err) != "" && !serverSide(err) }

// oneKeys reports whether an error of callFailed may be one key's alone: not
// what would meet the next key just the same. Keys that were named may be in
// Regions and accounts of their own.
func oneKeys(err error, named bool) bool {
	switch {
	case errors.Is(err, sources.ErrCredentials), !is[*sources.RunError](err):
		return false
	case named:
		return true
	}
	return awserr.Code(err) != "" && awserr.Code(err) != throttling
}
