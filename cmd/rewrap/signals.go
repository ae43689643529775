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

// interruptible gives the contexts of a run. stop ends it in order: the first
// signal, or the caller by end. hard ends it at once: the second signal. A third
// signal finds no handler and ends the process, which loses nothing either.
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
