// Package seed writes and reads client-side encrypted objects, for the demo,
// benchmarks and tests. They are what an application with the S3 Encryption
// Client has in its bucket: envelopes of the client's version 2, with AES-GCM
// content and a data key that KMS wrapped with an encryption context. The real
// client reads them; see engine/envelope/interop.
package seed

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

// Bucket is a bucket and the KMS key of the objects in it.
type Bucket struct {
	S3      *s3.Client
	KMS     *kms.Client
	Name    string
	Key     string            // KMS key id, ARN or alias
	Context map[string]string // in addition to what the format puts there; may be nil
	Workers int               // requests at once; 0 is 16
}

const contentAlgorithm = "AES/GCM/NoPadding"

// Fill writes n objects. name and payload return the key and the content of
// the i-th object; many goroutines call them at once.
func (b Bucket) Fill(ctx context.Context, n int, name func(i int) string, payload func(i int) []byte) error {
	return b.each(ctx, n, func(ctx context.Context, i int) error {
		return b.put(ctx, name(i), payload(i))
	})
}

// Check reads n objects back and compares their contents. It returns the
// number of data keys under each key material. After an error the rest of the
// objects may be unread.
func (b Bucket) Check(ctx context.Context, n int, name func(i int) string, payload func(i int) []byte) (map[string]int, error) {
	materials := make([]string, n)
	err := b.each(ctx, n, func(ctx context.Context, i int) error {
		got, material, err := b.get(ctx, name(i))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, payload(i)) {
			return fmt.Errorf("%s: the payload is not what was written", name(i))
		}
		materials[i] = material
		return nil
	})
	census := make(map[string]int)
	for _, m := range materials {
		census[m]++
	}
	return census, err
}

func (b Bucket) each(ctx context.Context, n int, f func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	if b.Workers <= 0 {
		b.Workers = 16
	}
	g.SetLimit(b.Workers)
	for i := range n {
		g.Go(func() error {
			if ctx.Err() != nil { // otherwise all that are left would fail one by one
				return context.Cause(ctx)
			}
			return f(ctx, i)
		})
	}
	return g.Wait()
}

func (b Bucket) put(ctx context.Context, name string, payload []byte) error {
	bound := map[string]string{"aws:x-amz-cek-alg": contentAlgorithm}
	for k, v := range b.Context {
		bound[k] = v
	}
	matdesc, err := json.Marshal(bound)
	if err != nil {
		return err
	}
	dk, err := b.KMS.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &b.Key, KeySpec: types.DataKeySpecAes256, EncryptionContext: bound})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer clear(dk.Plaintext)
	gcm, err := aead(dk.Plaintext)
	if err != nil {
		return err
	}
	iv := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(iv); err != nil {
		return err
	}
	_, err = b.S3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.Name, Key: &name,
		Body:        bytes.NewReader(gcm.Seal(nil, iv, payload, nil)),
		ContentType: aws.String("text/plain"),
		Metadata: map[string]string{
			"x-amz-key-v2":                     base64.StdEncoding.EncodeToString(dk.CiphertextBlob),
			"x-amz-iv":                         base64.StdEncoding.EncodeToString(iv),
			"x-amz-matdesc":                    string(matdesc),
			"x-amz-wrap-alg":                   "kms+context",
			"x-amz-cek-alg":                    contentAlgorithm,
			"x-amz-tag-len":                    "128",
			"x-amz-unencrypted-content-length": strconv.Itoa(len(payload)),
		},
	})
	return err
}

func (b Bucket) get(ctx context.Context, name string) (payload []byte, material string, err error) {
	out, err := b.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Name, Key: &name})
	if err != nil {
		return nil, "", err
	}
	defer out.Body.Close()
	sealed, err := io.ReadAll(out.Body)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	bound := make(map[string]string)
	if err := json.Unmarshal([]byte(out.Metadata["x-amz-matdesc"]), &bound); err != nil {
		return nil, "", fmt.Errorf("%s: x-amz-matdesc: %w", name, err)
	}
	blob, err := base64.StdEncoding.DecodeString(out.Metadata["x-amz-key-v2"])
	if err != nil {
		return nil, "", fmt.Errorf("%s: x-amz-key-v2: %w", name, err)
	}
	iv, err := base64.StdEncoding.DecodeString(out.Metadata["x-amz-iv"])
	if err != nil {
		return nil, "", fmt.Errorf("%s: x-amz-iv: %w", name, err)
	}
	dk, err := b.KMS.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, KeyId: &b.Key, EncryptionContext: bound})
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	defer clear(dk.Plaintext)
	gcm, err := aead(dk.Plaintext)
	if err != nil {
		return nil, "", err
	}
	if len(iv) != gcm.NonceSize() {
		return nil, "", fmt.Errorf("%s: x-amz-iv has %d bytes", name, len(iv))
	}
	payload, err = gcm.Open(nil, iv, sealed, nil)
	if err != nil {
		return nil, "", fmt.Errorf("%s: the payload does not open: %w", name, err)
	}
	return payload, aws.ToString(dk.KeyMaterialId), nil
}

func aead(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
