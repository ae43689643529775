package envelope

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"rewrap/sources"
)

// Names of the user metadata in which the Amazon S3 Encryption Client keeps
// what is needed to decrypt an object (Amazon S3 Encryption Client
// specification, "Content Metadata"). On the wire each has the prefix
// x-amz-meta-.
const (
	metaKeyV1   = "x-amz-key"    // V1: the wrapped data key
	metaKeyV2   = "x-amz-key-v2" // V2: the same
	metaIV      = "x-amz-iv"     // V1, V2: IV of the content
	metaWrapAlg = "x-amz-wrap-alg"
	metaCEKAlg  = "x-amz-cek-alg"
	metaTagLen  = "x-amz-tag-len"
	metaMatDesc = "x-amz-matdesc"
	metaLength  = "x-amz-unencrypted-content-length"

	metaKeyV3        = "x-amz-3" // V3: the wrapped data key
	metaWrapAlgV3    = "x-amz-w"
	metaCEKAlgV3     = "x-amz-c"
	metaCommitmentV3 = "x-amz-d"
	metaMessageIDV3  = "x-amz-i"
	metaContextV3    = "x-amz-t"
	metaMatDescV3    = "x-amz-m"

	metaInstruction = "x-amz-crypto-instr-file" // marks an instruction file; only some clients write it
)

// kmsKeyID is the entry of the material description in which the wrap
// algorithm "kms" records the key as the writer was configured with it: id,
// ARN or alias. It is a part of the encryption context.
const kmsKeyID = "kms_cmk_id"

// s3ecDecisive are the names that tell the versions apart, in the order that
// the switch in [s3ec.Parse] relies on.
var s3ecDecisive = []string{metaKeyV1, metaKeyV2, metaKeyV3, metaIV, metaCommitmentV3, metaMessageIDV3}

// s3ecOthers are the names that no object has without a wrapped key.
var s3ecOthers = []string{
	metaWrapAlg, metaCEKAlg, metaTagLen, metaMatDesc,
	metaWrapAlgV3, metaCEKAlgV3, metaContextV3, metaMatDescV3,
}

// S3EC is the format of the Amazon S3 Encryption Client, versions V1, V2 and
// V3, where the object's metadata carry the data key and KMS wrapped it. An
// item has one wrapped key; Replace sets that one metadata value and touches
// nothing else, since neither the content's IV, nor its tag, nor the key
// commitment of V3 depends on how the data key is wrapped.
//
// Foreign are objects without such metadata, and those whose data key an AES
// or RSA key of the owner wraps instead of KMS. Skipped, with the reason
// "instruction-file", are instruction files and the objects whose wrapped key
// is in one. Objects with the names of two versions, or with a part of a set,
// are broken.
func S3EC() Format { return s3ec{} }

type s3ec struct{}

func (s3ec) Name() string { return "s3ec" }

func (s3ec) Head() int64 { return 0 }

func (s3ec) Parse(v sources.View) (Envelope, error) {
	if err := refuseInstructionFile(v); err != nil {
		return nil, err
	}
	m := s3ecMeta(v.Meta)
	found := m.present(s3ecDecisive)
	switch strings.Join(found, " ") {
	case metaKeyV1 + " " + metaIV:
		return m.parseV1()
	case metaKeyV2 + " " + metaIV:
		return m.parseV2()
	case metaKeyV3 + " " + metaCommitmentV3 + " " + metaMessageIDV3:
		return m.parseV3()
	case metaCommitmentV3 + " " + metaMessageIDV3:
		// V3 leaves what belongs to the content on the object when the
		// wrapped key goes to an instruction file.
		return nil, errInstructionElsewhere
	case "":
		if rest := m.present(s3ecOthers); len(rest) > 0 {
			return nil, fmt.Errorf("metadata %s without a wrapped key (%s, %s or %s): the S3 Encryption Client's metadata are incomplete",
				strings.Join(rest, ", "), metaKeyV1, metaKeyV2, metaKeyV3)
		}
		if _, ok := m[metaLength]; ok {
			return nil, errInstructionElsewhere
		}
		return nil, ErrForeign
	default:
		return nil, fmt.Errorf("metadata %s are not the set of one version of the S3 Encryption Client (%s and %s; %s and %s; %s, %s and %s): a part is missing, or two are mixed",
			strings.Join(found, ", "), metaIV, metaKeyV1, metaIV, metaKeyV2, metaKeyV3, metaCommitmentV3, metaMessageIDV3)
	}
}

type s3ecMeta map[string][]byte

func (m s3ecMeta) present(names []string) []string {
	var found []string
	for _, name := range names {
		if _, ok := m[name]; ok {
			found = append(found, name)
		}
	}
	return found
}

// V1 has no wrap algorithm; KMS is told by the key that its material
// description names.
func (m s3ecMeta) parseV1() (Envelope, error) {
	if _, ok := m[metaWrapAlg]; ok {
		return m.parseKMS("s3ec-v1", metaKeyV1)
	}
	context, err := m.context(metaMatDesc)
	if err != nil {
		return nil, err
	}
	if _, ok := context[kmsKeyID]; !ok {
		return nil, fmt.Errorf("%w: an S3 Encryption Client V1 object whose data key was not wrapped by KMS (%s names no %s)", ErrForeign, metaMatDesc, kmsKeyID)
	}
	return m.envelope("s3ec-v1", metaKeyV1, context[kmsKeyID], context)
}

func (m s3ecMeta) parseV2() (Envelope, error) { return m.parseKMS("s3ec-v2", metaKeyV2) }

// parseKMS goes by the wrap algorithm of V1 and V2. With "kms" the material
// description names the key, with "kms+context" nothing but the blob does.
func (m s3ecMeta) parseKMS(format, name string) (Envelope, error) {
	switch alg := string(m[metaWrapAlg]); alg {
	case "kms", "kms+context":
		context, err := m.context(metaMatDesc)
		if err != nil {
			return nil, err
		}
		var keyID string
		if alg == "kms" {
			keyID = context[kmsKeyID]
		}
		return m.envelope(format, name, keyID, context)
	case "AES/GCM", "AESWrap", "RSA-OAEP-SHA1", "RSA/ECB/OAEPWithSHA-256AndMGF1Padding":
		return nil, notKMS(metaWrapAlg, alg)
	default:
		return nil, m.unknownAlgorithm(metaWrapAlg)
	}
}

func (m s3ecMeta) parseV3() (Envelope, error) {
	switch alg := string(m[metaWrapAlgV3]); alg {
	case "12": // kms+context
		context, err := m.context(metaContextV3)
		if err != nil {
			return nil, err
		}
		return m.envelope("s3ec-v3", metaKeyV3, "", context)
	case "02", "22": // AES/GCM, RSA-OAEP-SHA1
		return nil, notKMS(metaWrapAlgV3, alg)
	default:
		return nil, m.unknownAlgorithm(metaWrapAlgV3)
	}
}

func notKMS(name, alg string) error {
	return fmt.Errorf("%w: the data key was wrapped by a key of the owner's, not by KMS (%s is %s)", ErrForeign, name, alg)
}

func (m s3ecMeta) unknownAlgorithm(name string) error {
	alg, ok := m[name]
	if !ok {
		return fmt.Errorf("metadata %s is missing: how the data key was wrapped is not known", name)
	}
	return fmt.Errorf("metadata %s is %.40q: no wrap algorithm of the S3 Encryption Client that is known here", name, alg)
}

func (m s3ecMeta) context(name string) (map[string]string, error) {
	context, err := decodeContext(m[name])
	if err != nil {
		return nil, fmt.Errorf("metadata %s is no encryption context: %w", name, err)
	}
	return context, nil
}

func (m s3ecMeta) envelope(format, name, keyID string, context map[string]string) (Envelope, error) {
	blob, err := base64.StdEncoding.DecodeString(string(m[name]))
	// Encoded again it has to be what stands there: that excludes line breaks
	// and stray bits, and so promises that an undo restores every byte.
	if err != nil || base64.StdEncoding.EncodeToString(blob) != string(m[name]) {
		return nil, fmt.Errorf("metadata %s is not standard base64 with padding", name)
	}
	if len(blob) == 0 {
		return nil, fmt.Errorf("metadata %s is empty", name)
	}
	return &s3ecEnvelope{format, WrappedKey{Locator: name, Blob: blob, KeyID: keyID, Context: context}}, nil
}

type s3ecEnvelope struct {
	format string
	key    WrappedKey
}

func (e *s3ecEnvelope) Format() string     { return e.format }
func (e *s3ecEnvelope) Keys() []WrappedKey { return []WrappedKey{e.key} }

func (e *s3ecEnvelope) Replace(new []*Rewrapped) (sources.Edit, error) {
	if len(new) != 1 {
		return sources.Edit{}, fmt.Errorf("%d new keys for the one of %s", len(new), e.key.Locator)
	}
	if new[0] == nil || new[0].Current {
		return sources.Edit{}, nil
	}
	if len(new[0].Blob) == 0 {
		return sources.Edit{}, errors.New("the new wrapped key is empty")
	}
	value := base64.StdEncoding.AppendEncode(nil, new[0].Blob)
	return sources.Edit{Meta: map[string][]byte{e.key.Locator: value}}, nil
}
