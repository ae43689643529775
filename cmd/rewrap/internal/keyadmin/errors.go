package keyadmin

import (
	"context"
	"errors"
	"fmt"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
	"rewrap/sources/cloud/kmskey"
)

// everyKey is the subject of calls that are about no key in particular.
const everyKey = "this account and Region"

const opRotate = "RotateKeyOnDemand"

// callFailed says what an error of a call means and what to do about it. It
// returns a *sources.RunError, unless ctx ended.
func callFailed(ctx context.Context, op, subject string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	meaning, plain := awserr.KMS(err)
	if errors.Is(err, kmskey.ErrNoKey) {
		meaning = awserr.Stranger
	}
	e := &sources.RunError{Err: fmt.Errorf("%s for %s: %w", op, subject, plain), Hint: hint(meaning, op, subject)}
	if meaning == awserr.Credentials && !errors.Is(err, sources.ErrCredentials) {
		e.Err = fmt.Errorf("%w: %w", sources.ErrCredentials, e.Err)
	}
	return e
}

// hint says what to do about a failed call.
func hint(meaning awserr.Meaning, op, subject string) string {
	retried := ", after all retries"
	if op == opRotate { // which is not retried, see once
		retried = ""
	}
	switch meaning {
	case awserr.Credentials:
		return "Get new credentials (aws sso login, or whatever hands them out)"
	case awserr.Stranger:
		return "The endpoint that answered is no KMS: check AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL, and any proxy in between"
	case awserr.Denied:
		return permissionHint(op, subject)
	case awserr.NotFound, awserr.Misnamed, awserr.Malformed:
		return "Check the name, the Region (AWS_REGION, or give the key's ARN) and the endpoint; rewrap keys lists what is there"
	case awserr.Conflict:
		return "An automatic rotation of the key is under way or less than 20 minutes off. It makes new key material as well: wait for it and look with rewrap keys " + subject
	case awserr.QuotaUsed:
		if op == opRotate {
			return usedUp
		}
		return "A quota of the account is used up, and waiting does not refill it: see Service Quotas"
	case awserr.Unsupported:
		return "KMS does not do this for this kind of key: rewrap keys " + subject + " shows its kind and its rule"
	case awserr.KeyState:
		return "The state of the key does not allow it: rewrap keys " + subject + " shows it"
	case awserr.Outage, awserr.Throttled:
		return "KMS still refused after all retries: others share the account's quota of such requests, so try again later or with a lower --kms-rps"
	case awserr.Trouble:
		return "KMS itself has trouble" + retried + ": try again later"
	case awserr.Unreachable:
		return "The KMS endpoint could not be reached" + retried + ": check the network, AWS_REGION and AWS_ENDPOINT_URL_KMS"
	case awserr.Silent:
		return "No usable answer came from KMS: check the credentials, AWS_REGION and AWS_ENDPOINT_URL_KMS"
	}
	return "Check the key and the request named above"
}

func permissionHint(op, subject string) string {
	switch {
	case op == "ListKeys" || subject == everyKey:
		return fmt.Sprintf("Allow kms:%s on * in the caller's own policy", op)
	case op == "UpdateAlias":
		return "Allow kms:UpdateAlias on the alias in the caller's own policy, and on the old and the new key in their key policies"
	case op == "DescribeKey", op == "GetKeyRotationStatus":
		return fmt.Sprintf("Allow kms:%s on %s, in the key policy and in the caller's own policy", op, subject)
	}
	return fmt.Sprintf("Allow kms:%s on %s, in the key policy and in the caller's own policy; it is not allowed across accounts at all", op, subject)
}

// oneKeys reports whether an error of callFailed may concern one key alone, and
// not the next one as well. Keys that were named may be in Regions and accounts
// of their own.
func oneKeys(err error, named bool) bool {
	switch {
	case errors.Is(err, sources.ErrCredentials), !errors.As(err, new(*sources.RunError)):
		return false
	case named:
		return true
	}
	return awserr.Code(err) != "" && !throttled(err)
}

func throttled(err error) bool {
	meaning, _ := awserr.KMS(err)
	return meaning == awserr.Throttled || meaning == awserr.Outage
}
