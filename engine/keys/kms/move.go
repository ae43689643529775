package kms

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/sources"
	"rewrap/sources/cloud/arn"
	"rewrap/sources/cloud/awserr"
)

// settleDelays are the pauses before a call is made again after KMS wrapped
// under material older than it had named as current before.
var settleDelays = []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}

// staleError is an answer under older material than the target's.
type staleError struct{ got account.KeyVersion }

func (e *staleError) Error() string { return "wrapped under " + e.got.String() }

// try moves the wrapped key as one candidate says. errWrongKey: the wrapped key
// is not under that key.
//
// KMS is eventually consistent, so an answer under older material than the
// target's is asked for again.
func (s *search) try(ctx context.Context, c candidate) (envelope.Rewrapped, error) {
	for attempt := 0; ; attempt++ {
		var out *awskms.ReEncryptOutput
		var err error
		if c, out, err = s.ask(ctx, c); err != nil {
			return envelope.Rewrapped{}, err
		}
		r, err := s.judge(ctx, c, out)
		var stale *staleError
		if !errors.As(err, &stale) {
			return r, err
		}
		if attempt == len(settleDelays) {
			return envelope.Rewrapped{}, staysStale(c.dst, stale)
		}
		if err := s.k.cfg.Sleep(ctx, settleDelays[attempt]); err != nil {
			return envelope.Rewrapped{}, err
		}
	}
}

func staysStale(t *key, stale *staleError) error {
	return &sources.RunError{
		Err:     fmt.Errorf("KMS keeps wrapping under %s, which is older than %s or unknown", stale.got, t.target.bound),
		Hint:    fmt.Sprintf("%s was the current key material of %s when the pass began. See aws kms describe-key --key-id %s, and run again when it shows so.", t.target.bound, t.ARN, t.ARN),
		Strikes: atOnce,
	}
}

// ask calls ReEncrypt for a candidate, and returns the candidate that the
// answer is about. That is another one where the endpoint pays no heed to
// SourceKeyId: then it opens a blob of any key and names that key. If the blob
// has to go elsewhere from there, it is asked for once more.
func (s *search) ask(ctx context.Context, c candidate) (candidate, *awskms.ReEncryptOutput, error) {
	out, err := s.reencrypt(ctx, c)
	if err != nil {
		return c, nil, err
	}
	said := aws.ToString(out.SourceKeyId)
	if isAbout(said, c) {
		return c, out, nil
	}
	i := slices.IndexFunc(s.cs, func(o candidate) bool { return arn.Names(said, o.src.ARN) })
	if i < 0 {
		return c, nil, under(said)
	}
	other := s.cs[i]
	if other.dst.ARN == c.dst.ARN {
		return other, out, nil
	}
	if out, err = s.reencrypt(ctx, other); err != nil {
		return c, nil, err
	}
	if said := aws.ToString(out.SourceKeyId); !isAbout(said, other) {
		return c, nil, under(said)
	}
	return other, out, nil
}

// isAbout says whether an answer that names this source key is one for c.
func isAbout(said string, c candidate) bool { return said == "" || arn.Names(said, c.src.ARN) }

func under(what string) error {
	return fmt.Errorf("the blob is under %s: %w", what, envelope.ErrForeign)
}

// reencrypt makes one call, and counts it.
func (s *search) reencrypt(ctx context.Context, c candidate) (*awskms.ReEncryptOutput, error) {
	out, err := during(ctx, c.src, c.dst, func(ctx context.Context) (*awskms.ReEncryptOutput, error) {
		s.calls++
		return c.dst.api.ReEncrypt(ctx, &awskms.ReEncryptInput{
			CiphertextBlob:               s.w.Blob,
			SourceKeyId:                  &c.src.ARN,
			SourceEncryptionContext:      s.w.Context,
			DestinationKeyId:             &c.dst.ARN,
			DestinationEncryptionContext: s.w.Context,
		})
	})
	if err == nil {
		return out, nil
	}
	switch meaning, plain := awserr.KMS(err); meaning {
	case awserr.WrongKey:
		s.misses++
		return nil, errWrongKey
	case awserr.BadBlob:
		return nil, fmt.Errorf("KMS cannot open the wrapped key: either the blob is damaged, or its encryption context is not the one that it was wrapped with (raw and json: see --context and --context-field; other formats record it in the item): %w", plain)
	}
	return nil, s.k.failed(ctx, "ReEncrypt", c.src, c.dst, err)
}

// judge turns the answer of KMS into the rewrapper's: on target already, out of
// scope, or moved.
func (s *search) judge(ctx context.Context, c candidate, out *awskms.ReEncryptOutput) (envelope.Rewrapped, error) {
	r := envelope.Rewrapped{
		From: account.KeyVersion{ARN: c.src.ARN, Material: aws.ToString(out.SourceKeyMaterialId)},
		To:   account.KeyVersion{ARN: c.dst.ARN, Material: aws.ToString(out.DestinationKeyMaterialId)},
	}
	r.RequestID, _ = middleware.GetRequestIDMetadata(out.ResultMetadata)
	if c.src.ARN == c.dst.ARN {
		current, err := s.k.current(ctx, c.dst, &r)
		if err != nil {
			return envelope.Rewrapped{}, err
		}
		if current {
			r.Current, r.To = true, r.From
			return r, nil
		}
	}
	if err := confined(c, r.From); err != nil {
		return envelope.Rewrapped{}, err
	}
	r.Blob = out.CiphertextBlob
	if s.k.cfg.Look {
		r.To.Material = c.dst.target.bound
		return r, nil
	}
	if err := s.check(ctx, c, out, &r); err != nil {
		return envelope.Rewrapped{}, err
	}
	return r, nil
}

// confined is ErrForeign where the operator limited the source key to some of
// its key materials, and the wrapped key is under none of them.
func confined(c candidate, from account.KeyVersion) error {
	switch {
	case c.only == nil:
		return nil
	case from.Material == "":
		return unnamed(c.src)
	case !slices.Contains(c.only, from.Material):
		return under(from.String())
	}
	return nil
}

// check holds a new blob against what was asked for, before it may replace the
// old one. It sets r.Newer. A *staleError asks for another blob.
func (s *search) check(ctx context.Context, c candidate, out *awskms.ReEncryptOutput, r *envelope.Rewrapped) error {
	if n := len(r.Blob); n == 0 || n > maxBlob || bytes.Equal(r.Blob, s.w.Blob) {
		return nonsense(fmt.Errorf("ReEncrypt from %s to %s was answered with a blob of %d bytes that is no new ciphertext", c.src.ARN, c.dst.ARN, n))
	}
	if s.k.cfg.Verify == VerifyNone {
		return nil
	}
	if said := aws.ToString(out.KeyId); !arn.Names(said, c.dst.ARN) {
		return nonsense(fmt.Errorf("ReEncrypt was asked to wrap under %s and says that it wrapped under %q", c.dst.ARN, said))
	}
	if c.dst.target.bound != "" {
		if r.To.Material == "" {
			return unnamed(c.dst)
		}
		age, err := s.k.ageOfDestination(ctx, c.dst, r.To.Material)
		if err != nil {
			return err
		}
		if !age.onTarget() {
			return &staleError{r.To}
		}
		r.Newer = age == newer
	}
	if s.k.cfg.Verify == VerifyOpen {
		return s.compare(ctx, c, r.Blob)
	}
	return nil
}

// current says whether a blob that is under its target key is under good
// enough material of it, and sets r.Newer.
func (k *KMS) current(ctx context.Context, t *key, r *envelope.Rewrapped) (bool, error) {
	switch {
	case t.target.bound == "": // the service names no current material, so the key alone has to do, unless the answer says more
		return r.From.Material == r.To.Material, nil
	case r.From.Material == "":
		return false, unnamed(t)
	}
	age, err := k.ageOfSource(ctx, t, r.From.Material)
	if err != nil {
		return false, err
	}
	r.Newer = age == newer
	return age.onTarget(), nil
}

// compare opens the old and the new blob, and compares the data keys. Both are
// zeroed before it returns. Copies that the SDK and the runtime made on the way
// are out of reach.
func (s *search) compare(ctx context.Context, c candidate, blob []byte) error {
	old, err := s.open(ctx, c.src, s.w.Blob)
	defer clear(old)
	if err != nil {
		return err
	}
	now, err := s.open(ctx, c.dst, blob)
	defer clear(now)
	if err != nil {
		return err
	}
	if len(old) == 0 || subtle.ConstantTimeCompare(old, now) != 1 {
		return nonsense(fmt.Errorf("the wrapped key from %s and the new one from %s do not open to the same data key", c.src.ARN, c.dst.ARN))
	}
	return nil
}

func (s *search) open(ctx context.Context, c *key, blob []byte) ([]byte, error) {
	out, err := during(ctx, c, c, func(ctx context.Context) (*awskms.DecryptOutput, error) {
		return c.api.Decrypt(ctx, &awskms.DecryptInput{CiphertextBlob: blob, KeyId: &c.ARN, EncryptionContext: s.w.Context})
	})
	if err == nil {
		return out.Plaintext, nil
	}
	switch meaning, _ := awserr.KMS(err); meaning {
	case awserr.BadBlob, awserr.WrongKey:
		return nil, nonsense(fmt.Errorf("a blob that ReEncrypt took from or put under %s does not open with it: %w", c.ARN, err))
	}
	return nil, s.k.failed(ctx, "Decrypt", c, c, err)
}

// nonsense is an answer that nothing may be built on, so the run ends.
func nonsense(err error) error {
	return &sources.RunError{
		Err:     err,
		Hint:    "The old wrapped key was left as it is. What answers here is not a KMS that can be trusted with data keys: check AWS_ENDPOINT_URL_KMS.",
		Strikes: atOnce,
	}
}

// unnamed is the answer of a service that names key materials in DescribeKey
// and not where they are needed.
func unnamed(c *key) error {
	return &sources.RunError{
		Err:     fmt.Errorf("the answer of ReEncrypt names no key material of %s, although DescribeKey does", c.ARN),
		Hint:    "What is current cannot be told at this endpoint: check AWS_ENDPOINT_URL_KMS.",
		Strikes: atOnce,
	}
}
