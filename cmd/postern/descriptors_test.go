package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/cmd/internal/config"
)

func TestSessionsWithinDescriptors(t *testing.T) {
	for descriptors, want := range map[int]int{0: 1, 3: 1, 256: 64, 896: 224, 1024: 288, 20448: 10_000, 1 << 20: 524_064} {
		if got := within(descriptors); got != want {
			t.Errorf("%d descriptors are enough for %d sessions, want %d", descriptors, got, want)
		}
	}
	c := config.Default()
	if got := descriptorWarnings(c, c.MaxSessions); len(got) > 0 {
		t.Errorf("enough, and yet: %v", got)
	}
	got := strings.Join(descriptorWarnings(c, 288), "\n")
	for _, want := range []string{"Only 288 sessions at once, not the 10000", "Raise it to 20449"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing from %q", want, got)
		}
	}
}

// Connections to the dashboard that are too many are closed, until others end.
func TestTheDashboardHasABound(t *testing.T) {
	d := wholeDaemon(t, t.TempDir(), &logBuffer{})
	addr := d.dashboard.Addr().String()
	idle := make([]net.Conn, maxPages)
	for i := range idle {
		var err error
		if idle[i], err = net.Dial("tcp", addr); err != nil {
			t.Fatal(err)
		}
		defer idle[i].Close()
	}
	more, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	more.SetReadDeadline(time.Now().Add(patience))
	if _, err := more.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one too many: %v", err)
	}
	idle[0].Close()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	eventually(t, "room for another", func() bool {
		answer, err := client.Get("http://" + addr + "/healthz")
		if err == nil {
			answer.Body.Close()
		}
		return err == nil
	})
	if err := d.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// oneConn is a listener that has one connection to give, and is closed then.
type oneConn struct {
	net.Listener
	conn chan net.Conn
}

func (l oneConn) Accept() (net.Conn, error) {
	if conn, ok := <-l.conn; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (oneConn) Close() error { return nil }

// Whoever stops in the middle of a request, or of reading its answer, keeps no place at the dashboard.
func TestTheDashboardWaitsForNobody(t *testing.T) {
	for name, request := range map[string]string{
		"a body that does not come":  "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
		"an answer that is not read": "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				l := oneConn{conn: make(chan net.Conn, 1)}
				l.conn <- theirs
				close(l.conn)
				ended := make(chan struct{})
				s := pageServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) }), slog.New(slog.DiscardHandler))
				count := s.ConnState
				s.ConnState = func(conn net.Conn, state http.ConnState) {
					count(conn, state)
					if state == http.StateClosed {
						close(ended)
					}
				}
				go s.Serve(l)
				if _, err := io.WriteString(ours, request); err != nil {
					t.Fatal(err)
				}
				select {
				case <-ended:
				case <-time.After(time.Hour):
					t.Error("still there after an hour")
				}
				ours.Close()
				s.Close()
			})
		})
	}
}
