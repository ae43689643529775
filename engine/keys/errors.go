package keys

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"rewrap/sources"
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

// code is the error code of a service's answer, "" if there was no answer.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func notFound(err error) bool {
	return is[*types.NotFoundException](err) || is[*types.InvalidArnException](err) || code(err) == "ValidationException"
}

func accessDenied(err error) bool {
	switch code(err) {
	case "AccessDeniedException", "AccessDenied":
		return true
	}
	return false
}

// credentialsEnded knows the answers that new credentials would cure.
func credentialsEnded(err error) bool {
	switch code(err) {
	case "ExpiredTokenException", "ExpiredToken", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException", "TokenRefreshRequired":
		return true
	}
	return is[*ssocreds.InvalidTokenError](err)
}

// failed says what an error of a call that concerned src and dst means for the
// run. dst is src where only one key was concerned.
func (k *KMS) failed(ctx context.Context, op string, src, dst *key, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	doing := fmt.Errorf("%s for %s: %w", op, src.Given, err)
	if src.ARN != dst.ARN {
		doing = fmt.Errorf("%s from %s to %s: %w", op, src.ARN, dst.ARN, err)
	}
	// An error that may be about either of two keys concerns the operator
	// only if both are the operator's.
	strikes := func(named int) int {
		if src.named && dst.named {
			return named
		}
		return manyStrikes
	}
	switch {
	case credentialsEnded(err):
		return &sources.RunError{
			Err:     fmt.Errorf("%w: %w", sources.ErrCredentials, doing),
			Hint:    "Get new credentials (aws sso login, or whatever hands them out) and run the same command again; it goes on where it stopped.",
			Strikes: atOnce,
		}
	case accessDenied(err):
		return &sources.RunError{Err: doing, Hint: permissionHint(op, src, dst), Strikes: strikes(fewStrikes)}
	case is[*types.DisabledException](err), is[*types.KMSInvalidStateException](err),
		is[*types.NotFoundException](err), is[*types.InvalidKeyUsageException](err):
		culprit, hint := k.blame(ctx, src, dst)
		n := manyStrikes
		if culprit.named {
			n = atOnce
		}
		return &sources.RunError{Err: doing, Hint: hint, Strikes: n}
	case is[*types.KeyUnavailableException](err), is[*types.DependencyTimeoutException](err), is[*types.KMSInternalException](err):
		return &sources.RunError{Err: doing, Hint: "KMS itself has trouble, after all retries. Run the same command again later; it goes on where it stopped.", Strikes: someStrikes}
	case code(err) == "ThrottlingException":
		return &sources.RunError{Err: doing, Hint: "KMS still refused after all retries: lower --kms-rps, since others share the account's quota.", Strikes: someStrikes}
	case code(err) == "ValidationException":
		return doing
	case code(err) != "":
		return &sources.RunError{Err: doing, Hint: "Check the key, the endpoint and the request named above.", Strikes: manyStrikes}
	case is[net.Error](err):
		return &sources.RunError{Err: doing, Hint: "The KMS endpoint could not be reached, after all retries: check the network, AWS_REGION and AWS_ENDPOINT_URL_KMS.", Strikes: someStrikes}
	}
	return &sources.RunError{Err: doing, Hint: "No answer came from KMS, after all retries: check the credentials, AWS_REGION and AWS_ENDPOINT_URL_KMS.", Strikes: someStrikes}
}

// blame finds out which of two keys KMS will not work with: its error names
// it in the text alone.
func (k *KMS) blame(ctx context.Context, src, dst *key) (*key, string) {
	for _, c := range []*key{src, dst} {
		out, err := c.api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &c.ARN})
		if err != nil {
			if is[*types.NotFoundException](err) {
				return c, notFoundHint(c)
			}
			continue
		}
		if out.KeyMetadata == nil {
			continue
		}
		var u *unusableError
		if errors.As(usable(c.ARN, out.KeyMetadata), &u) {
			return c, u.what + ". " + u.hint
		}
	}
	return src, fmt.Sprintf("Check the state of the key: aws kms describe-key --key-id %s", src.ARN)
}

func notFoundHint(c *key) string {
	if c.named {
		return fmt.Sprintf("There is no key %s in Region %s of this account: check the name, the Region (AWS_REGION, or give the key's ARN) and the endpoint.", c.Given, regionName(c.region))
	}
	return fmt.Sprintf("The item records the key %s, which is not there. If what it records is out of date, name the key that its data key is really under with --from.", c.Given)
}

func regionName(r string) string {
	if r == "" {
		return "(default)"
	}
	return r
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
	c := &key{Key: Key{Given: name, ARN: name}, region: regionOf(name), named: named}
	strikes := manyStrikes
	if named {
		strikes = atOnce
	}
	var u *unusableError
	switch {
	case errors.As(err, &u):
		return &sources.RunError{Err: u, Hint: u.hint, Strikes: strikes}
	case notFound(err):
		return &sources.RunError{Err: fmt.Errorf("the key %s was not found: %w", name, err), Hint: notFoundHint(c), Strikes: strikes}
	}
	return k.failed(ctx, "DescribeKey", c, c, err)
}
