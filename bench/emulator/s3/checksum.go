package s3

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"slices"
	"strings"
)

// checksum is an additional checksum of an object: the algorithm as the API
// spells it (CRC32, SHA256), the value in base64, and whether it is composite.
// A composite value is made of the checksums of N parts and ends in "-N"; all
// others cover the whole object.
type checksum struct {
	algorithm string
	value     string
	composite bool
}

func (s checksum) kind() string {
	if s.composite {
		return "COMPOSITE"
	}
	return "FULL_OBJECT"
}

func (s checksum) header() string { return "x-amz-checksum-" + strings.ToLower(s.algorithm) }

// crc64NVME has the polynomial of CRC-64/NVME, reflected as hash/crc64 takes
// it.
var crc64NVME = crc64.MakeTable(0x9a6c9329ac4bc9b5)
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var algorithms = []string{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"}

// sum computes a checksum. ok is false if the algorithm is unknown.
func sum(algorithm string, data []byte) (raw []byte, ok bool) {
	switch algorithm {
	case "CRC32":
		return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(data)), true
	case "CRC32C":
		return binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli)), true
	case "CRC64NVME":
		return binary.BigEndian.AppendUint64(nil, crc64.Checksum(data, crc64NVME)), true
	case "SHA1":
		s := sha1.Sum(data)
		return s[:], true
	case "SHA256":
		s := sha256.Sum256(data)
		return s[:], true
	}
	return nil, false
}

// whole is the checksum of a whole body. Without an algorithm it is CRC64NVME,
// which S3 adds by itself (Guide, "Checking object integrity").
func whole(algorithm string, data []byte) checksum {
	if algorithm == "" {
		algorithm = "CRC64NVME"
	}
	raw, _ := sum(algorithm, data)
	return checksum{algorithm: algorithm, value: base64.StdEncoding.EncodeToString(raw)}
}

// declared checks the checksum that came in header or trailer, if any.
func declared(h, trailer http.Header, data []byte) (checksum, error) {
	var found checksum
	for _, algorithm := range algorithms {
		name := "x-amz-checksum-" + strings.ToLower(algorithm)
		value := h.Get(name)
		if value == "" {
			value = trailer.Get(name)
		}
		if value == "" {
			continue
		}
		if found.algorithm != "" {
			return found, invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		found = whole(algorithm, data)
		if _, err := base64.StdEncoding.DecodeString(value); err != nil || len(value) != len(found.value) {
			return found, invalidRequest("Value for " + name + " header is invalid.")
		}
		if value != found.value {
			return found, fault(400, "BadDigest", "The "+algorithm+" you specified did not match the calculated checksum.")
		}
	}
	if named := strings.ToUpper(h.Get("x-amz-sdk-checksum-algorithm")); named != "" {
		if _, ok := sum(named, nil); !ok {
			return found, invalidRequest("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [" + strings.Join(algorithms, ", ") + "]")
		}
		if found.algorithm == "" {
			return found, invalidRequest("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
		}
		if found.algorithm != named {
			return found, invalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
		}
	}
	return found, nil
}

// needDigest refuses a body without any digest, for the operations that
// require one (API, DeleteObjects, UpdateObjectEncryption).
func needDigest(h http.Header) error {
	names := []string{"Content-MD5", "x-amz-trailer"}
	for _, algorithm := range algorithms {
		names = append(names, checksum{algorithm: algorithm}.header())
	}
	if slices.ContainsFunc(names, func(name string) bool { return h.Get(name) != "" }) {
		return nil
	}
	return invalidRequest("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
}
