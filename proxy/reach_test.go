package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// A backend to which a session was on its way when it was cut is not said to be down.
func TestCutOnTheWayToTheBackend(t *testing.T) {
	for _, c := range []struct {
		name  string
		tweak func(*Server)
	}{
		{"dialling", func(s *Server) {
			s.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
			}
		}},
		{"awaiting the greeting", func(*Server) {}},
		{"in the handshake", func(s *Server) {
			s.BackendSecurity, s.BackendTLS = SecurityTLS, &tls.Config{InsecureSkipVerify: true}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := listenOnce(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
			w := newWorld(t, func(s *Server) {
				s.Backend = l.Addr().String()
				c.tweak(s)
			})
			client, err := tls.Dial("tcp", w.pop3s, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			time.Sleep(50 * time.Millisecond)
			cut, cancel := context.WithCancel(t.Context())
			cancel()
			w.server.Shutdown(cut)
			if rows := w.log.rows(); len(rows) > 0 {
				t.Errorf("on record: %q", rows)
			}
			if n := w.server.Stats().Unbacked; n > 0 {
				t.Errorf("%d sessions are counted as without a backend", n)
			}
		})
	}
}
