package proxy

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// starved is a listener that has no descriptor, or now and then no room in epoll, for anybody until it is closed.
type starved struct {
	closed atomic.Bool
	tried  int
}

func (l *starved) Accept() (net.Conn, error) {
	if l.closed.Load() {
		return nil, net.ErrClosed
	}
	if l.tried++; l.tried%100 == 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.ENOSPC}
	}
	return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
}

func (l *starved) Close() error   { l.closed.Store(true); return nil }
func (l *starved) Addr() net.Addr { return &net.TCPAddr{} }

// A shortage does not end the listener, and is told of once a minute, however often accepting is tried.
func TestShortageIsToldNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &Server{Recorder: &memoryLog{}, TLS: testTLS(t), Logger: slog.New(slog.NewTextHandler(&log, nil))}
		served := make(chan error)
		go func() { served <- s.Serve(new(starved), ModeTLS, "pop3s") }()
		time.Sleep(2*time.Minute + time.Second)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
		if n := strings.Count(log.String(), "too many open files"); n != 3 {
			t.Errorf("told of %d times in two minutes, want 3:\n%s", n, log.String())
		}
	})
}
