package s3

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"maps"
	"net/http"
	"sync"
	"time"
)

const (
	sseS3   = "AES256"
	sseKMS  = "aws:kms"
	sseDSSE = "aws:kms:dsse"
)

// encryption is how an object is encrypted at rest. Bodies are kept in the
// clear here, but the data key is real: KMS makes it at the write and unwraps
// it at every read. If KMS refuses, the read fails.
type encryption struct {
	algorithm string
	keyARN    string
	context   map[string]string // as it was given to KMS
	bucketKey bool
	dataKey   []byte // wrapped
	shared    bool   // the data key belongs to the bucket; see keyCache
}

var withS3Keys = &encryption{algorithm: sseS3}

func (e *encryption) describe(h http.Header) {
	set(h, "x-amz-server-side-encryption", e.algorithm)
	setIf(h, "x-amz-server-side-encryption-aws-kms-key-id", e.keyARN)
	if e.bucketKey {
		set(h, "x-amz-server-side-encryption-bucket-key-enabled", "true")
	}
}

// defaultEncryption is a bucket's rule for writes that ask for no encryption.
type defaultEncryption struct {
	algorithm string
	key       string // as it was given; PutBucketEncryption does not look it up
	bucketKey bool
	explicit  bool
}

// encryptFor derives the encryption of a write from its headers and from the
// bucket's default:
//   - no header: the default as a whole;
//   - aws:kms without a key: the managed key aws/s3, not the default's key;
//   - no bucket-key header: the default's setting (API, CopyObject).
//
// The encryption context has the object's ARN or, with a bucket key, the
// bucket's (Guide, "Using server-side encryption with AWS KMS keys").
func (c *call) encryptFor(b *bucket) (*encryption, error) {
	h := c.r.Header
	algorithm, key := h.Get("x-amz-server-side-encryption"), h.Get("x-amz-server-side-encryption-aws-kms-key-id")
	b.mu.RLock()
	rule := b.encryption
	b.mu.RUnlock()
	if algorithm == "" {
		if key != "" {
			return nil, invalidArgument("Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms", "x-amz-server-side-encryption", "null")
		}
		algorithm, key = rule.algorithm, rule.key
	}
	switch algorithm {
	case sseS3:
		if key != "" {
			return nil, invalidArgument("Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms", "x-amz-server-side-encryption", sseS3)
		}
		return withS3Keys, nil
	case sseKMS, sseDSSE:
	default:
		return nil, invalidArgument("The encryption method specified is not supported", "x-amz-server-side-encryption", algorithm)
	}
	if c.keys == nil {
		return nil, notImplemented("x-amz-server-side-encryption")
	}
	e := &encryption{algorithm: algorithm}
	if v := h.Get("x-amz-server-side-encryption-bucket-key-enabled"); v != "" {
		e.bucketKey = lower(v) == "true"
	} else {
		e.bucketKey = rule.bucketKey
	}
	if algorithm == sseDSSE {
		e.bucketKey = false // not supported with DSSE-KMS (API, PutObject)
	}
	extra, err := encryptionContext(h)
	if err != nil {
		return nil, err
	}
	if key == "" {
		if key, err = c.keys.ManagedKey("alias/aws/s3"); err != nil {
			return nil, keyError(err)
		}
	}
	return e, c.wrap(b, e, key, extra)
}

// wrap gives e a data key under key, from the bucket's cache or from KMS.
func (c *call) wrap(b *bucket, e *encryption, key string, extra map[string]string) error {
	e.context = maps.Clone(extra)
	if e.context == nil {
		e.context = make(map[string]string, 1)
	}
	if e.bucketKey {
		e.context["aws:s3:arn"] = "arn:aws:s3:::" + b.name
		arn, err := c.keys.ResolveKey(key)
		if err != nil {
			return keyError(err)
		}
		if blob := b.keys.current(arn, c.now); blob != nil && len(extra) == 0 {
			e.keyARN, e.dataKey, e.shared = arn, blob, true
			return nil
		}
	} else if _, given := e.context["aws:s3:arn"]; !given {
		e.context["aws:s3:arn"] = "arn:aws:s3:::" + b.name + "/" + c.key
	}
	var err error
	if _, e.dataKey, e.keyARN, err = c.keys.GenerateDataKey(key, 32, e.context); err != nil {
		return keyError(err)
	}
	if e.shared = e.bucketKey && len(extra) == 0; e.shared {
		b.keys.made(e.keyARN, e.dataKey, c.now)
	}
	return nil
}

// unwrap asks KMS for the object's data key, as every read of a body does.
func (c *call) unwrap(b *bucket, o *object) error {
	e := o.sse
	if e.dataKey == nil || e.shared && b.keys.isOpen(e.dataKey, c.now) {
		return nil
	}
	if _, _, _, err := c.keys.Decrypt(e.dataKey, e.context, e.keyARN); err != nil {
		return keyError(err)
	}
	if e.shared {
		b.keys.opened(e.dataKey, c.now)
	}
	return nil
}

func encryptionContext(h http.Header) (map[string]string, error) {
	v := h.Get("x-amz-server-side-encryption-context")
	if v == "" {
		return nil, nil
	}
	raw, err := base64.StdEncoding.DecodeString(v)
	var m map[string]string
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		return nil, invalidArgument("The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map", "x-amz-server-side-encryption-context", v)
	}
	return m, nil
}

// keyCache is why a bucket key saves calls to KMS. S3 keeps the bucket's data
// key open for a while. Meanwhile neither writes nor reads call KMS, and S3
// does not notice that the key was disabled (Guide, "Reducing the cost of
// SSE-KMS with Amazon S3 Bucket Keys"). AWS does not publish how long; here it
// is bucketKeyLife.
type keyCache struct {
	mu   sync.Mutex
	keys map[string]cachedKey // by key ARN
	open map[string]time.Time // when it is forgotten, by wrapped data key
}

type cachedKey struct {
	blob  []byte
	until time.Time
}

const bucketKeyLife = time.Minute

func (k *keyCache) current(arn string, now time.Time) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cached := k.keys[arn]; now.Before(cached.until) {
		return cached.blob
	}
	return nil
}

func (k *keyCache) made(arn string, blob []byte, now time.Time) {
	k.mu.Lock()
	if k.keys == nil {
		k.keys = make(map[string]cachedKey)
	}
	k.keys[arn] = cachedKey{blob, now.Add(bucketKeyLife)}
	k.mu.Unlock()
	k.opened(blob, now)
}

func (k *keyCache) isOpen(blob []byte, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return now.Before(k.open[string(blob)])
}

func (k *keyCache) opened(blob []byte, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open == nil {
		k.open = make(map[string]time.Time)
	}
	maps.DeleteFunc(k.open, func(_ string, until time.Time) bool { return !now.Before(until) })
	k.open[string(blob)] = now.Add(bucketKeyLife)
}

func (c *call) getBucketEncryption() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	b.mu.RLock()
	rule := b.encryption
	b.mu.RUnlock()
	var x xmlWriter
	x.root("ServerSideEncryptionConfiguration")
	x.open("Rule")
	x.open("ApplyServerSideEncryptionByDefault")
	x.element("SSEAlgorithm", rule.algorithm)
	x.elementIf("KMSMasterKeyID", rule.key)
	x.close("ApplyServerSideEncryptionByDefault")
	x.bool("BucketKeyEnabled", rule.bucketKey)
	x.close("Rule")
	x.close("ServerSideEncryptionConfiguration")
	return c.answer(&x)
}

func (c *call) putBucketEncryption() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	var doc struct {
		XMLName xml.Name `xml:"ServerSideEncryptionConfiguration"`
		Rule    []struct {
			Default struct {
				SSEAlgorithm, KMSMasterKeyID string
			} `xml:"ApplyServerSideEncryptionByDefault"`
			BucketKeyEnabled bool
			Blocked          *struct{} `xml:"BlockedEncryptionTypes"`
		}
	}
	if err := c.document(&doc); err != nil {
		return err
	}
	if len(doc.Rule) != 1 {
		return malformedXML()
	}
	rule := doc.Rule[0]
	if rule.Blocked != nil {
		return fault(501, "NotImplemented", "BlockedEncryptionTypes is not implemented.")
	}
	switch rule.Default.SSEAlgorithm {
	case sseKMS, sseDSSE:
	case sseS3:
		if rule.Default.KMSMasterKeyID != "" {
			return invalidArgument("a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse", "ApplyServerSideEncryptionByDefault", rule.Default.SSEAlgorithm)
		}
	default:
		return malformedXML()
	}
	b.mu.Lock()
	b.encryption = defaultEncryption{rule.Default.SSEAlgorithm, rule.Default.KMSMasterKeyID, rule.BucketKeyEnabled, true}
	b.mu.Unlock()
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) deleteBucketEncryption() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.encryption = defaultEncryption{algorithm: sseS3}
	b.mu.Unlock()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
