// Package arn reads the names of KMS keys and aliases. A key is named by its
// id or its ARN, an alias by its name or its ARN.
package arn

import "strings"

// Key is a key ARN in its parts: arn:PARTITION:kms:REGION:ACCOUNT:key/ID.
type Key struct{ Partition, Region, Account, ID string }

// Parse reads a key ARN. It is false for any other string.
func Parse(s string) (Key, bool) {
	p, ok := split(s)
	if !ok || p[2] != "kms" {
		return Key{}, false
	}
	id, ok := strings.CutPrefix(p[5], "key/")
	return Key{p[1], p[3], p[4], id}, ok && id != ""
}

func split(s string) (parts []string, ok bool) {
	p := strings.SplitN(s, ":", 6)
	return p, len(p) == 6 && p[0] == "arn"
}

// Region is the Region in an ARN; "" if s is no ARN.
func Region(s string) string {
	if p, ok := split(s); ok {
		return p[3]
	}
	return ""
}

// IsAlias says whether s is the name of an alias, with alias/, or its ARN.
func IsAlias(s string) bool {
	return strings.HasPrefix(Alias(s), "alias/")
}

// Alias is the name, with alias/, of an alias that is given by its name or its
// ARN. Any other string stays as it is.
func Alias(s string) string {
	if p, ok := split(s); ok && strings.HasPrefix(p[5], "alias/") {
		return p[5]
	}
	return s
}

// ManagedAlias says whether an alias belongs to AWS. AWS creates the key of
// such an alias when DescribeKey is called with it (KMS API Reference,
// DescribeKey), so code that only reads must not call DescribeKey with it.
func ManagedAlias(s string) bool { return strings.HasPrefix(Alias(s), "alias/aws/") }

// Names says whether s, a key ARN or a bare key id, names the key with the ARN
// key, or a replica of it in another Region. Replicas of a multi-Region key
// share its id, which begins with mrk-, and its key material (KMS Developer
// Guide, "Multi-Region keys").
func Names(s, key string) bool {
	if s == key {
		return true
	}
	k, ok := Parse(key)
	if !ok {
		return false
	}
	o, ok := Parse(s)
	if !ok {
		return s == k.ID
	}
	return o.ID == k.ID && o.Partition == k.Partition && o.Account == k.Account &&
		(o.Region == k.Region || strings.HasPrefix(k.ID, "mrk-"))
}
