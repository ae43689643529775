package kms_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/checkpoint/account"
	"rewrap/engine/envelope"
	"rewrap/engine/keys/keytest"
	"rewrap/engine/keys/kms"
)

// TestContract: what holds of every rewrapper holds of KMS, however it is
// configured.
func TestContract(t *testing.T) {
	for name, c := range map[string]kms.Config{
		"default":              {},
		"verify=none":          {Verify: kms.VerifyNone},
		"verify=open":          {Verify: kms.VerifyOpen},
		"target first":         {TargetFirst: true},
		"without kept answers": {CacheBytes: 1},
		"look":                 {Look: true, TargetFirst: true},
		"look as a run does":   {Look: true, Verify: kms.VerifyOpen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keytest.Run(t, func(t *testing.T) keytest.World { return contractWorld(t, c) })
		})
	}
}

func contractWorld(t *testing.T, c kms.Config) keytest.World {
	w := newWorld(t, 0)
	from, to, none := w.key(), w.key(), w.key()
	c.From, c.To = []string{from}, to
	wrap := func(arn string) func(*testing.T, string) envelope.WrappedKey {
		return func(t *testing.T, secret string) envelope.WrappedKey {
			return envelope.WrappedKey{Blob: w.For(t).Seal(arn, secret, ec), Context: ec}
		}
	}
	return keytest.World{
		Rewrapper: w.open(c),
		Old:       wrap(from), Current: wrap(to), Foreign: wrap(none),
		Open: func(t *testing.T, k envelope.WrappedKey) (string, account.KeyVersion, error) {
			out, err := w.KMS.Decrypt(t.Context(), &sdk.DecryptInput{CiphertextBlob: k.Blob, EncryptionContext: k.Context})
			if err != nil {
				return "", account.KeyVersion{}, err
			}
			return string(out.Plaintext), account.KeyVersion{ARN: aws.ToString(out.KeyId), Material: aws.ToString(out.KeyMaterialId)}, nil
		},
		Requests: func() int { return w.calls("ReEncrypt") },
		Break:    func(*testing.T) { w.Disable(to) },
	}
}
