package s3

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/sources"
)

// access is how the bucket deals with access control lists. A copy resets the
// list of an object to its writer's full control (S3 API Reference,
// CopyObject), so where lists count they are read and sent again.
type access struct {
	lists bool   // objects have lists of their own that count
	owner string // the bucket owner's canonical user id; "" where it cannot be asked
	err   error  // it could not be found out; a write would be a guess
}

// openAccess finds out. Being denied is an error of writes alone, so that
// commands that only read do not need the permission.
func (s *Source) openAccess(ctx context.Context) error {
	out, err := s.api.GetBucketOwnershipControls(ctx, &s3.GetBucketOwnershipControlsInput{Bucket: &s.c.Bucket})
	switch {
	case err == nil && out.OwnershipControls == nil && s.c.Canary:
		return nil // the endpoint took the request for another one
	case err == nil:
		if out.OwnershipControls != nil {
			for _, r := range out.OwnershipControls.Rules {
				if r.ObjectOwnership == types.ObjectOwnershipBucketOwnerEnforced {
					return nil
				}
			}
		}
	case code(err) == "OwnershipControlsNotFoundError":
		// Never set: objects belong to their writers and have lists.
	case unknownOperation(err):
		return nil
	case denied(err):
		s.access.err = &sources.RunError{
			Err:  fmt.Errorf("reading how bucket %s deals with ACLs: %w", s.c.Bucket, err),
			Hint: "Allow s3:GetBucketOwnershipControls on arn:aws:s3:::" + s.c.Bucket,
		}
		return nil
	default:
		return s.bucketError(err)
	}

	acl, err := s.api.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: &s.c.Bucket})
	switch {
	case unknownOperation(err):
		s.access.lists = true
		return nil
	case denied(err):
		s.access.err = &sources.RunError{
			Err:  fmt.Errorf("reading who owns bucket %s, in which objects have ACLs of their own: %w", s.c.Bucket, err),
			Hint: "Allow s3:GetBucketAcl on arn:aws:s3:::" + s.c.Bucket + ", or set Object Ownership to BucketOwnerEnforced",
		}
		return nil
	case err != nil:
		return s.bucketError(err)
	}
	s.access.lists = true
	if acl.Owner != nil {
		s.access.owner = aws.ToString(acl.Owner.ID)
	}
	return nil
}

// grants are the values of the headers x-amz-grant-*, by permission. Empty:
// the list that S3 makes by itself is right.
type grants map[types.Permission]string

// grants reads an object's list and says how to send it again.
func (s *Source) grants(ctx context.Context, key string) (grants, error) {
	if s.access.err != nil {
		return nil, s.access.err
	}
	if !s.access.lists {
		return nil, nil
	}
	out, err := s.api.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: &s.c.Bucket, Key: &key})
	if unknownOperation(err) {
		return nil, nil
	}
	if err != nil {
		return nil, s.objectError("reading the ACL of", key, "s3:GetObjectAcl", err)
	}
	owner := ""
	if out.Owner != nil {
		owner = aws.ToString(out.Owner.ID)
	}
	if s.access.owner != "" && owner != s.access.owner {
		return nil, &sources.UnsupportedError{Reason: "acl", Detail: s.name(key) +
			" belongs to another account than the bucket, and would change its owner; set the bucket's Object Ownership to BucketOwnerEnforced, or have the owner re-wrap it"}
	}
	g, err := newGrants(owner, out.Grants)
	if err != nil {
		return nil, &sources.UnsupportedError{Reason: "acl", Detail: fmt.Sprintf("the ACL of %s cannot be sent again: %v", s.name(key), err)}
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
