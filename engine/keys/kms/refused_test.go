package kms_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/kms"

	"rewrap/engine/envelope"
	"rewrap/engine/keys/kms"
)

// queue lets one ReEncrypt through for each turn, as a pacer does.
type queue struct {
	kms.API
	waiting chan struct{}
	turn    chan struct{}
}

func (q *queue) ReEncrypt(ctx context.Context, in *sdk.ReEncryptInput, o ...func(*sdk.Options)) (*sdk.ReEncryptOutput, error) {
	if in.CiphertextBlob != nil { // not the dry runs
		q.waiting <- struct{}{}
		select {
		case <-q.turn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return q.API.ReEncrypt(ctx, in, o...)
}

// blobs are different ones.
func (w *world) blobs(n int, arn string) (blobs [][]byte) {
	for range n {
		blobs = append(blobs, w.seal(arn, nil))
	}
	return blobs
}

// An operator's key is refused once; what waits for its turn then is called
// off, what comes later asks nobody.
func TestRefusedKeyIsNotAskedForAgain(t *testing.T) {
	const n = 40
	for name, spoil := range map[string]func(*world, string){
		"disabled":         (*world).Disable,
		"pending deletion": (*world).scheduleDeletion,
	} {
		for side, describes := range map[string]int{"source": 1, "target": 2} {
			t.Run(name+" "+side, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, 0)
				a, b := w.key(), w.key()
				blobs := w.blobs(n, a)
				q := &queue{API: w.In(home).KMS, waiting: make(chan struct{}), turn: make(chan struct{})}
				c := w.config(kms.Config{From: []string{a}, To: b})
				c.Client = func(string) kms.API { return q }
				k, err := kms.Open(t.Context(), c)
				must(t, k, err)
				bad := a
				if side == "target" {
					bad = b
				}
				spoil(w, bad)
				w.calls("ReEncrypt")
				w.calls("DescribeKey")

				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				errs := make([]error, n)
				var all sync.WaitGroup
				for i, blob := range blobs {
					all.Go(func() { _, errs[i] = k.Rewrap(ctx, envelope.WrappedKey{Blob: blob}) })
				}
				for range n {
					<-q.waiting
				}
				q.turn <- struct{}{}
				all.Wait()
				for range 3 {
					_, err := k.Rewrap(ctx, envelope.WrappedKey{Blob: blobs[0]})
					errs = append(errs, err)
				}
				for _, err := range errs {
					runError(t, err, 1)
					contains(t, err, bad)
				}
				if n := w.calls("ReEncrypt"); n != 1 {
					t.Errorf("%d calls of ReEncrypt, want 1", n)
				}
				if n := w.calls("DescribeKey"); n != describes {
					t.Errorf("%d calls of DescribeKey, want %d", n, describes)
				}
			})
		}
	}
}

// Which of two keys is refused has to be asked where an item named one.
func TestRefusedTargetOfItemsKeys(t *testing.T) {
	const n = 30
	w := newWorld(t, 0)
	b := w.key()
	var wks []envelope.WrappedKey
	for range n {
		a := w.key()
		wks = append(wks, envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a})
	}
	k := w.open(kms.Config{To: b})
	w.Disable(b)
	// All are refused before anybody hears why.
	var refused sync.WaitGroup
	refused.Add(n)
	w.hook(func(_, op string, _ object) string {
		switch op {
		case "ReEncrypt":
			refused.Done()
		case "DescribeKey":
			refused.Wait()
		}
		return ""
	}, nil)
	w.calls("DescribeKey")
	var all sync.WaitGroup
	errs := make([]error, n)
	for i, wk := range wks {
		all.Go(func() { _, errs[i] = k.Rewrap(t.Context(), wk) })
	}
	all.Wait()
	for _, err := range errs {
		contains(t, runError(t, err, 1), "enable-key", b)
	}
	if n := w.calls("DescribeKey"); n != 1 {
		t.Errorf("%d calls of DescribeKey, want 1", n)
	}
	w.hook(nil, nil)
	w.calls("ReEncrypt")
	_, err := k.Rewrap(t.Context(), wks[0])
	runError(t, err, 1)
	if n := w.calls("ReEncrypt") + w.calls("DescribeKey"); n != 0 {
		t.Errorf("%d calls after that", n)
	}
}

// Keys that have nothing to do with the refused one go on; and a key that only
// items name is asked for again, since it may be well by then.
func TestRefusalIsTheKeysOwn(t *testing.T) {
	w := newWorld(t, 0)
	a, c := w.key(), w.key()
	blob := w.seal(a, nil)
	for _, conf := range []kms.Config{{From: []string{a, c}}, {}} {
		k := w.open(conf)
		if conf.From == nil { // met while it was well
			w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil), KeyID: a})
		}
		w.Disable(a)
		_, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, KeyID: a})
		contains(t, err, "enable-key", a)
		w.rewrap(k, envelope.WrappedKey{Blob: w.seal(c, nil), KeyID: c})
		_, err = w.KMS.EnableKey(t.Context(), &sdk.EnableKeyInput{KeyId: &a})
		must(t, 0, err)
		_, err = k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob, KeyID: a})
		if named := conf.From != nil; named != (err != nil) {
			t.Errorf("named: %v, then: %v", named, err)
		}
	}
}

// slow looks keys up when it is told to, and minds its context.
type slow struct {
	kms.API
	asked, answer chan struct{}
}

func (s *slow) DescribeKey(ctx context.Context, in *sdk.DescribeKeyInput, o ...func(*sdk.Options)) (*sdk.DescribeKeyOutput, error) {
	s.asked <- struct{}{}
	<-s.answer
	return s.API.DescribeKey(ctx, in, o...)
}

// A caller that leaves takes nobody's answer with it.
func TestRefusedWhileCallersLeave(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	blobs := w.blobs(2, a)
	s := &slow{w.In(home).KMS, make(chan struct{}, 9), make(chan struct{})}
	c := w.config(kms.Config{From: []string{a}, To: b})
	c.Client = func(string) kms.API { return s }
	go func() { s.answer <- struct{}{}; s.answer <- struct{}{} }()
	k, err := kms.Open(t.Context(), c)
	must(t, k, err)
	<-s.asked
	<-s.asked
	w.Disable(a)
	ctx, leave := context.WithCancel(t.Context())
	left, stayed := make(chan error), make(chan error)
	go func() { _, err := k.Rewrap(ctx, envelope.WrappedKey{Blob: blobs[0]}); left <- err }()
	<-s.asked
	leave()
	if err := <-left; err != context.Canceled {
		t.Errorf("got %v", err)
	}
	go func() { _, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blobs[1]}); stayed <- err }()
	close(s.answer)
	contains(t, runError(t, <-stayed, 1), "enable-key", a)
}

func TestRotationIsToldOnce(t *testing.T) {
	t.Parallel()
	const n = 64
	w := newWorld(t, 0)
	a, b := w.key(), w.key()
	blobs := w.blobs(n, a)
	k := w.open(kms.Config{From: []string{a}, To: b})
	w.rotate(b)
	var moved sync.WaitGroup // all, before anybody is told where to
	moved.Add(n)
	w.hook(func(_, op string, _ object) string {
		switch op {
		case "ReEncrypt":
			moved.Done()
		case "DescribeKey":
			moved.Wait()
		}
		return ""
	}, nil)
	var all sync.WaitGroup
	for _, blob := range blobs {
		all.Go(func() {
			if r, err := k.Rewrap(t.Context(), envelope.WrappedKey{Blob: blob}); err != nil || !r.Newer {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	all.Wait()
	w.hook(nil, nil)
	w.rotate(b) // newer still: told again, once
	w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil)})
	w.rewrap(k, envelope.WrappedKey{Blob: w.seal(a, nil)})
	told := map[string]int{}
	for _, notice := range w.notices {
		if strings.Contains(notice, "was rotated during the run") {
			told[notice]++
		}
	}
	if len(told) != 2 {
		t.Errorf("told of %d materials, want 2: %v", len(told), told)
	}
	for notice, n := range told {
		if n != 1 {
			t.Errorf("told %d times: %s", n, notice)
		}
	}
}
