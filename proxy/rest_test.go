package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// goroutines returns how many goroutines there are of sessions.
func goroutines() int {
	buf := make([]byte, 1<<20)
	all := string(buf[:runtime.Stack(buf, true)])
	return strings.Count(all, "created by postern/proxy.(*Server).accept") + strings.Count(all, "created by postern/proxy.(*session)") +
		strings.Count(all, "created by postern/proxy.startWatch")
}

// rests waits until no session has a goroutine.
func (w *world) rests() {
	w.t.Helper()
	if runtime.GOOS != "linux" {
		w.t.Skip("sessions keep their goroutines here")
	}
	w.await("at rest", 10*time.Second, func() bool { return goroutines() == 0 })
}

// Sessions that have nothing to do have no goroutine, and wake up for every command, logged in or not.
func TestRest(t *testing.T) {
	w := newWorld(t, nil)
	sessions := []*talker{w.dial(), w.login(), w.login()}
	if goroutines() == 0 {
		t.Fatal("sessions at work have no goroutine")
	}
	for range 3 {
		w.rests()
		for _, c := range sessions {
			c.ask("RETR 1", "+OK\r\n0123456789abcdef\r\n.\r\n")
		}
	}
	w.rests()
	for _, c := range sessions {
		io.WriteString(c.conn, "NO")
		time.Sleep(2 * glance)
		io.WriteString(c.conn, "OP\r\nQUIT\r\n")
		c.want("+OK\r\n+OK\r\n")
		c.wantEnd()
	}
	w.rowsWith("end by=client quit", 3)
}

// Whatever ends a session finds it at rest too, and is noticed at once.
func TestEndAtRest(t *testing.T) {
	for _, c := range []struct {
		name, said, end string
		do              func(*world, *talker)
	}{
		{"client closes", "", "end by=client eof", func(w *world, c *talker) { c.conn.(*tls.Conn).CloseWrite() }},
		{"client goes", "", "end by=client eof", func(w *world, c *talker) { c.conn.(*tls.Conn).NetConn().Close() }},
		{"client resets", "", "end by=client reset", func(w *world, c *talker) { c.reset() }},
		{"backend closes", "", "end by=backend closed", func(w *world, c *talker) { w.backend.close() }},
		{"backend says good-bye", "-ERR bye\r\n", "end by=backend autologout", func(w *world, c *talker) { w.backend.say("-ERR bye\r\n") }},
		{"backend speaks", "", "end by=backend framing_uncertain", func(w *world, c *talker) { w.backend.say("+OK\r\n") }},
		{"server stops", errShutdown.farewell + "\r\n", "end by=proxy shutdown", func(w *world, c *talker) { go w.server.Shutdown(context.Background()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			client := w.login()
			w.rests()
			began := time.Now()
			c.do(w, client)
			if c.said != "" {
				client.want(c.said)
			}
			w.rowsWith(c.end, 1)
			if took := time.Since(began); took > quiet {
				t.Errorf("noticed after %v", took)
			}
		})
	}
}

// A good-bye that TLS has taken off the socket together with the last reply is noticed before the session parks.
func TestGoodByeBehindReply(t *testing.T) {
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	l := listenOnce(t, func(conn net.Conn) {
		below := &socket{Conn: conn, limit: time.Minute}
		inner := tls.Server(below, &tls.Config{Certificates: []tls.Certificate{cert}})
		io.WriteString(inner, "+OK tiny\r\n")
		bufio.NewReader(inner).ReadString('\n')
		below.cork()
		io.WriteString(inner, "+OK\r\n")
		io.WriteString(inner, "-ERR bye\r\n")
		below.uncork()
		io.Copy(io.Discard, inner)
	})
	w := newWorld(t, func(s *Server) {
		s.Backend, s.BackendSecurity = l.Addr().String(), SecurityTLS
		s.BackendTLS = &tls.Config{InsecureSkipVerify: true}
	})
	w.dial().ask("NOOP", "+OK\r\n-ERR bye\r\n")
	w.rowsWith("end by=backend autologout", 1)
}

func TestCutAtRest(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	w.rests()
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.server.Shutdown(cut); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.rowsWith("end by=proxy shutdown", 1)
}

// A limit passes at rest. Octets that are no whole record of TLS wake the session up and do not push it away.
func TestTimeoutAtRest(t *testing.T) {
	w := newWorld(t, func(s *Server) { s.Limits.Idle, s.Limits.Login = time.Second, 1500*time.Millisecond })
	early, late, drips := w.dial(), w.login(), w.login()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go drip(ctx, drips.conn.(*tls.Conn).NetConn(), false)
	late.want(errIdle.farewell + "\r\n")
	early.want(errLogin.farewell + "\r\n")
	w.rowsWith("end by=client timeout_idle", 2)
}

// Commands that come just as their session goes to rest are answered like any other.
func TestNoWakeUpIsLost(t *testing.T) {
	w := newWorld(t, nil)
	var clients []*talker
	for range 40 {
		clients = append(clients, w.login())
	}
	errs := make(chan error, len(clients))
	for i, c := range clients {
		go func() {
			line := make([]byte, 5)
			for n := range 10 {
				time.Sleep(quiet + time.Duration((i+n)%40-10)*time.Millisecond)
				c.conn.SetDeadline(time.Now().Add(10 * time.Second))
				io.WriteString(c.conn, "NOOP\r\n")
				if _, err := io.ReadFull(c.r, line); err != nil {
					errs <- fmt.Errorf("command %d of session %d: %w", n, i, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range clients {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
