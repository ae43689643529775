package awserr_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/sources"
	. "rewrap/sources/cloud/awserr"
)

// describeKey calls KMS at a server that answers with a status and a body, and
// returns the client's error.
func describeKey(t *testing.T, status int, body string) error {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer srv.Close()
	return describeKeyAt(t, srv.URL)
}

func describeKeyAt(t *testing.T, url string) error {
	t.Helper()
	c := kms.New(kms.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: aws.AnonymousCredentials{}, Retryer: aws.NopRetryer{}})
	_, err := c.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("k")})
	if err == nil {
		t.Fatal("no error")
	}
	return err
}

func TestKMSCodes(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		status  int
		code    string
		want    Meaning
		decided bool
	}{
		{400, "AccessDeniedException", Denied, true},
		{400, "ThrottlingException", Throttled, true},
		{400, "NotFoundException", NotFound, true},
		{400, "InvalidArnException", Misnamed, true},
		{400, "ValidationException", Malformed, true},
		{400, "DisabledException", KeyState, true},
		{400, "KMSInvalidStateException", KeyState, true},
		{400, "InvalidKeyUsageException", KeyUsage, true},
		{400, "UnsupportedOperationException", Unsupported, true},
		{400, "IncorrectKeyException", WrongKey, true},
		{400, "InvalidCiphertextException", BadBlob, true},
		{400, "ConflictException", Conflict, true},
		{400, "LimitExceededException", QuotaUsed, true},
		{500, "KeyUnavailableException", Trouble, false},
		{503, "DependencyTimeoutException", Trouble, false},
		{500, "KMSInternalException", Trouble, false},
		{400, "ExpiredTokenException", Credentials, true},
		{400, "UnrecognizedClientException", Credentials, true},
		{400, "SomethingNewException", Refused, true},
		{500, "SomethingNewException", Trouble, false},
	} {
		err := describeKey(t, x.status, fmt.Sprintf(`{"__type":%q,"message":"why"}`, x.code))
		meaning, plain := KMS(err)
		if meaning != x.want || Decided(err) != x.decided {
			t.Errorf("%d %s: meaning %d, decided %v; want %d, %v", x.status, x.code, meaning, Decided(err), x.want, x.decided)
		}
		if plain.Error() != x.code+": why" || !errors.Is(plain, err) {
			t.Errorf("%d %s: %q", x.status, x.code, plain)
		}
	}
}

func TestKMSWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	denied := describeKey(t, 400, `{"__type":"AccessDeniedException","message":"why"}`)
	torn := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer torn.Close()
	for name, x := range map[string]struct {
		err  error
		want Meaning
	}{
		"a web page":           {describeKey(t, 404, "<html>not here</html>"), Stranger},
		"a good web page":      {describeKey(t, 200, "<html>welcome</html>"), Stranger},
		"a bad gateway":        {describeKey(t, 502, ""), Stranger},
		"nobody listens":       {describeKeyAt(t, "http://127.0.0.1:1"), Unreachable},
		"the connection drops": {describeKeyAt(t, torn.URL), Unreachable},
		"anything else":        {errors.New("hm"), Silent},
		"no credentials":       {fmt.Errorf("%w: %w", sources.ErrCredentials, denied), Credentials},
		"an outage":            {fmt.Errorf("%w: %w", sources.ErrThrottled, describeKey(t, 400, `{"__type":"ThrottlingException"}`)), Outage},
	} {
		meaning, plain := KMS(x.err)
		if meaning != x.want || Decided(x.err) && x.want != Outage {
			t.Errorf("%s: meaning %d, decided %v; want %d: %v", name, meaning, Decided(x.err), x.want, x.err)
		}
		if !errors.Is(plain, x.err) {
			t.Errorf("%s: %v is not in the chain of %v", name, x.err, plain)
		}
		if x.want == Stranger && !strings.Contains(plain.Error(), "what answers at http://127.0.0.1:") {
			t.Errorf("%s: %q", name, plain)
		}
	}
}
