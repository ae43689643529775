// Package keys is where wrapped keys are moved from one key version to
// another. It is the only room of rewrap that may ever hold a raw data key,
// and with KMS it holds none unless the job asks for proof by opening
// ([VerifyOpen]).
//
// [KMS] moves wrapped keys with ReEncrypt: KMS opens the old blob and wraps
// its content anew inside the service. The source key is always named in the
// call, so that a blob planted under some other key that the caller may use is
// refused instead of accepted (KMS API Reference, ReEncrypt, SourceKeyId), and
// the encryption context goes to both sides, since KMS does not copy it (same
// page, DestinationEncryptionContext).
package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// API is the part of *kms.Client that is called. ReEncrypt does the work;
// DescribeKey, GetKeyRotationStatus and ListKeyRotations tell key material
// apart; Decrypt is called with [VerifyOpen] only.
//
// Retries of throttled and failed calls, pacing and deadlines of single calls
// are the client's.
type API interface {
	ReEncrypt(context.Context, *kms.ReEncryptInput, ...func(*kms.Options)) (*kms.ReEncryptOutput, error)
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
	GetKeyRotationStatus(context.Context, *kms.GetKeyRotationStatusInput, ...func(*kms.Options)) (*kms.GetKeyRotationStatusOutput, error)
	ListKeyRotations(context.Context, *kms.ListKeyRotationsInput, ...func(*kms.Options)) (*kms.ListKeyRotationsOutput, error)
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
}

// Verify is how a new wrapped key is checked before the old one is let go.
type Verify int

const (
	// VerifyAnswer: the key and the key material that KMS names in its answer
	// must be the target. It costs nothing, and is the default.
	VerifyAnswer Verify = iota
	// VerifyNone: whatever KMS answers is believed.
	VerifyNone
	// VerifyOpen: as VerifyAnswer, and the old and the new blob are both
	// opened and compared. It takes two Decrypt calls a moved key and the
	// permission kms:Decrypt on both keys, and the plaintext of the data key is
	// in this process for a moment.
	VerifyOpen
)

// ParseVerify reads the value of --verify: none, answer, open.
func ParseVerify(s string) (Verify, error) {
	switch s {
	case "none":
		return VerifyNone, nil
	case "answer", "":
		return VerifyAnswer, nil
	case "open":
		return VerifyOpen, nil
	}
	return 0, &UsageError{Detail: fmt.Sprintf("--verify %q: it is none, answer or open", s)}
}

func (v Verify) String() string {
	switch v {
	case VerifyNone:
		return "none"
	case VerifyOpen:
		return "open"
	}
	return "answer"
}

// Config is what [OpenKMS] works from.
type Config struct {
	// Client makes, or returns, the client of a Region. "" is the default
	// Region. A key is called in the Region of its ARN. It may be called from
	// many goroutines at once, and often.
	Client func(region string) API

	// Region is the default Region, as messages name it. "": they do not.
	Region string

	// From are the source keys as the operator gave them: key id, key ARN,
	// alias name or alias ARN, each with an optional @MATERIAL that confines
	// it to what is under that key material. Empty: the keys that the items
	// record.
	From []string

	// To is where everything shall end. "": each wrapped key's own key, its
	// current key material.
	To string

	Verify Verify

	// Pinned maps key ARNs to the key material that was current when the pass
	// began, as [KMS.Targets] gave it. nil on a new pass.
	Pinned map[string]string

	// ReadOnly asks where wrapped keys are, and moves none: answers carry no
	// blob.
	ReadOnly bool

	// CacheBytes bounds the memory that answers about equal wrapped keys are
	// kept in; all of it is taken at once. 0: 64 MiB. Under 64 KiB: nothing
	// is kept, only calls that are under way are shared.
	CacheBytes int

	// Notice tells people what is waited for or done without. It may be nil,
	// and is called from one goroutine at a time.
	Notice func(string)

	// Clock and Sleep are time.Now and a timer where they are nil.
	Clock func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Key is a KMS key as it was found when the pass began.
type Key struct {
	Given       string // as the operator or the item named it, without @MATERIAL
	ARN         string
	Only        string // of a source key: only what is under this key material; "": all of it
	Material    string // the current key material; "" where the service does not name it
	Spec        string // SYMMETRIC_DEFAULT
	Origin      string // AWS_KMS, EXTERNAL, AWS_CLOUDHSM, EXTERNAL_KEY_STORE
	Manager     string // CUSTOMER or AWS
	MultiRegion bool
}

// UsageError is a job that makes no sense as it was given.
type UsageError struct{ Detail string }

func (e *UsageError) Error() string { return e.Detail }

// MovedError says that a pass cannot be gone on with, since its target is not
// what it was when the pass began.
type MovedError struct {
	Key     string // the key as it was given, or its ARN
	Was, Is string // key materials; or key ARNs, where an alias was pointed elsewhere
}

func (e *MovedError) Error() string {
	was := e.Was
	if was == "" {
		was = "another key"
	}
	is := e.Is
	if is == "" {
		is = "unknown key material"
	}
	return fmt.Sprintf("the target %s is now %s, and was %s when this pass began, so the pass cannot go on: --restart begins a new pass", e.Key, is, was)
}
