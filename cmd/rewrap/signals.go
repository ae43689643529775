package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
)

// interruptible returns the contexts of a command. stop is done at the first
// signal, or when end is called: the command finishes what it has begun. hard is
// done at the second signal: the command ends at once. A third signal has no
// handler and ends the process, which loses nothing either. The caller has to
// call unwatch.
func interruptible(say func(string, ...any)) (hard, stop context.Context, end func(cause error), unwatch func()) {
	hard, cancel := context.WithCancelCause(context.Background())
	stop, end = context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		select {
		case sig := <-signals:
			say("%s: finishing the items in work; a second signal stops at once", signalName(sig))
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
