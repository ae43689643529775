package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"rewrap/checkpoint"
	"rewrap/engine"
	"rewrap/engine/envelope"
	"rewrap/engine/keys"
	"rewrap/engine/keys/keyring"
	"rewrap/engine/keys/kms"
	"rewrap/sources"
	"rewrap/sources/cloud"
)

// session is a job with everything opened that it needs, and nothing written
// yet.
type session struct {
	job   *job
	dir   string // the state directory
	cloud *cloud.Cloud
	// endpoint is the one that takes the place of S3; "": AWS itself, or a directory.
	endpoint  string
	source    sources.Source
	kms       *kms.KMS         // nil: the job re-wraps locally
	local     *keyring.Keyring // nil: the job re-wraps with KMS
	format    envelope.Format
	rewrapper keys.Rewrapper
	match     func(string) bool
	say       func(format string, args ...any) // a line for people, on standard error
}

// purpose is what a session is opened for.
type purpose int

const (
	toMove     purpose = iota // wrapped keys are moved
	toForecast                // nothing is written, and KMS is asked as in a run
	toLook                    // nothing is written, and the target is tried first
)

// openSession opens the source and the keys, and finds out whether the job can
// be done at all. It writes nothing anywhere.
func openSession(ctx context.Context, j *job, s streams, why purpose) (_ *session, err error) {
	se := &session{job: j, dir: j.stateDir(), say: speak(s.err)}
	defer func() {
		if err != nil {
			se.close()
		}
	}()
	if se.match, err = j.match(); err != nil {
		return nil, err
	}
	format, err := j.formats()
	if err != nil {
		return nil, err
	}
	verify, err := kms.ParseVerify(j.verify)
	if err != nil {
		return nil, err
	}
	if j.keyring == "" && len(j.from) == 0 && (format.Name() == "raw" || format.Name() == "json") {
		return nil, usage("items of the format %s do not record their key: name it with --from", format.Name())
	}
	se.cloud = newCloud(j.workers, j.kms, j.store, se.say)
	if j.source.dir == "" || j.keyring == "" || j.keyringKMS != "" {
		if err := se.cloud.Configure(ctx); err != nil {
			return nil, err
		}
	}
	var pinned map[string]string
	if why == toMove && !j.restart {
		st, err := checkpoint.Read(se.dir)
		switch {
		case err == nil && !st.Snapshot.Ended:
			pinned = st.Snapshot.Targets
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, stateError(err)
		}
	}
	if se.source, err = se.openSource(ctx); err != nil {
		return nil, err
	}
	if p := j.planned; p != nil && p.Endpoint != se.endpoint {
		return nil, usage("the plan was made at the endpoint %q, and here it is %q: make a plan at this one", p.Endpoint, se.endpoint)
	}
	se.format = format
	if j.keyring != "" {
		if se.local, err = se.openKeyring(ctx, pinned); err != nil {
			return nil, err
		}
		se.rewrapper = se.local
		return se, nil
	}
	se.kms, err = kms.Open(ctx, kms.Config{
		Client: func(region string) kms.API { return se.cloud.KMS(region) }, From: j.from, To: j.to, Verify: verify,
		Region: se.cloud.Region(), Pinned: pinned, Look: why != toMove, TargetFirst: why == toLook, Notice: func(msg string) { se.say("%s", msg) },
	})
	if err != nil {
		return nil, err
	}
	se.rewrapper = se.kms
	return se, nil
}

// newCloud makes the clients of a command that makes so many calls at once.
func newCloud(calls int, keyRate, storeRate rate, say func(string, ...any)) *cloud.Cloud {
	return cloud.New(cloud.Config{Connections: calls * 4, KMS: keyRate.perSecond, Store: storeRate.perSecond, Notice: func(msg string) { say("%s", msg) }})
}

// close lets go of the source. Nothing is lost by an error of that: every edit
// was durable when it was made.
func (se *session) close() {
	if se.source != nil {
		_ = se.source.Close()
	}
}

// stateError says what to do about a state directory that cannot be read or
// written. Nothing in the source was changed then.
func stateError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: make room for the state directory, or name one elsewhere with --state; nothing was changed", err)
	case errors.As(err, new(syscall.Errno)): // the other errors say so themselves
		return fmt.Errorf("%w: name a state directory elsewhere with --state; nothing was changed", err)
	}
	return err
}

// openCurrent is for commands that vouch for what they see: a prefix says which
// key of a keyring wrapped a blob, and not that the key opens it.
func (j *job) openCurrent() {
	if j.keyring != "" {
		j.verify = "open"
	}
}

// openKeyring opens the keyring of the job, and holds its primary key against
// the one that the pass began with.
func (se *session) openKeyring(ctx context.Context, pinned map[string]string) (*keyring.Keyring, error) {
	j := se.job
	w := wrapFlags{key: j.keyringKMS, context: j.keyringContext, prefix: "keyring-"}
	wrapping, err := w.wrapping(se.cloud)
	if err != nil {
		return nil, err
	}
	k, err := keyring.Open(ctx, j.keyring, keyring.Options{Wrapping: wrapping, OpenCurrent: j.verify == "open"})
	if err != nil {
		return nil, keyringError(err, "keyring-")
	}
	for name, is := range k.Targets() {
		if was, ok := pinned[name]; ok && was != is {
			return nil, &kms.MovedError{Key: name, Was: was, Is: is}
		}
	}
	return k, nil
}

// targets are the keys that wrapped keys end at, as the checkpoint keeps them.
func (se *session) targets() map[string]string {
	if se.local != nil {
		return se.local.Targets()
	}
	return se.kms.Targets()
}

// identity is what makes the job this job. A state directory that was begun
// with another one is not gone on with.
func (se *session) identity() []checkpoint.Field {
	j := se.job
	fields := j.scope()
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, checkpoint.Field{Name: name, Value: value})
		}
	}
	// A key is the same by the same name; what an alias points to may have
	// moved when the next pass begins, but not within one.
	key := func(name string, k kms.Key) {
		given := k.Given
		if k.Only != "" {
			given += "@" + k.Only
		}
		fields = append(fields, checkpoint.Field{Name: name + " " + given, Value: k.ARN, Moves: true})
	}
	add("endpoint", se.endpoint)
	switch {
	case se.local != nil:
		add("keyring", j.keyringPath())
	default:
		for _, k := range se.from() {
			key("from", k)
		}
		if to := se.kms.To(); to != nil {
			key("to", *to)
		} else {
			add("to", "each wrapped key's own key")
		}
	}
	return fields
}

// scope is what makes the job this job, as far as the operator alone says it,
// and but for keys.
func (j *job) scope() []checkpoint.Field {
	fields := []checkpoint.Field{{Name: "source", Value: j.source.String()}, {Name: "format", Value: j.format}}
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"json-field", j.jsonFields}, {"context", j.context}, {"context-field", []string{j.contextField}},
		{"associated-data", []string{j.associatedData}}, {"include", j.include}, {"exclude", j.exclude},
	} {
		for _, v := range f.values {
			if v != "" {
				fields = append(fields, checkpoint.Field{Name: f.name, Value: v})
			}
		}
	}
	return fields
}

// from are the source keys in one order: the order in which they are tried is
// no part of the job.
func (se *session) from() []kms.Key {
	from := se.kms.From()
	slices.SortFunc(from, func(a, b kms.Key) int {
		return cmp.Or(strings.Compare(a.Given, b.Given), strings.Compare(a.Only, b.Only))
	})
	return from
}

// describeKeys says which keys are meant, for people: pairs of a word and a
// line.
func (se *session) describeKeys() (rows [][2]string) {
	if se.local != nil {
		t := se.local.Target()
		return [][2]string{{"keyring", fmt.Sprintf("%s, primary key %s", se.job.keyring, t.Material)}}
	}
	for _, k := range se.kms.From() {
		rows = append(rows, [2]string{"from", keyLine(k.Given, k.ARN, orElse(k.Only, k.Material))})
	}
	to := "each wrapped key's own key, its current key material"
	if k := se.kms.To(); k != nil {
		to = keyLine(k.Given, k.ARN, k.Material)
	}
	return append(rows, [2]string{"to", to})
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

// fieldsMet are the fields of --json-field that were in an item of the run.
type fieldsMet map[string]bool

func (m fieldsMet) observe(ev engine.Event) {
	for _, field := range ev.Fields {
		if !m[field] {
			m[field] = true
		}
	}
}

// remarks are printed for people before the summary: the reasons of items that
// were left, and likely typing errors.
func (se *session) remarks(rep engine.Report, err error, why left, met fieldsMet) {
	why.say(se.say)
	// A misspelled prefix is as complete as an empty one.
	if rep.Items.Seen == 0 && rep.Result == engine.ResultComplete {
		se.say("no item at all in %s: is that the right name?", se.job.source)
	}
	if !why.unseen() {
		se.warnUnmet(rep, err, met, "no item")
	}
}

// warnUnmet names the fields that were in none of the items, since they may be
// misspelled. Only a run that saw all items can tell.
func (se *session) warnUnmet(rep engine.Report, err error, met fieldsMet, where string) {
	if err != nil || rep.Result == engine.ResultStopped || rep.Resumed || rep.Items.Seen == 0 {
		return
	}
	for _, field := range se.job.jsonFields {
		if !met[field] {
			se.say("--json-field %s was found in %s", field, where)
			met[field] = true // it may be given twice
		}
	}
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
			say("%s: stopping in order; again to stop at once", signalName(sig))
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
