package interop

//lint:file-ignore SA1019 objects that the end of life SDK wrote are there, and it is their reader

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"maps"

	s3ec "github.com/aws/amazon-s3-encryption-client-go/v3/client"
	"github.com/aws/amazon-s3-encryption-client-go/v3/materials"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	kmsv1 "github.com/aws/aws-sdk-go/service/kms"
	s3v1 "github.com/aws/aws-sdk-go/service/s3"
	"github.com/aws/aws-sdk-go/service/s3/s3crypto"
)

// plain is an object as its owner sees it.
type plain struct {
	key     string
	body    []byte
	context map[string]string // the owner's part of the encryption context
	header  s3.PutObjectInput // content headers, metadata, tags
}

// client is a way to write and read encrypted objects.
type client struct {
	name string
	put  func(ctx context.Context, w *world, key string, p plain) error
	get  func(ctx context.Context, w *world, key, name string) ([]byte, error)
	// asciiOnly clients do not undo what S3 does to a context beyond ASCII,
	// and cannot read back such an object of their own.
	asciiOnly bool
}

// putV3 and getV3 are the S3 Encryption Client for Go v3, which writes V2 and
// reads V2 and V3, and both wraps of KMS. It asks KMS with the key that it is
// configured with, so it opens an object only if that key wrapped it.
func putV3(ctx context.Context, w *world, key string, p plain) error {
	c, err := w.v3(materials.NewKmsKeyring(w.KMS, key))
	if err != nil {
		return err
	}
	if p.context != nil {
		//lint:ignore SA1029 the client looks for a string
		ctx = context.WithValue(ctx, s3ec.EncryptionContext, p.context)
	}
	in := p.input()
	in.Body = bytes.NewReader(p.body)
	_, err = c.PutObject(ctx, &in)
	return err
}

func getV3(ctx context.Context, w *world, key, name string) ([]byte, error) {
	return w.getBy(ctx, materials.NewKmsKeyring(w.KMS, key, legacy), name)
}

// getAny reads an object under whatever key it is.
func getAny(ctx context.Context, w *world, name string) ([]byte, error) {
	return w.getBy(ctx, materials.NewKmsDecryptOnlyAnyKeyKeyring(w.KMS, legacy), name)
}

func (w *world) getBy(ctx context.Context, keyring materials.Keyring, name string) ([]byte, error) {
	c, err := w.v3(keyring)
	if err != nil {
		return nil, err
	}
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &name})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

func legacy(o *materials.KeyringOptions) { o.EnableLegacyWrappingAlgorithms = true }

func (w *world) v3(keyring materials.Keyring) (*s3ec.S3EncryptionClientV3, error) {
	cmm, err := materials.NewCryptographicMaterialsManager(keyring)
	if err != nil {
		return nil, err
	}
	return s3ec.New(w.S3, cmm, func(o *s3ec.EncryptionClientOptions) {
		o.EnableLegacyUnauthenticatedModes = true
		o.Logger = log.New(io.Discard, "", 0)
	})
}

// input is the request with a map of metadata of its own, to which clients
// add.
func (p plain) input() s3.PutObjectInput {
	in := p.header
	in.Bucket, in.Key = aws.String(bucket), &p.key
	in.Metadata = map[string]string{}
	maps.Copy(in.Metadata, p.header.Metadata)
	return in
}

// The clients in the end of life SDK: its V1 client writes the wrap "kms"
// with GCM and CBC, its V2 client "kms+context". They read without naming a
// key.
func putCrypto(build func(kms *kmsv1.KMS, key string, context s3crypto.MaterialDescription) s3crypto.ContentCipherBuilder) func(context.Context, *world, string, plain) error {
	return func(ctx context.Context, w *world, key string, p plain) error {
		c := s3crypto.NewEncryptionClient(w.v1, build(kmsv1.New(w.v1), key, p.describe()))
		_, err := c.PutObjectWithContext(ctx, p.inputV1())
		return err
	}
}

func putCryptoV2(ctx context.Context, w *world, key string, p plain) error {
	generator := s3crypto.NewKMSContextKeyGenerator(kmsv1.New(w.v1), key, p.describe())
	c, err := s3crypto.NewEncryptionClientV2(w.v1, s3crypto.AESGCMContentCipherBuilderV2(generator))
	if err != nil {
		return err
	}
	_, err = c.PutObjectWithContext(ctx, p.inputV1())
	return err
}

// putInstruction lets the V1 client keep the wrapped key in an instruction
// file.
func putInstruction(ctx context.Context, w *world, key string, p plain) error {
	builder := s3crypto.AESGCMContentCipherBuilder(s3crypto.NewKMSKeyGenerator(kmsv1.New(w.v1), key))
	c := s3crypto.NewEncryptionClient(w.v1, builder, func(c *s3crypto.EncryptionClient) {
		c.SaveStrategy = s3crypto.S3SaveStrategy{Client: s3v1.New(w.v1)}
	})
	_, err := c.PutObjectWithContext(ctx, p.inputV1())
	return err
}

func getCrypto(ctx context.Context, w *world, _, name string) ([]byte, error) {
	registry, keys := s3crypto.NewCryptoRegistry(), kmsv1.New(w.v1)
	for _, err := range []error{
		s3crypto.RegisterKMSWrapWithAnyCMK(registry, keys),
		s3crypto.RegisterKMSContextWrapWithAnyCMK(registry, keys),
		s3crypto.RegisterAESGCMContentCipher(registry),
		s3crypto.RegisterAESCBCContentCipher(registry, s3crypto.AESCBCPadder),
	} {
		if err != nil {
			return nil, err
		}
	}
	c, err := s3crypto.NewDecryptionClientV2(w.v1, registry)
	if err != nil {
		return nil, err
	}
	out, err := c.GetObjectWithContext(ctx, &s3v1.GetObjectInput{Bucket: aws.String(bucket), Key: &name})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

func (p plain) describe() s3crypto.MaterialDescription {
	d := s3crypto.MaterialDescription{}
	for k, v := range p.context {
		d[k] = &v
	}
	return d
}

func (p plain) inputV1() *s3v1.PutObjectInput {
	in := &s3v1.PutObjectInput{
		Bucket: aws.String(bucket), Key: &p.key, Body: bytes.NewReader(p.body), Metadata: map[string]*string{},
		ContentType: p.header.ContentType, CacheControl: p.header.CacheControl, ContentDisposition: p.header.ContentDisposition,
		ContentEncoding: p.header.ContentEncoding, ContentLanguage: p.header.ContentLanguage, Tagging: p.header.Tagging,
	}
	for k, v := range p.header.Metadata {
		in.Metadata[k] = &v
	}
	return in
}

// putV3Format writes the V3 format, which no client that builds here writes,
// as the S3 Encryption Client specification has it ("Key Derivation",
// "Content Metadata"): the data key is only the input of HKDF-SHA512 with the
// message id as salt, from which come the content's key and the commitment.
func putV3Format(ctx context.Context, w *world, key string, p plain) error {
	bound := map[string]string{"aws:x-amz-cek-alg": "115"}
	maps.Copy(bound, p.context)
	dk, err := w.KMS.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: kmstypes.DataKeySpecAes256, EncryptionContext: bound})
	if err != nil {
		return err
	}
	messageID := make([]byte, 28)
	rand.Read(messageID)
	const suite = "\x00\x73"
	contentKey, err := hkdf.Key(sha512.New, dk.Plaintext, messageID, suite+"DERIVEKEY", 32)
	if err != nil {
		return err
	}
	commitment, err := hkdf.Key(sha512.New, dk.Plaintext, messageID, suite+"COMMITKEY", 28)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(contentKey)
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	text, err := json.Marshal(bound)
	if err != nil {
		return err
	}
	in := p.input()
	b64 := base64.StdEncoding.EncodeToString
	for name, value := range map[string]string{
		"x-amz-c": "115", "x-amz-3": b64(dk.CiphertextBlob), "x-amz-w": "12", "x-amz-t": string(text), "x-amz-m": "",
		"x-amz-d": b64(commitment), "x-amz-i": b64(messageID), "x-amz-unencrypted-content-length": "",
	} {
		in.Metadata[name] = value
	}
	in.Body = bytes.NewReader(gcm.Seal(nil, bytes.Repeat([]byte{1}, gcm.NonceSize()), p.body, []byte(suite)))
	_, err = w.S3.PutObject(ctx, &in)
	return err
}

var (
	v3Client = client{"S3EC v3, kms+context", putV3, getV3, false}
	clients  = []client{
		v3Client,
		{"s3crypto v1, kms, GCM", putCrypto(func(kms *kmsv1.KMS, key string, d s3crypto.MaterialDescription) s3crypto.ContentCipherBuilder {
			return s3crypto.AESGCMContentCipherBuilder(s3crypto.NewKMSKeyGeneratorWithMatDesc(kms, key, d))
		}), getCrypto, true},
		{"s3crypto v1, kms, CBC", putCrypto(func(kms *kmsv1.KMS, key string, d s3crypto.MaterialDescription) s3crypto.ContentCipherBuilder {
			return s3crypto.AESCBCContentCipherBuilder(s3crypto.NewKMSKeyGeneratorWithMatDesc(kms, key, d), s3crypto.AESCBCPadder)
		}), getCrypto, true},
		{"s3crypto v2, kms+context", putCryptoV2, getCrypto, true},
		{"V3 format", putV3Format, getV3, false},
	}
)
