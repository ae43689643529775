package kms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// The layout of a symmetric ciphertext blob, as public blobs of today's KMS
// show it. AWS documents the blob as opaque, except that its header names the
// key in clear and is authenticated.
//
//	01 02 02 00 78 | 32 bytes, constant per key material | 01 | 16 nonce |
//	uint32 length of the rest | DER ContentInfo
//
// The ContentInfo is encryptedData (1.2.840.113549.1.7.6) with AES-256-GCM, a
// nonce of 12 bytes and a tag of 16. Its content is 27 bytes longer than the
// plaintext: the tag, and 11 bytes inside the encryption whose meaning is not
// public. They are zero here. A data key of 32 bytes makes a blob of 184
// bytes.
const (
	blobMagic = "\x01\x02\x02\x00\x78"
	idSize    = 32
	saltSize  = 16
	nonceSize = 12
	tagSize   = 16
	innerSize = 11

	saltAt     = len(blobMagic) + idSize + 1
	headerSize = saltAt + saltSize // the authenticated part
	derAt      = headerSize + 4

	maxBlob      = 6144 // CiphertextType
	maxPlaintext = 4096 // PlaintextType
)

// The fixed pieces between the DER lengths.
const (
	derEncryptedData = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06" // OID 1.2.840.113549.1.7.6
	derVersion       = "\x02\x01\x00"
	derAlgorithm     = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01" + // OID 1.2.840.113549.1.7.1, data
		"\x30\x1e\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2e" + // OID 2.16.840.1.101.3.4.1.46, aes256-GCM
		"\x30\x11\x04\x0c" // and its parameters: the nonce,
	derTag = "\x02\x01\x10" // and the length of the tag

	derSequence = 0x30
	derExplicit = 0xa0 // [0] EXPLICIT
	derContent  = 0x80 // [0] IMPLICIT OCTET STRING
)

type blobID [idSize]byte

// blob is a parsed ciphertext blob; its slices point into the input.
type blob struct {
	header []byte // authenticated with the encryption context
	id     blobID // of the key material
	salt   []byte
	nonce  []byte
	sealed []byte
}

// parseBlob accepts exactly what [material.seal] makes. Lengths must be
// minimal and nothing may follow, so that no byte of a blob can change
// unnoticed.
func parseBlob(b []byte) (blob, bool) {
	if len(b) < derAt || string(b[:len(blobMagic)]) != blobMagic || b[saltAt-1] != 1 ||
		int64(binary.BigEndian.Uint32(b[headerSize:])) != int64(len(b)-derAt) {
		return blob{}, false
	}
	p := blob{header: b[:headerSize], id: blobID(b[len(blobMagic):]), salt: b[saltAt:headerSize]}
	d := derReader{rest: b[derAt:]}
	d.enter(derSequence)
	d.expect(derEncryptedData)
	d.enter(derExplicit)
	d.enter(derSequence)
	d.expect(derVersion)
	d.enter(derSequence)
	d.expect(derAlgorithm)
	p.nonce = d.take(nonceSize)
	d.expect(derTag)
	d.enter(derContent)
	p.sealed = d.rest
	return p, !d.bad && len(p.sealed) > innerSize+tagSize
}

// derReader reads a structure in which an element with elements inside is
// always the last of its parent. So it reaches to the end of the input.
type derReader struct {
	rest []byte
	bad  bool
}

func (d *derReader) enter(tag byte) {
	for n := 2; n <= 4 && n <= len(d.rest); n++ {
		if h := appendDER(nil, tag, len(d.rest)-n); len(h) == n && bytes.HasPrefix(d.rest, h) {
			d.rest = d.rest[n:]
			return
		}
	}
	d.bad = true
}

func (d *derReader) expect(s string) {
	rest, ok := bytes.CutPrefix(d.rest, []byte(s))
	d.rest, d.bad = rest, d.bad || !ok
}

func (d *derReader) take(n int) []byte {
	if len(d.rest) < n {
		d.bad = true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// appendDER appends a tag and the minimal encoding of the length n. n is at
// most 65535, because blobs are shorter.
func appendDER(b []byte, tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(b, tag, byte(n))
	case n < 0x100:
		return append(b, tag, 0x81, byte(n))
	default:
		return append(b, tag, 0x82, byte(n>>8), byte(n))
	}
}

func derSize(n int) int {
	switch {
	case n < 0x80:
		return 2 + n
	case n < 0x100:
		return 3 + n
	default:
		return 4 + n
	}
}

// seal encrypts plaintext under the material, and binds it to the context.
// random has saltSize+nonceSize bytes that no other blob of the material has.
func (m *material) seal(plaintext []byte, context map[string]string, random []byte) []byte {
	salt, nonce := random[:saltSize], random[saltSize:]
	content := innerSize + len(plaintext) + tagSize
	inner := len(derAlgorithm) + nonceSize + len(derTag) + derSize(content)
	encrypted := len(derVersion) + derSize(inner)
	explicit := derSize(encrypted)
	info := len(derEncryptedData) + derSize(explicit)

	b := make([]byte, 0, derAt+derSize(info))
	b = append(b, blobMagic...)
	b = append(b, m.blobID[:]...)
	b = append(b, 1)
	b = append(b, salt...)
	header := b[:headerSize]
	b = binary.BigEndian.AppendUint32(b, uint32(derSize(info)))
	b = appendDER(b, derSequence, info)
	b = append(b, derEncryptedData...)
	b = appendDER(b, derExplicit, explicit)
	b = appendDER(b, derSequence, encrypted)
	b = append(b, derVersion...)
	b = appendDER(b, derSequence, inner)
	b = append(b, derAlgorithm...)
	b = append(b, nonce...)
	b = append(b, derTag...)
	b = appendDER(b, derContent, content)

	framed := make([]byte, innerSize+len(plaintext))
	copy(framed[innerSize:], plaintext)
	return m.aead(salt).Seal(b, nonce, framed, additionalData(header, context))
}

// open is the inverse of seal. It returns false unless blob and context are
// exactly those of seal.
func (m *material) open(b blob, context map[string]string) ([]byte, bool) {
	framed, err := m.aead(b.salt).Open(nil, b.nonce, b.sealed, additionalData(b.header, context))
	if err != nil {
		return nil, false
	}
	return framed[innerSize:], true
}

// aead derives the key of one blob from the material and the blob's salt: a
// key derivation in counter mode (NIST SP 800-108) with one HMAC-SHA-256, as
// AWS describes it in "AWS KMS cryptographic details".
func (m *material) aead(salt []byte) cipher.AEAD {
	mac := hmac.New(sha256.New, m.secret[:])
	mac.Write([]byte("\x00\x00\x00\x01rewrap emulator blob\x00"))
	mac.Write(salt)
	mac.Write([]byte("\x00\x00\x01\x00"))
	var sum [sha256.Size]byte
	block, err := aes.NewCipher(mac.Sum(sum[:0]))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the block has 16 bytes
	}
	return gcm
}

// additionalData is the header and the context in the order of its names. Each
// string follows its length, so that no two contexts have the same bytes.
func additionalData(header []byte, context map[string]string) []byte {
	n := len(header) + 4
	for k, v := range context {
		n += 8 + len(k) + len(v)
	}
	b := append(make([]byte, 0, n), header...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(context)))
	for _, k := range slices.Sorted(maps.Keys(context)) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(k)))
		b = append(b, k...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(context[k])))
		b = append(b, context[k]...)
	}
	return b
}
