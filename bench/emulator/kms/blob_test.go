package kms

import (
	"bytes"
	"encoding/asn1"
	"maps"
	"slices"
	"testing"
)

func testMaterial() *material {
	m := &material{}
	for i := range m.secret {
		m.secret[i], m.blobID[i] = byte(i), byte(200+i)
	}
	return m
}

var testRandom = bytes.Repeat([]byte{7}, saltSize+nonceSize)

// encoding/asn1 reads the hand-written DER, at lengths on both sides of each
// change in the encoding of lengths.
func TestBlobIsDER(t *testing.T) {
	type algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters struct {
			Nonce []byte
			Tag   int
		}
	}
	type contentInfo struct {
		OID  asn1.ObjectIdentifier
		Data struct {
			Version int
			Info    struct {
				OID       asn1.ObjectIdentifier
				Algorithm algorithm
				Content   []byte `asn1:"tag:0"`
			}
		} `asn1:"tag:0,explicit"`
	}
	m := testMaterial()
	for n := 1; n <= maxPlaintext; n++ {
		if n > 300 && n != maxPlaintext {
			continue
		}
		b := m.seal(make([]byte, n), nil, testRandom)
		var c contentInfo
		rest, err := asn1.Unmarshal(b[derAt:], &c)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%d bytes: %v, %d bytes trail", n, err, len(rest))
		}
		if c.OID.String() != "1.2.840.113549.1.7.6" || c.Data.Info.OID.String() != "1.2.840.113549.1.7.1" ||
			c.Data.Info.Algorithm.OID.String() != "2.16.840.1.101.3.4.1.46" || c.Data.Info.Algorithm.Parameters.Tag != 16 ||
			len(c.Data.Info.Algorithm.Parameters.Nonce) != 12 || len(c.Data.Info.Content) != n+27 {
			t.Fatalf("%d bytes: %+v", n, c)
		}
		p, ok := parseBlob(b)
		if !ok {
			t.Fatalf("%d bytes: not read back", n)
		}
		if plaintext, ok := m.open(p, nil); !ok || len(plaintext) != n {
			t.Fatalf("%d bytes: not opened", n)
		}
		if len(b) > maxBlob {
			t.Fatalf("%d bytes make a blob of %d", n, len(b))
		}
	}
}

// No bit of a blob can change without being noticed.
func TestBlobBits(t *testing.T) {
	m := testMaterial()
	good := m.seal([]byte("0123456789abcdef"), map[string]string{"a": "b"}, testRandom)
	for i := range len(good) * 8 {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		p, ok := parseBlob(b)
		if !ok {
			continue
		}
		if _, ok := m.open(p, map[string]string{"a": "b"}); ok {
			t.Errorf("bit %d of byte %d does not matter", i%8, i/8)
		}
	}
	for n := range good {
		if _, ok := parseBlob(good[:n]); ok {
			t.Errorf("the first %d bytes are a blob", n)
		}
	}
}

// Each blob has a key of its own, derived with its salt.
func TestBlobSalt(t *testing.T) {
	m := testMaterial()
	other := bytes.Clone(testRandom)
	other[0] ^= 1
	plaintext := make([]byte, 64)
	a, _ := parseBlob(m.seal(plaintext, nil, testRandom))
	b, _ := parseBlob(m.seal(plaintext, nil, other))
	if bytes.Equal(a.sealed[:64], b.sealed[:64]) {
		t.Error("the salt does not change the key")
	}
}

// Two contexts are the same bytes only if they are the same context.
func FuzzContexts(f *testing.F) {
	f.Add("ab", "c", "", "", "a", "bc", "", "")
	f.Add("a", "", "b", "", "a", "b", "", "")
	f.Add("a", "1", "b", "2", "b", "2", "a", "1")
	f.Add("a", "\x00\x00\x00\x00", "", "", "a\x00\x00\x00\x04", "", "", "") // a name that looks like a name and a length
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, l1, w1, l2, w2 string) {
		a, b := map[string]string{k1: v1, k2: v2}, map[string]string{l1: w1, l2: w2}
		if same := bytes.Equal(additionalData(nil, a), additionalData(nil, b)); same != maps.Equal(a, b) {
			t.Errorf("%q and %q: %v", a, b, same)
		}
	})
}

func FuzzParseBlob(f *testing.F) {
	m := testMaterial()
	for _, n := range []int{1, 16, 32, 64, 200, 4096} {
		f.Add(m.seal(make([]byte, n), nil, testRandom))
	}
	f.Add([]byte{})
	f.Add([]byte(blobMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parseBlob(b)
		if !ok {
			return
		}
		// An accepted blob has one form only: sealing the same length again with
		// the same header gives the same bytes up to the sealed ones.
		if len(p.sealed) > innerSize+maxPlaintext+tagSize {
			return
		}
		same := &material{blobID: p.id}
		again := same.seal(make([]byte, len(p.sealed)-innerSize-tagSize), nil, slices.Concat(p.salt, p.nonce))
		n := len(b) - len(p.sealed)
		if len(again) != len(b) || !bytes.Equal(again[:n], b[:n]) {
			t.Errorf("%x is accepted, and would be written as %x", b[:n], again[:n])
		}
	})
}
