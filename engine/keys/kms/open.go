package kms

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
	"rewrap/sources/cloud/kmskey"
)

// KMS moves wrapped keys with KMS ReEncrypt. Made by [Open]; safe for
// concurrent use.
type KMS struct {
	cfg      Config
	reg      *registry
	job      moves
	targets  targets
	answers  *answers
	flights  flights[digest, answer]
	likely   likely
	refusals refusals
	saying   sync.Mutex // held while Config.Notice runs
}

// moves are the keys that the operator named. They do not change once [Open]
// has returned.
type moves struct {
	from []source
	to   *key        // nil: each wrapped key stays under its own key
	all  []candidate // from each key of from to its target; last, the target to itself
}

// source is a key that the operator gave with --from.
type source struct {
	*key
	only []string // key materials; nil: all
}

const defaultCacheBytes = 64 << 20

// Open finds the keys that the job names, waits for a rotation on demand of a
// target to end, and tries whether KMS would let the caller do the work. It
// changes nothing.
//
// Errors: *[UsageError], *[MovedError], *[sources.RunError], and the context's.
func Open(ctx context.Context, c Config) (*KMS, error) {
	if c.CacheBytes == 0 {
		c.CacheBytes = defaultCacheBytes
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = kmskey.Sleep
	}
	k := &KMS{cfg: c, reg: &registry{client: c.Client, clock: c.Clock}}
	if err := k.resolve(ctx); err != nil {
		return nil, err
	}
	if err := k.pin(ctx); err != nil {
		return nil, err
	}
	k.job.all = k.job.pairs()
	if err := k.preflight(ctx); err != nil {
		return nil, err
	}
	k.answers = newAnswers(c.CacheBytes)
	return k, nil
}

var material = regexp.MustCompile(`^[0-9a-f]{64}$`)

// resolve finds the keys that the operator named.
func (k *KMS) resolve(ctx context.Context) error {
	if strings.Contains(k.cfg.To, "@") {
		return &UsageError{fmt.Sprintf("--to %s: a key material cannot be aimed at; KMS wraps under the current one. Name the key alone", k.cfg.To)}
	}
	if k.cfg.To != "" {
		to, err := k.named(ctx, k.cfg.To)
		if err != nil {
			return err
		}
		k.job.to = to
	}
	for _, given := range k.cfg.From {
		name, only, cut := strings.Cut(given, "@")
		if name == "" || cut && !material.MatchString(only) {
			return &UsageError{fmt.Sprintf("--from %q: it is KEY or KEY@MATERIAL, where MATERIAL is the 64 lower-case hexadecimal digits of a key material id, as rewrap keys KEY --json shows it", given)}
		}
		f, err := k.named(ctx, name)
		if err != nil {
			return err
		}
		if k.job.to != nil {
			if f, err = k.reachable(ctx, f); err != nil {
				return err
			}
			if f.ARN == k.job.to.ARN {
				return &UsageError{fmt.Sprintf("--from %s and --to %s are the same key, %s: leave --to out to move its wrapped keys onto its current key material", given, k.cfg.To, f.ARN)}
			}
		}
		if only != "" && f.Material == "" {
			return &UsageError{fmt.Sprintf("--from %s: the service does not name key materials, so they cannot be told apart. Name the key alone", given)}
		}
		f.Only = only
		k.addSource(f)
	}
	return nil
}

// addSource keeps each key once, with all the materials it was given with.
func (k *KMS) addSource(f *key) {
	for i := range k.job.from {
		if s := &k.job.from[i]; s.ARN == f.ARN {
			if f.Only == "" || s.only == nil {
				s.only = nil
			} else {
				s.only = append(s.only, f.Only)
			}
			return
		}
	}
	s := source{key: f}
	if f.Only != "" {
		s.only = []string{f.Only}
	}
	k.job.from = append(k.job.from, s)
}

// named finds a key that the operator named.
func (k *KMS) named(ctx context.Context, name string) (*key, error) {
	f, err := k.reg.find(ctx, name)
	if err != nil {
		return nil, k.unresolved(ctx, name, true, err)
	}
	n := *f
	n.fate = newFate()
	return &n, nil
}

// reachable returns a source key in the Region of the target: ReEncrypt runs in
// one Region, and both keys have to be there.
func (k *KMS) reachable(ctx context.Context, f *key) (*key, error) {
	r, err := k.reg.in(ctx, f, k.job.to.region)
	switch {
	case errors.Is(err, errNoReplica) && f.named():
		return nil, &UsageError{fmt.Sprintf("--from %s is in Region %s and --to %s in Region %s: KMS moves wrapped keys within one Region. Give a target in %s, or replicate a multi-Region key", f.Given, f.region, k.cfg.To, k.job.to.region, f.region)}
	case errors.Is(err, errNoReplica):
		return nil, &sources.RunError{
			Err:     fmt.Errorf("the key %s that the item records is in Region %s, and the target %s in Region %s", f.ARN, f.region, k.job.to.ARN, k.job.to.region),
			Hint:    "KMS moves wrapped keys within one Region: give a target in the Region of the source key.",
			Strikes: manyStrikes,
		}
	case err != nil:
		return nil, k.unresolved(ctx, f.Given, f.named(), err)
	}
	n := *r
	n.Given, n.fate = f.Given, f.fate
	return &n, nil
}

// pin makes targets of the keys that the operator named, and compares them with
// those that the pass began with.
func (k *KMS) pin(ctx context.Context) error {
	named := []*key{k.job.to}
	if k.job.to == nil {
		named = named[:0]
		for _, s := range k.job.from {
			named = append(named, s.key)
		}
	}
	for _, t := range named {
		if _, ok := k.cfg.Pinned[t.ARN]; !ok && len(k.cfg.Pinned) > 0 {
			return &MovedError{Key: t.Given, Was: k.elsewhere(named), Is: t.ARN}
		}
	}
	for i, t := range named {
		t, err := k.adopt(ctx, t)
		if err != nil {
			return err
		}
		if k.job.to != nil {
			k.job.to = t
		} else {
			k.job.from[i].key = t
		}
	}
	return nil
}

// elsewhere is the pinned key that the job does not name any more; "" if there
// is not exactly one.
func (k *KMS) elsewhere(named []*key) string {
	lost := ""
	for arn := range k.cfg.Pinned {
		still := false
		for _, n := range named {
			still = still || n.ARN == arn
		}
		switch {
		case still:
		case lost != "":
			return ""
		default:
			lost = arn
		}
	}
	return lost
}

// preflight asks KMS whether the caller may do what the run will do: with
// DryRun and IGNORE_CIPHERTEXT, ReEncrypt checks keys and permissions alone
// (KMS API Reference, ReEncrypt, DryRunModifiers). The target is tried as a
// source too, since that is how a wrapped key that is on target already is
// recognised.
//
// A key that cannot be used ends the run here. Denied access is only noticed:
// the permission may depend on the encryption context
// (kms:EncryptionContext:NAME), which is not known before the first item. If it
// is really missing, the run stops after a few items.
func (k *KMS) preflight(ctx context.Context) error {
	for _, c := range k.job.all {
		_, err := c.dst.api.ReEncrypt(ctx, &awskms.ReEncryptInput{
			SourceKeyId:      &c.src.ARN,
			DestinationKeyId: &c.dst.ARN,
			DryRun:           aws.Bool(true),
			DryRunModifiers:  []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext},
		})
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch meaning, _ := awserr.KMS(err); meaning {
		case awserr.KeyState, awserr.Credentials:
			return k.failed(ctx, "ReEncrypt", c.src, c.dst, err)
		case awserr.Denied:
			k.say("KMS denies ReEncrypt from %s to %s, unless a condition on the encryption context allows it. %s", c.src.ARN, c.dst.ARN, permissionHint("ReEncrypt", c.src, c.dst))
		}
	}
	return nil
}

// pairs are the moves between the keys that the operator named.
func (m *moves) pairs() []candidate {
	var ps []candidate
	for _, s := range m.from {
		c := candidate{src: s.key, dst: m.to, only: s.only}
		if m.to == nil {
			c.dst = s.key
		}
		ps = append(ps, c)
	}
	if m.to != nil {
		ps = append(ps, candidate{src: m.to, dst: m.to})
	}
	return ps
}

// From are the source keys that the operator named, as they were found; each
// once.
func (k *KMS) From() []Key {
	var ks []Key
	for _, s := range k.job.from {
		f := s.Key
		if s.only == nil {
			f.Only = ""
			ks = append(ks, f)
		}
		for _, only := range s.only {
			f.Only = only
			ks = append(ks, f)
		}
	}
	return ks
}

// To is the target that the operator named; nil if each wrapped key stays under
// its own key.
func (k *KMS) To() *Key {
	if k.job.to == nil {
		return nil
	}
	to := k.job.to.Key
	return &to
}

// Targets are the keys that wrapped keys have been moved to, or found on, so
// far, each with the key material that was current when it was first met. They
// are what Config.Pinned wants on the next run of the same pass. A target is
// among them before the first item that ends there can be settled; so targets
// that are stored before that item is settled are never behind it.
func (k *KMS) Targets() map[string]string { return k.targets.bounds() }

func (k *KMS) say(format string, args ...any) {
	if k.cfg.Notice == nil {
		return
	}
	k.saying.Lock()
	defer k.saying.Unlock()
	k.cfg.Notice(fmt.Sprintf(format, args...))
}
