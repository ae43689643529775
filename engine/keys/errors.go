package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// How often in a row an error has to be met before the run is meant by it.
const (
	atOnce = 1
	// Policies and grants are eventually consistent, usually within five
	// minutes (KMS Developer Guide, eventual consistency).
	fewStrikes = 5
	// The service does not answer, after all the client's retries.
	someStrikes = 20
	// A key that only an item names: it may be that item's fault alone.
	manyStrikes = 50
)

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func notFound(err error) bool {
	return is[*types.NotFoundException](err) || is[*types.InvalidArnException](err) || awserr.Code(err) == "ValidationException"
}

func accessDenied(err error) bool {
	switch awserr.Code(err) {
	case "AccessDeniedException", "AccessDenied":
		return true
	}
	return false
}

// credentialsEnded knows the errors that new credentials would cure.
func credentialsEnded(err error) bool {
	return errors.Is(err, sources.ErrCredentials) || awserr.CredentialsEnded(awserr.Code(err))
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
	stranger := unlikeKMS(err)
	if stranger != nil {
		err = stranger
	}
	doing := fmt.Errorf("%s for %s: %w", op, src.Given, awserr.Plain(err))
	if src.ARN != dst.ARN {
		doing = fmt.Errorf("%s from %s to %s: %w", op, src.ARN, dst.ARN, awserr.Plain(err))
	}
	// An error that may be about either of two keys concerns the operator
	// only if both are the operator's.
	strikes := func(named int) int {
		if src.named() && dst.named() {
			return named
		}
		return manyStrikes
	}
	switch {
	case credentialsEnded(err):
		if !errors.Is(err, sources.ErrCredentials) {
			doing = fmt.Errorf("%w: %w", sources.ErrCredentials, doing)
		}
		return &sources.RunError{
			Err:     doing,
			Hint:    "Get new credentials (aws sso login, or whatever hands them out) and run the same command again; it goes on where it stopped.",
			Strikes: atOnce,
		}
	case errors.Is(err, sources.ErrThrottled):
		return &sources.RunError{
			Err:     doing,
			Hint:    "Wait until KMS has recovered, or lower --kms-rps if others need the account's quota; then run the same command again.",
			Strikes: atOnce,
		}
	case accessDenied(err):
		// That is how KMS refuses an AWS managed key, too.
		if !src.named() {
			if _, err := k.reg.find(ctx, src.ARN); isManaged(err) {
				return k.unresolved(ctx, src.ARN, false, err)
			}
		}
		return &sources.RunError{Err: doing, Hint: permissionHint(op, src, dst), Strikes: strikes(fewStrikes)}
	case is[*types.DisabledException](err), is[*types.KMSInvalidStateException](err),
		is[*types.NotFoundException](err), is[*types.InvalidKeyUsageException](err):
		return k.refused(ctx, doing, src, dst)
	case is[*types.KeyUnavailableException](err), is[*types.DependencyTimeoutException](err), is[*types.KMSInternalException](err):
		return &sources.RunError{Err: doing, Hint: "KMS itself has trouble, after all retries. Run the same command again later; it goes on where it stopped.", Strikes: someStrikes}
	case awserr.Code(err) == "ThrottlingException":
		return &sources.RunError{Err: doing, Hint: "KMS still refused after all retries: lower --kms-rps, since others share the account's quota.", Strikes: someStrikes}
	case stranger != nil:
		return &sources.RunError{Err: doing, Hint: "Check AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL, and any proxy in between.", Strikes: someStrikes}
	case awserr.Code(err) == "ValidationException":
		return doing
	case awserr.Code(err) != "":
		return &sources.RunError{Err: doing, Hint: "Check the key, the endpoint and the request named above.", Strikes: manyStrikes}
	case is[net.Error](err):
		return &sources.RunError{Err: doing, Hint: "The KMS endpoint could not be reached, after all retries: check the network, AWS_REGION and AWS_ENDPOINT_URL_KMS.", Strikes: someStrikes}
	}
	return &sources.RunError{Err: doing, Hint: "No answer came from KMS, after all retries: check the credentials, AWS_REGION and AWS_ENDPOINT_URL_KMS.", Strikes: someStrikes}
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

// notKMS is an HTTP answer that KMS would not give: a web server's page, or an
// error without a code.
type notKMS struct {
	at     string // the endpoint; "" if it is not known
	status int
	err    error
}

func (e *notKMS) Error() string {
	return fmt.Sprintf("what answers at %s is no KMS: HTTP %d", cmp.Or(e.at, "the KMS endpoint"), e.status)
}

func (e *notKMS) Unwrap() error { return e.err }

// unlikeKMS is err as a *notKMS, nil if it is something else. An answer that
// broke off may well have been KMS's.
func unlikeKMS(err error) *notKMS {
	var res *smithyhttp.ResponseError
	if !errors.As(err, &res) || res.Response == nil || res.Response.Response == nil || is[net.Error](err) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	// What the SDK makes of an error without a code.
	if c := awserr.Code(err); c != "UnknownError" && (c != "" || !is[*smithy.DeserializationError](err)) {
		return nil
	}
	e := &notKMS{status: res.HTTPStatusCode(), err: err}
	if req := res.Response.Request; req != nil && req.URL != nil {
		e.at = req.URL.Scheme + "://" + req.URL.Host
	}
	return e
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
	c := &key{Key: Key{Given: name, ARN: name}, region: regionOf(name), api: k.cfg.Client(regionOf(name))}
	strikes := manyStrikes
	if named {
		c.fate, strikes = newFate(), atOnce
	}
	var u *unusableError
	switch {
	case isManaged(err) && !named: // nobody's run could do anything about it
		errors.As(err, &u)
		return fmt.Errorf("the item records the key %s: %w. %s", name, u, u.hint)
	case errors.As(err, &u):
		if !strings.Contains(u.what, name) {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return &sources.RunError{Err: err, Hint: u.hint, Strikes: strikes}
	case notFound(err):
		return &sources.RunError{Err: fmt.Errorf("the key %s was not found: %w", name, awserr.Plain(err)), Hint: k.notFoundHint(c), Strikes: strikes}
	}
	return k.failed(ctx, "DescribeKey", c, c, err)
}
