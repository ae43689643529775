package arn

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	const arn = "arn:aws:kms:us-east-1:111122223333:key/1234"
	const multi = "arn:aws:kms:us-east-1:111122223333:key/mrk-1234"
	for _, x := range []struct {
		s, arn string
		want   bool
	}{
		{arn, arn, true},
		{"1234", arn, true},
		{"12345", arn, false},
		{"", arn, false},
		{"alias/1234", arn, false},
		{strings.Replace(arn, "us-east-1", "eu-west-1", 1), arn, false},
		{strings.Replace(arn, "1111", "2222", 1), arn, false},
		{strings.Replace(multi, "us-east-1", "eu-west-1", 1), multi, true},
		{strings.Replace(multi, "1111", "2222", 1), multi, false},
		{strings.Replace(multi, "aws", "aws-cn", 1), multi, false},
		{"mrk-1234", multi, true},
		{"arn:aws:kms:us-east-1:111122223333:alias/1234", arn, false},
		{"arn:aws:s3:us-east-1:111122223333:key/1234", arn, false},
		{"arn:aws:kms:key-a", "arn:aws:kms:key-a", true},
	} {
		if got := Names(x.s, x.arn); got != x.want {
			t.Errorf("Names(%q, %q) = %v", x.s, x.arn, got)
		}
	}
}

func TestAliases(t *testing.T) {
	for _, x := range []struct {
		s, alias, region string
		is, managed      bool
	}{
		{"alias/a", "alias/a", "", true, false},
		{"alias/aws/s3", "alias/aws/s3", "", true, true},
		{"arn:aws:kms:us-east-1:111122223333:alias/aws/s3", "alias/aws/s3", "us-east-1", true, true},
		{"arn:aws:kms:us-east-1:111122223333:alias/a", "alias/a", "us-east-1", true, false},
		{"arn:aws:kms:us-east-1:111122223333:key/1", "arn:aws:kms:us-east-1:111122223333:key/1", "us-east-1", false, false},
		{"1234", "1234", "", false, false},
		{"", "", "", false, false},
		{"arn:aws:kms:alias/a", "arn:aws:kms:alias/a", "", false, false},
	} {
		if got := Alias(x.s); got != x.alias {
			t.Errorf("Alias(%q) = %q, want %q", x.s, got, x.alias)
		}
		if got := Region(x.s); got != x.region {
			t.Errorf("Region(%q) = %q, want %q", x.s, got, x.region)
		}
		if IsAlias(x.s) != x.is || ManagedAlias(x.s) != x.managed {
			t.Errorf("%q: an alias: %v, of AWS: %v", x.s, IsAlias(x.s), ManagedAlias(x.s))
		}
	}
}
