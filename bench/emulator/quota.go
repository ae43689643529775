package emulator

import (
	"sync"
	"time"
)

// cryptographic are the operations that share one quota a second for symmetric
// keys (KMS Developer Guide, "Request quotas"). Operations with RSA and ECC keys
// have their own on AWS; here they are counted with the rest.
var cryptographic = map[string]bool{
	"Decrypt": true, "Encrypt": true, "GenerateDataKey": true, "GenerateDataKeyWithoutPlaintext": true,
	"GenerateMac": true, "GenerateRandom": true, "ReEncrypt": true, "VerifyMac": true,
}

// quota lets a number of requests through each second of the clock it is shown.
// A nil quota lets all through.
type quota struct {
	rate   int
	bucket bool

	mu     sync.Mutex
	second int64     // of the window; for windows
	used   int       // in the window
	tokens float64   // left; for the bucket
	last   time.Time // when tokens was reckoned
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
	// A clock reading that was overtaken by one from the next second counts there.
	if s := now.Unix(); s > q.second {
		q.second, q.used = s, 0
	}
	if q.used == q.rate {
		return false
	}
	q.used++
	return true
}
