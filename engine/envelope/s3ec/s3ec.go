// Package s3ec is the format of the Amazon S3 Encryption Client.
package s3ec

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"rewrap/engine/envelope"
	"rewrap/sources"
)

// Names of the user metadata in which the Amazon S3 Encryption Client keeps the
// data that a reader needs to decrypt an object (Amazon S3 Encryption Client
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
// algorithm "kms" records the key, in the form that the writer was configured
// with: id, ARN or alias. The entry is part of the encryption context.
const kmsKeyID = "kms_cmk_id"

// decisive are the names that tell the versions apart. The switch in
// [format.Parse] relies on their order.
var decisive = []string{metaKeyV1, metaKeyV2, metaKeyV3, metaIV, metaCommitmentV3, metaMessageIDV3}

// companions are names that occur only beside a wrapped key.
var companions = []string{
	metaWrapAlg, metaCEKAlg, metaTagLen, metaMatDesc,
	metaWrapAlgV3, metaCEKAlgV3, metaContextV3, metaMatDescV3,
}

// New is the format of the Amazon S3 Encryption Client, versions V1, V2 and V3,
// where the object's metadata hold the data key and KMS wrapped it. An item has
// one wrapped key. Replace sets that one metadata value and nothing else: how
// the data key is wrapped affects neither the content's IV, nor its tag, nor
// the key commitment of V3. The base64 of all versions is standard, and padded.
//
// Objects without such metadata are foreign, and so are those whose data key is
// wrapped by an AES or RSA key of the owner instead of KMS. Instruction files,
// and objects whose wrapped key is in one, are skipped with the reason
// "instruction-file". Objects with the names of two versions, or with a part of
// a set, are broken.
func New() envelope.Format { return format{} }

type format struct{}

func (format) Name() string { return "s3ec" }

func (format) Head() int64 { return 0 }

func (format) Parse(v sources.View) (envelope.Envelope, error) {
	if err := refuseInstructionFile(v); err != nil {
		return envelope.Envelope{}, err
	}
	k, name, err := metadata(v.Meta).parse()
	if err != nil {
		return envelope.Envelope{}, err
	}
	return envelope.Envelope{
		Format: name, Keys: []envelope.WrappedKey{k},
		Replace: func(blobs [][]byte) (sources.Edit, error) { return replace(k, blobs) },
	}, nil
}

// metadata are the user metadata of an object.
type metadata map[string][]byte

// parse finds the wrapped key, and the name of the version.
func (m metadata) parse() (envelope.WrappedKey, string, error) {
	found := m.present(decisive)
	switch strings.Join(found, " ") {
	case metaKeyV1 + " " + metaIV:
		k, err := m.parseV1()
		return k, "s3ec-v1", err
	case metaKeyV2 + " " + metaIV:
		k, err := m.parseKMS(metaKeyV2)
		return k, "s3ec-v2", err
	case metaKeyV3 + " " + metaCommitmentV3 + " " + metaMessageIDV3:
		k, err := m.parseV3()
		return k, "s3ec-v3", err
	case metaCommitmentV3 + " " + metaMessageIDV3:
		// V3 keeps the entries of the content on the object when the wrapped
		// key goes to an instruction file.
		return none, "", errInstructionElsewhere
	case "":
		if rest := m.present(companions); len(rest) > 0 {
			return none, "", fmt.Errorf("metadata %s without a wrapped key (%s, %s or %s): the S3 Encryption Client's metadata are incomplete",
				strings.Join(rest, ", "), metaKeyV1, metaKeyV2, metaKeyV3)
		}
		if _, ok := m[metaLength]; ok {
			return none, "", errInstructionElsewhere
		}
		return none, "", envelope.ErrForeign
	default:
		return none, "", fmt.Errorf("metadata %s are not the set of one version of the S3 Encryption Client (%s and %s; %s and %s; %s, %s and %s): a part is missing, or two are mixed",
			strings.Join(found, ", "), metaIV, metaKeyV1, metaIV, metaKeyV2, metaKeyV3, metaCommitmentV3, metaMessageIDV3)
	}
}

var none envelope.WrappedKey

func (m metadata) present(names []string) []string {
	var found []string
	for _, name := range names {
		if _, ok := m[name]; ok {
			found = append(found, name)
		}
	}
	return found
}

// parseV1 goes by the material description: V1 mostly records no wrap
// algorithm, and an object under KMS names its key there.
func (m metadata) parseV1() (envelope.WrappedKey, error) {
	if _, ok := m[metaWrapAlg]; ok {
		return m.parseKMS(metaKeyV1)
	}
	context, err := m.context(metaMatDesc)
	if err != nil {
		return none, err
	}
	if _, ok := context[kmsKeyID]; !ok {
		return none, fmt.Errorf("%w: an S3 Encryption Client V1 object whose data key was not wrapped by KMS (%s names no %s)", envelope.ErrForeign, metaMatDesc, kmsKeyID)
	}
	return m.key(metaKeyV1, context[kmsKeyID], context)
}

// parseKMS goes by the wrap algorithm of V1 and V2. With "kms" the material
// description names the key. With "kms+context" only the blob names it.
func (m metadata) parseKMS(name string) (envelope.WrappedKey, error) {
	switch alg := string(m[metaWrapAlg]); alg {
	case "kms", "kms+context":
		context, err := m.context(metaMatDesc)
		if err != nil {
			return none, err
		}
		var keyID string
		if alg == "kms" {
			keyID = context[kmsKeyID]
		}
		return m.key(name, keyID, context)
	case "AES/GCM", "AESWrap", "RSA-OAEP-SHA1", "RSA/ECB/OAEPWithSHA-256AndMGF1Padding":
		return none, notKMS(metaWrapAlg, alg)
	default:
		return none, m.unknownAlgorithm(metaWrapAlg)
	}
}

func (m metadata) parseV3() (envelope.WrappedKey, error) {
	switch alg := string(m[metaWrapAlgV3]); alg {
	case "12": // kms+context
		context, err := m.context(metaContextV3)
		if err != nil {
			return none, err
		}
		return m.key(metaKeyV3, "", context)
	case "02", "22": // AES/GCM, RSA-OAEP-SHA1
		return none, notKMS(metaWrapAlgV3, alg)
	default:
		return none, m.unknownAlgorithm(metaWrapAlgV3)
	}
}

func notKMS(name, alg string) error {
	return fmt.Errorf("%w: the data key was wrapped by a key of the owner's, not by KMS (%s is %s)", envelope.ErrForeign, name, alg)
}

func (m metadata) unknownAlgorithm(name string) error {
	alg, ok := m[name]
	if !ok {
		return fmt.Errorf("metadata %s is missing: how the data key was wrapped is not known", name)
	}
	return fmt.Errorf("metadata %s is %.40q: no wrap algorithm of the S3 Encryption Client that is known here", name, alg)
}

func (m metadata) context(name string) (map[string]string, error) {
	context, err := decodeContext(m[name])
	if err != nil {
		return nil, fmt.Errorf("metadata %s is no encryption context: %w", name, err)
	}
	return context, nil
}

func (m metadata) key(name, keyID string, context map[string]string) (envelope.WrappedKey, error) {
	text := string(m[name])
	blob, err := base64.StdEncoding.DecodeString(text)
	// The text has to come back when the blob is encoded again, or an undo could
	// not restore every byte. That excludes line breaks and stray bits.
	if err != nil || base64.StdEncoding.EncodeToString(blob) != text {
		return none, fmt.Errorf("metadata %s is not standard base64 with padding", name)
	}
	if len(blob) == 0 {
		return none, fmt.Errorf("metadata %s is empty", name)
	}
	return envelope.WrappedKey{Locator: name, Blob: blob, KeyID: keyID, Context: context}, nil
}

func replace(k envelope.WrappedKey, blobs [][]byte) (sources.Edit, error) {
	if err := envelope.CheckBlobs([]envelope.WrappedKey{k}, blobs); err != nil {
		return sources.Edit{}, err
	}
	if blobs[0] == nil || bytes.Equal(blobs[0], k.Blob) {
		return sources.Edit{}, nil
	}
	value := base64.StdEncoding.AppendEncode(nil, blobs[0])
	return sources.Edit{Meta: map[string][]byte{k.Locator: value}}, nil
}
