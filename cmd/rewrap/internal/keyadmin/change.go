package keyadmin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"rewrap/sources"
	"rewrap/sources/cloud/arn"
	"rewrap/sources/cloud/awserr"
	"rewrap/sources/cloud/kmskey"
)

// Bounds and default of the period of automatic rotation, in days (KMS API
// Reference, EnableKeyRotation, RotationPeriodInDays).
const (
	MinPeriod     = 90
	MaxPeriod     = 2560
	DefaultPeriod = 365
)

const usedUp = "All 25 rotations on demand that a key has in its life are used up, and no quota raises that. A key with material made by KMS can still rotate by itself (rewrap keys enable-rotation); else make a new key: aws kms create-key, rewrap keys move-alias, then rewrap run SOURCE --from OLD --to NEW"

func refuse(hint, format string, args ...any) error {
	return &sources.RunError{Err: fmt.Errorf(format, args...), Hint: hint}
}

func refuseManaged(name string) error {
	return refuse("AWS rotates it every year. You can rotate only your own keys, and point your aliases only at those: aws kms create-key", "the key %s is managed by AWS", name)
}

// rotatable refuses a key that KMS would refuse to rotate, with the rule and the
// way out. See [Kind.Rule] for the kinds.
func rotatable(k *Key, automatic bool) error {
	switch {
	case k.Kind == KindImported && automatic:
		return refuse("Import new material (aws kms import-key-material --import-type NEW_KEY_MATERIAL) and rotate on demand: rewrap keys rotate "+k.ARN,
			"the key %s has imported material, which does not rotate by itself", k.ARN)
	case k.Kind == KindAWSManaged:
		return refuseManaged(k.ARN)
	case !k.Kind.hasVersions():
		return refuse("Make a new key in its place", "the key %s (%s, %s, origin %s) cannot rotate", k.ARN, strings.ReplaceAll(string(k.Kind), "_", " "), k.Spec, k.Origin)
	case k.Replica():
		return refuse("Give the primary key: "+k.MultiRegion.Primary, "the key %s is a replica of a multi-Region key; its rotation belongs to the primary key", k.ARN)
	}
	return serving(k)
}

func serving(k *Key) error {
	switch {
	case k.serves():
		return nil
	case types.KeyState(k.State) == types.KeyStateDisabled:
		return refuse("Enable it first: aws kms enable-key --key-id "+k.ARN, "the key %s is in state %s", k.ARN, k.State)
	}
	return refuse(kmskey.StateHint(types.KeyState(k.State), k.ARN), "the key %s is in state %s", k.ARN, k.State)
}

// EnableRotation turns automatic rotation on, with a period in days. 0 keeps the
// period of a key that rotates already, and is else [DefaultPeriod]. A key that
// already rotates in that period is left alone. name may be an alias. Returned
// are the rotation before and after.
func (a *Admin) EnableRotation(ctx context.Context, name string, days int) (k Key, before, after Rotation, err error) {
	if days != 0 && (days < MinPeriod || days > MaxPeriod) {
		return k, before, after, &UsageError{fmt.Sprintf("a rotation period of %d days: it is %d to %d", days, MinPeriod, MaxPeriod)}
	}
	if arn.ManagedAlias(name) {
		return k, before, after, refuseManaged(name)
	}
	if k, err = a.describe(ctx, name); err != nil {
		return k, before, after, err
	}
	if err = rotatable(&k, true); err != nil {
		return k, before, after, err
	}
	if err = a.readRotation(ctx, &k); err != nil {
		return k, before, after, err
	}
	before = *k.Rotation
	if before.Enabled && (days == 0 || days == before.PeriodDays) {
		return k, before, before, nil
	}
	if days == 0 {
		days = DefaultPeriod
	}
	in := &kms.EnableKeyRotationInput{KeyId: &k.ARN, RotationPeriodInDays: aws.Int32(int32(days))}
	if _, err = a.Client(arn.Region(k.ARN)).EnableKeyRotation(ctx, in); err != nil {
		failure := callFailed(ctx, "EnableKeyRotation", k.ARN, err)
		if !awserr.Decided(err) {
			was := "off"
			if before.Enabled {
				was = fmt.Sprintf("every %d days", before.PeriodDays)
			}
			failure = fmt.Errorf("it is not known whether %s rotates every %d days now (it was: %s). Run the same command again to be sure: %w", k.ARN, days, was, failure)
		}
		return k, before, after, failure
	}
	// The change is made. If it cannot be read back, the answer is what was asked
	// for, without a date.
	k.Rotation = &Rotation{Enabled: true, PeriodDays: days}
	if read := k; a.readRotation(ctx, &read) == nil && read.Rotation.Enabled && read.Rotation.PeriodDays == days {
		k = read
	}
	return k, before, *k.Rotation, nil
}

// RotationPlan is a rotation on demand that could be begun, or is under way.
type RotationPlan struct {
	Key   Key
	Used  int       // rotations out of [MaxOnDemand], with the one under way
	Since time.Time // when the one under way was begun; zero: none is
}

// PlanRotation finds out whether a key can be rotated on demand. It changes
// nothing. name may be an alias, which RotateKeyOnDemand itself refuses.
func (a *Admin) PlanRotation(ctx context.Context, name string) (RotationPlan, error) {
	if arn.ManagedAlias(name) {
		return RotationPlan{}, refuseManaged(name)
	}
	k, err := a.readWhole(ctx, name)
	if err != nil {
		return RotationPlan{}, err
	}
	p := RotationPlan{Key: k, Used: k.OnDemand.Used, Since: k.Rotation.Pending}
	if !p.Since.IsZero() {
		return p, nil
	}
	if p.Used >= MaxOnDemand {
		return p, refuse(usedUp, "the key %s has been rotated on demand %d times", k.ARN, p.Used)
	}
	if k.Kind == KindImported {
		return p, importedReady(&k)
	}
	return p, nil
}

// wholeReads is how often a key is read whose answers contradict each other.
const wholeReads = 5

// readWhole reads a key that can be rotated on demand. If a rotation completes
// between the calls, the material that DescribeKey named is not the current one
// in the list; then it reads the key again.
func (a *Admin) readWhole(ctx context.Context, name string) (Key, error) {
	for n := 1; ; n++ {
		k, err := a.describe(ctx, name)
		if err == nil {
			err = rotatable(&k, false)
		}
		if err == nil {
			err = a.readRotation(ctx, &k)
		}
		if err == nil {
			err = a.readMaterials(ctx, &k)
		}
		if err != nil {
			return Key{}, err
		}
		current := slices.IndexFunc(k.Materials, func(m Material) bool { return m.State == string(types.KeyMaterialStateCurrent) })
		switch {
		case current < 0 || k.CurrentMaterial == "" || k.Materials[current].ID == k.CurrentMaterial:
			return k, nil
		case n == wholeReads:
			return Key{}, refuse("A rotation seems to have just completed: look again in a minute with rewrap keys "+k.ARN,
				"KMS names two key materials of %s as the current one: %s and %s", k.ARN, k.CurrentMaterial, k.Materials[current].ID)
		}
		if err := a.pause(ctx, time.Second); err != nil {
			return Key{}, err
		}
	}
}

func (a *Admin) pause(ctx context.Context, d time.Duration) error {
	if a.Sleep != nil {
		return a.Sleep(ctx, d)
	}
	return kmskey.Sleep(ctx, d)
}

// importedReady refuses the rotation of a key whose new material has not been
// imported yet (KMS API Reference, RotateKeyOnDemand).
func importedReady(k *Key) error {
	for _, m := range k.Materials {
		switch types.KeyMaterialState(m.State) {
		case types.KeyMaterialStatePendingRotation:
			return nil
		case types.KeyMaterialStatePendingMultiRegionImportAndRotation:
			return refuse("Import the same material into every replica, then rotate", "the new material %s of %s is not yet in all of its Regions", m.ID, k.ARN)
		}
	}
	return refuse("Import it first: aws kms import-key-material --import-type NEW_KEY_MATERIAL", "the key %s has imported material, and no new material waits for its rotation", k.ARN)
}

// BeginRotation starts the rotation that was planned, unless it is under way
// already.
//
// The request is sent once, and again only if KMS refused it for its rate. If
// the answer is lost, a second request could use up another of the key's
// rotations, since the first may be complete by then. So BeginRotation looks at
// the key to find out whether the rotation was begun. If the process dies here,
// KMS rotates all the same; the next [Admin.PlanRotation] sees the rotation
// under way, or used.
func (a *Admin) BeginRotation(ctx context.Context, p RotationPlan) error {
	if !p.Since.IsZero() {
		return nil
	}
	k := p.Key
	_, err := a.Client(arn.Region(k.ARN)).RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &k.ARN}, once)
	if err == nil {
		return nil
	}
	failure := callFailed(ctx, opRotate, k.ARN, err)
	if awserr.Decided(err) {
		return failure
	}
	// Look also if ctx ended, since the request may have been on its way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	now, lookErr := a.describe(ctx, k.ARN)
	if lookErr == nil {
		lookErr = a.readRotation(ctx, &now)
	}
	switch {
	case lookErr == nil && (now.CurrentMaterial != k.CurrentMaterial || !now.Rotation.Pending.IsZero()):
		return nil
	case lookErr == nil:
		return fmt.Errorf("there is no sign that the rotation was begun. Look again in a minute with rewrap keys %s before you start another: %w", k.ARN, failure)
	}
	return fmt.Errorf("it is not known whether the rotation was begun. Look with rewrap keys %s before you start another: %w", k.ARN, failure)
}

// once keeps the client's pacing, but retries only requests that certainly did
// nothing.
func once(o *kms.Options) {
	if r, ok := o.Retryer.(aws.RetryerV2); ok {
		o.Retryer = throttledOnly{r}
		return
	}
	o.Retryer = aws.NopRetryer{}
}

type throttledOnly struct{ aws.RetryerV2 }

func (throttledOnly) IsErrorRetryable(err error) bool { return throttled(err) }

// AwaitRotation waits until the key has other current key material than when
// p was made, and returns it. RotateKeyOnDemand answers long before; a key that
// is re-wrapped in between ends under the old material. ctx says for how long to
// wait. progress, which may be nil, is called after each look that found the old
// material.
func (a *Admin) AwaitRotation(ctx context.Context, p RotationPlan, progress func()) (material string, err error) {
	wait := kmskey.Wait{API: a.Client(arn.Region(p.Key.ARN)), ARN: p.Key.ARN, Sleep: a.Sleep}
	material, err = wait.Material(ctx, p.Key.CurrentMaterial, func(m *types.KeyMetadata) error {
		k := Key{ARN: p.Key.ARN, Description: Description{State: string(m.KeyState)}}
		if err := serving(&k); err != nil {
			return err
		}
		if progress != nil {
			progress()
		}
		return nil
	})
	switch {
	case err == nil:
		return material, nil
	case errors.As(err, new(*sources.RunError)): // from serving
		return "", err
	}
	return "", callFailed(ctx, "DescribeKey", p.Key.ARN, err)
}

// AliasMove is an alias that names From and is to name To.
type AliasMove struct {
	Alias    string // its name, with alias/
	From, To Key
}

// Done reports whether the alias names the key already.
func (m AliasMove) Done() bool { return m.From.ARN == m.To.ARN }

// PlanAliasMove finds out whether an alias, given by its name or ARN, can be
// pointed at another key, which may be given by an alias too. It changes
// nothing.
func (a *Admin) PlanAliasMove(ctx context.Context, alias, to string) (AliasMove, error) {
	m := AliasMove{Alias: arn.Alias(alias)}
	switch {
	case !arn.IsAlias(alias):
		return m, &UsageError{fmt.Sprintf("%q is no alias: it is alias/NAME, or the alias's ARN", alias)}
	case arn.ManagedAlias(alias):
		return m, &UsageError{fmt.Sprintf("%s belongs to AWS and always names the key that AWS manages", m.Alias)}
	case arn.ManagedAlias(to):
		return m, refuseManaged(to)
	}
	var err error
	if m.From, err = a.describe(ctx, alias); err != nil {
		return m, err
	}
	// A bare id or name means a key in the alias's Region.
	if region := arn.Region(alias); region != "" && arn.Region(to) == "" {
		resource := to
		if !strings.HasPrefix(to, "alias/") {
			resource = "key/" + to
		}
		to = strings.Join(append(strings.SplitN(alias, ":", 6)[:5], resource), ":")
	}
	if m.To, err = a.describe(ctx, to); err != nil {
		return m, err
	}
	if m.Done() {
		return m, nil
	}
	from, _ := arn.Parse(m.From.ARN)
	dest, _ := arn.Parse(m.To.ARN)
	switch {
	case from.Region != dest.Region || from.Account != dest.Account:
		return m, refuse("Give a key of the alias's own account and Region", "%s is an alias in Region %s of account %s, and %s is not there", m.Alias, from.Region, from.Account, m.To.ARN)
	case m.To.Kind == KindAWSManaged:
		return m, refuseManaged(m.To.ARN)
	case family(&m.From) != family(&m.To) || m.From.Usage != m.To.Usage:
		// KMS API Reference, UpdateAlias: same type, same usage.
		return m, refuse("KMS moves an alias only to a key of the same type and usage", "%s names a key of spec %s for %s, and %s is one of spec %s for %s",
			m.Alias, m.From.Spec, m.From.Usage, m.To.ARN, m.To.Spec, m.To.Usage)
	}
	// KMS would accept a disabled key, and from then on every program that
	// encrypts by the alias would fail.
	return m, serving(&m.To)
}

// family is what KMS calls the type of a key: symmetric, HMAC or asymmetric.
func family(k *Key) string {
	switch {
	case strings.HasPrefix(k.Spec, "HMAC_"):
		return "HMAC"
	case k.Symmetric():
		return "symmetric"
	}
	return "asymmetric"
}

// MoveAlias points the alias at m.To. KMS has no condition for that: an alias
// that somebody else has moved since the plan is moved all the same. So the plan
// should be fresh.
func (a *Admin) MoveAlias(ctx context.Context, m AliasMove) error {
	if m.Done() {
		return nil
	}
	in := &kms.UpdateAliasInput{AliasName: &m.Alias, TargetKeyId: &m.To.ARN}
	if _, err := a.Client(arn.Region(m.To.ARN)).UpdateAlias(ctx, in); err != nil {
		failure := callFailed(ctx, "UpdateAlias", m.Alias, err)
		if !awserr.Decided(err) {
			failure = fmt.Errorf("it is not known whether %s was moved from %s to %s. Run the same command again to be sure: %w", m.Alias, m.From.ARN, m.To.ARN, failure)
		}
		return failure
	}
	return nil
}
