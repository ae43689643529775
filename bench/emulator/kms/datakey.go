package kms

// GenerateDataKey makes a data key of n bytes for a service that acts on
// behalf of the account, as S3 does for SSE-KMS. Such a service may use AWS
// managed keys too. keyID is a key id, key ARN, alias or alias ARN. Errors are
// *Error.
func (s *Service) GenerateDataKey(keyID string, n int, context map[string]string) (plaintext, blob []byte, keyARN string, err error) {
	s.catchUp()
	var v validation
	v.keyID("keyId", &keyID)
	v.between("numberOfBytes", &n, 1, maxDataKey)
	if err := v.err(); err != nil {
		return nil, nil, "", err
	}
	plaintext, blob, u, err := s.newDataKey(keyID, n, context, awsService)
	if err != nil {
		return nil, nil, "", err
	}
	return plaintext, blob, u.key.arn, nil
}

// Decrypt opens a blob for a service that acts on behalf of the account. With
// keyID "" the blob may be under any symmetric key. material is the id of the
// key material that sealed the blob. Errors are *Error.
func (s *Service) Decrypt(blob []byte, context map[string]string, keyID string) (plaintext []byte, keyARN, material string, err error) {
	s.catchUp()
	var v validation
	v.length("ciphertextBlob", len(blob), 1, maxBlob)
	if err := v.err(); err != nil {
		return nil, "", "", err
	}
	var pin *use
	if keyID != "" {
		u, err := s.forDecryption(keyID, algorithmSymmetric, "Decrypt", awsService)
		if err != nil {
			return nil, "", "", err
		}
		pin = &u
	}
	plaintext, u, err := s.unseal(blob, context, pin, algorithmSymmetric, "Decrypt", awsService)
	if err != nil {
		return nil, "", "", err
	}
	return plaintext, u.key.arn, u.materialID(), nil
}

const maxDataKey = 1024 // NumberOfBytesType

func (s *Service) newDataKey(id string, n int, context map[string]string, by principal) (plaintext, blob []byte, u use, err error) {
	if err := checkContext(context, algorithmSymmetric); err != nil {
		return nil, nil, use{}, err
	}
	u, err = s.forEncryption(id, algorithmSymmetric, "GenerateDataKey", "GenerateDataKey", by)
	if err != nil {
		return nil, nil, use{}, err
	}
	plaintext = make([]byte, n)
	s.random(plaintext)
	blob, err = s.seal(u, plaintext, context, algorithmSymmetric)
	return plaintext, blob, u, err
}

type generateDataKeyInput struct {
	keyIDInput
	KeySpec           string
	NumberOfBytes     *int
	EncryptionContext map[string]string
	GrantTokens       []string
	Recipient         any
	DryRun            bool
}

type generateDataKeyOutput struct {
	CiphertextBlob []byte
	KeyID          string `json:"KeyId"`
	KeyMaterialID  string `json:"KeyMaterialId,omitempty"`
	Plaintext      []byte `json:",omitempty"`
}

func (in *generateDataKeyInput) check(v *validation) {
	in.keyIDInput.check(v)
	v.oneOf("keySpec", in.KeySpec, []string{"AES_256", "AES_128"})
	v.between("numberOfBytes", in.NumberOfBytes, 1, maxDataKey)
	checkGrantTokens(v, in.GrantTokens)
}

func (s *Service) generateDataKey(in *generateDataKeyInput) (any, error) {
	if (in.KeySpec == "") == (in.NumberOfBytes == nil) {
		return nil, invalid("Please specify either number of bytes or key spec.")
	}
	if in.Recipient != nil {
		return nil, unsupported("Recipient is not supported by this emulator.")
	}
	var n int
	switch in.KeySpec {
	case "AES_256":
		n = 32
	case "AES_128":
		n = 16
	default:
		n = *in.NumberOfBytes
	}
	plaintext, blob, u, err := s.newDataKey(*in.KeyID, n, in.EncryptionContext, account)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, dryRun()
	}
	return &generateDataKeyOutput{blob, u.key.arn, u.materialID(), plaintext}, nil
}

func (s *Service) generateDataKeyWithoutPlaintext(in *generateDataKeyInput) (any, error) {
	out, err := s.generateDataKey(in)
	if err != nil {
		return nil, err
	}
	out.(*generateDataKeyOutput).Plaintext = nil
	return out, nil
}

type generateRandomInput struct {
	NumberOfBytes *int
	Recipient     any
}

type generateRandomOutput struct{ Plaintext []byte }

func (in *generateRandomInput) check(v *validation) {
	v.between("numberOfBytes", in.NumberOfBytes, 1, maxDataKey)
}

func (s *Service) generateRandom(in *generateRandomInput) (any, error) {
	if in.NumberOfBytes == nil {
		return nil, invalid("NumberOfBytes is required.")
	}
	if in.Recipient != nil {
		return nil, unsupported("Recipient is not supported by this emulator.")
	}
	b := make([]byte, *in.NumberOfBytes)
	s.random(b)
	return generateRandomOutput{b}, nil
}
