package keys

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"golang.org/x/sync/errgroup"
)

// AdminAPI is the part of *kms.Client that [Admin] calls. The first five
// operations only read. Retries of throttled calls, pacing and deadlines of
// single calls are the client's.
type AdminAPI interface {
	ListKeys(context.Context, *kms.ListKeysInput, ...func(*kms.Options)) (*kms.ListKeysOutput, error)
	ListAliases(context.Context, *kms.ListAliasesInput, ...func(*kms.Options)) (*kms.ListAliasesOutput, error)
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
	GetKeyRotationStatus(context.Context, *kms.GetKeyRotationStatusInput, ...func(*kms.Options)) (*kms.GetKeyRotationStatusOutput, error)
	ListKeyRotations(context.Context, *kms.ListKeyRotationsInput, ...func(*kms.Options)) (*kms.ListKeyRotationsOutput, error)

	EnableKeyRotation(context.Context, *kms.EnableKeyRotationInput, ...func(*kms.Options)) (*kms.EnableKeyRotationOutput, error)
	RotateKeyOnDemand(context.Context, *kms.RotateKeyOnDemandInput, ...func(*kms.Options)) (*kms.RotateKeyOnDemandOutput, error)
	UpdateAlias(context.Context, *kms.UpdateAliasInput, ...func(*kms.Options)) (*kms.UpdateAliasOutput, error)
}

// Admin looks KMS keys over, and changes how they rotate and what their
// aliases name. It opens and wraps nothing. It may be used from many
// goroutines at once.
type Admin struct {
	// Client makes, or returns, the client of a Region; "" is the default
	// Region. A key is called in the Region of its ARN.
	Client func(region string) AdminAPI

	// Sleep is a timer where it is nil.
	Sleep func(context.Context, time.Duration) error

	// Progress is told by [Admin.Census] after each key how many of them were
	// looked at, from many goroutines at once; may be nil.
	Progress func(done, of int)
}

// Kind is what decides how a key gets new key material, if ever.
type Kind string

const (
	KindSymmetric   Kind = "symmetric"    // SYMMETRIC_DEFAULT, material made by KMS
	KindImported    Kind = "imported"     // SYMMETRIC_DEFAULT, material imported (origin EXTERNAL)
	KindCustomStore Kind = "custom_store" // in a CloudHSM or external key store
	KindAsymmetric  Kind = "asymmetric"   // RSA, ECC, ML-DSA, ...
	KindHMAC        Kind = "hmac"
	KindAWSManaged  Kind = "aws_managed" // alias/aws/...
)

// Rule says how keys of the kind get new key material, and what to do where
// they do not. From the KMS API Reference, EnableKeyRotation and
// RotateKeyOnDemand, which name the kinds that can and cannot be rotated.
func (k Kind) Rule() string {
	switch k {
	case KindSymmetric:
		return "rotates by itself every 90 to 2560 days once that is on, and on demand, 25 times in its life"
	case KindImported:
		return "no automatic rotation; on demand after new material was imported, 25 times in its life; if any material expires the whole key is unusable"
	case KindCustomStore:
		return "no rotation; make a new key and move to it"
	case KindAsymmetric, KindHMAC:
		return "no rotation; make a new key and have it take this one's place"
	case KindAWSManaged:
		return "AWS rotates it every year; only the AWS service it belongs to can use it, so what it wraps cannot be re-wrapped by you"
	}
	return ""
}

// MultiRegionRule goes with the rule of the kind (KMS API Reference,
// EnableKeyRotation and RotateKeyOnDemand, on multi-Region keys).
const MultiRegionRule = "rotation is set and started on the primary key, and its replicas follow"

// hasVersions reports whether keys of the kind can have more than one key
// material. KMS refuses to be asked about the rotation of others.
func (k Kind) hasVersions() bool {
	return k == KindSymmetric || k == KindImported || k == KindAWSManaged
}

// kindOf judges by manager first: nobody but AWS decides about its keys. A
// custom key store goes before the spec, since its keys are symmetric too.
func kindOf(m *types.KeyMetadata) Kind {
	switch {
	case m.KeyManager == types.KeyManagerTypeAws:
		return KindAWSManaged
	case m.Origin == types.OriginTypeAwsCloudhsm || m.Origin == types.OriginTypeExternalKeyStore || aws.ToString(m.CustomKeyStoreId) != "":
		return KindCustomStore
	case strings.HasPrefix(string(m.KeySpec), "HMAC_"):
		return KindHMAC
	case m.KeySpec != types.KeySpecSymmetricDefault && m.KeySpec != "":
		return KindAsymmetric
	case m.Origin == types.OriginTypeExternal:
		return KindImported
	}
	return KindSymmetric
}

// MaxOnDemand is how often a key can be rotated on demand in its life. It
// cannot be raised (KMS API Reference, RotateKeyOnDemand).
const MaxOnDemand = 25

// KeyInfo is what KMS tells of one key. Of a key that could not be read at all
// only Given and Error are there, and ARN if it was listed.
type KeyInfo struct {
	Given    string `json:"given,omitempty"` // as the caller named it; "" if it was listed
	ARN      string `json:"arn,omitempty"`
	Kind     Kind   `json:"kind,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Manager  string `json:"manager,omitempty"` // CUSTOMER, AWS
	Spec     string `json:"spec,omitempty"`
	Usage    string `json:"usage,omitempty"`
	State    string `json:"state,omitempty"`
	Origin   string `json:"origin,omitempty"` // AWS_KMS, EXTERNAL, AWS_CLOUDHSM, EXTERNAL_KEY_STORE
	KeyStore string `json:"custom_key_store,omitempty"`

	MultiRegion *MultiRegion `json:"multi_region,omitempty"` // nil: of one Region

	Created  time.Time `json:"created,omitzero"`
	Deletion time.Time `json:"deletion,omitzero"` // when KMS will delete the key
	ValidTo  time.Time `json:"valid_to,omitzero"` // when the first of its imported materials expires, and the key with it

	Rotation        *Rotation  `json:"rotation,omitempty"`  // nil: its kind does not rotate, or it could not be read
	OnDemand        *OnDemand  `json:"on_demand,omitempty"` // nil likewise
	CurrentMaterial string     `json:"current_material,omitempty"`
	Materials       []Material `json:"materials"` // the newest first
	Aliases         []string   `json:"aliases"`

	Unread []string `json:"unread,omitempty"` // what could not be read of it, and why
	Error  string   `json:"error,omitempty"`  // why nothing could be read of it
}

// Rotation is the automatic rotation of a key, and the one on demand that is
// under way. All dates are those of KMS's clock.
type Rotation struct {
	Enabled    bool      `json:"enabled"`
	PeriodDays int       `json:"period_days,omitempty"`
	Next       time.Time `json:"next,omitzero"`
	Pending    time.Time `json:"on_demand_pending_since,omitzero"` // zero: none is under way
}

// OnDemand is how many of a key's rotations on demand are used up, the one
// that is under way included.
type OnDemand struct {
	Used  int `json:"used"`
	Limit int `json:"limit"`
}

// Material is one version of a key. The first one came of no rotation, and
// has neither date nor type (KMS API Reference, RotationsListEntry).
type Material struct {
	ID          string    `json:"id"`
	State       string    `json:"state"`          // CURRENT, NON_CURRENT, PENDING_ROTATION, PENDING_MULTI_REGION_IMPORT_AND_ROTATION
	Type        string    `json:"type,omitempty"` // AUTOMATIC, ON_DEMAND
	Date        time.Time `json:"date,omitzero"`  // when the rotation to it was complete
	ImportState string    `json:"import_state,omitempty"`
	ValidTo     time.Time `json:"valid_to,omitzero"`
}

// MultiRegion is a key's place among the keys of other Regions that share its
// id and its key material.
type MultiRegion struct {
	Type     string   `json:"type"` // PRIMARY, REPLICA
	Primary  string   `json:"primary"`
	Replicas []string `json:"replicas"`
}

// Replica reports whether rotation of k is the business of another key, its
// primary (KMS API Reference, EnableKeyRotation, RotateKeyOnDemand).
func (k *KeyInfo) Replica() bool {
	return k.MultiRegion != nil && k.MultiRegion.Type == string(types.MultiRegionKeyTypeReplica)
}

// OwesRotation reports whether k is one of the keys that could rotate by
// themselves: customer managed, symmetric, with material made by KMS. A
// disabled key is one too, since its rotation stands as it was when it is
// enabled again; one that waits for its deletion is not.
func (k *KeyInfo) OwesRotation() bool {
	switch types.KeyState(k.State) {
	case types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion:
		return false
	}
	return k.Kind == KindSymmetric
}

// Symmetric reports whether k is of the type of key that rewrap moves from and
// to.
func (k *KeyInfo) Symmetric() bool {
	return k.Spec == string(types.KeySpecSymmetricDefault) || k.Spec == ""
}

func (k *KeyInfo) serves() bool {
	switch types.KeyState(k.State) {
	case types.KeyStateEnabled, types.KeyStateUpdating, "":
		return true
	}
	return false
}

// Census is what was found out about keys. Notice says what is missing from
// all of it.
type Census struct {
	Keys   []KeyInfo
	Notice string
}

// keysAtOnce is how many keys are looked at side by side. The client's pacer
// says how fast.
const keysAtOnce = 8

// Census looks at the keys named, each a key id, key ARN, alias or alias ARN;
// without names at all keys of the default Region's account, those that AWS
// manages only if managed is set. A key that may not be read is in the answer
// with its error, and so is a key that was named and of which no answer came:
// another one may be in a Region that answers. The error is for what would
// meet every key alike: no list of keys, credentials that ended, ctx.
func (a *Admin) Census(ctx context.Context, names []string, managed bool) (Census, error) {
	c := Census{Keys: make([]KeyInfo, len(names))}
	for i, name := range names {
		c.Keys[i].Given = name
	}
	var aliases map[string][]string // by key id; nil: to be asked for each key
	if len(names) == 0 {
		var err error
		if c.Keys, err = a.list(ctx); err != nil {
			return Census{}, err
		}
		aliases, err = a.aliases(ctx, "", nil)
		if err != nil && !oneKeys(err, false) {
			return Census{}, err
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
			err := a.look(ctx, &c.Keys[i], aliases)
			if err == nil && a.Progress != nil {
				a.Progress(int(done.Add(1)), len(c.Keys))
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Census{}, err
	}
	if len(names) == 0 {
		c.Keys = slices.DeleteFunc(c.Keys, func(k KeyInfo) bool { return k.Kind == KindAWSManaged && !managed })
		slices.SortFunc(c.Keys, byAlias)
	}
	return c, nil
}

// byAlias sorts keys that have aliases by the first of them, and the others,
// by their ARN, behind those.
func byAlias(a, b KeyInfo) int {
	name := func(k KeyInfo) string {
		if len(k.Aliases) > 0 {
			return "0" + k.Aliases[0]
		}
		return "1" + k.ARN
	}
	return strings.Compare(name(a), name(b))
}

func (a *Admin) list(ctx context.Context) ([]KeyInfo, error) {
	pages := kms.NewListKeysPaginator(a.Client(""), &kms.ListKeysInput{}, func(o *kms.ListKeysPaginatorOptions) {
		o.Limit, o.StopOnDuplicateToken = 1000, true
	})
	var found []KeyInfo
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, callFailed(ctx, "ListKeys", everyKey, err)
		}
		if page.Keys == nil {
			return nil, callFailed(ctx, "ListKeys", everyKey, errNoAnswer)
		}
		for _, k := range page.Keys {
			found = append(found, KeyInfo{ARN: aws.ToString(k.KeyArn)})
		}
	}
	return found, nil
}

// aliases are the aliases of a key, or of all keys of the Region's account,
// by key id.
func (a *Admin) aliases(ctx context.Context, region string, arn *string) (map[string][]string, error) {
	pages := kms.NewListAliasesPaginator(a.Client(region), &kms.ListAliasesInput{KeyId: arn}, func(o *kms.ListAliasesPaginatorOptions) {
		o.Limit, o.StopOnDuplicateToken = 100, true
	})
	subject := everyKey
	if arn != nil {
		subject = *arn
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

// look fills in what can be read of k, which has Given or ARN.
func (a *Admin) look(ctx context.Context, k *KeyInfo, aliases map[string][]string) error {
	given, name := k.Given, k.Given
	if name == "" {
		name = k.ARN
	}
	// What is k's own is said in its row.
	said := func(err error) error {
		if oneKeys(err, given != "") {
			return nil
		}
		return err
	}
	found, err := a.describe(ctx, name)
	if err != nil {
		k.Error = err.Error()
		k.Aliases, k.Materials = []string{}, []Material{}
		if id, ok := parseKeyARN(k.ARN); ok && aliases != nil {
			k.Aliases = append(k.Aliases, aliases[id.id]...)
		}
		return said(err)
	}
	*k = found
	k.Given = given
	id, _ := parseKeyARN(k.ARN)
	if aliases == nil {
		if aliases, err = a.aliases(ctx, id.region, &k.ARN); err != nil {
			k.Unread = append(k.Unread, "aliases: "+err.Error())
			if err := said(err); err != nil {
				return err
			}
		}
	}
	k.Aliases = append([]string{}, aliases[id.id]...)
	if !k.Kind.hasVersions() {
		return nil
	}
	if err := a.readRotation(ctx, k); err != nil {
		k.Unread = append(k.Unread, "rotation: "+err.Error())
		if err := said(err); err != nil {
			return err
		}
	}
	if err := a.readMaterials(ctx, k); err != nil {
		k.Unread = append(k.Unread, "key materials: "+err.Error())
		return said(err)
	}
	return nil
}

// managedKey is the key that an alias of AWS's own names, without having it
// made.
func (a *Admin) managedKey(ctx context.Context, alias string) (string, error) {
	aliases, err := a.aliases(ctx, regionOf(alias), nil)
	if err != nil {
		return "", err
	}
	for id, names := range aliases {
		if slices.Contains(names, aliasName(alias)) {
			if place, ok := strings.CutSuffix(alias, aliasName(alias)); ok && place != "" {
				return place + "key/" + id, nil
			}
			return id, nil
		}
	}
	return "", refuse("AWS makes it when one of its services first needs it", "there is no such key yet: %s", alias)
}

func (a *Admin) describe(ctx context.Context, name string) (KeyInfo, error) {
	id := name
	if managedAlias(name) {
		var err error
		if id, err = a.managedKey(ctx, name); err != nil {
			return KeyInfo{}, err
		}
	}
	out, err := a.Client(regionOf(id)).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	if err != nil {
		return KeyInfo{}, callFailed(ctx, "DescribeKey", name, err)
	}
	m := out.KeyMetadata
	if m == nil || aws.ToString(m.Arn) == "" {
		return KeyInfo{}, callFailed(ctx, "DescribeKey", name, errNoAnswer)
	}
	k := KeyInfo{
		Given: name, ARN: *m.Arn, Kind: kindOf(m),
		Manager: string(m.KeyManager), Spec: string(m.KeySpec), Usage: string(m.KeyUsage), State: string(m.KeyState),
		Origin: string(m.Origin), KeyStore: aws.ToString(m.CustomKeyStoreId),
		Created: aws.ToTime(m.CreationDate), Deletion: aws.ToTime(m.DeletionDate), ValidTo: aws.ToTime(m.ValidTo),
		CurrentMaterial: aws.ToString(m.CurrentKeyMaterialId),
		Materials:       []Material{}, Aliases: []string{},
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

// readRotation takes an alias's key by its ARN: GetKeyRotationStatus and
// ListKeyRotations refuse aliases.
func (a *Admin) readRotation(ctx context.Context, k *KeyInfo) error {
	out, err := a.Client(regionOf(k.ARN)).GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &k.ARN})
	switch {
	case is[*types.UnsupportedOperationException](err) && k.Kind == KindImported:
		k.Rotation = &Rotation{} // a key without automatic rotation may be answered this way
		return nil
	case err != nil:
		return callFailed(ctx, "GetKeyRotationStatus", k.ARN, err)
	}
	k.Rotation = &Rotation{
		Enabled:    out.KeyRotationEnabled,
		PeriodDays: int(aws.ToInt32(out.RotationPeriodInDays)),
		Next:       aws.ToTime(out.NextRotationDate),
		Pending:    aws.ToTime(out.OnDemandRotationStartDate),
	}
	return nil
}

// readMaterials comes after readRotation. A rotation on demand that is under
// way counts as used: it cannot be called back, and is not listed before it is
// complete.
func (a *Admin) readMaterials(ctx context.Context, k *KeyInfo) error {
	in := &kms.ListKeyRotationsInput{KeyId: &k.ARN, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial}
	pages := kms.NewListKeyRotationsPaginator(a.Client(regionOf(k.ARN)), in, func(o *kms.ListKeyRotationsPaginatorOptions) {
		o.Limit, o.StopOnDuplicateToken = 1000, true
	})
	materials, used := []Material{}, 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return callFailed(ctx, "ListKeyRotations", k.ARN, err)
		}
		for _, r := range page.Rotations {
			if r.RotationType == types.RotationTypeOnDemand {
				used++
			}
			materials = append(materials, Material{
				ID: aws.ToString(r.KeyMaterialId), State: string(r.KeyMaterialState), Type: string(r.RotationType),
				Date: aws.ToTime(r.RotationDate), ImportState: string(r.ImportState), ValidTo: aws.ToTime(r.ValidTo),
			})
		}
	}
	slices.SortStableFunc(materials, newestFirst)
	k.Materials = materials
	if k.Rotation != nil && !k.Rotation.Pending.IsZero() {
		used++
	}
	if k.Kind != KindAWSManaged {
		k.OnDemand = &OnDemand{used, MaxOnDemand}
	}
	return nil
}

// newestFirst: what waits for its rotation is newer than what is current, and
// the first material, which has no date, is the oldest.
func newestFirst(a, b Material) int {
	rank := func(m Material) int {
		switch types.KeyMaterialState(m.State) {
		case types.KeyMaterialStatePendingMultiRegionImportAndRotation, types.KeyMaterialStatePendingRotation:
			return 0
		case types.KeyMaterialStateCurrent:
			return 1
		}
		return 2
	}
	if r := rank(a) - rank(b); r != 0 {
		return r
	}
	return b.Date.Compare(a.Date)
}
