// Package awserr reads the errors of AWS clients: what the service said, without
// the layers that it came through.
package awserr

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/smithy-go"

	"rewrap/sources"
)

// Code is the error code of the service's answer, or what the SDK makes of the
// status where the answer has no body (HEAD): "NotFound", "Forbidden",
// "BadRequest". It is "" if there was no answer, and if credentials could not be
// had: then the answer came from another service.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) && !errors.Is(err, sources.ErrCredentials) {
		return api.ErrorCode()
	}
	return ""
}

// Plain is an error of an AWS client in few words: code, message and request
// id of the answer, or why there was none. The error itself stays in its chain.
// An error that no client made is returned as it is.
func Plain(err error) error {
	var api smithy.APIError
	var sent *url.Error
	_, bare := err.(*smithy.OperationError)
	switch {
	case !bare, errors.Is(err, sources.ErrCredentials), errors.Is(err, sources.ErrThrottled):
		return err // its own words say more than the answer
	case errors.As(err, &api):
		text := api.ErrorCode()
		if m := strings.TrimRight(api.ErrorMessage(), ". "); m != "" {
			text += ": " + m
		}
		var http interface{ HTTPStatusCode() int }
		if api.ErrorMessage() == "" && errors.As(err, &http) {
			text += fmt.Sprintf(", HTTP %d", http.HTTPStatusCode())
		}
		var id interface{ ServiceRequestID() string }
		if errors.As(err, &id) && id.ServiceRequestID() != "" {
			text += " (request " + id.ServiceRequestID() + ")"
		}
		return &plain{text, err}
	case errors.As(err, &sent):
		return &plain{sent.Error(), err}
	}
	return err
}

type plain struct {
	text string
	err  error
}

func (p *plain) Error() string { return p.text }
func (p *plain) Unwrap() error { return p.err }

// CredentialsEnded knows the error codes of AWS, and of services that speak
// its protocols, that new credentials would cure (AWS API references, "Common
// errors"; S3 API Reference, "Error responses").
func CredentialsEnded(code string) bool {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidClientTokenId", "UnrecognizedClientException":
		return true
	}
	return false
}
