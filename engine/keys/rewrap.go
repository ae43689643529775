package keys

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
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// maxBlob is the longest CiphertextBlob (KMS API Reference, ReEncrypt).
const maxBlob = 6144

// candidate is a key that a blob may be under, and the key it would go to.
type candidate struct {
	src, dst *key
	only     []string // of src's key materials; nil: all
}

type answer struct {
	envelope.Rewrapped
	foreign error
}

// Rewrap answers with the same data key wrapped under the target, or that it
// is there already, and makes one ReEncrypt call where the first key tried is
// the right one. Nothing changes anywhere: a blob that is not used is simply
// not used.
//
// Once KMS has refused a key that the operator named, every later call that
// would need it answers that same error, and KMS is not asked again.
//
// Errors: [envelope.ErrForeign], *[sources.RunError] (with a *[MovedError] in
// it where a key is not under the material that the pass began with), the
// context's, and others that are the wrapped key's own.
func (k *KMS) Rewrap(ctx context.Context, w envelope.WrappedKey) (envelope.Rewrapped, error) {
	if n := len(w.Blob); n == 0 || n > maxBlob {
		return envelope.Rewrapped{}, fmt.Errorf("the wrapped key has %d bytes, which no KMS ciphertext has (1 to %d): the item is damaged, or it is not a wrapped key", n, maxBlob)
	}
	d := digestOf(w)
	if r, err, ok := k.answers.get(d); ok {
		return r, err
	}
	a, shared, err := k.flights.do(ctx, d, func(ctx context.Context) (answer, error) {
		if r, err, ok := k.answers.get(d); ok { // from a flight that landed since
			return answer{r, err}, nil
		}
		r, err := k.rewrap(ctx, w)
		foreign := errors.Is(err, envelope.ErrForeign)
		if err != nil && !foreign {
			return answer{}, err
		}
		k.answers.put(d, r, err)
		return answer{r, err}, nil
	})
	if err != nil {
		return envelope.Rewrapped{}, err
	}
	a.Blob = slices.Clone(a.Blob) // the flight's may still be read by others
	a.Deduplicated = a.Deduplicated || shared
	return a.Rewrapped, a.foreign
}

var errWrongKey = errors.New("not under this key")

func (k *KMS) rewrap(ctx context.Context, w envelope.WrappedKey) (envelope.Rewrapped, error) {
	cs, none, err := k.candidates(ctx, w)
	if err != nil {
		return envelope.Rewrapped{}, err
	}
	if len(cs) > 1 {
		defer k.hints.scout(ctx, w.Blob)()
		if arn := k.hints.recall(w.Blob); arn != "" {
			front(cs, slices.IndexFunc(cs, func(c candidate) bool { return c.src.ARN == arn }))
		}
	}
	for _, c := range cs {
		r, err := k.move(ctx, w, c, cs)
		var run *sources.RunError
		ends := errors.As(err, &run)
		switch {
		case errors.Is(err, errWrongKey):
		case !c.src.named() && (isManaged(err) || ends && run.Strikes == manyStrikes):
			// The key that the item records cannot be used; the blob may have
			// been moved from it since.
			none = err
		case err == nil:
			k.hints.learn(w.Blob, r.From.ARN)
			k.hints.learn(r.Blob, r.To.ARN)
			return r, nil
		default:
			if !ends && ctx.Err() == nil { // damaged, or not in scope: KMS did not say that the key is wrong
				k.hints.learn(w.Blob, c.src.ARN)
			}
			return r, err
		}
	}
	return envelope.Rewrapped{}, none
}

// candidates are the keys to try, likeliest first: the one that the item
// records, those given with --from, last the target. none is the answer if
// the blob is under none of them.
//
// Where --from is given, an item that records some other key is foreign, and
// that costs no call. Its record is not believed where it is part of the
// encryption context (S3 Encryption Client, kms_cmk_id): there it stays what it
// was when the blob is moved to another key.
func (k *KMS) candidates(ctx context.Context, w envelope.WrappedKey) (cs []candidate, none, err error) {
	if len(k.from) == 0 {
		cs, none, err = k.ofRecord(ctx, w)
	} else {
		cs, none = slices.Clone(k.all), envelope.ErrForeign
		var i int
		if i, err = k.inScope(ctx, w); i > 0 {
			front(cs, i)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if k.targetFirst && k.to != nil {
		front(cs, slices.IndexFunc(cs, func(c candidate) bool { return c.src.ARN == k.to.ARN }))
	}
	return cs, none, nil
}

// front moves an element to the front; the others keep their order.
func front(cs []candidate, i int) {
	if i > 0 {
		c := cs[i]
		copy(cs[1:i+1], cs[:i])
		cs[0] = c
	}
}

// inScope is which of the named keys the item records, 0 where that cannot be
// told; ErrForeign if it is surely none of them.
func (k *KMS) inScope(ctx context.Context, w envelope.WrappedKey) (int, error) {
	if w.KeyID == "" {
		return 0, nil
	}
	is := func(name string) int {
		return slices.IndexFunc(k.all, func(c candidate) bool { return names(name, c.src.ARN) || name == c.src.Given })
	}
	i, known := is(w.KeyID), w.KeyID
	if i < 0 && isAlias(w.KeyID) {
		r, err := k.reg.find(ctx, w.KeyID)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err != nil {
			return 0, nil
		}
		i, known = is(r.ARN), r.ARN
	}
	if i >= 0 {
		return i, nil
	}
	for _, v := range w.Context {
		if v == w.KeyID {
			return 0, nil
		}
	}
	return 0, fmt.Errorf("the item records the key %s: %w", known, envelope.ErrForeign)
}

// ofRecord are the candidates where the job names no source keys, so that the
// key is the source key that the item records. A blob under neither that key
// nor the target is then under a key that nobody knows: that is an error, since
// "foreign" would say that it need not be moved.
func (k *KMS) ofRecord(ctx context.Context, w envelope.WrappedKey) (cs []candidate, none, err error) {
	if k.to != nil {
		cs = k.all // the target alone
	}
	switch {
	case w.KeyID == "" && k.to == nil:
		return nil, nil, unrecorded("")
	case w.KeyID == "":
		return cs, unrecorded(" and it is not under the target " + k.to.ARN), nil
	}
	none = fmt.Errorf("the item records the key %s, and its wrapped key is not under it: name the key that it is under with --from", w.KeyID)
	if k.to != nil && (names(w.KeyID, k.to.ARN) || w.KeyID == k.to.Given) {
		return cs, none, nil
	}
	r, err := k.recorded(ctx, w.KeyID)
	switch {
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case errors.Is(err, sources.ErrCredentials), err != nil && k.to == nil:
		return nil, nil, err
	case err != nil:
		return cs, err, nil // the blob may have been moved since
	}
	c := candidate{src: r, dst: k.to}
	if k.to == nil {
		c.dst = r
	}
	return append([]candidate{c}, cs...), none, nil
}

func unrecorded(more string) error {
	return &sources.RunError{
		Err:     fmt.Errorf("the item does not record the key of its wrapped key%s", more),
		Hint:    "Name the keys that such wrapped keys may be under with --from.",
		Strikes: manyStrikes,
	}
}

// recorded is the key that an item records, ready to be called.
func (k *KMS) recorded(ctx context.Context, name string) (*key, error) {
	k.mu.Lock()
	t := k.targets[name]
	k.mu.Unlock()
	if t != nil {
		return t, nil
	}
	if a, ok := parseKeyARN(name); ok && k.to != nil && a.region == k.to.region {
		return k.reg.assume(name, k.to.api), nil // nothing else of a source matters
	}
	r, err := k.reg.find(ctx, name)
	if err != nil {
		return nil, k.unresolved(ctx, name, false, err)
	}
	if k.to != nil {
		return k.reachable(ctx, r)
	}
	t, err = k.adopt(ctx, r)
	var moved *MovedError
	if errors.As(err, &moved) {
		return nil, &sources.RunError{Err: moved, Hint: "Nothing is lost by that: what is on target already will be known as such.", Strikes: atOnce}
	}
	return t, err
}

// settleDelays is how long a call waits to be made again after KMS wrapped
// under material older than it has named as current before.
var settleDelays = []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}

// staleError is an answer under older material than the target's.
type staleError struct{ got account.KeyVersion }

func (e *staleError) Error() string { return "wrapped under " + e.got.String() }

// move calls ReEncrypt for one candidate. others are those that the answer may
// name in its stead; see judge.
func (k *KMS) move(ctx context.Context, w envelope.WrappedKey, c candidate, others []candidate) (envelope.Rewrapped, error) {
	for attempt := 0; ; attempt++ {
		out, err := during(ctx, c.src, c.dst, func(ctx context.Context) (*kms.ReEncryptOutput, error) {
			return c.dst.api.ReEncrypt(ctx, &kms.ReEncryptInput{
				CiphertextBlob:               w.Blob,
				SourceKeyId:                  &c.src.ARN,
				SourceEncryptionContext:      w.Context,
				DestinationKeyId:             &c.dst.ARN,
				DestinationEncryptionContext: w.Context,
			})
		})
		switch {
		case err == nil:
		case is[*types.IncorrectKeyException](err):
			return envelope.Rewrapped{}, errWrongKey
		case is[*types.InvalidCiphertextException](err):
			return envelope.Rewrapped{}, fmt.Errorf("KMS cannot open the wrapped key: either the blob is damaged, or its encryption context is not the one that it was wrapped with (raw and json: see --context and --context-field; other formats record it in the item): %w", awserr.Plain(err))
		default:
			return envelope.Rewrapped{}, k.failed(ctx, "ReEncrypt", c.src, c.dst, err)
		}
		r, err := k.judge(ctx, w, c, others, out)
		var stale *staleError
		if !errors.As(err, &stale) {
			return r, err
		}
		if attempt == len(settleDelays) {
			return envelope.Rewrapped{}, &sources.RunError{
				Err:     fmt.Errorf("KMS keeps wrapping under %s, which is older than %s or unknown", stale.got, c.dst.target.bound),
				Hint:    fmt.Sprintf("%s was the current key material of %s when the pass began. See aws kms describe-key --key-id %s, and run again when it shows so.", c.dst.target.bound, c.dst.ARN, c.dst.ARN),
				Strikes: atOnce,
			}
		}
		if err := k.cfg.Sleep(ctx, settleDelays[attempt]); err != nil {
			return envelope.Rewrapped{}, err
		}
	}
}

// judge makes a verdict of an answer.
//
// An endpoint that pays no heed to SourceKeyId opens a blob of any key and
// names that key. Then it is the named key that counts: one of the others, or
// the blob is foreign.
func (k *KMS) judge(ctx context.Context, w envelope.WrappedKey, c candidate, others []candidate, out *kms.ReEncryptOutput) (envelope.Rewrapped, error) {
	if said := aws.ToString(out.SourceKeyId); said != "" && !names(said, c.src.ARN) {
		i := slices.IndexFunc(others, func(o candidate) bool { return names(said, o.src.ARN) })
		if i < 0 {
			return envelope.Rewrapped{}, fmt.Errorf("the blob is under %s: %w", said, envelope.ErrForeign)
		}
		if others[i].dst.ARN != c.dst.ARN {
			return k.move(ctx, w, others[i], nil)
		}
		c = others[i]
	}
	r := envelope.Rewrapped{
		From: account.KeyVersion{ARN: c.src.ARN, Material: aws.ToString(out.SourceKeyMaterialId)},
		To:   account.KeyVersion{ARN: c.dst.ARN, Material: aws.ToString(out.DestinationKeyMaterialId)},
	}
	r.RequestID, _ = middleware.GetRequestIDMetadata(out.ResultMetadata)
	bound := c.dst.target.bound

	if c.src.ARN == c.dst.ARN {
		current, err := k.current(ctx, c.dst, &r)
		if err != nil {
			return envelope.Rewrapped{}, err
		}
		if current {
			r.Current, r.To = true, r.From
			return r, nil
		}
	}
	if c.only != nil {
		if r.From.Material == "" {
			return envelope.Rewrapped{}, unnamed(c.src)
		}
		if !slices.Contains(c.only, r.From.Material) {
			return envelope.Rewrapped{}, fmt.Errorf("the blob is under %s: %w", r.From, envelope.ErrForeign)
		}
	}
	if k.cfg.ReadOnly {
		k.hints.learn(out.CiphertextBlob, c.dst.ARN) // as [KMS.rewrap] does of a blob that is used
		r.To.Material, r.Blob = bound, out.CiphertextBlob
		return r, nil
	}
	r.Blob = out.CiphertextBlob
	if n := len(r.Blob); n == 0 || n > maxBlob || bytes.Equal(r.Blob, w.Blob) {
		return envelope.Rewrapped{}, k.nonsense(fmt.Errorf("ReEncrypt from %s to %s was answered with a blob of %d bytes that is no new ciphertext", c.src.ARN, c.dst.ARN, n))
	}
	if k.cfg.Verify == VerifyNone {
		return r, nil
	}
	if said := aws.ToString(out.KeyId); !names(said, c.dst.ARN) {
		return envelope.Rewrapped{}, k.nonsense(fmt.Errorf("ReEncrypt was asked to wrap under %s and says that it wrapped under %q", c.dst.ARN, said))
	}
	if bound != "" {
		if r.To.Material == "" {
			return envelope.Rewrapped{}, unnamed(c.dst)
		}
		s, err := k.ofDestination(ctx, c.dst, r.To.Material)
		if err != nil {
			return envelope.Rewrapped{}, err
		}
		if !s.onTarget() {
			return envelope.Rewrapped{}, &staleError{r.To}
		}
		r.Newer = s == newer
	}
	if k.cfg.Verify == VerifyOpen {
		if err := k.compare(ctx, w, c, r.Blob); err != nil {
			return envelope.Rewrapped{}, err
		}
	}
	return r, nil
}

// current says whether a blob that is under its target key is under good
// enough material of it, and sets r.Newer.
func (k *KMS) current(ctx context.Context, t *key, r *envelope.Rewrapped) (bool, error) {
	switch {
	case t.target.bound == "": // the key is all there is to know, unless the answer says more
		return r.From.Material == r.To.Material, nil
	case r.From.Material == "":
		return false, unnamed(t)
	}
	s, err := k.ofSource(ctx, t, r.From.Material)
	if err != nil {
		return false, err
	}
	r.Newer = s == newer
	return s.onTarget(), nil
}

// compare opens the old and the new blob, and holds one data key against the
// other. Both are zeroed before it returns; what the SDK and the runtime copied
// on the way is not within reach.
func (k *KMS) compare(ctx context.Context, w envelope.WrappedKey, c candidate, blob []byte) error {
	old, err := k.open(ctx, c.src, w.Blob, w.Context)
	defer clear(old)
	if err != nil {
		return err
	}
	now, err := k.open(ctx, c.dst, blob, w.Context)
	defer clear(now)
	if err != nil {
		return err
	}
	if len(old) == 0 || subtle.ConstantTimeCompare(old, now) != 1 {
		return k.nonsense(fmt.Errorf("the wrapped key from %s and the new one from %s do not open to the same data key", c.src.ARN, c.dst.ARN))
	}
	return nil
}

func (k *KMS) open(ctx context.Context, c *key, blob []byte, ec map[string]string) ([]byte, error) {
	out, err := during(ctx, c, c, func(ctx context.Context) (*kms.DecryptOutput, error) {
		return c.api.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, KeyId: &c.ARN, EncryptionContext: ec})
	})
	if is[*types.InvalidCiphertextException](err) || is[*types.IncorrectKeyException](err) {
		return nil, k.nonsense(fmt.Errorf("a blob that ReEncrypt took from or put under %s does not open with it: %w", c.ARN, err))
	}
	if err != nil {
		return nil, k.failed(ctx, "Decrypt", c, c, err)
	}
	return out.Plaintext, nil
}

// nonsense is an answer that nothing may be built on, so the run ends.
func (k *KMS) nonsense(err error) error {
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
