package emulator

import (
	"sync"
	"time"
)

// cryptographic operations share one quota a second for symmetric keys (KMS
// Developer Guide, "Request quotas"). On AWS, operations with RSA and ECC keys
// have quotas of their own. Here they share this one.
var cryptographic = map[string]bool{
	"Decrypt": true, "Encrypt": true, "GenerateDataKey": true, "GenerateDataKeyWithoutPlaintext": true,
	"GenerateMac": true, "GenerateRandom": true, "ReEncrypt": true, "VerifyMac": true,
}

// quota lets a number of requests through in each second. Its caller says what
// time it is. A nil quota lets all requests through.
type quota struct {
	rate   int
	bucket bool

	mu     sync.Mutex
	second int64 // the window that used counts
	used   int
	tokens float64   // in the bucket
	last   time.Time // when tokens was computed
}

func newQuota(rate int, bucket bool) *quota {
	if rate <= 0 {
		return nil
	}
	return &quota{rate: rate, bucket: bucket, tokens: float64(rate)}
}

func (q *quota) take(now time.Time) bool {
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bucket {
		if !q.last.IsZero() && now.After(q.last) {
			q.tokens = min(float64(q.rate), q.tokens+now.Sub(q.last).Seconds()*float64(q.rate))
		}
		if q.last.IsZero() || now.After(q.last) {
			q.last = now
		}
		if q.tokens < 1 {
			return false
		}
		q.tokens--
		return true
	}
	// A reading from an earlier second counts in this window: another request
	// was faster.
	if s := now.Unix(); s > q.second {
		q.second, q.used = s, 0
	}
	if q.used == q.rate {
		return false
	}
	q.used++
	return true
}
