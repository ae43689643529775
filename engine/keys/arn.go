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
