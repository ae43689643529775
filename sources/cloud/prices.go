package cloud

// What AWS bills for a request, in US dollars, noted on 2026-11-23 for the
// Region us-east-1. KMS: symmetric keys, as articles of 2026 quote AWS's
// pricing page, without the 20,000 requests a month that are free. S3: list
// price of the class S3 Standard. Neither was read from an account's bill.
// Prices differ by Region and storage class, and change.
const (
	priceKMS     = 0.03 / 10_000  // any call with a symmetric key
	priceS3Write = 0.005 / 1_000  // PUT, COPY, POST, LIST
	priceS3Read  = 0.0004 / 1_000 // GET, HEAD and all others
)

// PricesOf says for people where the prices come from.
const PricesOf = "list prices of us-east-1, S3 Standard, 2026-11-23, without free tiers: check them against your own"

// s3Writes are the operations that are billed like a write.
var s3Writes = map[string]bool{"ListObjectsV2": true, "CopyObject": true, "PutObject": true}

// Price is what one request of the operation costs, in US dollars.
func Price(op Operation) float64 {
	switch {
	case op.Service == ServiceKMS:
		return priceKMS
	case s3Writes[op.Name]:
		return priceS3Write
	}
	return priceS3Read
}
