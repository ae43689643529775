package s3

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// access is how the bucket deals with access control lists (ACLs). A write gives
// the object a new list, with full control for the writer, and makes the writer
// its owner (S3 API Reference, CopyObject). So where objects have lists, the
// list is read and sent again, and objects of other owners are skipped.
type access struct {
	lists bool  // objects may have lists of their own
	err   error // why this could not be found out; writes are refused with it
}

// openAccess asks whether objects have lists, and which account owns what the
// caller writes. At endpoints other than AWS's the canary tells the owner (see
// [Source.lists]). A denied request fails writes only, so that commands that
// only read do not need the permission.
func (s *Source) openAccess(ctx context.Context) (owner string, err error) {
	out, err := s.client.GetBucketOwnershipControls(ctx, &s3.GetBucketOwnershipControlsInput{Bucket: &s.c.Bucket})
	switch {
	case err == nil && out.OwnershipControls != nil:
		for _, r := range out.OwnershipControls.Rules {
			if r.ObjectOwnership == types.ObjectOwnershipBucketOwnerEnforced {
				return "", nil
			}
		}
	case err == nil:
		// The endpoint took the request for another operation.
	case awserr.Code(err) == "OwnershipControlsNotFoundError":
		// Never set: objects belong to their writers and have lists.
	case unknownOperation(err):
		// The endpoint has no such setting. It may have lists all the same.
	case denied(err):
		s.access.err = &sources.RunError{
			Where: whereWrite,
			Err:   fmt.Errorf("reading how bucket %s deals with ACLs: %w", s.c.Bucket, awserr.Plain(err)),
			Hint:  "Allow s3:GetBucketOwnershipControls on arn:aws:s3:::" + s.c.Bucket,
		}
		return "", nil
	default:
		return "", s.bucketError(err)
	}
	s.access.lists = true
	if s.c.Canary {
		return "", nil
	}
	buckets, err := s.client.ListBuckets(ctx, &s3.ListBucketsInput{MaxBuckets: aws.Int32(1)})
	switch {
	case denied(err), unknownOperation(err):
	case err != nil:
		return "", s.bucketError(err)
	default:
		owner = ownerID(buckets.Owner)
	}
	if owner == "" {
		s.access.err = &sources.SkipError{Reason: "acl", Detail: "objects of bucket " + s.c.Bucket +
			" have ACLs and owners of their own, and which account the caller writes as cannot be found out; allow s3:ListAllMyBuckets on *, or set the bucket's Object Ownership to BucketOwnerEnforced"}
	}
	return owner, nil
}

// lists says whether an object has an access control list, and who owns the
// object. The owner of the canary is the owner of whatever the caller writes.
func (s *Source) lists(ctx context.Context, key string) (lists bool, owner string, err error) {
	if !s.access.lists {
		return false, "", nil
	}
	out, err := s.client.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: &s.c.Bucket, Key: &key})
	switch {
	case refusedOtherwise(err):
		return false, "", nil // the endpoint has no ACLs
	case err != nil:
		return false, "", s.objectError(whereWrite, "reading the ACL of", key, "s3:GetObjectAcl", err)
	case out.Owner == nil && len(out.Grants) == 0:
		return false, "", nil // the endpoint took the request for another operation
	}
	return true, ownerID(out.Owner), nil
}

func ownerID(o *types.Owner) string {
	if o == nil {
		return ""
	}
	return aws.ToString(o.ID)
}

// grants are the values of the headers x-amz-grant-*, by permission. Without
// any, S3 gives full control to the owner alone.
type grants map[types.Permission]string

// grants are the headers that send an object's list again.
func (s *Source) grants(ctx context.Context, key string, h *honours) (grants, error) {
	if s.access.err != nil {
		return nil, s.access.err
	}
	if !h.Lists {
		return nil, nil
	}
	out, err := s.client.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: &s.c.Bucket, Key: &key})
	if unknownOperation(err) {
		return nil, nil
	}
	if err != nil {
		return nil, s.objectError(whereWrite, "reading the ACL of", key, "s3:GetObjectAcl", err)
	}
	owner := ownerID(out.Owner)
	if owner != h.Owner && !h.Assumed {
		return nil, &sources.SkipError{Reason: "acl", Detail: s.name(key) +
			" belongs to another account than the caller's, and would change its owner; set the bucket's Object Ownership to BucketOwnerEnforced, or have the owner re-wrap it"}
	}
	g, err := newGrants(owner, out.Grants)
	if err != nil {
		return nil, &sources.SkipError{Reason: "acl", Detail: fmt.Sprintf("the ACL of %s cannot be sent again: %v", s.name(key), err)}
	}
	return g, nil
}

func newGrants(owner string, list []types.Grant) (grants, error) {
	if len(list) == 1 && list[0].Permission == types.PermissionFullControl &&
		list[0].Grantee != nil && aws.ToString(list[0].Grantee.ID) == owner {
		return nil, nil
	}
	values := make(map[types.Permission][]string)
	for _, g := range list {
		if g.Grantee == nil {
			return nil, fmt.Errorf("a grant to nobody")
		}
		var name, value string
		switch g.Grantee.Type {
		case types.TypeCanonicalUser:
			name, value = "id", aws.ToString(g.Grantee.ID)
		case types.TypeGroup:
			name, value = "uri", aws.ToString(g.Grantee.URI)
		case types.TypeAmazonCustomerByEmail:
			name, value = "emailAddress", aws.ToString(g.Grantee.EmailAddress)
		default:
			return nil, fmt.Errorf("a grant to a grantee of type %q", g.Grantee.Type)
		}
		if value == "" || strings.ContainsAny(value, "\"\r\n") {
			return nil, fmt.Errorf("a grant to a grantee without a usable name")
		}
		switch g.Permission {
		case types.PermissionFullControl, types.PermissionRead, types.PermissionReadAcp, types.PermissionWriteAcp:
		default:
			return nil, fmt.Errorf("permission %q has no header on objects", g.Permission)
		}
		values[g.Permission] = append(values[g.Permission], name+`="`+value+`"`)
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("it is empty, which no header says")
	}
	g := make(grants, len(values))
	for p, v := range values {
		g[p] = strings.Join(v, ", ")
	}
	return g, nil
}

func (g grants) header(p types.Permission) *string { return nonEmpty(g[p]) }
