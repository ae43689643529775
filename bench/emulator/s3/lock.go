package s3

import (
	"net/http"
	"time"
)

// lock protects a version from being deleted: by a retention, a legal hold, or
// both (Guide, "Locking objects with Object Lock").
type lock struct {
	mode  string // GOVERNANCE, COMPLIANCE or ""
	until time.Time
	hold  bool
}

// holds tells whether the version must not be deleted now.
func (l *lock) holds(now time.Time, bypass bool) bool {
	if l == nil {
		return false
	}
	retained := l.mode != "" && now.Before(l.until) && !(l.mode == "GOVERNANCE" && bypass)
	return retained || l.hold
}

func (l *lock) describe(h http.Header) {
	if l == nil {
		return
	}
	if l.mode != "" {
		set(h, "x-amz-object-lock-mode", l.mode)
		set(h, "x-amz-object-lock-retain-until-date", l.until.UTC().Format(isoTime))
	}
	if l.hold {
		set(h, "x-amz-object-lock-legal-hold", "ON")
	}
}

// headerLock reads the lock that a write asks for.
func (c *call) headerLock(b *bucket) (*lock, error) {
	h := c.r.Header
	mode, until, hold := h.Get("x-amz-object-lock-mode"), h.Get("x-amz-object-lock-retain-until-date"), h.Get("x-amz-object-lock-legal-hold")
	if mode == "" && until == "" && hold == "" {
		return nil, nil
	}
	if !b.locking {
		return nil, invalidRequest("Bucket is missing Object Lock Configuration")
	}
	if (mode == "") != (until == "") {
		return nil, invalidArgument("x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied", "x-amz-object-lock-mode", mode)
	}
	l := &lock{mode: mode}
	if mode != "" {
		if mode != "GOVERNANCE" && mode != "COMPLIANCE" {
			return nil, invalidArgument("Unknown wormMode directive.", "x-amz-object-lock-mode", mode)
		}
		var err error
		if l.until, err = time.Parse(time.RFC3339, until); err != nil || !l.until.After(c.now) {
			return nil, invalidArgument("The retain until date must be in the future!", "x-amz-object-lock-retain-until-date", until)
		}
	}
	switch hold {
	case "", "OFF":
	case "ON":
		l.hold = true
	default:
		return nil, invalidArgument("Legal Hold must be either of 'ON' or 'OFF'", "x-amz-object-lock-legal-hold", hold)
	}
	return l, nil
}

func (c *call) getBucketLock() error {
	b, err := c.find(c.bucket)
	if err != nil {
		return err
	}
	if !b.locking {
		return fault(404, "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket").field("BucketName", b.name)
	}
	var x xmlWriter
	x.root("ObjectLockConfiguration")
	x.element("ObjectLockEnabled", "Enabled")
	x.close("ObjectLockConfiguration")
	return c.answer(&x)
}

// locked finds the version whose lock the request is about.
func (c *call) locked() (*bucket, *object, error) {
	b, err := c.find(c.bucket)
	if err != nil {
		return nil, nil, err
	}
	if !b.locking {
		return nil, nil, invalidRequest("Bucket is missing Object Lock Configuration")
	}
	o, err := b.lookup(c.key, c.query.Get("versionId"))
	return b, o, err
}

func noLock() *apiError {
	return fault(404, "NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration")
}

func (c *call) getLegalHold() error {
	_, o, err := c.locked()
	if err != nil {
		return err
	}
	if o.lock == nil || o.lock.mode != "" && !o.lock.hold {
		return noLock()
	}
	status := "OFF"
	if o.lock.hold {
		status = "ON"
	}
	var x xmlWriter
	x.root("LegalHold")
	x.element("Status", status)
	x.close("LegalHold")
	return c.answer(&x)
}

func (c *call) getRetention() error {
	_, o, err := c.locked()
	if err != nil {
		return err
	}
	if o.lock == nil || o.lock.mode == "" {
		return noLock()
	}
	var x xmlWriter
	x.root("Retention")
	x.element("Mode", o.lock.mode)
	x.time("RetainUntilDate", o.lock.until)
	x.close("Retention")
	return c.answer(&x)
}

func (c *call) putLegalHold() error {
	var doc struct{ Status string }
	if err := c.document(&doc); err != nil {
		return err
	}
	if doc.Status != "ON" && doc.Status != "OFF" {
		return malformedXML()
	}
	return c.setLock(func(l *lock) error { l.hold = doc.Status == "ON"; return nil })
}

// putRetention sets a retention. One that is in force is not weakened: in
// compliance mode never, in governance mode only with the bypass header
// (Guide, "Locking objects with Object Lock").
func (c *call) putRetention() error {
	var doc struct {
		Mode            string
		RetainUntilDate time.Time
	}
	if err := c.document(&doc); err != nil {
		return err
	}
	if doc.Mode != "" && doc.Mode != "GOVERNANCE" && doc.Mode != "COMPLIANCE" || (doc.Mode == "") != doc.RetainUntilDate.IsZero() {
		return malformedXML()
	}
	if doc.Mode != "" && !doc.RetainUntilDate.After(c.now) {
		return invalidArgument("The retain until date must be in the future!", "RetainUntilDate", doc.RetainUntilDate.Format(isoTime))
	}
	bypass := lower(c.r.Header.Get("x-amz-bypass-governance-retention")) == "true"
	return c.setLock(func(l *lock) error {
		retained := lock{mode: l.mode, until: l.until}
		weaker := doc.RetainUntilDate.Before(l.until) || l.mode == "COMPLIANCE" && doc.Mode != l.mode
		if weaker && retained.holds(c.now, bypass) {
			return fault(403, "AccessDenied", "Access Denied because object protected by object lock.")
		}
		l.mode, l.until = doc.Mode, doc.RetainUntilDate.UTC()
		return nil
	})
}

// setLock changes the lock of a version and nothing else.
func (c *call) setLock(alter func(*lock) error) error {
	b, _, err := c.locked()
	if err != nil {
		return err
	}
	o, err := b.replace(c.key, c.query.Get("versionId"), func(o *object) (*object, error) {
		var l lock
		if o.lock != nil {
			l = *o.lock
		}
		if err := alter(&l); err != nil {
			return nil, err
		}
		return o.with(func(o *object) { o.lock = &l }), nil
	})
	if err != nil {
		return err
	}
	b.describeVersion(c.w.Header(), o)
	c.w.WriteHeader(http.StatusOK)
	return nil
}
