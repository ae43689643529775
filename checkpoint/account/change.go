package account

// KeyVersion is a key, and the key material of it that wrapped something.
type KeyVersion struct {
	ARN      string `json:"key"`      // a KMS key's ARN, or the name of a key in a keyring
	Material string `json:"material"` // the key material's id; "" where the service does not name it
}

func (v KeyVersion) String() string {
	if v.Material == "" {
		return v.ARN
	}
	return v.ARN + "@" + v.Material
}

// KeyChange is a wrapped key that is given a new wrapping.
type KeyChange struct {
	Locator      string `json:"locator"`
	KeyFrom      string `json:"key_from"`
	MaterialFrom string `json:"material_from"`
	KeyTo        string `json:"key_to"`
	MaterialTo   string `json:"material_to"`
	RequestID    string `json:"request_id"`
	SHA256Before string `json:"sha256_before"` // of the wrapped key, in hex
	SHA256After  string `json:"sha256_after"`
}
