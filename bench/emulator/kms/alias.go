package kms

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// alias is a name of a key. Service.mu guards it.
type alias struct {
	name    string // with its "alias/"
	key     *key
	created time.Time
	updated time.Time
}

const (
	aliasPrefix   = "alias/"
	managedPrefix = "alias/aws/" // reserved for AWS managed keys
)

var aliasPattern = regexp.MustCompile(`^[a-zA-Z0-9:/_-]+$`)

// ResolveKey returns the ARN of a key in any state. keyID is a key id, key
// ARN, alias or alias ARN. The alias of an AWS managed key creates that key,
// as its first use through the service does. Errors are *Error.
func (s *Service) ResolveKey(keyID string) (arn string, err error) {
	s.catchUp()
	s.mu.RLock()
	k, err := s.lookup(keyID)
	resource, _ := s.resource(keyID)
	s.mu.RUnlock()
	if err != nil && strings.HasPrefix(resource, managedPrefix) {
		return s.ManagedKey(resource)
	}
	if err != nil {
		return "", err
	}
	return k.arn, nil
}

// ManagedKey returns the ARN of the AWS managed key with an alias like
// "alias/aws/s3". The key is created on first use. Services may use it through
// [Service.GenerateDataKey] and [Service.Decrypt], the account may not. It
// rotates every year, as on AWS. Errors are *Error.
func (s *Service) ManagedKey(name string) (arn string, err error) {
	s.catchUp()
	if service, ok := strings.CutPrefix(name, managedPrefix); !ok || service == "" || len(name) > 256 || !aliasPattern.MatchString(name) {
		return "", notFound("Alias %s is not found.", s.arn(name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.aliases[name]; a != nil {
		return a.key.arn, nil
	}
	k := &key{
		identity:    identity{spec: findSpec(specSymmetric), usage: usageEncrypt, origin: originKMS, manager: awsManaged},
		state:       stateEnabled,
		description: "Default key that protects data of the service " + strings.TrimPrefix(name, managedPrefix) + " when no other key is defined",
		policy:      s.managedPolicy(strings.TrimPrefix(name, managedPrefix)),
	}
	s.insert(k)
	k.rotation.period = defaultRotationPeriod
	k.rotation.next = k.created.Add(k.rotation.days())
	s.schedule(k)
	s.aliases[name] = &alias{name: name, key: k, created: k.created, updated: k.created}
	return k.arn, nil
}

type deleteAliasInput struct{ AliasName *string }

func (in *deleteAliasInput) check(v *validation) {
	v.required("aliasName", in.AliasName != nil)
	if in.AliasName == nil {
		return
	}
	v.length("aliasName", len(*in.AliasName), 1, 256)
	if *in.AliasName != "" && !aliasPattern.MatchString(*in.AliasName) {
		v.add("'"+*in.AliasName+"' ", "aliasName", "satisfy regular expression pattern: "+aliasPattern.String())
	}
}

// mayName refuses names that an account's alias cannot have. The first message
// was recorded (LocalStack's snapshots, KMS test_create_alias).
func (in *deleteAliasInput) mayName() error {
	switch name := *in.AliasName; {
	case !strings.HasPrefix(name, aliasPrefix) || name == aliasPrefix:
		return invalid(`Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	case strings.HasPrefix(name, managedPrefix):
		return &Error{Code: "NotAuthorizedException", Status: 400}
	}
	return nil
}

// aliasInput creates an alias or points it at another key.
type aliasInput struct {
	deleteAliasInput
	TargetKeyID *string `json:"TargetKeyId"`
}

func (in *aliasInput) check(v *validation) {
	in.deleteAliasInput.check(v)
	v.keyID("targetKeyId", in.TargetKeyID)
}

// target finds the key that an alias is to name. s.mu is held.
func (s *Service) target(in *aliasInput, action string) (*key, error) {
	k, err := s.lookupNoAlias(*in.TargetKeyID)
	if err != nil {
		return nil, err
	}
	if err := k.changeable(action); err != nil {
		return nil, err
	}
	// A disabled key may get an alias, a key that is pending deletion may not
	// (KMS Developer Guide, "Key states").
	if k.state == statePendingDeletion {
		return nil, k.usable()
	}
	return k, nil
}

func (s *Service) createAlias(in *aliasInput) (any, error) {
	if err := in.mayName(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.target(in, "CreateAlias")
	if err != nil {
		return nil, err
	}
	if s.aliases[*in.AliasName] != nil {
		return nil, fail("AlreadyExistsException", "An alias with the name %s already exists", s.arn(*in.AliasName))
	}
	now := s.now()
	s.aliases[*in.AliasName] = &alias{name: *in.AliasName, key: k, created: now, updated: now}
	return nil, nil
}

// updateAlias points an alias at another key of the same kind and usage (KMS
// API Reference, UpdateAlias).
func (s *Service) updateAlias(in *aliasInput) (any, error) {
	if err := in.mayName(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.aliases[*in.AliasName]
	if a == nil {
		return nil, notFound("Alias %s is not found.", s.arn(*in.AliasName))
	}
	k, err := s.target(in, "UpdateAlias")
	if err != nil {
		return nil, err
	}
	if k.usage != a.key.usage || k.spec.kind() != a.key.spec.kind() {
		return nil, invalid("Alias %s cannot be moved to a key of another type or key usage.", s.arn(a.name))
	}
	a.key, a.updated = k, s.now()
	return nil, nil
}

func (s *Service) deleteAlias(in *deleteAliasInput) (any, error) {
	if err := in.mayName(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aliases[*in.AliasName] == nil {
		return nil, notFound("Alias %s is not found.", s.arn(*in.AliasName))
	}
	delete(s.aliases, *in.AliasName)
	return nil, nil
}

type listAliasesInput struct {
	page
	KeyID *string `json:"KeyId"`
}

func (in *listAliasesInput) check(v *validation) {
	v.optionalKeyID("keyId", in.KeyID)
	in.page.check(v)
}

type aliasEntry struct {
	AliasName       string
	AliasArn        string
	TargetKeyID     string `json:"TargetKeyId"`
	CreationDate    timestamp
	LastUpdatedDate timestamp
}

type listAliasesOutput struct {
	Aliases []aliasEntry
	more
}

func (s *Service) listAliases(in *listAliasesInput) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var only *key
	if in.KeyID != nil {
		var err error
		if only, err = s.lookupNoAlias(*in.KeyID); err != nil {
			return nil, err
		}
	}
	var names []string
	for name, a := range s.aliases {
		if only == nil || a.key == only {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	some, rest := paged(&in.page, names, 50, 100, behind(names), func(next int) string { return names[next-1] })
	out := listAliasesOutput{Aliases: []aliasEntry{}, more: rest}
	for _, name := range some {
		a := s.aliases[name]
		out.Aliases = append(out.Aliases, aliasEntry{name, s.arn(name), a.key.id, timestamp{a.created}, timestamp{a.updated}})
	}
	return out, nil
}
