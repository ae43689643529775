package s3ec

import (
	"bytes"
	"encoding/json"
	"strings"

	"rewrap/sources"
)

// instructionSuffix is the default of every client. A writer may be configured
// with another one; then only the marker shows an instruction file.
const instructionSuffix = ".instruction"

// instructionHead is how much of a body is read to recognise an instruction
// file. Such a file holds one object's metadata, about 1 KB.
const instructionHead = 16 << 10

// errInstructionElsewhere is for an object that its metadata call encrypted, and
// whose key they do not hold.
var errInstructionElsewhere = &sources.SkipError{
	Reason: "instruction-file",
	Detail: "encrypted by the S3 Encryption Client with its wrapped key in an instruction file beside it, which is not re-wrapped; rewrite the object with a client that keeps the key in the object's metadata",
}

var errInstructionFile = &sources.SkipError{
	Reason: "instruction-file",
	Detail: "an instruction file of the S3 Encryption Client: the wrapped key in it is not re-wrapped; rewrite the object that it belongs to with a client that keeps the key in the object's metadata",
}

// refuseInstructionFile returns a *[sources.SkipError] for an instruction file,
// and a *[sources.ShortError] where the body is needed to recognise one.
func refuseInstructionFile(v sources.View) error {
	if _, ok := v.Meta[metaInstruction]; ok {
		return errInstructionFile
	}
	if !strings.HasSuffix(v.Name, instructionSuffix) {
		return nil
	}
	if int64(len(v.Head)) < min(v.Size, instructionHead) {
		return &sources.ShortError{Need: instructionHead}
	}
	if namesWrappedKey(v.Head) {
		return errInstructionFile
	}
	return nil
}

// namesWrappedKey says whether b begins with a JSON object that has a wrapped key
// at its top level. The value of that key is not looked at: old files have
// numbers, and b may end before it.
func namesWrappedKey(b []byte) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	for {
		name, err := d.Token()
		if err != nil {
			return false
		}
		switch name {
		case metaKeyV1, metaKeyV2, metaKeyV3:
			return true
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return false
		}
	}
}
