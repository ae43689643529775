// Package kms moves wrapped keys onto the latest key material of a KMS key,
// with ReEncrypt: KMS opens the old blob and wraps its content anew inside the
// service. No data key leaves KMS unless the job asks for proof by opening
// ([VerifyOpen]).
//
// Each call names the source key, so KMS refuses a blob that somebody planted
// under another key that the caller may use (KMS API Reference, ReEncrypt,
// SourceKeyId). The encryption context goes to both sides, since KMS does not
// copy it (same page, DestinationEncryptionContext).
package kms

import (
	"context"
	"fmt"
	"time"

	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/sources/cloud/kmskey"
)

// API is the part of the SDK's KMS client that is called. ReEncrypt does the
// work; the operations of [kmskey.API] tell key material apart; Decrypt is
// called with [VerifyOpen] only.
//
// Retries of throttled and failed calls, pacing and deadlines of single calls
// are the client's.
type API interface {
	kmskey.API
	ReEncrypt(context.Context, *awskms.ReEncryptInput, ...func(*awskms.Options)) (*awskms.ReEncryptOutput, error)
	Decrypt(context.Context, *awskms.DecryptInput, ...func(*awskms.Options)) (*awskms.DecryptOutput, error)
}

// Verify is how a new wrapped key is checked before the old one is replaced.
type Verify int

const (
	// VerifyAnswer: the key and the key material that KMS names in its answer
	// must be the target. It costs nothing, and is the default.
	VerifyAnswer Verify = iota
	// VerifyNone: every answer of KMS is believed.
	VerifyNone
	// VerifyOpen: as VerifyAnswer, and the old and the new blob are both
	// opened and compared. For each moved key that takes two Decrypt calls and
	// the permission kms:Decrypt on both keys, and the plaintext of the data
	// key is in this process for a moment.
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

// Config is what [Open] works from.
type Config struct {
	// Client makes, or returns, the client of a Region. "" is the default
	// Region. A key is called in the Region of its ARN. Client is called often,
	// and from many goroutines at once.
	Client func(region string) API

	// Region is the default Region as messages name it. "": they do not.
	Region string

	// From are the source keys as the operator gave them: key id, key ARN,
	// alias name or alias ARN, each with an optional @MATERIAL that limits it
	// to wrapped keys under that key material. Empty: the keys that the items
	// record.
	From []string

	// To is the key that all wrapped keys are moved to. "": each wrapped key
	// stays under its own key and moves to that key's current key material.
	To string

	Verify Verify

	// Pinned maps key ARNs to the key material that was current when the pass
	// began, as [KMS.Targets] gave it. nil on a new pass.
	Pinned map[string]string

	// Look finds out where wrapped keys are and where they would move. The
	// answers carry the blobs that KMS gave, unchecked: they show what would be
	// written, and are not for writing. Decrypt is never called.
	Look bool

	// TargetFirst tries the target as a source key before all others. It saves
	// calls where most wrapped keys are on target already; the order of a run
	// has the target last.
	TargetFirst bool

	// CacheBytes bounds the memory for answers about equal wrapped keys; all of
	// it is taken at once. 0: 64 MiB. Under 64 KiB no answers are kept; calls
	// that are under way are shared all the same.
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
	Only        string // of a source key: only wrapped keys under this key material; "": all
	Material    string // the current key material; "" where the service does not name it
	Spec        string // SYMMETRIC_DEFAULT
	Origin      string // AWS_KMS, EXTERNAL, AWS_CLOUDHSM, EXTERNAL_KEY_STORE
	Manager     string // CUSTOMER or AWS
	MultiRegion bool
}

// UsageError is a job that makes no sense as it was given.
type UsageError struct{ Detail string }

func (e *UsageError) Error() string { return e.Detail }

// MovedError says that a pass cannot continue, since its target is not what it
// was when the pass began.
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
	return fmt.Sprintf("the target %s was %s when this pass began and is now %s, so rewrap does not resume the pass. Nothing is lost; start over with --restart", e.Key, was, is)
}
