package keys

import "strings"

// keyARN is arn:PARTITION:kms:REGION:ACCOUNT:key/ID in its parts.
type keyARN struct{ partition, region, account, id string }

func parseKeyARN(s string) (keyARN, bool) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[2] != "kms" {
		return keyARN{}, false
	}
	id, ok := strings.CutPrefix(p[5], "key/")
	return keyARN{p[1], p[3], p[4], id}, ok && id != ""
}

// regionOf is the Region in an ARN of a key or an alias; "" where s is none.
func regionOf(s string) string {
	if p := strings.SplitN(s, ":", 6); len(p) == 6 && p[0] == "arn" {
		return p[3]
	}
	return ""
}

func isAlias(s string) bool {
	if strings.HasPrefix(s, "alias/") {
		return true
	}
	p := strings.SplitN(s, ":", 6)
	return len(p) == 6 && p[0] == "arn" && strings.HasPrefix(p[5], "alias/")
}

// aliasName is the name of an alias, with alias/, that is given by its name or
// its ARN; other strings stay as they are.
func aliasName(s string) string {
	if isAlias(s) && !strings.HasPrefix(s, "alias/") {
		return strings.SplitN(s, ":", 6)[5]
	}
	return s
}

// managedAlias knows the aliases that are AWS's own. AWS makes the key of such
// a one when DescribeKey is asked for it by the alias (KMS API Reference,
// DescribeKey), so nothing that only reads may do that.
func managedAlias(s string) bool { return strings.HasPrefix(aliasName(s), "alias/aws/") }

// names says whether s, a key ARN or a bare key id, names the key: the very
// one, or a replica of it in another Region. Replicas of a multi-Region key
// share its id, which begins with mrk-, and its key material (KMS Developer
// Guide, multi-Region keys).
func names(s, arn string) bool {
	if s == arn {
		return true
	}
	k, ok := parseKeyARN(arn)
	if !ok {
		return false
	}
	o, ok := parseKeyARN(s)
	if !ok {
		return s == k.id
	}
	return o.id == k.id && o.partition == k.partition && o.account == k.account &&
		(o.region == k.region || strings.HasPrefix(k.id, "mrk-"))
}
