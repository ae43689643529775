// Package kms is AWS KMS in process, for tests and benchmarks on one machine:
// one account in one Region, in the wire format that SDKs speak. It keeps
// everything in memory, checks no signatures and evaluates no policies.
//
// It is exact in what re-wrapping depends on:
//
//   - Key material rotates (at once, later, or when the clock passes a date),
//     and answers name it.
//   - Blobs look like those of AWS. They say in clear which material sealed
//     them, and they are bound to their encryption context.
//   - A source key that a request names is enforced, and so are key states.
//   - Errors have the codes of AWS and, where they are known, the messages.
//
// Rules come from the KMS API Reference and Developer Guide, the model in the
// SDKs, and answers recorded from AWS. The tests name the source of each.
//
// It differs from AWS on purpose:
//
//   - Changes are visible at once. On AWS they are eventually consistent.
//   - Grants, key policies and grant tokens are stored and not evaluated.
//   - Imported key material, multi-Region replicas, custom key stores,
//     signatures and MACs are refused with UnsupportedOperationException.
//   - There are no quotas. Package emulator has them.
package kms

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a [Service]. The zero value is useful.
type Options struct {
	Account string // 12 digits; "": 111122223333
	Region  string // "": us-east-1

	// Now is the clock of rotations and deletions; nil: time.Now.
	Now func() time.Time

	// RotationDelay is the time from RotateKeyOnDemand until the new material is
	// current; 0: at once. AWS took 100 and 112 seconds in one recording.
	RotationDelay time.Duration

	// Rand makes ids, key material, nonces and request ids; nil: crypto/rand.
	// With a seeded reader, the same requests one after another get the same
	// answers, except for the pairs and ciphertexts of asymmetric keys. The
	// reader is read by one goroutine at a time. The service panics if it cannot
	// be read.
	Rand io.Reader
}

// Service is a KMS. Many goroutines may call it at once.
type Service struct {
	account, region string
	now             func() time.Time
	rotationDelay   time.Duration
	rand            io.Reader

	// nextDue is the time of the earliest rotation or deletion, in Unix
	// nanoseconds. One load tells a request that nothing is due.
	nextDue atomic.Int64

	mu        sync.RWMutex // guards the maps and all that changes in a key
	keys      map[string]*key
	ordered   []*key // in order of creation
	aliases   map[string]*alias
	materials map[blobID]*material
}

// New returns a KMS without keys.
func New(o Options) *Service {
	s := &Service{
		account:       o.Account,
		region:        o.Region,
		now:           o.Now,
		rotationDelay: o.RotationDelay,
		rand:          rand.Reader,
		keys:          map[string]*key{},
		aliases:       map[string]*alias{},
		materials:     map[blobID]*material{},
	}
	if s.account == "" {
		s.account = "111122223333"
	}
	if s.region == "" {
		s.region = "us-east-1"
	}
	if s.now == nil {
		s.now = time.Now
	}
	if o.Rand != nil {
		s.rand = &lockedReader{r: o.Rand}
	}
	s.nextDue.Store(math.MaxInt64)
	return s
}

type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return io.ReadFull(l.r, b)
}

func (s *Service) random(b []byte) {
	if _, err := io.ReadFull(s.rand, b); err != nil {
		panic(fmt.Errorf("kms: reading Options.Rand: %w", err))
	}
}

func (s *Service) uuid() string {
	var b [16]byte
	s.random(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var t [36]byte
	hex.Encode(t[0:8], b[0:4])
	hex.Encode(t[9:13], b[4:6])
	hex.Encode(t[14:18], b[6:8])
	hex.Encode(t[19:23], b[8:10])
	hex.Encode(t[24:36], b[10:16])
	t[8], t[13], t[18], t[23] = '-', '-', '-', '-'
	return string(t[:])
}

const targetPrefix = "TrentService."

// Operation returns the name of a request's operation, from X-Amz-Target:
// "ReEncrypt". ok is false if the request is not for KMS.
func Operation(r *http.Request) (name string, ok bool) {
	return strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
}

// handler answers one operation. It decodes the body and returns the answer to
// encode.
type handler func(s *Service, body []byte) (any, error)

// request is the input of an operation. check reports how the input violates
// AWS's model of it.
type request[In any] interface {
	*In
	check(*validation)
}

// operation turns a method into a handler. The method gets only inputs that
// violate nothing.
func operation[In any, P request[In]](method func(*Service, P) (any, error)) handler {
	return func(s *Service, body []byte) (any, error) {
		in := P(new(In))
		if err := json.Unmarshal(body, in); err != nil {
			return nil, &Error{Code: "SerializationException", Status: http.StatusBadRequest}
		}
		var v validation
		in.check(&v)
		if err := v.err(); err != nil {
			return nil, err
		}
		return method(s, in)
	}
}

var operations = map[string]handler{
	"CancelKeyDeletion":               operation((*Service).cancelKeyDeletion),
	"CreateAlias":                     operation((*Service).createAlias),
	"CreateGrant":                     operation((*Service).createGrant),
	"CreateKey":                       operation((*Service).createKey),
	"Decrypt":                         operation((*Service).decrypt),
	"DeleteAlias":                     operation((*Service).deleteAlias),
	"DescribeKey":                     operation((*Service).describeKey),
	"DisableKey":                      operation((*Service).disableKey),
	"DisableKeyRotation":              operation((*Service).disableKeyRotation),
	"EnableKey":                       operation((*Service).enableKey),
	"EnableKeyRotation":               operation((*Service).enableKeyRotation),
	"Encrypt":                         operation((*Service).encrypt),
	"GenerateDataKey":                 operation((*Service).generateDataKey),
	"GenerateDataKeyWithoutPlaintext": operation((*Service).generateDataKeyWithoutPlaintext),
	"GenerateRandom":                  operation((*Service).generateRandom),
	"GetKeyPolicy":                    operation((*Service).getKeyPolicy),
	"GetKeyRotationStatus":            operation((*Service).getKeyRotationStatus),
	"GetPublicKey":                    operation((*Service).getPublicKey),
	"ListAliases":                     operation((*Service).listAliases),
	"ListGrants":                      operation((*Service).listGrants),
	"ListKeyPolicies":                 operation((*Service).listKeyPolicies),
	"ListKeyRotations":                operation((*Service).listKeyRotations),
	"ListKeys":                        operation((*Service).listKeys),
	"ListResourceTags":                operation((*Service).listResourceTags),
	"PutKeyPolicy":                    operation((*Service).putKeyPolicy),
	"ReEncrypt":                       operation((*Service).reEncrypt),
	"RevokeGrant":                     operation((*Service).revokeGrant),
	"RotateKeyOnDemand":               operation((*Service).rotateKeyOnDemand),
	"ScheduleKeyDeletion":             operation((*Service).scheduleKeyDeletion),
	"TagResource":                     operation((*Service).tagResource),
	"UntagResource":                   operation((*Service).untagResource),
	"UpdateAlias":                     operation((*Service).updateAlias),
	"UpdateKeyDescription":            operation((*Service).updateKeyDescription),
}

// maxBody is larger than any request: the largest member of the model is a
// policy of 131,072 characters.
const maxBody = 1 << 20

// ServeHTTP answers requests in AWS JSON 1.1. An unknown operation changes
// nothing.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Amzn-Requestid", s.uuid())
	h.Set("Content-Type", "application/x-amz-json-1.1")
	body, status := []byte(nil), http.StatusOK
	out, err := s.serve(r)
	if err == nil && out != nil {
		body, err = json.Marshal(out)
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Code: "KMSInternalException", Message: err.Error(), Status: http.StatusInternalServerError}
		}
		status = e.Status
		body, _ = json.Marshal(struct { // two strings: cannot fail
			Type    string `json:"__type"`
			Message string `json:"message,omitempty"`
		}{e.Code, e.Message})
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func (s *Service) serve(r *http.Request) (any, error) {
	name, ok := Operation(r)
	if !ok || r.Method != http.MethodPost {
		return nil, &Error{Code: "UnknownOperationException", Status: http.StatusBadRequest}
	}
	handle, ok := operations[name]
	if !ok {
		return nil, unsupported("%s is not an operation of this emulator.", name)
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	s.catchUp()
	return handle(s, body)
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	var b []byte
	var err error
	if n := r.ContentLength; n >= 0 && n <= maxBody {
		b = make([]byte, n)
		_, err = io.ReadFull(r.Body, b)
	} else {
		b, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	}
	switch {
	case len(b) > maxBody:
		return nil, &Error{Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge}
	case err != nil:
		return nil, fail("SerializationException", "The request ended early: %v", err)
	}
	return b, nil
}

// timestamp is a time in the format of the protocol: seconds since 1970, with
// milliseconds. omitzero leaves the zero time out.
type timestamp struct{ time.Time }

func (t timestamp) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(t.UnixMilli())/1000, 'f', 3, 64), nil
}
