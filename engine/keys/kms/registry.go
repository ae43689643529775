package kms

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources/cloud/arn"
	"rewrap/sources/cloud/awserr"
	"rewrap/sources/cloud/kmskey"
)

// key is a KMS key that is called.
type key struct {
	Key
	api      API // of the key's Region
	region   string
	replicas []string // ARNs, of a multi-Region key
	fate     *fate    // of a key that the operator named; nil if only an item did

	target *target // nil until something is to end here
}

func (k *key) named() bool { return k.fate != nil }

// registry finds keys by id, ARN or alias, and remembers them. A name is looked
// up once: where an alias is pointed elsewhere during the run, the run stays
// with the key that it found first.
type registry struct {
	client func(region string) API
	clock  func() time.Time

	mu      sync.Mutex
	found   map[string]lookup // by name as it was written; bounded, since items choose the names
	flights flights[string, *key]
}

type lookup struct {
	key   *key
	err   error
	until time.Time // of an error: when it is asked again
}

const (
	maxNames   = 1000
	recallMiss = time.Minute
)

// find resolves a name with DescribeKey. The error is the service's.
func (g *registry) find(ctx context.Context, name string) (*key, error) {
	g.mu.Lock()
	l, ok := g.found[name]
	g.mu.Unlock()
	if ok && (l.key != nil || g.clock().Before(l.until)) {
		return l.key, l.err
	}
	k, _, err := g.flights.do(ctx, name, func(ctx context.Context) (*key, error) {
		k, err := g.describe(ctx, name)
		if err != nil {
			k = nil
		}
		if err == nil || lasting(err) {
			g.keep(name, lookup{k, err, g.clock().Add(recallMiss)})
		}
		return k, err
	})
	return k, err
}

// lasting says whether an error of a look-up is worth remembering.
func lasting(err error) bool {
	meaning, _ := awserr.KMS(err)
	return notFound(meaning) || meaning == awserr.Denied || errors.As(err, new(*unusableError))
}

func (g *registry) keep(name string, l lookup) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.found == nil {
		g.found = make(map[string]lookup)
	}
	for victim := range g.found {
		if len(g.found) < maxNames {
			break
		}
		delete(g.found, victim)
	}
	g.found[name] = l
}

// assume returns a key of which only the ARN is known, where that is enough.
func (g *registry) assume(id string, api API) *key {
	return &key{Key: Key{Given: id, ARN: id}, api: api, region: arn.Region(id)}
}

func (g *registry) describe(ctx context.Context, name string) (*key, error) {
	m, err := kmskey.Describe(ctx, g.client(arn.Region(name)), name)
	switch {
	case errors.Is(err, kmskey.ErrNoKey):
		return nil, &unusableError{
			what: fmt.Sprintf("the answer of DescribeKey for %s names no key", name),
			hint: "What answers is no KMS: check AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL."}
	case err != nil:
		return nil, err
	}
	k := &key{Key: Key{
		Given:       name,
		ARN:         *m.Arn,
		Material:    aws.ToString(m.CurrentKeyMaterialId),
		Spec:        string(m.KeySpec),
		Origin:      string(m.Origin),
		Manager:     string(m.KeyManager),
		MultiRegion: aws.ToBool(m.MultiRegion),
	}}
	k.region = arn.Region(k.ARN)
	k.api = g.client(k.region)
	if c := m.MultiRegionConfiguration; c != nil {
		if c.PrimaryKey != nil {
			k.replicas = append(k.replicas, aws.ToString(c.PrimaryKey.Arn))
		}
		for _, r := range c.ReplicaKeys {
			k.replicas = append(k.replicas, aws.ToString(r.Arn))
		}
	}
	return k, usable(k.ARN, m)
}

// unusableError is a key that KMS would refuse to work with.
type unusableError struct {
	what, hint string
	managed    bool // by AWS
}

func (e *unusableError) Error() string { return e.what }

func isManaged(err error) bool {
	var u *unusableError
	return errors.As(err, &u) && u.managed
}

// usable judges a key by its description. Keys that are not symmetric are
// refused: their blobs carry no key id, and they have neither context nor
// rotation.
// The policy of an AWS managed key lets nobody use it but through its service,
// and cannot be changed (KMS Developer Guide, "AWS managed keys").
func usable(id string, m *types.KeyMetadata) error {
	if m.KeyManager == types.KeyManagerTypeAws {
		return &unusableError{
			what:    fmt.Sprintf("the key %s is an AWS managed key, which callers cannot use directly and whose key policy nobody can change", id),
			hint:    "Create a customer managed key (aws kms create-key) and use that.",
			managed: true}
	}
	if m.KeyUsage != types.KeyUsageTypeEncryptDecrypt && m.KeyUsage != "" {
		return &unusableError{
			what: fmt.Sprintf("the key %s is for %s, not for encryption", id, m.KeyUsage),
			hint: "Give a key whose usage is ENCRYPT_DECRYPT."}
	}
	if m.KeySpec != types.KeySpecSymmetricDefault && m.KeySpec != "" {
		return &unusableError{
			what: fmt.Sprintf("the key %s is an asymmetric key, %s", id, m.KeySpec),
			hint: "Only symmetric encryption keys (SYMMETRIC_DEFAULT) can be moved from and to."}
	}
	if kmskey.Serves(m.KeyState) {
		return nil
	}
	return &unusableError{what: fmt.Sprintf("the key %s is in state %s", id, m.KeyState), hint: kmskey.StateHint(m.KeyState, id)}
}

var errNoReplica = errors.New("no replica there")

// in returns the replica of a multi-Region key in a Region, or the key itself.
func (g *registry) in(ctx context.Context, k *key, region string) (*key, error) {
	if k.region == region {
		return k, nil
	}
	for _, replica := range k.replicas {
		if arn.Region(replica) == region {
			return g.find(ctx, replica)
		}
	}
	return nil, errNoReplica
}
