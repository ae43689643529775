package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server is an emulator that listens on a TCP port.
type Server struct {
	addr string
	done chan struct{}
	err  error // set before done is closed
}

// URL is the endpoint for clients: "http://127.0.0.1:34567".
func (s *Server) URL() string { return "http://" + s.addr }

// Wait returns when the server has shut down: with nil if the context of
// Listen ended, otherwise with the error that ended it.
func (s *Server) Wait() error { <-s.done; return s.err }

// Listen serves on addr until ctx ends; "127.0.0.1:0" picks a free port.
// Requests under way then have five seconds to finish. The emulator checks no
// credentials, so it refuses addresses other than loopback.
func (e *Emulator) Listen(ctx context.Context, addr string) (*Server, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("emulator: listen on %q: %w", addr, err)
	}
	if !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("emulator: listen on %q: the emulator checks no credentials and serves on loopback only; use 127.0.0.1:PORT or [::1]:PORT", addr)
	}
	l, err := net.ListenTCP("tcp", tcp)
	if err != nil {
		return nil, fmt.Errorf("emulator: listen on %q: %w", addr, err)
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	s := &Server{addr: l.Addr().String(), done: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	go func() {
		defer close(s.done)
		select {
		case err := <-served:
			s.err = err
		case <-ctx.Done():
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			s.err = server.Shutdown(grace)
			if errors.Is(s.err, context.DeadlineExceeded) {
				s.err = server.Close()
			}
		}
	}()
	return s, nil
}
