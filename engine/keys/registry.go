package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
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

// registry finds keys by whatever they are called, and remembers. A name is
// looked up once: where an alias is pointed elsewhere while the run goes on,
// the run stays with the key that it found first.
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
		if err == nil || notFound(err) || accessDenied(err) || is[*unusableError](err) {
			g.keep(name, lookup{k, err, g.clock().Add(recallMiss)})
		}
		return k, err
	})
	return k, err
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

// assume is a key of which only the ARN is known, where that is enough.
func (g *registry) assume(arn string, api API) *key {
	return &key{Key: Key{Given: arn, ARN: arn}, api: api, region: regionOf(arn)}
}

func (g *registry) describe(ctx context.Context, name string) (*key, error) {
	out, err := g.client(regionOf(name)).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &name})
	if err != nil {
		return nil, err
	}
	m := out.KeyMetadata
	if m == nil || aws.ToString(m.Arn) == "" {
		return nil, &unusableError{
			what: fmt.Sprintf("the answer of DescribeKey for %s names no key", name),
			hint: "What answers is no KMS: check AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL."}
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
	k.region = regionOf(k.ARN)
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

// usable judges a key by its description. Which states can work: KMS Developer
// Guide, "Key states of KMS keys". Keys that are not symmetric are refused:
// their blobs carry no key id, and they have neither context nor rotation.
// The policy of an AWS managed key lets nobody use it but through its service,
// and cannot be changed (KMS Developer Guide, "AWS managed keys").
func usable(arn string, m *types.KeyMetadata) error {
	if m.KeyManager == types.KeyManagerTypeAws {
		return &unusableError{
			what:    fmt.Sprintf("the key %s is an AWS managed key, which callers cannot use directly and whose key policy nobody can change", arn),
			hint:    "Create a customer managed key (aws kms create-key) and use that.",
			managed: true}
	}
	if m.KeyUsage != types.KeyUsageTypeEncryptDecrypt && m.KeyUsage != "" {
		return &unusableError{
			what: fmt.Sprintf("the key %s is for %s, not for encryption", arn, m.KeyUsage),
			hint: "Give a key whose usage is ENCRYPT_DECRYPT."}
	}
	if m.KeySpec != types.KeySpecSymmetricDefault && m.KeySpec != "" {
		return &unusableError{
			what: fmt.Sprintf("the key %s is an asymmetric key, %s", arn, m.KeySpec),
			hint: "Only symmetric encryption keys (SYMMETRIC_DEFAULT) can be moved from and to."}
	}
	switch m.KeyState {
	case types.KeyStateEnabled, types.KeyStateUpdating, "":
		return nil
	}
	return &unusableError{what: fmt.Sprintf("the key %s is in state %s", arn, m.KeyState), hint: stateHint(m.KeyState, arn)}
}

func stateHint(s types.KeyState, arn string) string {
	switch s {
	case types.KeyStateDisabled:
		return fmt.Sprintf("Enable it for the time of the run: aws kms enable-key --key-id %s", arn)
	case types.KeyStatePendingDeletion:
		return fmt.Sprintf("What is wrapped under it is lost once it is deleted. Cancel that and enable it: aws kms cancel-key-deletion --key-id %[1]s && aws kms enable-key --key-id %[1]s", arn)
	case types.KeyStatePendingReplicaDeletion:
		return "It is a primary key that waits for its replicas to be deleted; cancel its deletion, or use a replica in another Region."
	case types.KeyStatePendingImport:
		return fmt.Sprintf("Its key material has expired or was never imported: aws kms import-key-material --key-id %s", arn)
	case types.KeyStateUnavailable:
		return "Its custom key store is disconnected: connect it with aws kms connect-custom-key-store."
	case types.KeyStateCreating:
		return "It is still being made: try again in a few minutes."
	}
	return fmt.Sprintf("See aws kms describe-key --key-id %s", arn)
}

var errNoReplica = errors.New("no replica there")

// in is the replica of a multi-Region key in a Region, or the key itself.
func (g *registry) in(ctx context.Context, k *key, region string) (*key, error) {
	if k.region == region {
		return k, nil
	}
	for _, arn := range k.replicas {
		if regionOf(arn) == region {
			return g.find(ctx, arn)
		}
	}
	return nil, errNoReplica
}
