package kms

import (
	"fmt"
	"net/http"
	"strings"
)

// Error is an answer of KMS other than success. Code is "__type" on the wire,
// and the error code of an SDK. Status is the HTTP status: 400 unless the
// service itself failed.
type Error struct {
	Code    string
	Message string // "" if KMS gives none, as with InvalidCiphertextException
	Status  int
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}

func fail(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

func notFound(format string, args ...any) *Error {
	return fail("NotFoundException", format, args...)
}

func invalid(format string, args ...any) *Error {
	return fail("ValidationException", format, args...)
}

func unsupported(format string, args ...any) *Error {
	return fail("UnsupportedOperationException", format, args...)
}

func invalidState(format string, args ...any) *Error {
	return fail("KMSInvalidStateException", format, args...)
}

func incompatible(algorithm string, k *key) *Error {
	return fail("InvalidKeyUsageException", "Algorithm %s is incompatible with key spec %s.", algorithm, k.spec.name)
}

// invalidCiphertext is the answer to a damaged blob, to a wrong or missing
// encryption context and to a foreign format. It has no message, so that a
// caller cannot tell them apart (recorded: LocalStack's snapshots, KMS
// test_encrypt_decrypt_encryption_context).
func invalidCiphertext() *Error {
	return &Error{Code: "InvalidCiphertextException", Status: http.StatusBadRequest}
}

// incorrectKey has a recorded message (LocalStack's snapshots, KMS
// test_error_messaging_for_invalid_keys, decrypt-invalid-key-id).
func incorrectKey() *Error {
	return fail("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
}

func dryRun() *Error {
	return fail("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
}

// validation collects how a request violates its model. One answer names it
// all, in the words of AWS's generic validator.
type validation struct {
	violations []string
	refused    error // answered if there are no violations
}

func (v *validation) add(value, member, constraint string) {
	v.violations = append(v.violations, fmt.Sprintf("Value %sat '%s' failed to satisfy constraint: Member must %s", value, member, constraint))
}

func (v *validation) required(member string, present bool) {
	if !present {
		v.add("null ", member, "not be null")
	}
}

// length checks the number of bytes or entries of a member that is present.
func (v *validation) length(member string, n, least, most int) {
	switch {
	case n < least:
		v.add("", member, fmt.Sprintf("have length greater than or equal to %d", least))
	case n > most:
		v.add("", member, fmt.Sprintf("have length less than or equal to %d", most))
	}
}

func (v *validation) between(member string, n *int, least, most int) {
	switch {
	case n == nil:
	case *n < least:
		v.add(fmt.Sprintf("'%d' ", *n), member, fmt.Sprintf("have value greater than or equal to %d", least))
	case *n > most:
		v.add(fmt.Sprintf("'%d' ", *n), member, fmt.Sprintf("have value less than or equal to %d", most))
	}
}

func (v *validation) oneOf(member, value string, set []string) {
	if value == "" {
		return
	}
	for _, s := range set {
		if s == value {
			return
		}
	}
	v.add("'"+value+"' ", member, "satisfy enum value set: ["+strings.Join(set, ", ")+"]")
}

// keyID checks a key identifier. It has 1 to 2048 characters (KeyIdType).
func (v *validation) keyID(member string, id *string) {
	v.required(member, id != nil)
	v.optionalKeyID(member, id)
}

func (v *validation) optionalKeyID(member string, id *string) {
	if id != nil {
		v.length(member, len(*id), 1, 2048)
	}
}

// refuse records an error that is answered if the request violates nothing. It
// may be nil.
func (v *validation) refuse(err error) { v.refused = err }

func (v *validation) err() error {
	switch n := len(v.violations); n {
	case 0:
		return v.refused
	case 1:
		return invalid("1 validation error detected: %s", v.violations[0])
	default:
		return invalid("%d validation errors detected: %s", n, strings.Join(v.violations, "; "))
	}
}
