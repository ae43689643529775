// Package emulator is Amazon S3 and AWS KMS on one port, or without a port,
// for tests and benchmarks. It joins package s3 and package kms: S3 calls KMS
// for every object under SSE-KMS. In front of both stand request counters,
// quotas, latency and a hook for faults.
//
//	e := emulator.New(emulator.Options{})
//	client := s3.New(s3.Options{HTTPClient: e.Client(), BaseEndpoint: aws.String("http://emulator"), UsePathStyle: true, ...})
//
// Any credentials are accepted, and no signature is checked.
package emulator

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"rewrap/bench/emulator/kms"
	"rewrap/bench/emulator/s3"
)

// Options configure an [Emulator]. The zero value is useful.
type Options struct {
	Account, Region string           // "" is 111122223333 and us-east-1
	Now             func() time.Time // the clock of both services and of the quotas; nil: time.Now
	Rand            io.Reader        // see kms.Options; S3's ids are random regardless
	RotationDelay   time.Duration    // see kms.Options

	// KMSQuota is the number of cryptographic operations that KMS answers in a
	// second; 0 is no limit. Calls by S3 count as well. A request above the
	// quota is answered with ThrottlingException. KMSWindow is the way of
	// counting: "second" (or "") is windows that begin with each second of the
	// clock, "bucket" is a token bucket that holds one second's worth. AWS
	// publishes the quota but not the window.
	KMSQuota  int
	KMSWindow string

	// S3Quota is the number of requests that S3 answers in a second; 0 is no
	// limit. A request above it is answered with 503 SlowDown. On AWS the limit
	// holds for each prefix.
	S3Quota int

	// KMSLatency and S3Latency delay every answer, in real time. A request whose
	// context ends meanwhile is not carried out.
	KMSLatency, S3Latency time.Duration

	// Hook stands before both services; nil is none. It gets the name of the
	// operation, as in [Emulator.Counters], and decides what happens to the
	// request. It may answer by itself ([Fail]), wait, call next and pass the
	// answer on, lose the answer ([LoseAnswer]), cut it short ([Truncate]), or
	// panic with [http.ErrAbortHandler], which resets the connection. Many
	// goroutines call it at once.
	Hook func(op string, w http.ResponseWriter, r *http.Request, next http.Handler)
}

// Emulator is both services. Many goroutines may call it at once.
type Emulator struct {
	o        Options
	kms      *kms.Service
	s3       *s3.Service
	kmsQuota *quota
	s3Quota  *quota
	counters sync.Map // name to *atomic.Int64
}

// New returns an emulator without keys and buckets. It panics if KMSWindow is
// none of its words.
func New(o Options) *Emulator {
	if o.Now == nil {
		o.Now = time.Now
	}
	bucket := o.KMSWindow == "bucket"
	if !bucket && o.KMSWindow != "" && o.KMSWindow != "second" {
		panic("emulator: KMSWindow must be second or bucket, not " + o.KMSWindow)
	}
	e := &Emulator{o: o, kmsQuota: newQuota(o.KMSQuota, bucket), s3Quota: newQuota(o.S3Quota, false)}
	e.kms = kms.New(kms.Options{Account: o.Account, Region: o.Region, Now: o.Now, RotationDelay: o.RotationDelay, Rand: o.Rand})
	e.s3 = s3.New(s3.Options{Account: o.Account, Region: o.Region, Now: o.Now, Keys: keyService{e}})
	return e
}

// KMS returns the KMS half.
func (e *Emulator) KMS() *kms.Service { return e.kms }

// S3 returns the S3 half.
func (e *Emulator) S3() *s3.Service { return e.s3 }

// ServeHTTP answers one request. A request that names a KMS operation in
// X-Amz-Target goes to KMS, a path under /_emulator/ to the counters, and all
// others go to S3.
//
//	GET  /_emulator/counters        what Counters returns, as JSON
//	POST /_emulator/counters/reset  ResetCounters
func (e *Emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path { // no bucket name begins with "_"
	case "GET /_emulator/counters":
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(e.Counters()) // fails only if the client has gone away
		return
	case "POST /_emulator/counters/reset":
		e.ResetCounters()
		w.WriteHeader(http.StatusNoContent)
		return
	}
	op := operation(r)
	e.count(op)
	if e.o.Hook != nil || e.o.S3Latency > 0 || e.o.KMSLatency > 0 {
		takeBody(r)
	}
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e.serve(op, w, r) })
	if e.o.Hook != nil {
		e.o.Hook(op, w, r, serve)
		return
	}
	serve(w, r)
}

// operation returns the name of a request's operation: "kms:ReEncrypt",
// "s3:CopyObject".
func operation(r *http.Request) string {
	if name, ok := kms.Operation(r); ok {
		return "kms:" + name
	}
	return "s3:" + s3.Operation(r)
}

func (e *Emulator) serve(op string, w http.ResponseWriter, r *http.Request) {
	now := e.o.Now()
	if name, ok := kms.Operation(r); ok {
		if cryptographic[name] && !e.kmsQuota.take(now) {
			e.count("throttled:" + op)
			Fail(w, r, http.StatusBadRequest, "ThrottlingException", "Rate exceeded")
			return
		}
		wait(r, e.o.KMSLatency)
	} else {
		if !e.s3Quota.take(now) {
			e.count("throttled:" + op)
			Fail(w, r, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
			return
		}
		wait(r, e.o.S3Latency)
	}
	e.answer(w, r)
}

// answer passes the request to its service.
func (e *Emulator) answer(w http.ResponseWriter, r *http.Request) {
	if _, ok := kms.Operation(r); ok {
		e.kms.ServeHTTP(w, r)
		return
	}
	e.s3.ServeHTTP(w, r)
}

// takeBody reads the request's body before anything waits. net/http notices
// that a client has gone away only after the body was read to its end. Until
// then the request's context would outlive the client.
func takeBody(r *http.Request) {
	if r.ContentLength <= 0 {
		return // no body, or one of unknown length, which S3 refuses without reading it
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the client has gone away
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
}

// wait waits for d. If the request's context ends first, wait drops the
// connection: there is no client to answer, and nothing was done.
func wait(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// Counters returns the number of requests since the start or the last reset,
// by operation: "kms:ReEncrypt", "s3:HeadObject", "s3:Unknown". Calls of KMS
// by S3 are counted under "s3:kms:". A request that was refused for a quota is
// counted under its operation, and again with "throttled:" before it.
func (e *Emulator) Counters() map[string]int64 {
	m := make(map[string]int64)
	e.counters.Range(func(name, n any) bool {
		if v := n.(*atomic.Int64).Load(); v != 0 {
			m[name.(string)] = v
		}
		return true
	})
	return m
}

// ResetCounters sets all counters to zero.
func (e *Emulator) ResetCounters() {
	e.counters.Range(func(_, n any) bool { n.(*atomic.Int64).Store(0); return true })
}

func (e *Emulator) count(name string) {
	n, ok := e.counters.Load(name)
	if !ok {
		n, _ = e.counters.LoadOrStore(name, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
}

// keyService is KMS as S3 calls it. The calls of S3 count against the same
// quota as all others.
type keyService struct{ e *Emulator }

func (k keyService) spend(op string) error {
	k.e.count("s3:kms:" + op)
	if !k.e.kmsQuota.take(k.e.o.Now()) {
		k.e.count("throttled:s3:kms:" + op)
		return &kms.Error{Code: "ThrottlingException", Message: "Rate exceeded", Status: http.StatusBadRequest}
	}
	return nil
}

func (k keyService) GenerateDataKey(keyID string, n int, context map[string]string) (plaintext, blob []byte, keyARN string, err error) {
	if err := k.spend("GenerateDataKey"); err != nil {
		return nil, nil, "", err
	}
	return k.e.kms.GenerateDataKey(keyID, n, context)
}

func (k keyService) Decrypt(blob []byte, context map[string]string, keyID string) (plaintext []byte, keyARN, material string, err error) {
	if err := k.spend("Decrypt"); err != nil {
		return nil, "", "", err
	}
	return k.e.kms.Decrypt(blob, context, keyID)
}

func (k keyService) ResolveKey(keyID string) (string, error) { return k.e.kms.ResolveKey(keyID) }

func (k keyService) ManagedKey(alias string) (string, error) { return k.e.kms.ManagedKey(alias) }
