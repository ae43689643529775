package s3

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strings"
)

// The settings of a bucket's Object Ownership (Guide, "Controlling ownership
// of objects").
const (
	ownerEnforced  = "BucketOwnerEnforced" // ACLs do not exist
	ownerPreferred = "BucketOwnerPreferred"
	objectWriter   = "ObjectWriter"
)

func validOwnership(v string) bool {
	return v == ownerEnforced || v == ownerPreferred || v == objectWriter
}

// acl is the list of grants of an object whose ACL is not private.
type acl struct{ grants []grant }

type grant struct {
	kind       string // CanonicalUser or Group
	grantee    string // canonical id or URI
	permission string
}

const (
	everyone      = "http://acs.amazonaws.com/groups/global/AllUsers"
	authenticated = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
)

var permissions = []string{"FULL_CONTROL", "READ", "READ_ACP", "WRITE", "WRITE_ACP"}

// grants returns the grants in force. A private ACL is full control for the
// owner.
func (c *call) grants(o *object) []grant {
	if o.acl == nil {
		return []grant{{"CanonicalUser", c.owner, "FULL_CONTROL"}}
	}
	return o.acl.grants
}

// headerACL reads x-amz-acl or the x-amz-grant- headers of a write. nil stands
// for private. Where the bucket enforces its owner, only headers that mean the
// same as no ACL are accepted.
func (c *call) headerACL(b *bucket) (*acl, error) {
	h := c.r.Header
	canned := h.Get("x-amz-acl")
	var list []grant
	for _, permission := range permissions {
		v := h.Get("x-amz-grant-" + strings.ReplaceAll(lower(permission), "_", "-"))
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			kind, grantee, _ := strings.Cut(part, "=")
			grantee = strings.Trim(grantee, `"`)
			switch kind {
			case "id":
				list = append(list, grant{"CanonicalUser", grantee, permission})
			case "uri":
				list = append(list, grant{"Group", grantee, permission})
			default:
				return nil, invalidArgument("Argument format not recognized", "x-amz-grant-"+lower(permission), v)
			}
		}
	}
	b.mu.RLock()
	enforced := b.ownership == ownerEnforced
	b.mu.RUnlock()
	if enforced {
		if canned != "" && canned != "bucket-owner-full-control" || len(list) > 0 {
			return nil, aclsNotSupported()
		}
		return nil, nil
	}
	if canned != "" && len(list) > 0 {
		return nil, invalidRequest("Specifying both Canned ACLs and Header Grants is not allowed")
	}
	if len(list) > 0 {
		return &acl{list}, nil
	}
	full := grant{"CanonicalUser", c.owner, "FULL_CONTROL"}
	switch canned {
	case "", "private", "bucket-owner-read", "bucket-owner-full-control":
		return nil, nil // one account owns both bucket and object
	case "public-read":
		return &acl{[]grant{full, {"Group", everyone, "READ"}}}, nil
	case "public-read-write":
		return &acl{[]grant{full, {"Group", everyone, "READ"}, {"Group", everyone, "WRITE"}}}, nil
	case "authenticated-read":
		return &acl{[]grant{full, {"Group", authenticated, "READ"}}}, nil
	}
	return nil, invalidArgument("", "x-amz-acl", canned)
}

func aclsNotSupported() *apiError {
	return fault(400, "AccessControlListNotSupported", "The bucket does not allow ACLs")
}

const xsi = "http://www.w3.org/2001/XMLSchema-instance"

func (c *call) getACL() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	o, err := b.lookup(c.key, c.query.Get("versionId"))
	if err != nil {
		return err
	}
	b.describeVersion(c.w.Header(), o)
	var x xmlWriter
	x.root("AccessControlPolicy")
	c.ownerElement(&x)
	x.open("AccessControlList")
	for _, g := range c.grants(o) {
		x.open("Grant")
		x.open(`Grantee xmlns:xsi="` + xsi + `" xsi:type="` + g.kind + `"`)
		if g.kind == "Group" {
			x.element("URI", g.grantee)
		} else {
			x.element("ID", g.grantee)
		}
		x.close("Grantee")
		x.element("Permission", g.permission)
		x.close("Grant")
	}
	x.close("AccessControlList")
	x.close("AccessControlPolicy")
	return c.answer(&x)
}

// putACL sets the ACL from headers or from a document. Nothing else of the
// object changes.
func (c *call) putACL() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	list, err := c.headerACL(b)
	if err != nil {
		return err
	}
	if c.r.ContentLength != 0 {
		if list, err = c.documentACL(b); err != nil {
			return err
		}
	}
	o, err := b.replace(c.key, c.query.Get("versionId"), func(o *object) (*object, error) {
		return o.with(func(o *object) { o.acl = list }), nil
	})
	if err != nil {
		return err
	}
	b.describeVersion(c.w.Header(), o)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) documentACL(b *bucket) (*acl, error) {
	var doc struct {
		XMLName xml.Name `xml:"AccessControlPolicy"`
		Owner   struct{ ID string }
		Grant   []struct {
			Grantee struct {
				Type    string `xml:"http://www.w3.org/2001/XMLSchema-instance type,attr"`
				ID, URI string
			}
			Permission string
		} `xml:"AccessControlList>Grant"`
	}
	if err := c.document(&doc); err != nil {
		return nil, err
	}
	if doc.Owner.ID != c.owner {
		return nil, fault(403, "AccessDenied", "Access Denied")
	}
	list := &acl{}
	for _, g := range doc.Grant {
		if !slices.Contains(permissions, g.Permission) {
			return nil, malformedXML()
		}
		switch {
		case g.Grantee.Type == "Group" && g.Grantee.URI != "":
			list.grants = append(list.grants, grant{"Group", g.Grantee.URI, g.Permission})
		case g.Grantee.Type == "CanonicalUser" && g.Grantee.ID != "":
			list.grants = append(list.grants, grant{"CanonicalUser", g.Grantee.ID, g.Permission})
		default:
			return nil, malformedXML()
		}
	}
	private := len(list.grants) == 1 && list.grants[0] == grant{"CanonicalUser", c.owner, "FULL_CONTROL"}
	b.mu.RLock()
	enforced := b.ownership == ownerEnforced
	b.mu.RUnlock()
	switch {
	case enforced && !private:
		return nil, aclsNotSupported()
	case private:
		return nil, nil
	}
	return list, nil
}

func (c *call) getOwnership() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	b.mu.RLock()
	ownership := b.ownership
	b.mu.RUnlock()
	if ownership == "" {
		return fault(404, "OwnershipControlsNotFoundError", "The bucket ownership controls were not found").field("BucketName", b.name)
	}
	var x xmlWriter
	x.root("OwnershipControls")
	x.open("Rule")
	x.element("ObjectOwnership", ownership)
	x.close("Rule")
	x.close("OwnershipControls")
	return c.answer(&x)
}

func (c *call) putOwnership() error {
	var doc struct {
		XMLName xml.Name `xml:"OwnershipControls"`
		Rule    []struct{ ObjectOwnership string }
	}
	if err := c.document(&doc); err != nil {
		return err
	}
	if len(doc.Rule) != 1 || !validOwnership(doc.Rule[0].ObjectOwnership) {
		return malformedXML()
	}
	return c.setOwnership(doc.Rule[0].ObjectOwnership, http.StatusOK)
}

func (c *call) deleteOwnership() error { return c.setOwnership("", http.StatusNoContent) }

func (c *call) setOwnership(v string, status int) error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.ownership = v
	b.mu.Unlock()
	c.w.WriteHeader(status)
	return nil
}
