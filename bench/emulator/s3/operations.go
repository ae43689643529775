package s3

import "slices"

// operation is one entry of the S3 API: its name, its handler, and the query
// parameters and x-amz- headers that it takes. A request with others is
// refused, because they may ask for something that matters.
type operation struct {
	name    string
	run     func(*call) error
	params  []string
	headers []string
}

var (
	encryptHeaders = []string{
		"x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
		"x-amz-server-side-encryption-context", "x-amz-server-side-encryption-bucket-key-enabled",
	}
	aclHeaders = []string{
		"x-amz-acl", "x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write-acp",
	}
	writeHeaders = slices.Concat(encryptHeaders, aclHeaders, []string{
		"x-amz-meta-*", "x-amz-storage-class", "x-amz-tagging", "x-amz-website-redirect-location",
		"x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold",
	})
	copySourceHeaders = []string{
		"x-amz-copy-source", "x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match",
		"x-amz-copy-source-if-modified-since", "x-amz-copy-source-if-unmodified-since",
		"x-amz-source-expected-bucket-owner",
	}
	readHeaders   = []string{"x-amz-checksum-mode"}
	listHeaders   = []string{"x-amz-optional-object-attributes"}
	bypassHeaders = []string{"x-amz-bypass-governance-retention"}

	versionParams = []string{"versionId"}
	partParams    = []string{"partNumber"}
	readParams    = []string{
		"versionId", "partNumber",
		"response-content-type", "response-content-language", "response-expires",
		"response-cache-control", "response-content-disposition", "response-content-encoding",
	}

	// commonHeaders may stand in any request. They say how it is signed, sent
	// and paid for, or are checked for all operations alike.
	commonHeaders = []string{
		"x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-user-agent", "x-amz-target",
		"x-amz-expected-bucket-owner", "x-amz-request-payer", "x-amz-decoded-content-length", "x-amz-trailer",
		"x-amz-sdk-checksum-algorithm", "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme",
		"x-amz-checksum-sha1", "x-amz-checksum-sha256",
	}
	commonParams = []string{
		"x-id", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
		"X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Content-Sha256",
	}
)

// selectors are the query parameters that choose an operation.
var selectors = map[string]bool{
	"acl": true, "attributes": true, "delete": true, "encryption": true, "legal-hold": true, "list-type": true,
	"location": true, "object-lock": true, "ownershipControls": true, "retention": true, "tagging": true,
	"uploadId": true, "uploads": true, "versioning": true, "versions": true,
}

// operations by method, level and selector. The level is service, bucket,
// object, or copy: an object request with a copy source.
var operations = map[string]*operation{
	"GET service": {"ListBuckets", (*call).listBuckets, []string{"prefix", "max-buckets", "continuation-token", "bucket-region"}, nil},

	"PUT bucket":                      {"CreateBucket", (*call).createBucket, nil, []string{"x-amz-object-ownership", "x-amz-bucket-object-lock-enabled", "x-amz-acl"}},
	"HEAD bucket":                     {"HeadBucket", (*call).headBucket, nil, nil},
	"DELETE bucket":                   {"DeleteBucket", (*call).deleteBucket, nil, nil},
	"GET bucket?location":             {"GetBucketLocation", (*call).getBucketLocation, nil, nil},
	"GET bucket?object-lock":          {"GetObjectLockConfiguration", (*call).getBucketLock, nil, nil},
	"GET bucket?versioning":           {"GetBucketVersioning", (*call).getBucketVersioning, nil, nil},
	"PUT bucket?versioning":           {"PutBucketVersioning", (*call).putBucketVersioning, nil, nil},
	"GET bucket?encryption":           {"GetBucketEncryption", (*call).getBucketEncryption, nil, nil},
	"PUT bucket?encryption":           {"PutBucketEncryption", (*call).putBucketEncryption, nil, nil},
	"DELETE bucket?encryption":        {"DeleteBucketEncryption", (*call).deleteBucketEncryption, nil, nil},
	"GET bucket?ownershipControls":    {"GetBucketOwnershipControls", (*call).getOwnership, nil, nil},
	"PUT bucket?ownershipControls":    {"PutBucketOwnershipControls", (*call).putOwnership, nil, nil},
	"DELETE bucket?ownershipControls": {"DeleteBucketOwnershipControls", (*call).deleteOwnership, nil, nil},

	"GET bucket":           {"ListObjects", (*call).listObjects, listParams("marker"), listHeaders},
	"GET bucket?list-type": {"ListObjectsV2", (*call).listObjectsV2, listParams("continuation-token", "start-after", "fetch-owner"), listHeaders},
	"GET bucket?versions":  {"ListObjectVersions", (*call).listVersions, listParams("key-marker", "version-id-marker"), listHeaders},
	"POST bucket?delete":   {"DeleteObjects", (*call).deleteObjects, nil, bypassHeaders},

	"PUT object": {"PutObject", (*call).putObject, nil, writeHeaders},
	"PUT copy": {"CopyObject", (*call).copyObject, nil, slices.Concat(writeHeaders, copySourceHeaders,
		[]string{"x-amz-metadata-directive", "x-amz-tagging-directive", "x-amz-checksum-algorithm"})},
	"GET object":    {"GetObject", (*call).getObject, readParams, readHeaders},
	"HEAD object":   {"HeadObject", (*call).getObject, readParams, readHeaders},
	"DELETE object": {"DeleteObject", (*call).deleteObject, versionParams, bypassHeaders},

	"GET object?attributes": {"GetObjectAttributes", (*call).getAttributes, versionParams,
		[]string{"x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker"}},
	"GET object?tagging":    {"GetObjectTagging", (*call).getTagging, versionParams, nil},
	"PUT object?tagging":    {"PutObjectTagging", (*call).putTagging, versionParams, nil},
	"DELETE object?tagging": {"DeleteObjectTagging", (*call).deleteTagging, versionParams, nil},
	"GET object?acl":        {"GetObjectAcl", (*call).getACL, versionParams, nil},
	"PUT object?acl":        {"PutObjectAcl", (*call).putACL, versionParams, aclHeaders},
	"PUT object?encryption": {"UpdateObjectEncryption", (*call).updateEncryption, versionParams, nil},
	"GET object?legal-hold": {"GetObjectLegalHold", (*call).getLegalHold, versionParams, nil},
	"PUT object?legal-hold": {"PutObjectLegalHold", (*call).putLegalHold, versionParams, nil},
	"GET object?retention":  {"GetObjectRetention", (*call).getRetention, versionParams, nil},
	"PUT object?retention":  {"PutObjectRetention", (*call).putRetention, versionParams, bypassHeaders},

	"POST object?uploads": {"CreateMultipartUpload", (*call).createUpload, nil, slices.Concat(writeHeaders,
		[]string{"x-amz-checksum-algorithm", "x-amz-checksum-type"})},
	"PUT object?uploadId":    {"UploadPart", (*call).uploadPart, partParams, nil},
	"PUT copy?uploadId":      {"UploadPartCopy", (*call).uploadPartCopy, partParams, slices.Concat(copySourceHeaders, []string{"x-amz-copy-source-range"})},
	"POST object?uploadId":   {"CompleteMultipartUpload", (*call).completeUpload, nil, []string{"x-amz-checksum-type", "x-amz-mp-object-size"}},
	"DELETE object?uploadId": {"AbortMultipartUpload", (*call).abortUpload, nil, nil},
	"GET object?uploadId":    {"ListParts", (*call).listParts, []string{"max-parts", "part-number-marker"}, nil},
	"GET bucket?uploads":     {"ListMultipartUploads", (*call).listUploads, []string{"prefix", "max-uploads", "key-marker", "upload-id-marker"}, nil},
}

func listParams(own ...string) []string {
	return append([]string{"prefix", "delimiter", "max-keys", "encoding-type"}, own...)
}
