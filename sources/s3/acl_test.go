package s3

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/bench/emulator"
	"rewrap/bench/emulator/emulatortest"
	"rewrap/sources"
)

func TestGrants(t *testing.T) {
	user := func(id string, p types.Permission) types.Grant {
		return types.Grant{Grantee: &types.Grantee{Type: types.TypeCanonicalUser, ID: &id}, Permission: p}
	}
	group := types.Grant{Grantee: &types.Grantee{Type: types.TypeGroup, URI: aws.String("http://everyone")}, Permission: types.PermissionRead}
	for _, test := range []struct {
		list []types.Grant
		want string
	}{
		{[]types.Grant{user("me", types.PermissionFullControl)}, "map[]"},
		{[]types.Grant{user("you", types.PermissionFullControl)}, `map[FULL_CONTROL:id="you"]`},
		{[]types.Grant{user("me", types.PermissionFullControl), group, user("you", types.PermissionRead), user("you", types.PermissionWriteAcp)},
			`map[FULL_CONTROL:id="me" READ:uri="http://everyone", id="you" WRITE_ACP:id="you"]`},
		{[]types.Grant{user("me", types.PermissionFullControl), user("you", types.PermissionWrite)}, "error"},
		{[]types.Grant{user(`"quoted"`, types.PermissionRead)}, "error"},
		{[]types.Grant{{Permission: types.PermissionRead}}, "error"},
		{nil, "error"},
	} {
		g, err := newGrants("me", test.list)
		got := fmt.Sprint(g)
		if err != nil {
			got = "error"
		}
		if got != test.want {
			t.Errorf("%v: %s (%v), should be %s", test.list, got, err, test.want)
		}
	}
}

// aclBucket is a bucket with ACLs and an item that everybody may read.
func aclBucket(t *testing.T) (*cloud, writer) {
	c := newCloud(t)
	if _, err := c.S3.PutBucketOwnershipControls(t.Context(), &s3.PutBucketOwnershipControlsInput{Bucket: &c.Bucket,
		OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipObjectWriter}}}}); err != nil {
		t.Fatal(err)
	}
	w := writer{c: c.S3, bucket: c.Bucket, acl: true, headers: map[string]string{"X-Amz-Acl": "public-read"}}
	if err := w.put("item", []byte("body"), nil); err != nil {
		t.Fatal(err)
	}
	c.Clock.Pass(minAge)
	return c, w
}

// odd answers requests for a subresource with the answer to another request.
func odd(op, body string) emulatortest.Hook {
	return func(got string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if got == "s3:"+op {
			fmt.Fprint(w, body)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// TestACLWithoutOwnershipControls: that an endpoint does not have the controls
// does not mean that it has no lists.
func TestACLWithoutOwnershipControls(t *testing.T) {
	for name, hook := range map[string]emulatortest.Hook{
		"501":  emulatortest.Fails("s3:GetBucketOwnershipControls", 501, "NotImplemented"),
		"405":  emulatortest.Fails("s3:GetBucketOwnershipControls", 405, "MethodNotAllowed"),
		"none": odd("GetBucketOwnershipControls", ""),
		"list": odd("GetBucketOwnershipControls", `<ListBucketResult><Name>bucket</Name></ListBucketResult>`),
	} {
		for _, canary := range []bool{true, false} {
			for _, edit := range []sources.Edit{metaEdit, {Splices: []sources.Splice{{Ins: []byte("x")}}}} {
				c, w := aclBucket(t)
				before, err := w.snapshot("item")
				if err != nil {
					t.Fatal(err)
				}
				c.Hook(hook)
				s := open(t, Config{Client: c.S3, Bucket: c.Bucket, Canary: canary, CanaryID: "test"})
				p := mustPlan(t, s, edit)
				if _, err := s.Apply(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				after, err := w.snapshot("item")
				if err != nil {
					t.Fatal(err)
				}
				const public = "grant:READ:http://acs.amazonaws.com/groups/global/AllUsers"
				if before[public] != "yes" || after[public] != "yes" {
					t.Errorf("%s, canary %v, %s: the grant is lost: %v, was %v", name, canary, p.Way, after, before)
				}
			}
		}
	}
}

// TestNoACLs: a store that answers no question for an object's list has none.
func TestNoACLs(t *testing.T) {
	for name, hook := range map[string]emulatortest.Hook{
		"501":     emulatortest.Fails("s3:GetObjectAcl", 501, "NotImplemented"),
		"400":     emulatortest.Fails("s3:GetObjectAcl", 400, "InvalidArgument"),
		"a body":  odd("GetObjectAcl", "written by somebody"),
		"another": odd("GetObjectAcl", "<Other></Other>"),
	} {
		c := newCloud(t)
		c.item(t, "body", nil)
		c.Hook(emulatortest.Both(emulatortest.Fails("s3:GetBucketOwnershipControls", 501, "NotImplemented"), hook))
		mustPlan(t, open(t, Config{Client: c.S3, Bucket: c.Bucket, Canary: true, CanaryID: "test"}), metaEdit)
		t.Log(name)
	}
	c := newCloud(t)
	c.item(t, "body", nil)
	c.Hook(emulatortest.Both(emulatortest.Fails("s3:GetBucketOwnershipControls", 501, "NotImplemented"), emulatortest.Fails("s3:GetObjectAcl", 403, "AccessDenied")))
	s, err := Open(t.Context(), Config{Client: c.S3, Bucket: c.Bucket, Canary: true, CanaryID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	var run *sources.RunError
	if err := s.Begin(t.Context(), sources.Write); !errors.As(err, &run) || !strings.Contains(run.Hint, "s3:GetObjectAcl") {
		t.Errorf("denied: %v", err)
	}
}

// TestForeignOwner: a copy would make the object the caller's, who need not be
// the bucket's owner.
func TestForeignOwner(t *testing.T) {
	const acl = `<AccessControlPolicy><Owner><ID>%s</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>%[1]s</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`
	for _, canary := range []bool{true, false} {
		var owner, caller string
		c := newCloud(t)
		c.Hook(func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
			switch {
			case op == "s3:GetBucketOwnershipControls":
				emulator.Fail(w, r, 404, "OwnershipControlsNotFoundError", "")
			case op == "s3:ListBuckets" && caller == "denied":
				emulator.Fail(w, r, 403, "AccessDenied", "")
			case op == "s3:ListBuckets":
				fmt.Fprintf(w, `<ListAllMyBucketsResult><Owner><ID>%s</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>`, caller)
			case r.URL.Query().Has("acl") && strings.Contains(r.URL.Path, "canary"):
				fmt.Fprintf(w, acl, caller)
			case r.URL.Query().Has("acl") && strings.Contains(r.URL.Path, "item"):
				fmt.Fprintf(w, acl, owner)
			case r.URL.Query().Has("acl"):
				fmt.Fprintf(w, acl, "the bucket's owner")
			default:
				next.ServeHTTP(w, r)
			}
		})
		caller = "the bucket's owner"
		c.item(t, "body", nil)
		for _, test := range []struct{ caller, owner, want string }{
			{"the bucket's owner", "the bucket's owner", ""},
			{"the bucket's owner", "somebody else", "acl"},
			{"somebody else", "the bucket's owner", "acl"},
			{"somebody else", "somebody else", ""},
			{"denied", "denied", "acl"},
			{"", "", "acl"},
		} {
			if canary && (test.caller == "denied" || test.caller == "") {
				continue
			}
			caller, owner = test.caller, test.owner
			_, err := plan(t, open(t, Config{Client: c.S3, Bucket: c.Bucket, Canary: canary, CanaryID: "test"}), metaEdit)
			got := ""
			if u := new(sources.SkipError); errors.As(err, &u) {
				got = u.Reason
			} else if err != nil {
				t.Error(err)
			}
			if got != test.want {
				t.Errorf("canary %v, caller %q, owner %q: %v, should be %q", canary, test.caller, test.owner, err, test.want)
			}
			if test.caller == "denied" && (err == nil || !strings.Contains(err.Error(), "s3:ListAllMyBuckets")) {
				t.Errorf("it does not say which permission helps: %v", err)
			}
		}
	}
}
