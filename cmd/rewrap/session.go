package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"rewrap/checkpoint"
	"rewrap/engine"
	"rewrap/engine/keys"
	s3source "rewrap/sources/s3"
)

// session is a job with everything opened that it needs, and nothing written
// yet.
type session struct {
	job    *job
	dir    string // the state directory
	cloud  *cloud
	source *s3source.Source
	keys   *keys.KMS
	worker engine.Worker
	match  func(string) bool
	say    func(format string, args ...any) // a line for people, on standard error
}

// openSession opens the source and the keys, and finds out whether the job can
// be done at all. It writes nothing anywhere.
func openSession(ctx context.Context, j *job, s streams, readOnly bool) (*session, error) {
	se := &session{job: j, dir: j.stateDir()}
	if j.progress == "none" {
		se.say = func(string, ...any) {}
	} else {
		var mu sync.Mutex
		se.say = func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(s.err, "rewrap: "+format+"\n", args...)
		}
	}
	notice := func(msg string) { se.say("%s", msg) }

	var err error
	if se.match, err = j.match(); err != nil {
		return nil, err
	}
	format, err := j.formats()
	if err != nil {
		return nil, err
	}
	verify, err := keys.ParseVerify(j.verify)
	if err != nil {
		return nil, err
	}
	if se.cloud, err = openCloud(ctx, j); err != nil {
		return nil, err
	}
	var pinned map[string]string
	if !readOnly && !j.restart {
		st, err := checkpoint.Read(se.dir)
		switch {
		case err == nil && !st.Snapshot.Ended:
			pinned = st.Snapshot.Targets
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	if err := se.cloud.openBucket(ctx, j.source.bucket); err != nil {
		return nil, err
	}
	se.source, err = s3source.Open(ctx, s3source.Config{
		Client: se.cloud.s3, Bucket: j.source.bucket, Prefix: j.source.prefix,
		Canary: se.cloud.endpoint() != "", CanaryID: filepath.Base(se.dir),
		Notice: notice,
	})
	if err != nil {
		return nil, err
	}
	se.keys, err = keys.OpenKMS(ctx, keys.Config{
		Client: se.cloud.keyService, From: j.from, To: j.to, Verify: verify,
		Pinned: pinned, ReadOnly: readOnly, Notice: notice,
	})
	if err != nil {
		return nil, err
	}
	se.worker = engine.Worker{Source: se.source, Format: format, Rewrapper: se.keys, ReadOnly: readOnly}
	return se, nil
}

// identity is what makes the job this job. A state directory that was begun
// with another one is not gone on with.
func (se *session) identity() []checkpoint.Field {
	j := se.job
	fields := []checkpoint.Field{{Name: "source", Value: j.source.String()}}
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, checkpoint.Field{Name: name, Value: value})
		}
	}
	add("endpoint", se.cloud.endpoint())
	add("format", j.format)
	for _, k := range se.from() {
		add("from", k)
	}
	add("to", "each wrapped key's own key")
	if to := se.keys.To(); to != nil {
		fields[len(fields)-1].Value = to.ARN
	}
	for _, g := range j.include {
		add("include", g)
	}
	for _, g := range j.exclude {
		add("exclude", g)
	}
	return fields
}

// from are the source keys by ARN, in the order in which they are tried.
func (se *session) from() []string {
	var from []string
	for _, k := range se.keys.From() {
		name := k.ARN
		if k.Only != "" {
			name += "@" + k.Only
		}
		from = append(from, name)
	}
	return from
}

// targets describes where wrapped keys shall end, for people.
func (se *session) targets() []string {
	if to := se.keys.To(); to != nil {
		return []string{keyLine(to.Given, to.ARN, to.Material)}
	}
	lines := []string{"each wrapped key's own key, its current key material"}
	for _, k := range se.keys.From() {
		lines = append(lines, keyLine(k.Given, k.ARN, k.Material))
	}
	return slices.Compact(lines)
}

func keyLine(given, arn, material string) string {
	line := arn
	if given != arn {
		line = given + " = " + arn
	}
	if material == "" {
		return line + ", key material not named by this service"
	}
	return line + ", key material " + short(material)
}

// short is enough of a key material id to tell it from others.
func short(material string) string { return material[:min(len(material), 12)] }

// interruptible gives the contexts of a run: stop ends it in order (first
// signal, or the caller), hard at once (second signal). A third signal finds
// no handler and ends the process, which loses nothing either.
func interruptible(say func(string, ...any)) (hard, stop context.Context, end func(cause error), release func()) {
	hard, cancel := context.WithCancelCause(context.Background())
	stop, end = context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		select {
		case sig := <-signals:
			say("%s: finishing what is in work; again to stop at once", signalName(sig))
			end(fmt.Errorf("interrupted by %s", signalName(sig)))
		case <-done:
			return
		}
		select {
		case sig := <-signals:
			say("%s: stopping at once", signalName(sig))
			signal.Stop(signals)
			cancel(fmt.Errorf("interrupted by %s", signalName(sig)))
		case <-done:
		}
	}()
	return hard, stop, end, sync.OnceFunc(func() {
		close(done)
		signal.Stop(signals)
		cancel(nil)
		end(nil)
	})
}

func signalName(s os.Signal) string {
	switch s {
	case syscall.SIGINT:
		return "SIGINT"
	case syscall.SIGTERM:
		return "SIGTERM"
	case syscall.SIGHUP:
		return "SIGHUP"
	}
	return strings.ToUpper(s.String())
}
