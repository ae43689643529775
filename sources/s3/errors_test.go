package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/sources"
)

// What an error means for the item and the run.
const (
	run, strikes, kms, outages, credentialsEnded, gone, conflict, other = "run", "strikes", "kms", "outage", "credentials", "gone", "conflict", "other"
)

// answers are the errors of S3, and what is made of them.
var answers = []struct {
	do, op string
	status int
	code   string
	want   string // one of the words above, or the reason of a refusal
	hint   string
}{
	{"open", "HeadBucket", 404, "", run, "name"},
	{"open", "HeadBucket", 403, "", run, "s3:ListBucket"},
	{"open", "HeadBucket", 301, "", run, "Region"},
	{"open", "HeadBucket", 400, "", run, "expired"},
	{"open", "GetBucketOwnershipControls", 501, "NotImplemented", "", ""},
	{"open", "GetBucketOwnershipControls", 405, "MethodNotAllowed", "", ""},
	{"open", "GetBucketOwnershipControls", 403, "AccessDenied", "", ""}, // writes are refused, reading goes on
	{"copy", "GetBucketOwnershipControls", 403, "AccessDenied", run, "s3:GetBucketOwnershipControls"},
	{"open", "GetBucketOwnershipControls", 400, "ExpiredToken", credentialsEnded, ""},
	{"list", "ListObjectsV2", 403, "AccessDenied", run, "s3:ListBucket"},
	{"list", "ListObjectsV2", 404, "NoSuchBucket", run, "name"},
	{"list", "ListObjectsV2", 400, "ExpiredToken", credentialsEnded, ""},
	{"list", "ListObjectsV2", 403, "InvalidAccessKeyId", run, "credentials"},
	{"list", "ListObjectsV2", 403, "RequestTimeTooSkewed", run, "clock"},
	{"list", "ListObjectsV2", 400, "AuthorizationHeaderMalformed", run, "Region"},
	{"spans", "ListObjectsV2", 403, "AccessDenied", run, "s3:ListBucket"},
	{"head", "HeadObject", 404, "", gone, ""},
	{"head", "HeadObject", 403, "", strikes, "s3:GetObject"},
	{"get", "GetObject", 404, "NoSuchKey", gone, ""},
	{"get", "GetObject", 404, "NoSuchBucket", run, ""},
	{"get", "GetObject", 403, "AccessDenied", strikes, "s3:GetObject"},
	{"get", "GetObject", 403, "InvalidObjectState", "archived", ""},
	{"get", "GetObject", 400, "KMS.DisabledException", kms, "key"},
	{"get", "GetObject", 400, "InvalidRequest", "sse-c", ""},
	{"get", "GetObject", 418, "Teapot", other, ""},
	{"get", "GetObject", 501, "NotImplemented", outages, "endpoint"},
	{"head", "HeadObject", 501, "", outages, "endpoint"},
	{"copy", "CopyObject", 412, "PreconditionFailed", conflict, ""},
	{"copy", "CopyObject", 409, "ConditionalRequestConflict", conflict, ""},
	{"copy", "CopyObject", 404, "NoSuchKey", gone, ""},
	{"copy", "CopyObject", 404, "NoSuchBucket", run, ""},
	{"copy", "CopyObject", 403, "AccessDenied", strikes, "s3:PutObject"},
	{"copy", "CopyObject", 403, "ObjectNotInActiveTierError", "archived", ""},
	{"copy", "CopyObject", 400, "MetadataTooLarge", "metadata-too-large", ""},
	{"copy", "CopyObject", 400, "KMS.NotFoundException", kms, ""},
	{"copy", "CopyObject", 400, "ExpiredToken", credentialsEnded, ""},
	{"copy", "CopyObject", 418, "Teapot", other, ""},
	{"copy", "CopyObject", 501, "NotImplemented", outages, "endpoint"},
	{"put", "PutObject", 501, "NotImplemented", outages, "endpoint"},
	{"put", "GetObject", 501, "NotImplemented", outages, "endpoint"},
	{"put", "PutObject", 412, "PreconditionFailed", conflict, ""},
	{"put", "PutObject", 404, "NoSuchKey", gone, ""},
	{"put", "PutObject", 409, "ConditionalRequestConflict", conflict, ""},
	{"put", "GetObject", 412, "PreconditionFailed", conflict, ""},
	{"put", "GetObject", 404, "NoSuchKey", gone, ""},
	{"put", "GetObjectTagging", 403, "AccessDenied", strikes, "s3:GetObjectTagging"},
	{"put", "GetObjectTagging", 501, "NotImplemented", "", ""},
}

// operations are what a source is asked for, by the words of answers.
func operations() map[string]func(context.Context, *Source) error {
	ref := sources.Ref{ID: "item"}
	do := map[string]func(context.Context, *Source) error{
		"open": func(ctx context.Context, s *Source) error { _, err := Open(ctx, s.c); return err },
		"list": func(ctx context.Context, s *Source) error {
			for _, err := range s.List(ctx, sources.Span{ID: "0", Data: "{}"}, "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"spans": func(ctx context.Context, s *Source) error { _, err := s.Spans(ctx, 4); return err },
		"head":  func(ctx context.Context, s *Source) error { _, err := s.Read(ctx, ref, sources.Want{}); return err },
		"get": func(ctx context.Context, s *Source) error {
			_, err := s.Read(ctx, ref, sources.Want{Head: 5})
			return err
		},
	}
	for op, edit := range map[string]sources.Edit{"copy": metaEdit, "put": {Splices: []sources.Splice{{Ins: []byte("x")}}}} {
		do[op] = func(ctx context.Context, s *Source) error {
			v, err := s.Read(ctx, ref, sources.Want{})
			if err != nil {
				return err
			}
			p, err := s.Plan(ctx, v, edit)
			if err != nil {
				return err
			}
			_, err = s.Apply(ctx, p)
			return err
		}
	}
	return do
}

// meaning is the word for an error.
func meaning(err error) string {
	var runErr *sources.RunError
	var skip *sources.SkipError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, sources.ErrConflict):
		return conflict
	case errors.Is(err, sources.ErrGone):
		return gone
	case errors.As(err, &skip):
		return skip.Reason
	case !errors.As(err, &runErr):
		return other
	case errors.Is(err, sources.ErrCredentials):
		return credentialsEnded
	case runErr.Strikes <= 1:
		return run
	}
	return map[int]string{objectStrikes: strikes, outageStrikes: outages, kmsStrikes: kms}[runErr.Strikes]
}

func TestErrors(t *testing.T) {
	do := operations()
	for _, test := range answers {
		t.Run(test.do+" "+test.op+" "+http.StatusText(test.status)+" "+test.code, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			s := c.item(t, "body", nil)
			c.Hook(emulatortest.Fails("s3:"+test.op, test.status, test.code))
			if test.op == "GetBucketOwnershipControls" && test.do != "open" {
				var err error
				if s, err = Open(t.Context(), s.c); err != nil {
					t.Fatal(err)
				}
				if err := s.Begin(t.Context(), sources.Write); err != nil {
					t.Fatal(err)
				}
			}
			err := do[test.do](t.Context(), s)
			if got := meaning(err); got != test.want {
				t.Errorf("%v: %q, should be %q", err, got, test.want)
			}
			if runErr := new(sources.RunError); errors.As(err, &runErr) {
				want, ok := map[string]string{"list": "store: list", "spans": "store: list", "copy": "store: write", "put": "store: write"}[test.do]
				if !ok {
					want = "store: read"
				}
				if runErr.Where != want {
					t.Errorf("it was %q that refused, should be %q", runErr.Where, want)
				}
				if runErr.Hint == "" || !strings.Contains(runErr.Hint, test.hint) {
					t.Errorf("the hint is %q, should speak of %s", runErr.Hint, test.hint)
				}
			}
			if err != nil && !errors.As(err, new(*sources.SkipError)) && !strings.Contains(err.Error(), "item") && !strings.Contains(err.Error(), "bucket") {
				t.Errorf("it does not say of what: %v", err)
			}
		})
	}
}

// TestClientGaveUp: what the client says of the service or of the credentials
// is the run's, at once, whatever answer is inside.
func TestClientGaveUp(t *testing.T) {
	s := &Source{c: Config{Bucket: "bucket"}}
	for _, st := range []int{403, 404, 412, 503} {
		answer := &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: st}},
			Err:      &smithy.GenericAPIError{Code: "AccessDenied"},
		}
		for _, sentinel := range []error{sources.ErrCredentials, sources.ErrThrottled} {
			if st != 503 && sentinel == sources.ErrThrottled {
				continue
			}
			err := fmt.Errorf("%w: %w", sentinel, answer)
			once := &attempts{once: true}
			once.n.Add(1)
			for name, err := range map[string]error{
				"list": s.listError(err), "read": s.readError("item", err), "open": s.bucketError(err),
				"write": s.writeError("copying", "item", new(attempts), err), "stream": s.writeError("writing", "item", once, err),
				"plan": s.objectError(whereWrite, "reading the tags of", "item", "s3:GetObjectTagging", err),
			} {
				var run *sources.RunError
				if !errors.As(err, &run) || run.Strikes > 1 || !errors.Is(err, sentinel) || errors.Is(err, sources.ErrGone) || strings.Contains(run.Hint, "Allow") {
					t.Errorf("%s, %d, %v: %v", name, st, sentinel, err)
				}
			}
		}
	}
}

// TestHeadSaysNothing: a HEAD that is refused with 400 is asked again as GET.
func TestHeadSaysNothing(t *testing.T) {
	for code, want := range map[string]func(error) bool{
		"ExpiredToken": func(err error) bool { return errors.Is(err, sources.ErrCredentials) },
		"InvalidRequest": func(err error) bool {
			u := new(sources.SkipError)
			return errors.As(err, &u) && u.Reason == "sse-c"
		},
		"": func(err error) bool { return err == nil }, // it was only HEAD
	} {
		c := newCloud(t)
		s := c.item(t, "body", nil)
		hook := emulatortest.Fails("s3:HeadObject", 400, "")
		if code != "" {
			hook = emulatortest.Both(hook, emulatortest.Fails("s3:GetObject", 400, code))
		}
		c.Hook(hook)
		if v, err := s.Read(t.Context(), sources.Ref{ID: "item"}, sources.Want{}); !want(err) || err == nil && (v.Size != 4 || v.Head != nil) {
			t.Errorf("%s: %v, %v", code, v, err)
		}
	}
}

func TestBucketRegion(t *testing.T) {
	for _, test := range []struct {
		status int
		region string
		want   string
		failed bool
	}{
		{200, "eu-north-1", "eu-north-1", false},
		{200, "", "", false},
		{301, "eu-north-1", "eu-north-1", false},
		{403, "eu-north-1", "eu-north-1", false},
		{400, "eu-north-1", "eu-north-1", false},
		{403, "", "", true},
		{404, "", "", true},
	} {
		c := newCloud(t)
		c.Hook(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if test.region != "" {
				w.Header().Set("X-Amz-Bucket-Region", test.region)
			}
			if test.status == 200 {
				return
			}
			emulator.Fail(w, r, test.status, "", "")
		})
		got, err := BucketRegion(t.Context(), c.S3, c.Bucket)
		var run *sources.RunError
		if got != test.want || errors.As(err, &run) != test.failed {
			t.Errorf("%d %s: %q, %v", test.status, test.region, got, err)
		}
	}
}
