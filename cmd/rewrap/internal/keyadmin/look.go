// Package keyadmin looks at KMS keys, and changes how they rotate and what
// their aliases name. It wraps and opens nothing.
package keyadmin

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"golang.org/x/sync/errgroup"

	"rewrap/sources/cloud/arn"
	"rewrap/sources/cloud/kmskey"
)

// API is the part of *kms.Client that [Admin] calls. The operations of
// [kmskey.API] and the first two here only read. Retries of throttled calls,
// pacing and deadlines of single calls are the client's.
type API interface {
	kmskey.API
	ListKeys(context.Context, *kms.ListKeysInput, ...func(*kms.Options)) (*kms.ListKeysOutput, error)
	ListAliases(context.Context, *kms.ListAliasesInput, ...func(*kms.Options)) (*kms.ListAliasesOutput, error)

	EnableKeyRotation(context.Context, *kms.EnableKeyRotationInput, ...func(*kms.Options)) (*kms.EnableKeyRotationOutput, error)
	RotateKeyOnDemand(context.Context, *kms.RotateKeyOnDemandInput, ...func(*kms.Options)) (*kms.RotateKeyOnDemandOutput, error)
	UpdateAlias(context.Context, *kms.UpdateAliasInput, ...func(*kms.Options)) (*kms.UpdateAliasOutput, error)
}

// Admin looks at KMS keys and changes them. It may be used from many goroutines
// at once.
type Admin struct {
	// Client makes, or returns, the client of a Region; "" is the default
	// Region. A key is called in the Region of its ARN.
	Client func(region string) API

	// Sleep is a timer where it is nil.
	Sleep func(context.Context, time.Duration) error

	// Progress is called by [Admin.Look] after each key, with the number of
	// keys that were looked at. It is called from many goroutines at once, and
	// may be nil.
	Progress func(done, of int)
}

// UsageError says that a command was called in a wrong way. Nothing was called.
type UsageError struct{ Detail string }

func (e *UsageError) Error() string { return e.Detail }

// Overview is what was found out about keys. Notice says if something is missing
// for all of them.
type Overview struct {
	Keys   []Key
	Notice string
}

// keysAtOnce is how many keys are looked at side by side. The client's pacer
// says how fast.
const keysAtOnce = 8

// Look reads the keys named, each a key id, key ARN, alias or alias ARN. Without
// names it reads all keys of the account in the default Region; those that AWS
// manages only if managed is set. A key that may not be read is in the answer
// with its error. So is a named key about which no answer came, since the next
// one may be in a Region that answers. Look itself fails for a cause that would
// meet every key alike: no list of keys, credentials that ended, ctx.
func (a *Admin) Look(ctx context.Context, names []string, managed bool) (Overview, error) {
	c := Overview{Keys: make([]Key, len(names))}
	for i, name := range names {
		c.Keys[i].Given = name
	}
	var aliases map[string][]string // by key id; nil: to be asked for each key
	if len(names) == 0 {
		var err error
		if c.Keys, err = a.list(ctx); err != nil {
			return Overview{}, err
		}
		aliases, err = a.aliases(ctx, "", nil)
		if err != nil && !oneKeys(err, false) {
			return Overview{}, err
		} else if err != nil {
			c.Notice = "aliases are not shown: " + err.Error()
			aliases = map[string][]string{}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(keysAtOnce)
	var done atomic.Int64
	for i := range c.Keys {
		g.Go(func() error {
			err := a.read(ctx, &c.Keys[i], aliases)
			if err == nil && a.Progress != nil {
				a.Progress(int(done.Add(1)), len(c.Keys))
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Overview{}, err
	}
	if len(names) == 0 {
		c.Keys = slices.DeleteFunc(c.Keys, func(k Key) bool { return k.Kind == KindAWSManaged && !managed })
		slices.SortFunc(c.Keys, byAlias)
	}
	return c, nil
}

// byAlias sorts keys by the first of their aliases. Keys without aliases follow,
// by their ARN.
func byAlias(a, b Key) int {
	name := func(k Key) string {
		if len(k.Aliases) > 0 {
			return "0" + k.Aliases[0]
		}
		return "1" + k.ARN
	}
	return strings.Compare(name(a), name(b))
}

func (a *Admin) list(ctx context.Context) ([]Key, error) {
	pages := kms.NewListKeysPaginator(a.Client(""), &kms.ListKeysInput{}, func(o *kms.ListKeysPaginatorOptions) {
		o.Limit, o.StopOnDuplicateToken = 1000, true
	})
	var found []Key
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, callFailed(ctx, "ListKeys", everyKey, err)
		}
		if page.Keys == nil {
			return nil, callFailed(ctx, "ListKeys", everyKey, kmskey.ErrNoKey)
		}
		for _, k := range page.Keys {
			found = append(found, Key{ARN: aws.ToString(k.KeyArn)})
		}
	}
	return found, nil
}

// aliases lists the aliases of a key, or of all keys of the account in the
// Region, by key id.
func (a *Admin) aliases(ctx context.Context, region string, key *string) (map[string][]string, error) {
	pages := kms.NewListAliasesPaginator(a.Client(region), &kms.ListAliasesInput{KeyId: key}, func(o *kms.ListAliasesPaginatorOptions) {
		o.Limit, o.StopOnDuplicateToken = 100, true
	})
	subject := everyKey
	if key != nil {
		subject = *key
	}
	found := make(map[string][]string)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, callFailed(ctx, "ListAliases", subject, err)
		}
		for _, e := range page.Aliases {
			if id := aws.ToString(e.TargetKeyId); id != "" { // alias/aws/... exist before their key does
				found[id] = append(found[id], aws.ToString(e.AliasName))
			}
		}
	}
	for _, names := range found {
		slices.Sort(names)
	}
	return found, nil
}

// read fills in what can be read of k, which has Given or ARN.
func (a *Admin) read(ctx context.Context, k *Key, aliases map[string][]string) error {
	given, name := k.Given, k.Given
	if name == "" {
		name = k.ARN
	}
	// An error that concerns k alone is shown in its row, and Look continues.
	fatal := func(err error) error {
		if oneKeys(err, given != "") {
			return nil
		}
		return err
	}
	found, err := a.describe(ctx, name)
	if err != nil {
		k.Error = err.Error()
		k.Aliases, k.Materials = []string{}, []Material{}
		if id, ok := arn.Parse(k.ARN); ok && aliases != nil {
			k.Aliases = append(k.Aliases, aliases[id.ID]...)
		}
		return fatal(err)
	}
	*k = found
	k.Given = given
	id, _ := arn.Parse(k.ARN)
	if aliases == nil {
		if aliases, err = a.aliases(ctx, id.Region, &k.ARN); err != nil {
			k.Unread = append(k.Unread, "aliases: "+err.Error())
			if err := fatal(err); err != nil {
				return err
			}
		}
	}
	k.Aliases = append([]string{}, aliases[id.ID]...)
	if !k.Kind.hasVersions() {
		return nil
	}
	if err := a.readRotation(ctx, k); err != nil {
		k.Unread = append(k.Unread, "rotation: "+err.Error())
		if err := fatal(err); err != nil {
			return err
		}
	}
	if err := a.readMaterials(ctx, k); err != nil {
		k.Unread = append(k.Unread, "key materials: "+err.Error())
		return fatal(err)
	}
	return nil
}

// managedKey returns the key that one of AWS's own aliases names. It does not
// make AWS create the key, as DescribeKey would.
func (a *Admin) managedKey(ctx context.Context, alias string) (string, error) {
	aliases, err := a.aliases(ctx, arn.Region(alias), nil)
	if err != nil {
		return "", err
	}
	for id, names := range aliases {
		if slices.Contains(names, arn.Alias(alias)) {
			if place, ok := strings.CutSuffix(alias, arn.Alias(alias)); ok && place != "" {
				return place + "key/" + id, nil
			}
			return id, nil
		}
	}
	return "", refuse("AWS makes it when one of its services first needs it", "there is no such key yet: %s", alias)
}

func (a *Admin) describe(ctx context.Context, name string) (Key, error) {
	id := name
	if arn.ManagedAlias(name) {
		var err error
		if id, err = a.managedKey(ctx, name); err != nil {
			return Key{}, err
		}
	}
	m, err := kmskey.Describe(ctx, a.Client(arn.Region(id)), id)
	if err != nil {
		return Key{}, callFailed(ctx, "DescribeKey", name, err)
	}
	k := Key{
		Given: name, ARN: *m.Arn, Kind: kindOf(m),
		Description: Description{
			Manager: string(m.KeyManager), Spec: string(m.KeySpec), Usage: string(m.KeyUsage), State: string(m.KeyState),
			Origin: string(m.Origin), KeyStore: aws.ToString(m.CustomKeyStoreId),
		},
		Dates:    Dates{Created: aws.ToTime(m.CreationDate), Deletion: aws.ToTime(m.DeletionDate), ValidTo: aws.ToTime(m.ValidTo)},
		Versions: Versions{CurrentMaterial: aws.ToString(m.CurrentKeyMaterialId), Materials: []Material{}},
		Aliases:  []string{},
	}
	k.Rule = k.Kind.Rule()
	if c := m.MultiRegionConfiguration; c != nil {
		k.MultiRegion = &MultiRegion{Type: string(c.MultiRegionKeyType), Replicas: []string{}}
		if c.PrimaryKey != nil {
			k.MultiRegion.Primary = aws.ToString(c.PrimaryKey.Arn)
		}
		for _, r := range c.ReplicaKeys {
			k.MultiRegion.Replicas = append(k.MultiRegion.Replicas, aws.ToString(r.Arn))
		}
		if k.Kind == KindSymmetric || k.Kind == KindImported {
			k.Rule += "; multi-Region: " + MultiRegionRule
		}
	}
	return k, nil
}
