package kms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"rewrap/sources"
	"rewrap/sources/cloud/arn"
	"rewrap/sources/cloud/awserr"
)

// How often in a row an error has to be met before it ends the run.
const (
	atOnce = 1
	// Policies and grants are eventually consistent, usually within five
	// minutes (KMS Developer Guide, eventual consistency).
	fewStrikes = 5
	// The service does not answer, after all the client's retries.
	someStrikes = 20
	// A key that only an item names: the cause may be that item alone.
	manyStrikes = 50
)

// notFound says whether a look-up failed since the name names no key.
func notFound(m awserr.Meaning) bool {
	return m == awserr.NotFound || m == awserr.Misnamed || m == awserr.Malformed
}

// failed says what an error of a call that concerned src and dst means for the
// run. dst is src where only one key was concerned.
func (k *KMS) failed(ctx context.Context, op string, src, dst *key, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if v := verdictOn(src, dst); v != nil {
		return v.wait(ctx)
	}
	meaning, plain := awserr.KMS(err)
	doing := fmt.Errorf("%s for %s: %w", op, src.Given, plain)
	if src.ARN != dst.ARN {
		doing = fmt.Errorf("%s from %s to %s: %w", op, src.ARN, dst.ARN, plain)
	}
	switch meaning {
	case awserr.Malformed:
		return doing
	case awserr.NotFound, awserr.KeyState, awserr.KeyUsage:
		return k.refused(ctx, doing, src, dst)
	case awserr.Denied:
		return k.denied(ctx, op, doing, src, dst)
	case awserr.Credentials:
		if !errors.Is(err, sources.ErrCredentials) {
			doing = fmt.Errorf("%w: %w", sources.ErrCredentials, doing)
		}
	}
	e := &sources.RunError{Err: doing, Hint: "Check the key, the endpoint and the request named above.", Strikes: manyStrikes}
	if h, ok := hints[meaning]; ok {
		e.Hint, e.Strikes = h.text, h.strikes
	}
	return e
}

// hints are for the errors that have nothing to do with one key.
var hints = map[awserr.Meaning]struct {
	text    string
	strikes int
}{
	awserr.Credentials: {"Get new credentials (aws sso login, or whatever hands them out) and run the same command again; it goes on where it stopped.", atOnce},
	awserr.Outage:      {"Wait until KMS has recovered, or lower --kms-rps if others need the account's quota; then run the same command again.", atOnce},
	awserr.Trouble:     {"KMS itself has trouble, after all retries. Run the same command again later; it goes on where it stopped.", someStrikes},
	awserr.Throttled:   {"KMS still refused after all retries: lower --kms-rps, since others share the account's quota.", someStrikes},
	awserr.Stranger:    {"Check AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL, and any proxy in between.", someStrikes},
	awserr.Unreachable: {"The KMS endpoint could not be reached, after all retries: check the network, AWS_REGION and AWS_ENDPOINT_URL_KMS.", someStrikes},
	awserr.Silent:      {"No answer came from KMS, after all retries: check the credentials, AWS_REGION and AWS_ENDPOINT_URL_KMS.", someStrikes},
}

// denied is the error for a call that a policy does not allow. KMS refuses AWS
// managed keys in the same way. Where the call concerned two keys the answer
// does not say which one was denied, so it counts as the operator's only if the
// operator named both.
func (k *KMS) denied(ctx context.Context, op string, doing error, src, dst *key) error {
	if !src.named() {
		if _, err := k.reg.find(ctx, src.ARN); isManaged(err) {
			return k.unresolved(ctx, src.ARN, false, err)
		}
	}
	strikes := manyStrikes
	if src.named() && dst.named() {
		strikes = fewStrikes
	}
	return &sources.RunError{Err: doing, Hint: permissionHint(op, src, dst), Strikes: strikes}
}

func (k *KMS) notFoundHint(c *key) string {
	if !c.named() {
		return fmt.Sprintf("The item records the key %s, which is not there. If what it records is out of date, name the key that its data key is really under with --from.", c.Given)
	}
	where := "this account"
	if region := cmp.Or(c.region, k.cfg.Region); region != "" {
		where = "Region " + region + " of this account"
	}
	return fmt.Sprintf("There is no key %s in %s: check the name, the Region (AWS_REGION, or give the key's ARN) and the endpoint.", c.Given, where)
}

func permissionHint(op string, src, dst *key) string {
	switch op {
	case "ReEncrypt":
		if src.ARN == dst.ARN {
			return fmt.Sprintf("Allow kms:ReEncryptFrom and kms:ReEncryptTo (kms:ReEncrypt*) on %s, in the key policy or a grant and in the caller's own policy.", src.ARN)
		}
		return fmt.Sprintf("Allow kms:ReEncryptFrom on %s and kms:ReEncryptTo on %s, in the key policies or grants and in the caller's own policy.", src.ARN, dst.ARN)
	case "Decrypt":
		return fmt.Sprintf("--verify=open needs kms:Decrypt on %s; --verify=answer does without.", src.ARN)
	}
	return fmt.Sprintf("Allow kms:%s on %s, in the key policy and in the caller's own policy.", op, src.Given)
}

// unresolved is the error for a key that could not be looked up.
func (k *KMS) unresolved(ctx context.Context, name string, named bool, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c := &key{Key: Key{Given: name, ARN: name}, region: arn.Region(name), api: k.cfg.Client(arn.Region(name))}
	strikes := manyStrikes
	if named {
		c.fate, strikes = newFate(), atOnce
	}
	var u *unusableError
	switch {
	case isManaged(err) && !named: // no run can do anything about it, so it is this item's error alone
		errors.As(err, &u)
		return fmt.Errorf("the item records the key %s: %w. %s", name, u, u.hint)
	case errors.As(err, &u):
		if !strings.Contains(u.what, name) {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return &sources.RunError{Err: err, Hint: u.hint, Strikes: strikes}
	}
	if meaning, plain := awserr.KMS(err); notFound(meaning) {
		return &sources.RunError{Err: fmt.Errorf("the key %s was not found: %w", name, plain), Hint: k.notFoundHint(c), Strikes: strikes}
	}
	return k.failed(ctx, "DescribeKey", c, c, err)
}
