package setup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/engine/keys/keyring"
	"rewrap/sources/cloud"
	"rewrap/sources/cloud/arn"
	"rewrap/sources/cloud/awserr"
)

// Wrapping is how a keyring file is encrypted: by the KMS key, and bound to
// the pairs K=V; without a key it is in the clear. The clients have to be
// configured where there is a key. prefix stands before the names of the flags,
// for messages.
func Wrapping(clients *cloud.Cloud, key string, bound []string, prefix string) (keyring.Wrapping, error) {
	pairs := make(map[string]string, len(bound))
	for _, p := range bound {
		k, v, ok := strings.Cut(p, "=")
		_, twice := pairs[k]
		if !ok || k == "" || v == "" || twice {
			return keyring.Wrapping{}, job.Usage("--%scontext %q: it takes k=v, where neither is empty and no k comes twice", prefix, p)
		}
		pairs[k] = v
	}
	if key == "" {
		if len(pairs) > 0 {
			return keyring.Wrapping{}, job.Usage("--%scontext binds an encrypted keyring: name its key with --%skms", prefix, prefix)
		}
		return keyring.Wrapping{}, nil
	}
	return KMSWrapping(clients.KMS(arn.Region(key)), key, prefix, pairs), nil
}

// KeyringError makes wrong usage of a keyring a [job.UsageError].
func KeyringError(err error, prefix string) error {
	switch {
	case errors.Is(err, keyring.ErrTemplate):
		return &job.UsageError{Err: err}
	case errors.Is(err, keyring.ErrEncrypted):
		return job.Usage("%w with --%skms", err, prefix)
	case errors.Is(err, keyring.ErrClear):
		return job.Usage("%w: leave --%skms out if it is meant to be", err, prefix)
	}
	return err
}

// maxDirect is how many bytes KMS encrypts itself at most (KMS API Reference,
// Encrypt, Plaintext).
const maxDirect = 4096

// KMSWrapping opens and writes keyring files with one KMS key. KMS refuses a
// file that was encrypted under another key.
func KMSWrapping(client *kms.Client, key, prefix string, pairs map[string]string) keyring.Wrapping {
	refused := func(err error, action string) error {
		hint := ""
		meaning, plain := awserr.KMS(err)
		switch meaning {
		case awserr.Denied:
			hint = "; it needs " + action
		case awserr.BadBlob:
			hint = "; the file is damaged, or bound to another context: see --" + prefix + "context"
		case awserr.WrongKey:
			hint = "; another key encrypted the file: see --" + prefix + "kms"
		}
		return fmt.Errorf("by %s: %w%s", key, plain, hint)
	}
	return keyring.Wrapping{
		Context: pairs,
		Decrypt: func(ctx context.Context, blob []byte, pairs map[string]string) ([]byte, error) {
			out, err := client.Decrypt(ctx, &kms.DecryptInput{KeyId: aws.String(key), CiphertextBlob: blob, EncryptionContext: pairs})
			if err != nil {
				return nil, refused(err, "kms:Decrypt")
			}
			return out.Plaintext, nil
		},
		Encrypt: func(ctx context.Context, plain []byte, pairs map[string]string) ([]byte, error) {
			if len(plain) > maxDirect {
				return nil, fmt.Errorf("the keyring has %d bytes, and KMS encrypts at most %d: create a new keyring, or delete keys that nothing is under any more (tinkey delete-key)", len(plain), maxDirect)
			}
			out, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(key), Plaintext: plain, EncryptionContext: pairs})
			if err != nil {
				return nil, refused(err, "kms:Encrypt")
			}
			return out.CiphertextBlob, nil
		},
	}
}
